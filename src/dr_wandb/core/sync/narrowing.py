"""What a narrower selection takes away from the held rows, and whether that is allowed.

Rules
- A selection that would drop held rows, or values of them, stops the first sync that asks for it,
  which changes nothing, unless `allow_narrower` is set.
- Later syncs with the same selection leave such rows as they are, unless it is set then.
- They are counted in the held rows, before anything is read. If the number depends on rows that are
  not held, as it may with `max_records`, the largest possible one counts.
- Rows that the source may not give again are never dropped; see `PartTracking.selection_for`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from dr_wandb.core.contract.encoded_rows import select_line
from dr_wandb.core.contract.failures import SelectionNarrower
from dr_wandb.core.contract.known_runs import ChangedRuns, awake
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection, selection_in_words
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.core.sync.manifest import requested_before
from dr_wandb.core.sync.plan import SyncPlan


class NarrowedRows(NamedTuple):
    """Held rows of a run that are read again under a selection that may not admit all of them."""

    run_id: str
    dataset: str
    stored: ByteRange
    before: HistorySelection
    now: HistorySelection


def narrowed_rows(plan: SyncPlan, state: ExportState) -> Iterator[NarrowedRows]:
    """Give the held rows whose selection gets narrower with a plan."""
    for run in plan.runs:
        for dataset, fetch in run.fetches.items():
            if fetch.before is None or fetch.selection.covers(fetch.before):
                continue
            stored = state.runs[run.run_id].part(dataset).stored
            if stored is not None:
                yield NarrowedRows(run.run_id, dataset, stored, fetch.before, fetch.selection)


def count_removed(held: Iterable[bytes], rows: NarrowedRows, listed: int | None) -> int:
    """Count the held rows that are dropped or lose values.

    held: their lines, in stored order. listed: how many rows the run has now, None if unknown.
    """
    dropped, loses_values = 0, bytearray()
    for line in held:
        selected = select_line(line, rows.now)
        if selected:
            loses_values.append(selected != line)
        else:
            dropped += 1
    beyond = _beyond_limit(rows, len(loses_values), listed)
    return dropped + beyond + sum(loses_values[beyond:])


def _beyond_limit(rows: NarrowedRows, admitted: int, listed: int | None) -> int:
    """Return how many of the admitted held rows are dropped by `max_records`, at most."""
    most = rows.now.bounds.max_records
    if most is None:
        return 0
    least = max(0, admitted - most)
    if rows.before.without_limit.covers(rows.now.without_limit):
        return least  # no row between the held ones comes back
    return admitted if listed is None else min(admitted, max(least, listed - most))


def with_rows_removed(plan: SyncPlan, removed: Mapping[tuple[str, str], int]) -> SyncPlan:
    """Return a plan with the number of held rows that go. removed: by run id and dataset."""
    runs = []
    for run in plan.runs:
        fetches = {
            dataset: replace(fetch, rows_removed=removed.get((run.run_id, dataset), 0))
            for dataset, fetch in run.fetches.items()
        }
        runs.append(run if fetches == run.fetches else replace(run, fetches=fetches))
    return replace(plan, runs=tuple(runs), rows_removed=sum(removed.values()))


def as_if_allowed(request: ExportRequest, manifest: ExportManifest | None) -> ExportRequest:
    """Return the request to plan with: one with a new selection, as if all that it drops may go.

    `check_narrower` stops it if that drops anything, and is not allowed.
    """
    before = requested_before(manifest).datasets
    is_new = any(
        dataset not in before or before[dataset].selection != request.selection_of(dataset)
        for dataset in request.datasets
    )
    return replace(request, allow_narrower=request.allow_narrower or is_new)


def check_narrower(request: ExportRequest, plan: SyncPlan) -> SelectionNarrower | None:
    """Return a failure if held rows would be dropped or lose values, and that is not allowed.

    request: as the user made it.
    """
    if request.allow_narrower or not plan.rows_removed:
        return None
    fetches = (fetch for run in plan.runs for fetch in run.fetches.values())
    first = next(fetch for fetch in fetches if fetch.rows_removed)
    return SelectionNarrower(
        name=request.name,
        rows_removed=plan.rows_removed,
        before=selection_in_words(first.before or EVERYTHING),
        now=selection_in_words(first.selection),
    )


def count_wider(request: ExportRequest, state: ExportState) -> int:
    """Return how many runs keep rows that a request does not admit."""
    return sum(
        any(_stays_wider(run, dataset, request) for dataset in request.datasets)
        for _, run in awake(state.runs, request)
    )


def _stays_wider(run: RunTracking, dataset: str, request: ExportRequest) -> bool:
    part, wanted = run.part(dataset), request.selection_of(dataset)
    if part.stored is None or part.rows is None or wanted.covers(part.rows.selection):
        return False
    return run.missing_since is not None or run.selection_for(request, dataset) != wanted


def count_rows_removed(plan: SyncPlan, after: ChangedRuns) -> int:
    """Return how many held rows were dropped or lost values, because new ones took their place."""
    lost = 0
    for run in plan.runs:
        for dataset, fetch in run.fetches.items():
            if not fetch.rows_removed or run.run_id not in after.changed:
                continue
            rows = after.changed[run.run_id].part(dataset).rows
            lost += fetch.rows_removed if rows and rows.selection == fetch.selection else 0
    return lost
