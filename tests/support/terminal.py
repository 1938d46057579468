"""A terminal of some width that runs the command, and what its screen shows.

It is used as a context manager, at whose end the command is killed if it still runs.
"""

import fcntl
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import pyte

ROWS = 50


class Terminal:
    """Runs the command with its input and output on a terminal."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        columns: int,
        env: Mapping[str, str],
        cwd: Path,
        kind: str = "xterm-256color",
    ) -> None:
        self._screen = pyte.Screen(columns, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        own = {name: text for name, text in env.items() if name not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dr_wandb", *arguments],
            env={**own, "TERM": kind, "PYTHONIOENCODING": "utf-8"},
            cwd=cwd,
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the command if it has not ended."""
        os.close(self._master)
        self.process.kill()
        self.process.wait()

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the lines that the screen shows now, without empty ones at the end."""
        return tuple("\n".join(line.rstrip() for line in self._screen.display).rstrip().split("\n"))

    def wait_for(self, seen: Callable[[str], bool], timeout: float = 60) -> tuple[str, ...]:
        """Wait until the screen shows something, and return its lines."""
        until = time.monotonic() + timeout
        while not seen("\n".join(self.lines)):
            assert time.monotonic() < until, self.lines
            if not self._read(0.5):
                assert self.process.poll() is None, self.lines
        return self.lines

    def end(self, timeout: float = 60) -> tuple[str, ...]:
        """Wait until the command has ended, and return the lines of the screen."""
        until = time.monotonic() + timeout
        while self._read(0.2) or self.process.poll() is None:
            assert time.monotonic() < until, self.lines
        while self._read(0):
            pass
        return self.lines

    def _read(self, seconds: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # Linux says so if the other side is closed
            return False
        self._stream.feed(data)
        return bool(data)
