"""How the state moves on when a sync has done its work.

Rules
- A run that failed keeps its old position and its old bytes; only its failure is new.
- A position moves only to where an accepted fetch has put it, or to "nothing logged yet".
- The watermark is the newest creation time of all runs ever seen.
- A run goes only if the plan says that it is pruned, or forgotten.
"""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from dr_wandb.core.contract.evidence import Evidence, Standing
from dr_wandb.core.contract.failures import FailedRun
from dr_wandb.core.contract.identity import is_another_run, see
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.records import SNAPSHOT_FIELDS, Record
from dr_wandb.core.contract.request import ExportMode, ExportRequest
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.state import ExportState, HistoryPosition, RunTracking, latest
from dr_wandb.core.sync.plan import RunAction, SyncPlan
from dr_wandb.core.sync.verdict import Judged, Keep


class RunOutcome(Record, frozen=True, kw_only=True):
    """What came of one listed run: rows that were judged, a failure, or neither.

    `evidence`: what the answers of a failed run say. `refused`: it failed because W&B refuses to
    give its history. `unread`: what of its listing does not read. `metadata_failure`: why its
    metadata file did not come. `outside`: it is not in the scope any more.
    """

    listing: RunListing
    judged: Judged | None = None
    failure: str | None = None
    evidence: Evidence | None = None
    refused: bool = False
    unread: str | None = None
    metadata_failure: str | None = None
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
        if run.action in (RunAction.PRUNE, RunAction.FORGET):
            del tracked[run.run_id]
        elif run.action == RunAction.MISSING:
            tracked[run.run_id] = mark_missing(before[run.run_id], exported_at)
    for run_id, outcome in outcomes.items():
        tracked[run_id] = advance_run(request, before.get(run_id), outcome, source, exported_at)
    for failed in broken:
        known = before.get(failed.run_id) or RunTracking(run_id=failed.run_id, source=source)
        tracked[failed.run_id] = replace(
            known, failure=failed.reason, refused=False, missing_since=None
        )
    return tracked


def advance_run(
    request: ExportRequest,
    before: RunTracking | None,
    outcome: RunOutcome,
    source: str,
    exported_at: str,
) -> RunTracking:
    """Return the tracking of a listed run after its fetch; byte ranges are those of before."""
    after = _advance_run(request, before, outcome, source, exported_at)
    said = (outcome.unread, outcome.refused, outcome.metadata_failure)
    if said == (after.unread, after.refused, after.metadata_failure):
        return after
    return replace(after, unread=said[0], refused=said[1], metadata_failure=said[2])


def _advance_run(
    request: ExportRequest,
    before: RunTracking | None,
    outcome: RunOutcome,
    source: str,
    exported_at: str,
) -> RunTracking:
    listing, judged = outcome.listing, outcome.judged
    left = (before and before.out_of_scope_since) or exported_at
    outside = left if outcome.outside else None
    seen = replace(see(before, listing, source), out_of_scope_since=outside)
    if before is not None and before.history is not None:
        seen = replace(seen, rows_from=before.rows_source)
    if before is not None and is_another_run(before, listing, source):
        if outcome.failure is not None or (judged is not None and judged.keep == Keep.HELD):
            # Nothing of the new run is stored yet: the next sync has to see that it is another.
            evidence = judged.evidence if judged is not None else outcome.evidence
            return replace(
                before,
                run_state=listing.state,
                missing_since=None,
                out_of_scope_since=outside,
                failure=outcome.failure,
                evidence=evidence or before.evidence,
            )
        # In metadata mode the history stays as it was; the position is gone, so it is read again.
        kept = before.history if request.mode == ExportMode.METADATA else None
        seen = replace(seen, history=kept, of_earlier_run=kept is not None, fingerprint="")
    if outcome.failure is not None:
        if before is not None and before.history is not None:
            # Times of creation are compared with those of the same source.
            seen = replace(seen, source=before.source, created_at=before.created_at)
        evidence = outcome.evidence or seen.evidence
        asked = request.mode == ExportMode.HISTORY
        if evidence is None and asked and not seen.accounts_for(listing.counts):
            # The next listing may look as if nothing had happened: the run has to be read then too.
            evidence = Evidence(
                standing=Standing.FAILED,
                created_at=listing.created_at,
                selection=request.selection,
            )
        return replace(seen, failure=outcome.failure, evidence=evidence)
    if judged is not None:
        return _advance_judged(seen, judged, source)
    position = seen.position
    if request.mode == ExportMode.HISTORY and _nothing_logged(request, seen):
        position = HistoryPosition(selection=request.selection, listed=listing.counts)
        seen = replace(seen, position=position, held=None, evidence=None, look=None)
    return replace(
        seen,
        last_history_step=position.last_step if position is not None else None,
        fields_to_read=(),
        failure=None,
    )


def _advance_judged(seen: RunTracking, judged: Judged, source: str) -> RunTracking:
    """Return the tracking of a run whose rows were read."""
    came = judged.keep != Keep.HELD or judged.standing.stands
    settled = judged.standing.stands and judged.standing != Standing.ACCEPTED
    return replace(
        seen,
        position=judged.position,
        held=judged.held,
        evidence=None if settled else judged.evidence,
        look=judged.look,
        last_history_step=judged.position.last_step if judged.position is not None else None,
        row_shape=ROW_SHAPE if came else seen.row_shape,
        of_earlier_run=seen.of_earlier_run and not came,
        rows_from=seen.rows_from if judged.keep == Keep.HELD else source,
        fields_to_read=(),
        failure=None,
    )


def _nothing_logged(request: ExportRequest, seen: RunTracking) -> bool:
    """Say whether a history that was not fetched has its position still to be set.

    A plan leaves the history of such a run alone only where the listing shows no rows at all.
    """
    position = seen.position
    known = position is not None and position.selection == request.selection
    return not known or not seen.standing.stands


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
        if was is None or was.rows is None or now.rows is None:
            continue
        if was.rows.selection != now.rows.selection and was.history is not None:
            lost += max(0, was.history.rows - (now.history.rows if now.history else 0))
    return lost
