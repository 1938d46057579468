"""Show on a terminal how far a command is: a line that is drawn again, and log lines above it.

Rules
- Only a terminal that can move its cursor gets a line; `TERM=dumb` and pipes get log lines.
- The line is drawn again a few times a second, however often progress is reported, and is gone
  when the command ends.
- A wait that the log reports (`shell.progress.log_wait`) is shown until it is over.
"""

import logging
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from dr_wandb.core.contract.progress import Progress, Stage
from dr_wandb.core.contract.progress_line import (
    ASCII_BLOCKS,
    BLOCKS,
    describe_progress,
    describe_waiting,
)
from dr_wandb.shell.progress import LOGGER, WAITING, Wait, wait_in

if TYPE_CHECKING:
    from rich.console import RenderableType

DRAWN_PER_SECOND = 4
"""Often enough for a clock; more would cost a noticeable part of a core."""


def screen(quiet: bool = False) -> "AbstractContextManager[Screen | None]":
    """Return a context with a screen if somebody watches; None if not."""
    return nullcontext() if quiet or not _can_be_drawn_on() else Screen()


def _can_be_drawn_on() -> bool:
    """Say whether stderr is a terminal that can move its cursor."""
    if sys.stderr is None or not sys.stderr.isatty():  # None: it is closed
        return False
    from rich.console import Console

    return not Console(stderr=True).is_dumb_terminal


class Screen:
    """The line on stderr. Called with each progress; used as a context manager."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True)
        self._blocks = BLOCKS if "utf" in self._console.encoding.lower() else ASCII_BLOCKS
        self._progress = Progress(stage=Stage.STARTING, done=0, total=0)
        self._began = time.monotonic()
        self._waits = _Waits()
        self._level = LOGGER.level
        self._live = Live(
            get_renderable=self._draw,
            console=self._console,
            refresh_per_second=DRAWN_PER_SECOND,
            transient=True,
            redirect_stdout=False,
        )

    def __enter__(self) -> "Screen":
        self._level = LOGGER.level
        LOGGER.addHandler(self._waits)
        LOGGER.setLevel(min(self._level, WAITING))
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        LOGGER.removeHandler(self._waits)
        LOGGER.setLevel(self._level)

    def __call__(self, progress: Progress) -> None:
        """Note how far the command is."""
        if progress.stage != self._progress.stage:
            self._began = time.monotonic()
        self._progress = progress

    def _draw(self) -> "RenderableType":
        from rich.text import Text

        now = time.monotonic()
        lines = describe_progress(
            self._progress,
            now - self._began,
            self._console.width,
            waiting=self._waits.describe(now),
            blocks=self._blocks,
        )
        return Text("\n".join(lines), no_wrap=True, overflow="crop")


class _Waits(logging.Handler):
    """Remembers the wait that ends last."""

    def __init__(self) -> None:
        super().__init__(WAITING)
        self._wait: Wait | None = None
        self._until = 0.0

    def emit(self, record: logging.LogRecord) -> None:
        """Note a wait."""
        wait = wait_in(record)
        if wait is None:
            return
        until = time.monotonic() + wait.seconds
        if until >= self._until:
            self._wait, self._until = wait, until

    def describe(self, now: float) -> str:
        """Describe the wait, "" if none is left."""
        left = self._until - now
        return "" if self._wait is None or left <= 0 else describe_waiting(self._wait.reason, left)
