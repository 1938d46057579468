"""Which rows of one run a sync reads of a dataset, and why.

Rules
- If nothing shows that rows came or changed, none are read, except for a second look at an
  unexplained difference between the held rows and the listing.
- Rows that may change without a sign are read whenever every run is compared.
- A changed selection reads the run again; so does every sign that stored rows were rewritten.
- No held row is dropped by a narrower selection unless the request allows that, and never if W&B
  may not give it again.
- A run that is short, waiting or failed is read whole, one that is behind from its last proof.
"""

from msgspec.structs import replace

from dr_wandb.core.contract.dataset import DATASETS, Counts
from dr_wandb.core.contract.evidence import Standing
from dr_wandb.core.contract.fetch_window import WHOLE_RUN, FetchWindow
from dr_wandb.core.contract.file_choice import files_in_words
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.part import UNKNOWN, PartTracking, Position
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import ExportRequest, SyncMode
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection, selection_in_words
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.sync.plan_kinds import FetchKind


class PartFetch(Record, frozen=True, kw_only=True):
    """Which rows of a dataset to read of a run, and why.

    `tail`: rows below the window's start are kept. `selection`: what of the rows will be held.
    `before`: the selection of the held rows, if this one is another and was not tried before.
    `rows_removed`: how many held rows are dropped or lose values; 0 if they were not looked at.
    """

    window: FetchWindow
    kind: FetchKind
    reason: str
    tail: bool = False
    selection: HistorySelection = EVERYTHING
    before: HistorySelection | None = None
    rows_removed: int = 0


def plan_part(
    request: ExportRequest,
    dataset: str,
    known: RunTracking | None,
    tracking: RunTracking | None,
    listing: RunListing,
    now: str | None,
) -> PartFetch | None:
    """Choose the rows of a dataset to read of one run, None if nothing can have changed.

    known: what is tracked under its id. tracking: the same, None if that is another run.
    """
    counts = listing.counts_of(dataset)
    holds_rows = known is not None and known.part(dataset).holds_rows
    if counts.last_step is None and counts.line_count == 0 and not holds_rows:
        return None
    part = tracking.part(dataset) if tracking is not None else UNKNOWN
    wanted = request.selection_of(dataset)
    selection = part.selection_for(wanted, narrower=request.allow_narrower)
    if request.sync_mode == SyncMode.FULL_RECONCILE:
        fetch: PartFetch | None = _whole(FetchKind.RECONCILE, "full reconcile")
    else:
        failed = tracking is not None and tracking.failed is not None
        overlap = DATASETS[dataset].overlap
        fetch = _choose_rows(part, selection, counts, overlap, failed=failed, now=now)
        fetch = fetch or _choose_unseen(request, dataset, part)
    if fetch is None:
        return None
    held = part.rows.selection if part.rows is not None else EVERYTHING if part.stored else None
    is_new = held != selection and not part.read_before_under(selection)
    return replace(fetch, selection=selection, before=held if is_new else None)


def _choose_unseen(request: ExportRequest, dataset: str, part: PartTracking) -> PartFetch | None:
    """Choose rows to read of a run of whose rows the listing shows no change."""
    wanted = request.contents_of(dataset)
    if not part.has_contents(wanted):
        return _whole(FetchKind.CONTENTS, f"wanted now: {files_in_words(wanted)}")
    if DATASETS[dataset].silent and request.sync_mode == SyncMode.DETECT_CHANGES:
        return _whole(FetchKind.SILENT, "listed again: it may have changed without a sign")
    return None


def _choose_rows(
    part: PartTracking,
    selection: HistorySelection,
    counts: Counts,
    overlap: int,
    *,
    failed: bool,
    now: str | None,
) -> PartFetch | None:
    """Choose the rows to read of a dataset by what is known of the held ones.

    overlap: how many of the last held rows may have changed.
    """
    position = part.position
    if part.rows is None:
        return _whole(FetchKind.FIRST, "never fetched")
    if part.rows.selection != selection:
        before, after = selection_in_words(part.rows.selection), selection_in_words(selection)
        return _whole(FetchKind.SELECTION, f"selection changed: {before} -> {after}")
    if part.rows_incomplete:
        reason = "stored in an earlier shape: read again to complete it"
        return _whole(FetchKind.SHAPE, reason)
    if part.standing == Standing.BEHIND and position is not None:
        fetch = _plan_advance(position, counts, overlap)
    elif position is None or not part.standing.stands:
        return _whole(FetchKind.AGAIN, f"{part.standing}: read again")
    elif not part.accounts_for(counts):
        fetch = _plan_advance(position, counts, overlap)
    elif part.look_due(counts, now):
        return _whole(FetchKind.LOOK, "read again: the listing differs from the held rows")
    else:
        return None
    if fetch.tail and failed:
        return _whole(FetchKind.AGAIN, f"failed last time; {fetch.reason}")
    return fetch


def _plan_advance(position: Position, counts: Counts, overlap: int) -> PartFetch:
    """Choose the rows to read of a run whose listing is not the one of its position."""
    known, count = position.listed.line_count, counts.line_count
    # Rows may have been replaced: none of them is surely as it was.
    if counts.version != position.listed.version:
        return _whole(FetchKind.REPLACED, "the run has moved since its rows were read")
    # A tail could not be checked: the server is old, does not count, or an early build read a part.
    if count is None or known is None:
        return _whole(FetchKind.UNCOUNTED, "the line count is not known")
    if not position.whole:
        return _whole(FetchKind.UNCOUNTED, "only a part of the rows was counted")
    # The run was rewound or reset, or its count was wrong.
    if count < known:
        return _whole(FetchKind.SHRANK, f"the line count shrank from {known:,} to {count:,}")
    # It has no steps, none that a tail could begin at, or rows that no tail would bring again.
    start = (position.last_step or 0) - overlap
    if start <= 0 or not position.boundary_rows or position.without_step:
        return _whole(
            FetchKind.STEPLESS, f"{count - known:,} rows behind, with no step to begin at"
        )
    assert position.last_step is not None
    if counts.last_step is not None and counts.last_step < position.last_step:
        back = f"the last step went back from {position.last_step} to {counts.last_step}"
        return _whole(FetchKind.REWOUND, back)
    reason = f"{count - known:,} rows behind" if count > known else "logged again since"
    # Rows logged during the read are left to the next sync: they could not be accounted for.
    stop = None if counts.last_step is None else counts.last_step + 1
    window = FetchWindow(start=start, stop=stop)
    return PartFetch(window=window, kind=FetchKind.TAIL, reason=reason, tail=True)


def _whole(kind: FetchKind, reason: str) -> PartFetch:
    return PartFetch(window=WHOLE_RUN, kind=kind, reason=reason)
