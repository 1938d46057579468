"""How the state changes when a sync has done its work.

Rules
- A run that failed keeps its old position and its old bytes; only its failure is new.
- A position changes only to that of an accepted fetch, or to "nothing logged yet".
- The watermark is the newest creation time of all runs ever seen.
- A run leaves the export only if the plan prunes or forgets it.
"""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.evidence import Evidence, Standing
from dr_wandb.core.contract.identity import is_another_run, see
from dr_wandb.core.contract.known_runs import ChangedRuns
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.part import PartTracking, Position
from dr_wandb.core.contract.project_part import ProjectPart
from dr_wandb.core.contract.records import SNAPSHOT_FIELDS, Record
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.core.contract.state import (
    ExportState,
    RunTracking,
    latest,
    with_part,
    with_parts,
)
from dr_wandb.core.contract.unproven_runs import FailedRun
from dr_wandb.core.sync.plan import RunAction, SyncPlan
from dr_wandb.core.sync.verdict import Judged, Keep


class PartOutcome(Record, frozen=True, kw_only=True):
    """The result for the rows of one dataset: a judgement, or a failure.

    `evidence`: what is known from the answers of a fetch that failed.
    """

    judged: Judged | None = None
    failure: RunFailure | None = None
    evidence: Evidence | None = None

    @property
    def stored(self) -> bool:
        """Say whether received rows are held from now on."""
        return self.judged is not None and self.judged.keep != Keep.HELD


class RunOutcome(Record, frozen=True, kw_only=True):
    """The result for one listed run. `parts`: by dataset, if rows of it were fetched.

    `unread`: why a part of its listing could not be read. `metadata_failure`: why its metadata file
    did not come. `outside`: it is no longer in the scope.
    """

    listing: RunListing
    parts: dict[str, PartOutcome] = msgspec.field(default_factory=dict)
    unread: RunFailure | None = None
    metadata_failure: RunFailure | None = None
    outside: bool = False

    @property
    def failure(self) -> RunFailure | None:
        """Return why rows of it could not be fetched, None if all could."""
        failures = (part.failure for part in self.parts.values() if part.failure is not None)
        return next(failures, None)

    @property
    def refused(self) -> bool:
        """Say whether every failure was a refusal."""
        failures = [part.failure for part in self.parts.values() if part.failure is not None]
        return bool(failures) and all(failure.refused for failure in failures)


def advance_runs(
    request: ExportRequest,
    plan: SyncPlan,
    before: Mapping[str, RunTracking],
    outcomes: Mapping[str, RunOutcome],
    *,
    broken: Sequence[FailedRun],
    source: str,
    exported_at: str,
) -> ChangedRuns:
    """Return the tracking of every run of the export after its sync.

    outcomes: of the listed runs. broken: the runs whose listing could not be read. Byte ranges are
    the old ones.
    """
    dropped = (RunAction.PRUNE, RunAction.FORGET)
    gone = {run.run_id for run in plan.runs if run.action in dropped}
    tracked = {
        run.run_id: mark_missing(before[run.run_id], exported_at)
        for run in plan.runs
        if run.action == RunAction.MISSING
    }
    for run_id, outcome in outcomes.items():
        tracked[run_id] = advance_run(request, before.get(run_id), outcome, source, exported_at)
    for failed in broken:
        known = before.get(failed.run_id) or RunTracking(run_id=failed.run_id, source=source)
        tracked[failed.run_id] = replace(
            with_parts(known, _without_failure), failure=failed.failure, missing_since=None
        )
    changed = {
        run_id: run
        for run_id, run in tracked.items()
        if run_id not in before or run != before[run_id]
    }
    return ChangedRuns(before, changed, gone)


def advance_run(
    request: ExportRequest,
    before: RunTracking | None,
    outcome: RunOutcome,
    source: str,
    exported_at: str,
) -> RunTracking:
    """Return the tracking of a listed run after its fetch, with the old byte ranges."""
    if before is not None and _is_at_rest(request, before, outcome, source):
        return before
    after = _advance_run(request, before, outcome, source, exported_at)
    after = replace(after, failure=None)
    said = (outcome.unread, outcome.metadata_failure)
    if said == (after.unread, after.metadata_failure):
        return after
    return replace(after, unread=said[0], metadata_failure=said[1])


def _advance_run(
    request: ExportRequest,
    before: RunTracking | None,
    outcome: RunOutcome,
    source: str,
    exported_at: str,
) -> RunTracking:
    listing = outcome.listing
    left = (before and before.out_of_scope_since) or exported_at
    outside = left if outcome.outside else None
    another = before is not None and is_another_run(before, listing, source)
    parts = outcome.parts.values()
    if before is not None and another and parts and not any(part.stored for part in parts):
        # Nothing of the new run is stored yet: the next sync has to see that it is another.
        known = with_parts(before, _without_failure)
        for dataset, came in outcome.parts.items():
            known = with_part(known, dataset, _still_earlier(known.part(dataset), came))
        return replace(
            known,
            run_state=listing.state,
            missing_since=None,
            out_of_scope_since=outside,
        )
    seen = replace(see(before, listing, source), out_of_scope_since=outside)
    if before is not None and another:
        seen = replace(seen, parts=_of_earlier_run(before), fingerprint="")
    elif before is not None:
        seen = replace(seen, parts={name: _from(before, name) for name in before.parts})
    for dataset in sorted({*seen.parts, *request.datasets}):
        part = _advance_part(request, dataset, seen, outcome, source)
        seen = with_part(seen, dataset, part)
    if outcome.failure is not None:
        if before is not None and before.stores_rows:
            # Times of creation are compared with those of the same source.
            seen = replace(seen, source=before.source, created_at=before.created_at)
    else:
        seen = replace(seen, fields_to_read=())
    position = seen.part(HISTORY).position
    return replace(seen, last_history_step=None if position is None else position.last_step)


def _is_at_rest(
    request: ExportRequest, before: RunTracking, outcome: RunOutcome, source: str
) -> bool:
    """Say whether nothing that is known of a run changes, so its tracking can stay."""
    listing = outcome.listing
    seen_so = (before.created_at, before.run_state, before.source, before.missing_since)
    if before.seen is not listing or outcome.parts or before.failed is not None:
        return False
    if seen_so != (listing.created_at, listing.state, source, None) or before.fields_to_read:
        return False
    said = (outcome.unread, outcome.metadata_failure, outcome.outside)
    if said != (before.unread, before.metadata_failure, bool(before.out_of_scope_since)):
        return False
    asked = [(before.part(name), before.selection_for(request, name)) for name in request.datasets]
    if not all(_is_known(part, wanted) and part.standing.stands for part, wanted in asked):
        return False
    if not all(before.part(one).has_contents(request.contents_of(one)) for one in request.datasets):
        return False
    position = before.part(HISTORY).position
    return before.last_history_step == (None if position is None else position.last_step) and all(
        part.stored is None or bool(part.rows_from) for part in before.parts.values()
    )


def _still_earlier(part: PartTracking, came: PartOutcome) -> PartTracking:
    """Return a part whose rows stay those of an earlier run."""
    evidence = came.judged.evidence if came.judged is not None else came.evidence
    return replace(part, failure=came.failure, evidence=evidence or part.evidence)


def _of_earlier_run(before: RunTracking) -> dict[str, PartTracking]:
    """Return the parts of a run that was made again, until rows of the new one are stored.

    The positions are gone, so that it is read.
    """
    return {
        dataset: PartTracking(
            stored=part.stored,
            row_shape=part.row_shape,
            rows_from=before.rows_source(dataset),
            of_earlier_run=True,
        )
        for dataset, part in before.parts.items()
        if part.stored is not None
    }


def _from(before: RunTracking, dataset: str) -> PartTracking:
    """Return a part with the kind of source that its rows came from, if it holds any."""
    part = before.part(dataset)
    return part if part.stored is None else replace(part, rows_from=before.rows_source(dataset))


def _without_failure(part: PartTracking) -> PartTracking:
    return replace(part, failure=None)


def _advance_part(
    request: ExportRequest,
    dataset: str,
    seen: RunTracking,
    outcome: RunOutcome,
    source: str,
) -> PartTracking:
    """Return what is known of a run's rows of one dataset after its fetch, if any."""
    part = seen.part(dataset)
    counts, came = outcome.listing.counts_of(dataset), outcome.parts.get(dataset)
    if came is not None and came.judged is not None:
        wanted = request.contents_of(dataset)
        judged = _advance_judged(part, came.judged, source)
        return replace(judged, contents=wanted if wanted.fetch else None)
    asked = dataset in request.datasets
    if came is not None and came.failure is not None:
        evidence = came.evidence or part.evidence
        if evidence is None and asked and not part.accounts_for(counts):
            # The next listing may look as if nothing had happened: the run has to be read then too.
            evidence = Evidence(
                standing=Standing.FAILED,
                created_at=outcome.listing.created_at,
                selection=seen.selection_for(request, dataset),
            )
        return replace(part, failure=came.failure, evidence=evidence)
    part = _without_failure(part)
    selection = seen.selection_for(request, dataset)
    # A plan reads the rows of a run unless the listing shows no rows at all.
    if asked and not (_is_known(part, selection) and part.standing.stands):
        position = Position(selection=selection, listed=counts)
        part = replace(part, position=position, held=None, evidence=None, look=None)
    if asked and not part.has_contents(request.contents_of(dataset)):
        part = replace(part, contents=request.contents_of(dataset))
    return part


def _is_known(part: PartTracking, selection: HistorySelection) -> bool:
    return part.position is not None and part.position.selection == selection


def _advance_judged(part: PartTracking, judged: Judged, source: str) -> PartTracking:
    """Return what is known of rows that were read."""
    came = judged.keep != Keep.HELD or judged.standing.stands
    settled = judged.standing == Standing.PROVEN
    return replace(
        part,
        position=judged.position,
        held=judged.held,
        evidence=None if settled else judged.evidence,
        look=judged.look,
        row_shape=ROW_SHAPE if came else part.row_shape,
        of_earlier_run=part.of_earlier_run and not came,
        rows_from=part.rows_from if judged.keep == Keep.HELD else source,
        failure=None,
    )


def mark_missing(tracking: RunTracking, exported_at: str) -> RunTracking:
    """Return the tracking of a run that is gone upstream, with the sync that first found it so."""
    if tracking.missing_since is not None:
        return tracking
    return replace(tracking, missing_since=exported_at)


def advance_state(
    request: ExportRequest,
    state: ExportState,
    runs: ChangedRuns,
    *,
    exported_at: str,
    files: Mapping[str, str],
    changes_length: int,
    listing_mark: str,
    records: Mapping[str, ProjectPart],
) -> ExportState:
    """Return the state after a sync. files: the SHA-256 of the data files, by name.

    records: what is known now of the project's datasets that were listed, by name.
    """
    before = {} if state.records is UNSET else state.records
    created = (tracking.created_at for tracking in runs.changed.values())
    return replace(
        state,
        entity=request.entity,
        project=request.project,
        last_exported_at=exported_at,
        max_created_at=latest([state.max_created_at, *created]),
        runs=runs,
        files=dict(sorted(files.items())),
        changes_length=changes_length,
        scope=request.scope,
        row_shape=ROW_SHAPE,
        snapshot_fields=SNAPSHOT_FIELDS,
        listing_mark=listing_mark,
        records=dict(sorted({**before, **records}.items())) or UNSET,
    )
