"""In which formats an export holds its rows: JSON lines, Parquet, or both.

Rules
- A format that is held stays, and is kept in step by every sync, until it is dropped by name.
- The rows of an export are held in at least one format.
"""

from collections.abc import Collection, Iterator

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.export_files import JSONL, PARQUET
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection
from dr_wandb.core.sync.manifest import requested_before


def formats_before(manifest: ExportManifest | None) -> frozenset[str]:
    """Return the formats in which the history is held, none if there is no history."""
    held = requested_before(manifest).datasets.get(HISTORY)
    return frozenset() if held is None else frozenset(held.formats)


def formats_after(request: ExportRequest, manifest: ExportManifest | None) -> frozenset[str]:
    """Return the formats in which the history is held after a sync, none if there is no history.

    manifest: that of the export before the sync.
    """
    before = formats_before(manifest)
    if not before and HISTORY not in request.datasets:
        return before
    after = before | {*request.formats} or {JSONL}
    return frozenset(after) - {*request.drop_formats}


def goes_in_columns(
    formats: Collection[str], dataset: str, window: FetchWindow, selection: HistorySelection
) -> bool:
    """Say whether rows of a fetch need not become lines, if they come as columns and rise.

    formats: in which the export holds its rows. Other rows are joined, sorted or selected as lines.
    """
    everything = window.whole and selection == EVERYTHING
    return dataset == HISTORY and everything and {*formats} == {PARQUET}


def format_problems(request: ExportRequest, manifest: ExportManifest | None) -> Iterator[str]:
    """Say in which way the formats of a request do not fit the export."""
    named = [f"--format {name}" for name in request.formats]
    named += [f"--drop-format {name}" for name in request.drop_formats]
    if not formats_before(manifest) and HISTORY not in request.datasets:
        if named:
            yield f"{named[0]} needs --mode history: {request.name} has no history"
        return
    if not formats_after(request, manifest):
        yield (
            f"--drop-format {request.drop_formats[-1]} would leave {request.name} without its "
            "history: give another --format beside it"
        )
