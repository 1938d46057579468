"""Processes of Python that fork from one which has imported the SDK and the tool once.

The imports take most of the CPU of a short sync. A fork has an environment, a folder, streams and
an exit code to itself, as a process that was started has, and ends in the same way. It does not
show what imports do, nor what Python does at its start.
"""

import importlib
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.checkout import ROOT

IMPORTED = (
    "dr_wandb.cli",
    "dr_wandb.shell.inspect.doctor",
    "dr_wandb.shell.sources.api.parquet",
    "dr_wandb.shell.sources.api.source",
    "dr_wandb.shell.sync.engine",
    "filelock",
    "wandb.apis.public",
)
FOREIGN = ("WANDB", "DR_WANDB", "XDG", "PYTHON")


class Fork:
    """A process that was forked. It has what tests need of `subprocess.Popen`."""

    def __init__(self, answers: socket.socket) -> None:
        self._answers = answers
        self.pid = _number_from(answers)
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(timeout=0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended, and return its exit code."""
        if self.returncode is None:
            if not select.select([self._answers], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
            self.returncode = _number_from(self._answers)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it, unless it has ended."""
        self.send_signal(signal.SIGKILL)


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

    def start(
        self,
        source: str,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        streams: Sequence[int] | None = None,
    ) -> Fork:
        """Run some source, as `subprocess.Popen([python, "-c", source, *arguments])` does.

        streams: the files of its stdout and its stderr, by default nowhere. The process that was
        started before has to have ended.
        """
        asked = {"source": source, "arguments": [*arguments], "env": {**env}, "cwd": str(cwd)}
        line = json.dumps(asked).encode() + b"\n"
        with Path(os.devnull).open("wb") as nowhere:
            socket.send_fds(self._socket, [line[:1]], streams or [nowhere.fileno()] * 2)
        self._socket.sendall(line[1:])
        return Fork(self._socket)

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
            streams = stdout.fileno(), stderr.fileno()
            fork = self.start(source, arguments, env=env, cwd=cwd, streams=streams)
            try:
                code = fork.wait(timeout)
            except subprocess.TimeoutExpired:
                fork.kill()
                fork.wait(timeout)
                raise
            texts = []
            for stream in (stdout, stderr):
                stream.seek(0)
                texts.append(stream.read().decode())
        return subprocess.CompletedProcess([*arguments], code, *texts)

    def close(self) -> None:
        """End the process."""
        self._socket.close()
        self._process.wait(timeout=60)


NUMBER = struct.Struct("!q")


def _number_from(answers: socket.socket) -> int:
    number: int = NUMBER.unpack(answers.recv(NUMBER.size, socket.MSG_WAITALL))[0]
    return number


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
        asker.sendall(NUMBER.pack(process))
        _, status = os.waitpid(process, 0)
        asker.sendall(NUMBER.pack(os.waitstatus_to_exitcode(status)))


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
