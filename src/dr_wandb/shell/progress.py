"""Show how far a sync is: log lines, or a bar if someone is watching.

The engine calls one function with a value; how it is shown is decided here.
"""

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from dr_wandb.core.contract.records import Record

LOGGER = logging.getLogger("dr_wandb")


class Progress(Record, frozen=True, kw_only=True):
    """`done` of `total` runs are finished; `rows` rows came that were not held before."""

    done: int
    total: int
    rows: int = 0


ProgressCallback = Callable[[Progress], None]


def say_nothing(progress: Progress) -> None:
    """Ignore progress."""


class LoggedProgress:
    """Logs a line for the first run and for each further 5 %."""

    def __init__(self) -> None:
        self._bucket = -1

    def __call__(self, progress: Progress) -> None:
        """Log a line if one is due."""
        if not progress.total or not progress.done:
            return
        percent = progress.done * 100 // progress.total
        bucket = percent // 5
        if progress.done == 1 or bucket > self._bucket:
            self._bucket = bucket
            LOGGER.info(
                "Processed %s/%s runs (%s%% complete), %s rows",
                progress.done,
                progress.total,
                percent,
                progress.rows,
            )


class ProgressBar:
    """Draws a bar on stderr from the first progress on. Used as a context manager."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as RichProgress

        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("runs, {task.fields[rows]:,} rows"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task("Exporting", total=None, rows=0)

    def __enter__(self) -> "ProgressBar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Move the bar."""
        self._bar.start()
        self._bar.update(
            self._task, completed=progress.done, total=progress.total, rows=progress.rows
        )


class StderrHandler(logging.Handler):
    """Writes log lines to the current `sys.stderr`, so that a bar drawn there makes room."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        write_stderr(self.format(record))


def write_stderr(line: str) -> None:
    """Write a line to stderr, if anybody still reads it: a closed pipe stops no work."""
    try:
        print(line, file=sys.stderr, flush=True)
    except (OSError, ValueError):
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - takes all that follows


def someone_watches() -> bool:
    """Say whether stderr is a terminal."""
    return sys.stderr.isatty()
