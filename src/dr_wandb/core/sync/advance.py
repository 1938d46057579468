"""How the state moves on when a sync has done its work.

Rules
- A run that failed keeps its old position and its old bytes; only its failure is new.
- A position moves only to where an accepted fetch has put it, or to "nothing logged yet".
- The watermark is the newest creation time of all runs ever seen.
- A run goes only where the plan says that it is pruned.
"""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from dr_wandb.core.contract.failures import FailedRun
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.records import SNAPSHOT_FIELDS, Record
from dr_wandb.core.contract.request import ExportMode, ExportRequest
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.state import (
    ExportState,
    HistoryPosition,
    RunTracking,
    is_another_run,
    latest,
    see,
)
from dr_wandb.core.sync.accept import Accepted
from dr_wandb.core.sync.plan import RunAction, SyncPlan


class RunOutcome(Record, frozen=True, kw_only=True):
    """What came of one listed run: an accepted fetch, a failure, or neither.

    `short`: the failure is that the fetch stayed short of the line count. `outside`: it is not in
    the scope any more.
    """

    listing: RunListing
    accepted: Accepted | None = None
    failure: str | None = None
    short: bool = False
    outside: bool = False


def advance_runs(
    request: ExportRequest,
    plan: SyncPlan,
    before: Mapping[str, RunTracking],
    outcomes: Mapping[str, RunOutcome],
    *,
    broken: Sequence[FailedRun],
    source: str,
    exported_at: str,
) -> dict[str, RunTracking]:
    """Return the tracking of every run of the export after its sync.

    outcomes: of the listed runs. broken: the runs whose listing did not read. Byte ranges are
    those of before.
    """
    tracked = dict(before)
    for run in plan.runs:
        if run.action == RunAction.PRUNE:
            del tracked[run.run_id]
        elif run.action == RunAction.MISSING:
            tracked[run.run_id] = mark_missing(before[run.run_id], exported_at)
    for run_id, outcome in outcomes.items():
        tracked[run_id] = advance_run(request, before.get(run_id), outcome, source, exported_at)
    for failed in broken:
        known = before.get(failed.run_id) or RunTracking(run_id=failed.run_id, source=source)
        tracked[failed.run_id] = replace(known, failure=failed.reason, missing_since=None)
    return tracked


def advance_run(
    request: ExportRequest,
    before: RunTracking | None,
    outcome: RunOutcome,
    source: str,
    exported_at: str,
) -> RunTracking:
    """Return the tracking of a listed run after its fetch; byte ranges are those of before."""
    listing = outcome.listing
    left = (before and before.out_of_scope_since) or exported_at
    seen = replace(
        see(before, listing, source), out_of_scope_since=left if outcome.outside else None
    )
    if before is not None and before.history is not None:
        seen = replace(seen, rows_from=before.rows_from or before.source)
    if before is not None and is_another_run(before, listing, source) and outcome.failure is None:
        # In metadata mode the history stays as it was; the position is gone, so it is read anew.
        kept = before.history if request.mode == ExportMode.METADATA else None
        seen = replace(seen, history=kept, fingerprint="")
    if outcome.failure is not None:
        streak = seen.short_streak + 1 if outcome.short else seen.short_streak
        if before is not None and is_another_run(before, listing, source):
            streak = before.short_streak + 1 if outcome.short else before.short_streak
            # Nothing of the new run is stored yet: the next sync has to see that it is another.
            seen = replace(
                before,
                run_state=listing.state,
                missing_since=None,
                out_of_scope_since=seen.out_of_scope_since,
            )
        if before is not None and before.history is not None:
            # Times of creation are compared with those of the same source.
            seen = replace(seen, source=before.source, created_at=before.created_at)
        return replace(seen, failure=outcome.failure, short_streak=streak)
    position = seen.position
    if outcome.accepted is not None:
        position = outcome.accepted.position
    elif request.mode == ExportMode.HISTORY and _nothing_logged(request, position):
        position = HistoryPosition(selection=request.selection, listed=listing.counts)
    return replace(
        seen,
        position=position,
        row_shape=ROW_SHAPE if outcome.accepted is not None else seen.row_shape,
        rows_from=source if outcome.accepted is not None else seen.rows_from,
        fields_to_read=(),
        last_history_step=position.last_step if position is not None else None,
        failure=None,
        short_streak=0 if outcome.accepted is not None else seen.short_streak,
    )


def _nothing_logged(request: ExportRequest, position: HistoryPosition | None) -> bool:
    """Say whether a history that was not fetched has its position still to be set.

    A plan leaves the history of such a run alone only where the listing shows no rows at all.
    """
    return position is None or position.selection != request.selection


def mark_missing(tracking: RunTracking, exported_at: str) -> RunTracking:
    """Return the tracking of a run that is gone upstream, with the time that was first seen."""
    if tracking.missing_since is not None:
        return tracking
    return replace(tracking, missing_since=exported_at)


def advance_state(
    state: ExportState,
    runs: Mapping[str, RunTracking],
    *,
    exported_at: str,
    runs_file: str,
    history_file: str,
    changes_length: int,
    scope: RunScope | None,
) -> ExportState:
    """Return the state after a sync."""
    created = (tracking.created_at for tracking in runs.values())
    return replace(
        state,
        last_exported_at=exported_at,
        max_created_at=latest([state.max_created_at, *created]),
        runs=dict(sorted(runs.items())),
        runs_file=runs_file,
        history_file=history_file,
        changes_length=changes_length,
        scope=scope,
        row_shape=ROW_SHAPE,
        snapshot_fields=SNAPSHOT_FIELDS,
    )


def count_deselected(before: Mapping[str, RunTracking], after: Mapping[str, RunTracking]) -> int:
    """Return how many rows runs lost to another selection."""
    lost = 0
    for run_id, now in after.items():
        was = before.get(run_id)
        if was is None or was.position is None or now.position is None:
            continue
        if was.position.selection != now.position.selection and was.history is not None:
            lost += max(0, was.history.rows - (now.history.rows if now.history else 0))
    return lost
