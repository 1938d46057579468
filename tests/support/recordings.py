"""Make recordings for tests, and look at them as bytes."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from dr_wandb.core.contract.codec import fingerprint
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import EveryRun, ListingQuery, RunListing, list_run
from dr_wandb.core.contract.normalize import normalize_run
from dr_wandb.shell.sources import Source, SourceError
from dr_wandb.shell.sources.recording.recorder import Recorder

CLOCK = "2026-03-01T00:00:00Z"
WHOLE = FetchWindow()


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


def nodes(source: Source, query: ListingQuery | None = None) -> list[dict[str, Any]]:
    """Return the nodes of an answer, every run by default."""
    pages = source.list_runs(query or EveryRun())
    return [dict(raw_run) for page in pages for raw_run in page.runs]


def listings(source: Source, query: ListingQuery | None = None) -> dict[str, RunListing]:
    """Return the listing of each run of an answer."""
    runs = [normalize_run(node, entity="e", project="p") for node in nodes(source, query)]
    return {run.run_id: list_run(run, fingerprint(run)) for run in runs}


def rows(source: Source, run: RunListing, window: FetchWindow = WHOLE) -> list[dict[str, Any]]:
    """Return the raw rows that a source gives."""
    return [dict(row) for batch in source.read_history(run, window, 0) for row in batch.rows]


def ask_all(source: Source) -> None:
    """Ask for every run with its whole history and its metadata."""
    for run in listings(source).values():
        ask_run(source, run)


def ask_run(source: Source, run: RunListing) -> None:
    """Ask for the whole history and the metadata of one run."""
    with suppress(SourceError):
        rows(source, run)
    with suppress(SourceError):
        source.read_metadata(run)


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder."""
    return dict(_files(folder))


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()
