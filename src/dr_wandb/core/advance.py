"""How the state moves on when a sync has done its work.

Rules
- A run that failed keeps its old position and its old bytes; only its failure is new.
- A position moves only to where an accepted fetch has put it, or to "nothing logged yet".
- The watermark is the newest creation time of all runs ever seen.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from dr_wandb.core.accept import Accepted
from dr_wandb.core.listing import RunListing
from dr_wandb.core.records import Record
from dr_wandb.core.request import ExportMode, ExportRequest
from dr_wandb.core.state import (
    ExportState,
    HistoryPosition,
    RunTracking,
    is_another_run,
    latest,
    see,
)


class RunOutcome(Record, frozen=True, kw_only=True):
    """What came of one planned run: an accepted fetch, a failure, or neither.

    `short`: the failure is that the fetch stayed short of the line count.
    """

    accepted: Accepted | None = None
    failure: str | None = None
    short: bool = False


def advance_run(
    request: ExportRequest,
    before: RunTracking | None,
    listing: RunListing,
    outcome: RunOutcome,
    source: str,
) -> RunTracking:
    """Return the tracking of a listed run after its fetch; byte ranges are those of before."""
    seen = see(before, listing, source)
    if before is not None and is_another_run(before, listing) and outcome.failure is None:
        # In metadata mode the history stays as it was; the position is gone, so it is read anew.
        kept = before.history if request.mode == ExportMode.METADATA else None
        seen = replace(seen, history=kept, fingerprint="")
    if outcome.failure is not None:
        streak = seen.short_streak + 1 if outcome.short else seen.short_streak
        if before is not None and is_another_run(before, listing):
            streak = before.short_streak + 1 if outcome.short else before.short_streak
            # Nothing of the new run is stored yet: the next sync has to see that it is another.
            seen = replace(before, run_state=listing.state)
        return replace(seen, failure=outcome.failure, short_streak=streak)
    position = seen.position
    if outcome.accepted is not None:
        position = outcome.accepted.position
    elif request.mode == ExportMode.HISTORY and _nothing_logged(request, position):
        position = HistoryPosition(selection=request.selection, listed=listing.counts)
    return replace(
        seen,
        position=position,
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
    )
