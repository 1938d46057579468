"""What a sync will do, decided before it does anything.

Rules
- The plan follows from the request, the stored state and the listing alone. It can be printed.
- A run whose counts did not change costs no request; fetch_plan.py decides which rows are read.
- Runs whose last fetch failed come first.
- A run is missing only if it was asked for and the answer was complete; only then `prune` drops it.
  If it always failed, so that nothing of it is held, it is forgotten.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from enum import StrEnum
from operator import attrgetter

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.identity import is_another_run, why_another
from dr_wandb.core.contract.known_runs import awake, resting
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import ExportRequest, SyncMode
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.core.contract.unproven_runs import FailedRun
from dr_wandb.core.sync.estimate import (
    WITHOUT_REQUESTS,
    Reading,
    estimate,
    is_exported,
    listing_requests,
    row_bytes_in,
)
from dr_wandb.core.sync.fetch_plan import PartFetch, plan_part
from dr_wandb.core.sync.plan_kinds import PlanKind
from dr_wandb.core.sync.planned_formats import PlannedFormat
from dr_wandb.core.sync.planned_records import RecordCounts


class RunAction(StrEnum):
    """What happens to one run."""

    NEW = "new"
    REFRESH = "refresh"
    REUSE = "reuse"
    MISSING = "missing"
    PRUNE = "prune"
    FORGET = "forget"


class RunPlan(Record, frozen=True, kw_only=True):
    """What happens to one run, and why. `requests` is an estimate, without the listing.

    `failure` is that of the last sync, if the run is read because of it. `out_of_scope`: it is
    kept, although the scope no longer admits it. `fetches` are the rows to read, by dataset.
    """

    run_id: str
    action: RunAction
    kind: PlanKind
    reason: str
    failure: RunFailure | None = None
    out_of_scope: bool = False
    fetches: Mapping[str, PartFetch] = msgspec.field(default_factory=dict)
    metadata: bool = False
    requests: int = 0

    @property
    def idle(self) -> bool:
        """Say whether nothing is read of the run beyond its listing."""
        return not self.fetches and not self.metadata


_NO_FETCHES: Mapping[str, PartFetch] = {}
"""Shared by all runs of which nothing is read: there may be very many."""


class PlannedFiles(Record, frozen=True, kw_only=True):
    """How many files of runs a sync would fetch, and their bytes as far as W&B lists them."""

    files: int = 0
    bytes: int = 0


class SyncPlan(Record, frozen=True, kw_only=True):
    """What happens to every run, in order. `failures` are the runs that cannot be read.

    `requests`, `rows` and `bytes` are estimates of what comes, see `estimate`; runs share requests,
    so there may be fewer than those of all runs together. `rows_removed`: how many held rows a
    narrower selection drops, or takes values from. `formats`: those that are made or dropped.
    `records`: what happens to the project's datasets that are requested, by name; their requests
    and bytes are in those of the plan. `files`: the files to fetch; None if none are wanted, or if
    the runs were not asked for theirs.
    """

    runs: tuple[RunPlan, ...]
    requests: int = 0
    failures: tuple[FailedRun, ...] = ()
    rows_removed: int = 0
    rows: int = 0
    bytes: int = 0
    formats: tuple[PlannedFormat, ...] = ()
    records: Mapping[str, RecordCounts] = {}
    files: PlannedFiles | None = None

    def with_records(self, records: Mapping[str, RecordCounts]) -> "SyncPlan":
        """Return the plan with what happens to the project's datasets, and what that costs."""
        return replace(
            self,
            records=records,
            requests=self.requests + sum(one.requests for one in records.values()),
            bytes=self.bytes + sum(one.bytes for one in records.values()),
        )

    @property
    def idle(self) -> bool:
        """Say whether nothing is read, and nothing of the export changes."""
        quiet = (RunAction.REUSE, RunAction.MISSING)
        return not self.failures and all(run.idle and run.action in quiet for run in self.runs)

    def count(self, action: RunAction) -> int:
        """Return the number of runs with this action."""
        return sum(run.action == action for run in self.runs)


def plan_sync(
    request: ExportRequest,
    state: ExportState,
    listing: Sequence[RunListing],
    *,
    asked: Collection[str] | None = None,
    outside: Collection[str] = (),
    failures: Sequence[FailedRun] = (),
    source: str | None = None,
    now: str | None = None,
    listed_with: int | None = None,
) -> SyncPlan:
    """Decide what happens to every run that is listed or tracked.

    listing: one value per run, in any order; of several with one id the last counts.
    asked: ids of the tracked runs that the listing would show if they existed. None, the default,
    means that the listing is of the whole project.
    outside: ids of listed runs that are no longer in the scope. Those that are not tracked are
    skipped.
    failures: the runs that could not be listed: nothing happens to them.
    source: the kind of source that made the listing. Without it, each run was listed by the kind
    that last saw it; it matters for recognizing a run that was made again under an old id.
    now: the time of the sync, ISO 8601. Without it no run is read again because of the time that
    has passed since another read.
    listed_with: how many requests the listing took, which a sync sends again. None to estimate it.
    """
    listed = {run.run_id: run for run in listing}
    failed = {run.run_id for run in failures}
    plans = [
        _plan_run(request, state.runs.get(run_id), run, run_id in outside, source, now)
        for run_id, run in listed.items()
        if run_id in state.runs or run_id not in outside
    ]
    unlisted = [run_id for run_id in state.runs if run_id not in listed and run_id not in failed]
    asleep = frozenset[str]() if asked is None else resting(state.runs, request) - {*asked}
    plans.extend(
        _not_looked_at(run_id)
        if run_id in asleep
        else _plan_unlisted(state.runs[run_id], asked is None or run_id in asked, request.prune)
        for run_id in unlisted
    )
    failed_before = {
        run_id for run_id, tracking in awake(state.runs, request) if tracking.failed is not None
    }
    # Of many runs most are in order already: two sorts need no key of their own for each.
    plans.sort(key=attrgetter("run_id"))
    plans.sort(key=lambda plan: _turn(plan, failed_before))
    if listed_with is None:
        listed_with = listing_requests(len(listed), request.runs_per_page)
    return _with_estimates(request, state, plans, listed, failures, listed_with, source, now)


def _with_estimates(
    request: ExportRequest,
    state: ExportState,
    plans: Iterable[RunPlan],
    listed: Mapping[str, RunListing],
    failures: Iterable[FailedRun],
    listed_with: int,
    source: str | None,
    now: str | None,
) -> SyncPlan:
    """Return the plan of a sync, with estimates of what comes."""
    row_bytes = {name: row_bytes_in(state.runs, name) for name in request.datasets}
    asks = source not in WITHOUT_REQUESTS
    readings: list[Reading] = []
    estimated: list[RunPlan] = []
    metadata = 0
    for plan in plans:
        if not plan.idle:
            listing, known = listed[plan.run_id], state.runs.get(plan.run_id)
            own = [
                _reading(fetch, dataset, listing, known, row_bytes[dataset], now)
                for dataset, fetch in plan.fetches.items()
            ]
            readings += own
            metadata += plan.metadata
            requests = sum(reading.requests for reading in own) + plan.metadata
            plan = replace(plan, requests=requests if asks else 0)
        estimated.append(plan)
    cost = estimate(readings)
    return SyncPlan(
        runs=tuple(estimated),
        requests=listed_with + metadata + cost.requests if asks else 0,
        failures=tuple(failures),
        rows=cost.rows,
        bytes=cost.bytes,
    )


def _reading(
    fetch: PartFetch,
    dataset: str,
    listing: RunListing,
    known: RunTracking | None,
    row_bytes: int,
    now: str | None,
) -> Reading:
    """Return what a fetch reads, for the estimate."""
    held = known.part(dataset).rows if known is not None and fetch.tail else None
    return Reading(
        counts=listing.counts_of(dataset),
        exported=is_exported(listing, now),
        row_bytes=row_bytes,
        dataset=dataset,
        start=fetch.window.start if fetch.tail else None,
        held=0 if held is None else held.rows,
        other_keys=fetch.before is not None and fetch.before.keys != fetch.selection.keys,
    )


def _turn(plan: RunPlan, failed: Collection[str]) -> int:
    """Order the work: failed last time, then the rest, then runs without requests; each by id.

    That is the order of `history.jsonl`, so fetched rows are written while the rest is fetched.
    """
    return 2 * (plan.run_id not in failed) + plan.idle


def _plan_unlisted(tracking: RunTracking, asked: bool, prune: bool) -> RunPlan:
    since = tracking.missing_since
    kind, reason = PlanKind.GONE, "no longer listed"
    if since is not None:
        reason = f"gone upstream since {since}"
    if asked and prune:
        action, reason = RunAction.PRUNE, f"{reason}: dropped"
    elif asked or since is not None:
        action = RunAction.FORGET if tracking.never_held else RunAction.MISSING
    else:
        return _not_looked_at(tracking.run_id)
    return RunPlan(run_id=tracking.run_id, action=action, kind=kind, reason=reason)


def _not_looked_at(run_id: str) -> RunPlan:
    return RunPlan(
        run_id=run_id,
        action=RunAction.REUSE,
        kind=PlanKind.SETTLED,
        reason="not looked at: settled",
        fetches=_NO_FETCHES,
    )


def _plan_run(
    request: ExportRequest,
    known: RunTracking | None,
    listing: RunListing,
    outside: bool,
    source: str | None,
    now: str | None,
) -> RunPlan:
    another = known is not None and is_another_run(known, listing, source)
    tracking = None if another else known
    planned = (
        (dataset, plan_part(request, dataset, known, tracking, listing, now))
        for dataset in request.datasets
    )
    fetches = {dataset: fetch for dataset, fetch in planned if fetch is not None}
    metadata = request.include_metadata and _metadata_may_differ(request, tracking, listing)
    action, kind, reason = _choose_action(request, tracking, listing)
    if another:
        kind, reason = PlanKind.ANOTHER_RUN, why_another(source)
    if action == RunAction.REUSE and fetches:
        first = next(iter(fetches.values()))
        action, kind, reason = RunAction.REFRESH, PlanKind.ROWS, first.reason
    elif action == RunAction.REUSE and metadata:
        action, kind, reason = RunAction.REFRESH, PlanKind.METADATA_WANTED, "metadata wanted"
    if outside:
        reason = f"out of scope, kept; {reason}"
    return RunPlan(
        run_id=listing.run_id,
        action=action,
        kind=kind,
        reason=reason,
        failure=_failure_behind(kind, tracking),
        out_of_scope=outside,
        fetches=fetches,
        metadata=metadata,
    )


def _choose_action(
    request: ExportRequest, tracking: RunTracking | None, listing: RunListing
) -> tuple[RunAction, PlanKind, str]:
    if tracking is None:
        return RunAction.NEW, PlanKind.NOT_EXPORTED, "not exported yet"
    if request.sync_mode == SyncMode.FULL_RECONCILE:
        return RunAction.NEW, PlanKind.RECONCILE, "full reconcile"
    refresh = RunAction.REFRESH
    if tracking.failed is not None:
        return refresh, PlanKind.FAILED, f"failed last time: {tracking.failed.reason}"
    if tracking.unread is not None:
        return refresh, PlanKind.UNREAD, f"could not be read last time: {tracking.unread.reason}"
    if tracking.missing_since is not None:
        return refresh, PlanKind.RETURNED, "listed again"
    if tracking.snapshot is None or not listing.fingerprint:
        return refresh, PlanKind.NO_SNAPSHOT, "no snapshot to compare with"
    if listing.fingerprint != tracking.fingerprint:
        return refresh, PlanKind.CHANGED, "changed since it was exported"
    if tracking.metadata_included and not request.include_metadata:
        return refresh, PlanKind.METADATA_UNWANTED, "metadata no longer wanted"
    return RunAction.REUSE, PlanKind.UNCHANGED, "unchanged"


def _failure_behind(kind: PlanKind, tracking: RunTracking | None) -> RunFailure | None:
    if tracking is None or kind not in (PlanKind.FAILED, PlanKind.UNREAD):
        return None
    return tracking.failed if kind == PlanKind.FAILED else tracking.unread


def _metadata_may_differ(
    request: ExportRequest, tracking: RunTracking | None, listing: RunListing
) -> bool:
    """Say whether to read the metadata file: it changes only while a run is alive."""
    if tracking is None or tracking.seen is None or request.sync_mode == SyncMode.FULL_RECONCILE:
        return True
    seen = (tracking.seen.state, tracking.seen.heartbeat_at)
    now = (listing.state, listing.heartbeat_at)
    failed = tracking.failed is not None and not tracking.refused
    failed = failed or tracking.metadata_failure is not None
    return not tracking.metadata_included or failed or seen != now
