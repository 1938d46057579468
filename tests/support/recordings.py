"""Make recordings for tests."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from dr_wandb.core.contract.listing import RunListing
from dr_wandb.shell.sources import Source, SourceError
from dr_wandb.shell.sources.recording.recorder import Recorder
from tests.support.asking import list_all, read_raw_rows

CLOCK = "2026-03-01T00:00:00Z"


def record(source: Source, folder: Path, *, secrets: Iterable[str] = ()) -> Recorder:
    """Begin to record a source."""
    return Recorder(
        source,
        folder,
        recorded_at=CLOCK,
        entity="entity",
        project="project",
        mode="history",
        secrets=secrets,
    )


def ask_all(source: Source) -> None:
    """Ask for every run with its whole history and its metadata."""
    for run in list_all(source).values():
        ask_run(source, run)


def ask_run(source: Source, run: RunListing) -> None:
    """Ask for the whole history and the metadata of one run."""
    with suppress(SourceError):
        read_raw_rows(source, run)
    with suppress(SourceError):
        source.read_metadata(run)
