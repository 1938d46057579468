"""Ask a source for its listings and its rows, and say what it should answer."""

from typing import Any

from dr_wandb.core.contract.codec import fingerprint
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import EveryRun, ListingQuery, RunListing, list_run
from dr_wandb.core.contract.normalize import normalize_row, normalize_run
from dr_wandb.shell.sources import Source
from tests.support.arrived_rows import joined_rows, received, selected_lines
from tests.support.described_project import RunDescription

WHOLE = FetchWindow()

WINDOWS = (
    WHOLE,
    FetchWindow(start=0),
    FetchWindow(start=1),
    FetchWindow(start=3),
    FetchWindow(stop=3),
    FetchWindow(start=0, stop=1),
    FetchWindow(start=2, stop=4),
    FetchWindow(start=5, stop=40_001),
    FetchWindow(start=40_001),
    FetchWindow(start=50_000),
    FetchWindow(stop=0),
)


def list_nodes(source: Source, query: ListingQuery | None = None) -> list[dict[str, Any]]:
    """Return the nodes of an answer in order, of every run by default."""
    pages = source.list_runs(query or EveryRun())
    return [dict(raw_run) for page in pages for raw_run in page.runs]


def list_all(source: Source, query: ListingQuery | None = None) -> dict[str, RunListing]:
    """Return the listings of an answer by run id, of every run by default."""
    runs = [normalize_run(node, entity="e", project="p") for node in list_nodes(source, query)]
    return {run.run_id: list_run(run, fingerprint(run)) for run in runs}


def read_raw_rows(
    source: Source, run: RunListing, window: FetchWindow = WHOLE
) -> list[dict[str, Any]]:
    """Return the raw rows that a source gives."""
    return [dict(row) for batch in source.read_history(run, window, 0) for row in batch.rows]


def read_rows(
    source: Source, run: RunListing, window: FetchWindow = WHOLE, attempt: int = 0
) -> list[bytes]:
    """Return the distinct rows that a source gives, normalized, in the order of an export."""
    rows = [
        received(normalize_row(row, run.run_id), live=batch.live, file=batch.file)
        for batch in source.read_history(run, window, attempt)
        for row in batch.rows
    ]
    return selected_lines(joined_rows(rows))


def expected_rows(run: RunDescription, window: FetchWindow = WHOLE) -> list[bytes]:
    """Return the rows of a description that lie inside a window, in the order of an export."""
    lines = []
    for raw_row in run.rows:
        step = raw_row.get("_step", 0)
        if step >= (window.start or 0) and (window.stop is None or step < window.stop):
            lines.append(received(normalize_row(raw_row, run.run_id)))
    return selected_lines(joined_rows(lines))
