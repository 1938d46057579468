"""Processes of Python that fork from one which has imported the SDK and the tool once.

The imports take most of the CPU of a short sync. A fork has an environment, a folder, streams and
an exit code to itself, as a process that was started has, and ends in the same way. It does not
show what imports do, nor what Python does at its start.
"""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.checkout import ROOT

IMPORTED = (
    "dr_wandb.shell.inspect.doctor",
    "dr_wandb.shell.sources.api.source",
    "dr_wandb.shell.sync.engine",
    "wandb.apis.public",
)
FOREIGN = ("WANDB", "DR_WANDB", "XDG", "PYTHON")


class ForkedPython:
    """The process that has the modules. It forks for one call at a time."""

    def __init__(self, home: Path) -> None:
        """Start it. home: a folder for what the SDK may leave when it is imported."""
        mine, its = socket.socketpair()
        known = {name: text for name, text in os.environ.items() if not name.startswith(FOREIGN)}
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-B", "-m", __name__, str(its.fileno())],
                cwd=ROOT,
                env={**known, "HOME": str(home)},
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._socket = mine
        self._answers = mine.makefile("r")

    def run(
        self,
        source: str,
        arguments: Sequence[str] = (),
        *,
        env: Mapping[str, str],
        cwd: Path,
        timeout: float,
    ) -> "subprocess.CompletedProcess[str]":
        """Run some source, as `subprocess.run([python, "-c", source, *arguments])` does."""
        with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
            asked = {"source": source, "arguments": [*arguments], "env": {**env}, "cwd": str(cwd)}
            line = json.dumps(asked).encode() + b"\n"
            socket.send_fds(self._socket, [line[:1]], [stdout.fileno(), stderr.fileno()])
            self._socket.sendall(line[1:])
            process = int(self._answers.readline())
            late = threading.Event()
            timer = threading.Timer(timeout, _kill, [process, late])
            timer.start()
            code = int(self._answers.readline())
            timer.cancel()
            if late.is_set():
                raise subprocess.TimeoutExpired(list(arguments), timeout)
            texts = []
            for stream in (stdout, stderr):
                stream.seek(0)
                texts.append(stream.read().decode())
        return subprocess.CompletedProcess(list(arguments), code, *texts)

    def close(self) -> None:
        """End the process."""
        self._answers.close()
        self._socket.close()
        self._process.wait(timeout=60)


def _kill(process: int, late: threading.Event) -> None:
    late.set()
    os.kill(process, signal.SIGKILL)


def fork_for_each(asker: socket.socket) -> None:
    """Fork for each line of the asker, and answer with the process and its exit code."""
    while True:
        first, streams, _, _ = socket.recv_fds(asker, 1, 2)
        if not first:
            return
        line = first
        while not line.endswith(b"\n"):
            line += asker.recv(1 << 16)
        assert threading.active_count() == 1, "a fork has no other thread"
        process = os.fork()
        if process == 0:
            asker.close()
            run_alone(json.loads(line), streams)
            sys.exit()
        for stream in streams:
            os.close(stream)
        asker.sendall(f"{process}\n".encode())
        _, status = os.waitpid(process, 0)
        asker.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def run_alone(asked: Mapping[str, Any], streams: Sequence[int]) -> None:
    """Run the source with all that a process has to itself."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream, number in zip(streams, (1, 2), strict=True):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    time.tzset()
    tempfile.tempdir = None
    sys.path[0] = asked["cwd"]
    sys.argv = ["-c", *asked["arguments"]]
    exec(compile(asked["source"], "<source>", "exec"), {"__name__": "__main__"})


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for module in IMPORTED:
        importlib.import_module(module)
    fork_for_each(socket.socket(fileno=int(sys.argv[1])))
