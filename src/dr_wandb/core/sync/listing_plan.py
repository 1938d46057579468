"""Which runs to ask W&B for, and whether to believe that most runs are gone.

Rules
- An incremental sync asks for the runs created lately, and by id for those that are not settled, or
  of which not all links came. It asks for all runs if there is nothing to build on, or the scope
  has changed.
- A tracked run that a listing within the scope does not show is asked for by its id. If it exists
  it is out of scope; only if it does not, it is gone.
- A listing without most runs is not believed unless `allow_empty` is set.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import timedelta
from enum import StrEnum

from dr_wandb.core.contract.failures import RunsVanished
from dr_wandb.core.contract.known_runs import awake, resting
from dr_wandb.core.contract.listing import (
    EveryRun,
    ListingQuery,
    RunListing,
    RunsById,
    RunsCreatedSince,
    earlier,
)
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import ExportRequest, SyncMode
from dr_wandb.core.contract.state import ExportState
from dr_wandb.core.contract.wording import count
from dr_wandb.core.sync.plan import RunAction, SyncPlan
from dr_wandb.core.sync.plan_kinds import ListingKind
from dr_wandb.core.sync.record_links import linked_datasets, never_asked, runs_with_unread_links

LATE_RUNS = timedelta(hours=1)
"""Overlap of the watermark: a new run may take minutes to appear in a filtered listing (wandb#7410
reports about 10)."""

IDS_PER_QUERY = 500
"""Runs asked for by id in one query."""


class ListingPlan(Record, frozen=True, kw_only=True):
    """Which listing queries to send, and why."""

    queries: tuple[ListingQuery, ...]
    kind: ListingKind
    reason: str


def plan_listing(request: ExportRequest, state: ExportState) -> ListingPlan:
    """Choose the listing queries of a sync.

    Incremental: the runs created since the newest known one, minus an overlap, and by id all
    tracked runs that are not settled, and those whose links did not all come. Within a scope these
    include runs that are gone. All runs are listed if there is nothing to build on.
    """
    if why := _why_everything(request, state):
        kind, reason = why
        return ListingPlan(queries=(EveryRun(scope=request.scope),), kind=kind, reason=reason)
    assert state.max_created_at is not None
    # The count of a scope does not show that a run is back outside of it.
    within_scope = request.scope is not None
    unsettled = [
        run_id
        for run_id, tracking in awake(state.runs, request)
        if (
            within_scope
            if tracking.missing_since is not None
            else not tracking.settled(request, state.last_exported_at)
        )
    ]
    unread = runs_with_unread_links(request, state) - {*unsettled}
    since = RunsCreatedSince(since=earlier(state.max_created_at, LATE_RUNS), scope=request.scope)
    reason = f"runs created since {since.since}, and {len(unsettled):,} that are not settled"
    if unread:
        reason += (
            f", and {len(unread):,} whose {', '.join(linked_datasets(request))} did not all come"
        )
    return ListingPlan(
        queries=(since, *by_id([*unsettled, *unread])), kind=ListingKind.LATELY, reason=reason
    )


def _why_everything(request: ExportRequest, state: ExportState) -> tuple[ListingKind, str] | None:
    if request.sync_mode == SyncMode.FULL_RECONCILE:
        return ListingKind.RECONCILE, "full reconcile"
    if state.max_created_at is None or state.last_exported_at is None:
        return ListingKind.FIRST, "nothing to build on"
    if request.sync_mode == SyncMode.DETECT_CHANGES:
        return ListingKind.COMPARE, "every run is compared with the stored one"
    if state.scope != request.scope:
        return ListingKind.SCOPE, "the scope changed"
    if (state.entity, state.project) != (request.entity, request.project):
        return ListingKind.MOVED, f"the project was {state.entity}/{state.project} before"
    if request.prune:
        return ListingKind.PRUNE, "runs that are gone upstream are to be dropped"
    if never := never_asked(request, state):
        names = ", ".join(linked_datasets(request))
        return ListingKind.LINKS, f"{count(never, 'run')} never asked for {names}"
    return None


def by_id(run_ids: Collection[str]) -> tuple[RunsById, ...]:
    """Ask for runs by their ids, in batches."""
    ids = sorted(run_ids)
    return tuple(
        RunsById(run_ids=tuple(ids[start : start + IDS_PER_QUERY]))
        for start in range(0, len(ids), IDS_PER_QUERY)
    )


def listed_as_before(
    request: ExportRequest, state: ExportState, source: str, mark: str
) -> tuple[RunListing, ...] | None:
    """Return the listing of a source whose mark shows that it has not changed.

    None if that does not follow from the state: then the source has to be asked.
    """
    if not mark or mark != state.listing_mark or request.sync_mode != SyncMode.INCREMENTAL:
        return None
    if request.scope != state.scope or any(run.source != source for run in state.runs.values()):
        return None
    seen = [run.seen for run in state.present.values()]
    return None if None in seen else tuple(run for run in seen if run is not None)


class Answer(StrEnum):
    """What a source's own count says of an answer to a listing query."""

    UNCOUNTED = "uncounted"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"


def judge_answer(pages: Sequence[tuple[int | None, bool]], listed: int) -> Answer:
    """Say whether an answer is complete: it brought as many runs as the source counts.

    pages: for each page, how many runs the query matches, and whether the listing changed while it
    was read. listed: how many distinct runs came.
    """
    counts = {matching for matching, _ in pages}
    if None in counts or not counts:
        return Answer.UNCOUNTED
    whole = counts == {listed} and not any(disturbed for _, disturbed in pages)
    return Answer.COMPLETE if whole else Answer.INCOMPLETE


def count_missing(pages: Sequence[tuple[int | None, bool]], answered: int) -> int:
    """Return how many of the counted runs no attempt brought."""
    return max(0, max((count or 0 for count, _ in pages), default=0) - answered)


def everything_is_due(
    request: ExportRequest,
    state: ExportState,
    *,
    total: int | None,
    asked: Collection[str],
    answered: Collection[str],
    inside: Collection[str],
) -> bool:
    """Say whether the source counts other runs than the followed ones, so all must be listed.

    total: its count of the runs in scope, None if it does not count. asked: ids whose answer is
    complete. answered: runs that some answer showed, inside: those of them that are in scope.
    """
    known = {*asked, *answered}
    followed = {
        run_id
        for run_id, run in awake(state.runs, request)
        if run.missing_since is None and run.out_of_scope_since is None
    }
    expected = (followed - known) | ({*inside} & {*answered})
    return total not in (None, len(expected) + len(resting(state.runs, request) - known))


def count_as_asked(
    state: ExportState, asked: Iterable[str], broken: Collection[str], source: str
) -> frozenset[str]:
    """Return the tracked runs that the listing would show if they existed.

    asked: ids whose answer is complete. broken: runs that exist but cannot be read. A run that
    another kind of source showed last is not missing because this one does not show it.
    """
    return frozenset(
        run_id
        for run_id in asked
        if run_id not in broken
        and run_id in state.runs
        and state.runs[run_id].source in ("", source)
    )


def check_vanished(
    request: ExportRequest, state: ExportState, plan: SyncPlan
) -> RunsVanished | None:
    """Return a failure if a listing has suddenly lost most of the runs, or all.

    A failed run of which nothing is held is no loss.
    """
    gone = {RunAction.MISSING, RunAction.PRUNE}
    vanished = [run.run_id for run in plan.runs if run.action in gone]
    if request.allow_empty or not vanished:
        return None
    resting_ids = resting(state.runs, request)
    known = resting_ids | {
        run_id
        for run_id, run in awake(state.runs, request)
        if run.missing_since is None and not run.never_held
    }
    lost = sum(run_id in known for run_id in vanished)
    if 2 * lost <= len(known):
        return None
    return RunsVanished(name=request.name, vanished=lost, known=len(known))
