"""Read what the files of a run hold beside its rows: samples of the machine, and the console.

Rules (a W&B server does the same with what it is sent)
- A session that resumes another one adds to what was there.
- Another session writes over it from the beginning: its lines and samples take the place of as many
  of the first ones.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from dr_wandb.core.contract.columns import RowBatch
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.contract.values import clean_text
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.shell.sources import HistoryBatch, SourceError
from dr_wandb.shell.sources.offline.forms import RunFile, WandbFile
from dr_wandb.shell.sources.offline.found import FoundRun
from dr_wandb.shell.sources.offline.run_files import MappedFile, mapped

Rows = list[dict[str, Any]]

Take = Callable[[Iterator[Rows]], Rows | None]
"""Takes the next rows of an iterator, None at its end."""


class WandbPart(NamedTuple):
    """One file of a run, as far as it was read. resumes: it continues the file before."""

    file: WandbFile
    reading: FileReading
    resumes: bool


def wandb_parts(run: FoundRun) -> list[WandbPart]:
    """Return the files of a run that may have more than rows: older folders do not."""
    return [
        WandbPart(file.file, file.reading, file.named is not None and file.named.resumes)
        for file in run.files
        if isinstance(file.file, WandbFile)
    ]


def read_samples(parts: Sequence[WandbPart], take: Take) -> Iterator[HistoryBatch]:
    """Read the samples of the machine."""
    if all(part.resumes for part in parts[1:]):
        for part in parts:
            yield from (RowBatch(rows=rows) for rows in _samples(part, take))
        return
    kept: Rows = []
    for number, part in enumerate(parts):
        rows = [row for some in _samples(part, take) for row in some]
        kept = [*kept, *rows] if number and part.resumes else [*rows, *kept[len(rows) :]]
    yield RowBatch(rows=kept)


def _samples(part: WandbPart, take: Take) -> Iterator[Rows]:
    with readable(part.file) as (data, release):
        batches = part.file.decoder.samples(data, part.reading)
        while (rows := take(batches)) is not None:
            yield rows
            release()


def read_console(
    parts: Sequence[WandbPart], window: FetchWindow, take: Take
) -> Iterator[HistoryBatch]:
    """Read the lines of the console whose number is in the window."""
    first = 0
    for number, part in enumerate(parts):
        first = first if part.resumes else 0
        with readable(part.file) as (data, release):
            batches = part.file.decoder.console(data, part.reading, first)
            while (lines := take(batches)) is not None:
                first = lines[-1]["_step"] + 1 if lines else first
                inside = [line for line in lines if window.has(line["_step"])]
                yield RowBatch(rows=inside, live=False, file=number)
                release()


@contextmanager
def readable(file: RunFile) -> Iterator[MappedFile]:
    """Yield the content of a file. Raises SourceError if it cannot be read."""
    try:
        with mapped(file) as content:
            yield content
    except OSError as error:
        reason = clean_text(f"{file.shown} cannot be read: {error.strerror or error}")
        raise SourceError(reason, RunFailureKind.UNREADABLE, retryable=False) from error
