"""The log, and how far a sync is in lines of the log.

The engine calls one function with a `Progress`; what shows it is for its caller to choose.
"""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from dr_wandb.core.contract.progress import Progress, Stage
from dr_wandb.core.contract.wording import count, printable

LOGGER = logging.getLogger("dr_wandb")

DECISION = 15
"""The level of decisions: why a run is read, what is used again. Shown with `-v`."""

WAITING = 17
"""The level of short waits, which a terminal shows while they last. Shown with `-v`."""

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_REPORTS = 0.25

ProgressCallback = Callable[[Progress], None]


def say_nothing(progress: Progress) -> None:
    """Ignore progress."""


class Wait(NamedTuple):
    """A wait from now on: why, and for how long."""

    reason: str
    seconds: float


def log_wait(reason: str, seconds: float, level: int = WAITING) -> None:
    """Log that a request waits from now on."""
    wait = Wait(reason.rstrip("."), seconds)
    LOGGER.log(level, "%s: going on in %.1f s", *wait, extra={"wait": wait})


def wait_in(record: logging.LogRecord) -> Wait | None:
    """Return the wait that a log record reports, None if it is about something else."""
    wait = getattr(record, "wait", None)
    return wait if isinstance(wait, Wait) else None


class CountedProgress:
    """Counts what is done, bytes or rows, and reports it a few times a second."""

    def __init__(
        self,
        total: int,
        report: ProgressCallback,
        clock: Callable[[], float] = time.monotonic,
        *,
        stage: Stage = Stage.VERIFYING,
    ) -> None:
        self._stage = stage
        self._total = total
        self._report = report
        self._clock = clock
        self._done = 0
        self._next = clock() + SECONDS_BETWEEN_REPORTS

    def add(self, count: int) -> None:
        """Count some more. A file that grows is never more than done."""
        self._done = min(self._total, self._done + count)
        now = self._clock()
        if now >= self._next:
            self._next = now + SECONDS_BETWEEN_REPORTS
            self._report(self._now())

    def finish(self) -> None:
        """Report that everything is done."""
        self._done = self._total
        self._report(self._now())

    def _now(self) -> Progress:
        return Progress(stage=self._stage, done=self._done, total=self._total)


class FetchProgress:
    """Counts the runs that were fetched, and the bytes of files that came.

    Several threads may add bytes. They are reported a few times a second, runs each.
    """

    def __init__(
        self,
        total: int,
        report: ProgressCallback,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._now = Progress(done=0, total=total)
        self._report = report
        self._clock = clock
        self._lock = threading.Lock()
        self._next = clock() + SECONDS_BETWEEN_REPORTS

    def add_bytes(self, received: int) -> None:
        """Count bytes of a file."""
        with self._lock:
            self._now = replace(self._now, bytes=self._now.bytes + received)
            now = self._clock()
            if now >= self._next:
                self._next = now + SECONDS_BETWEEN_REPORTS
                self._report(self._now)

    def add_run(self, *, rows: int, failed: bool, short: bool) -> None:
        """Count a run."""
        with self._lock:
            known = self._now
            self._now = replace(
                known,
                done=known.done + 1,
                rows=known.rows + rows,
                failed=known.failed + failed,
                short=known.short + short,
            )
            self._report(self._now)

    def write(self) -> None:
        """Report that the files of the export are written now."""
        with self._lock:
            self._report(replace(self._now, stage=Stage.WRITING))


class LongListing:
    """Logs how much is listed so far, every few seconds while a listing takes long.

    what: the singular of what is listed.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._clock = clock
        self._logged_at: float | None = None

    def note(self, listed: int) -> None:
        """Log a line if one is due."""
        now = self._clock()
        if self._logged_at is None:
            self._logged_at = now
        elif now - self._logged_at >= SECONDS_BETWEEN_LINES:
            self._logged_at = now
            LOGGER.info("Listed %s so far", count(listed, self._what))


class LoggedProgress:
    """Logs a line for the first run and for each further 5 %, and while a listing takes long."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._bucket = -1
        self._listing = LongListing("run", clock)

    def __call__(self, progress: Progress) -> None:
        """Log a line if one is due."""
        if progress.stage == Stage.LISTING:
            self._listing.note(progress.done)
        elif progress.stage == Stage.FETCHING and progress.total and progress.done:
            self._fetching(progress)

    def _fetching(self, progress: Progress) -> None:
        percent = progress.done * 100 // progress.total
        bucket = percent // 5
        if progress.done > 1 and bucket <= self._bucket:
            return
        self._bucket = bucket
        trouble = ((progress.failed, "failed"), (progress.short, "short"))
        LOGGER.info(
            "Processed %s/%s runs (%s%% complete), %s rows%s",
            progress.done,
            progress.total,
            percent,
            progress.rows,
            "".join(f", {number} {what}" for number, what in trouble if number),
        )


class StderrHandler(logging.Handler):
    """Writes log lines to the current `sys.stderr`, so that a line drawn there makes room."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, or several if a traceback follows."""
        text = self.format(record)
        write_stderr(text if record.exc_info else printable(text))


def write_stderr(line: str) -> None:
    """Write a line to stderr, if anybody still reads it: a closed pipe stops no work.

    Nothing in it can steer a terminal; line breaks stay.
    """
    if sys.stderr is None:  # it is closed; `print` would take stdout instead
        return
    try:
        print("\n".join(map(printable, line.split("\n"))), file=sys.stderr, flush=True)
    except (OSError, ValueError):
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - takes all that follows
