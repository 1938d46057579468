"""Laws of the plan: total, printable, and it asks for no more than it must."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.evidence import NO_DIFFERENCE
from dr_wandb.core.contract.identity import is_another_run, see
from dr_wandb.core.contract.listing import (
    EveryRun,
    ListingQuery,
    RunListing,
    RunsById,
    RunsCreatedSince,
    answers,
    earlier,
)
from dr_wandb.core.contract.normalize import instant
from dr_wandb.core.contract.part import ByteRange, PartTracking, Position
from dr_wandb.core.contract.request import ExportMode, ExportRequest, SyncMode
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.core.contract.state import ExportState, RunTracking, latest
from dr_wandb.core.sync.advance import RunOutcome, advance_run
from dr_wandb.core.sync.describe import describe_plan
from dr_wandb.core.sync.estimate import OPENING, WITHOUT_REQUESTS
from dr_wandb.core.sync.listing_plan import IDS_PER_QUERY, ListingPlan, plan_listing
from dr_wandb.core.sync.plan import RunAction, SyncPlan, plan_sync
from dr_wandb.core.sync.plan_kinds import FetchKind
from tests.support import strategies as some

listed_runs = st.lists(some.listings, max_size=5)
asked_runs = st.none() | st.sets(some.run_ids)
incremental = some.requests.map(lambda request: replace(request, sync_mode=SyncMode.INCREMENTAL))
full = some.requests.map(lambda request: replace(request, sync_mode=SyncMode.FULL_RECONCILE))
of_history = st.builds(
    lambda selection, sync_mode: ExportRequest(
        entity="team",
        project="project",
        name="name",
        mode=ExportMode.HISTORY,
        sync_mode=sync_mode,
        history_selection=selection,
    ),
    st.none() | some.selections,
    st.just(SyncMode.INCREMENTAL),
)


def one(plan: SyncPlan, run_id: str) -> Any:
    (found,) = (run for run in plan.runs if run.run_id == run_id)
    return found


@given(some.requests, some.export_states)
@example(
    ExportRequest(entity="e", project="p", name="n"),
    some.state_of(
        [], last_exported_at="2024-01-01T00:00:00Z", max_created_at="0001-01-01T00:00:00Z"
    ),
)
def test_listing_plan_is_total_and_printable(request: ExportRequest, state: ExportState) -> None:
    plan = plan_listing(request, state)
    assert plan.queries
    assert plan.reason
    assert msgspec.json.decode(msgspec.json.encode(plan), type=ListingPlan) == plan


@given(some.requests, some.export_states, listed_runs, asked_runs)
def test_plan_is_total_and_printable(
    request: ExportRequest,
    state: ExportState,
    listing: list[RunListing],
    asked: set[str] | None,
) -> None:
    plan = plan_sync(request, state, listing, asked=asked)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=SyncPlan) == plan
    planned = [run.run_id for run in plan.runs]
    assert sorted(planned) == sorted({*state.runs, *(run.run_id for run in listing)})
    assert all(run.reason for run in plan.runs)
    assert all(fetch.reason for run in plan.runs for fetch in run.fetches.values())
    assert plan.requests >= OPENING + 1
    assert (plan.rows, plan.bytes) >= (0, 0)
    assert sum(plan.count(action) for action in RunAction) == len(plan.runs)


@given(some.requests, some.export_states, listed_runs, st.integers(0, 9), st.text(max_size=3))
@example(ExportRequest(entity="e", project="p", name="n"), some.state_of([]), [], 3, "replay")
def test_requests_of_a_plan_are_those_of_its_runs_some_of_which_are_shared(
    request: ExportRequest,
    state: ExportState,
    listing: list[RunListing],
    listed_with: int,
    source: str,
) -> None:
    plan = plan_sync(request, state, listing, source=source, listed_with=listed_with)
    if source in WITHOUT_REQUESTS:
        assert plan.requests == sum(run.requests for run in plan.runs) == 0
        return
    own = sum(run.requests for run in plan.runs)
    tails = sum(fetch.tail for run in plan.runs for fetch in run.fetches.values())
    assert listed_with + own - tails <= plan.requests <= listed_with + own
    assert all((run.requests > 0) != run.idle for run in plan.runs)
    reads = [run for run in plan.runs if run.fetches]
    assert bool(plan.bytes) == bool(plan.rows)
    assert reads or not plan.rows


@given(some.requests, some.export_states, listed_runs, asked_runs, st.data())
def test_plan_does_not_depend_on_the_order_of_the_listing(
    request: ExportRequest,
    state: ExportState,
    listing: list[RunListing],
    asked: set[str] | None,
    data: st.DataObject,
) -> None:
    distinct = list({run.run_id: run for run in listing}.values())
    shuffled = data.draw(st.permutations(distinct))
    assert plan_sync(request, state, shuffled, asked=asked) == plan_sync(
        request, state, distinct, asked=asked
    )


@given(incremental, some.export_states)
def test_settled_runs_are_not_asked_for(request: ExportRequest, state: ExportState) -> None:
    plan = plan_listing(request, state)
    if plan.queries == (EveryRun(),):
        assert state.last_exported_at is None or state.max_created_at is None
        return
    asked = [
        run_id for query in plan.queries if isinstance(query, RunsById) for run_id in query.run_ids
    ]
    unsettled = {
        run_id
        for run_id, tracking in state.runs.items()
        if tracking.missing_since is None and not tracking.settled(request, state.last_exported_at)
    }
    assert sorted(asked) == sorted(unsettled)
    assert all(
        isinstance(query, RunsById) and 0 < len(query.run_ids) <= IDS_PER_QUERY
        for query in plan.queries[1:]
    )


@given(some.good_times, st.integers(0, 2 * IDS_PER_QUERY + 1))
@example("2024-01-02T00:00:00Z", 2 * IDS_PER_QUERY)
def test_ids_are_asked_for_in_batches_after_what_is_new_since_an_hour_before(
    newest: str, count: int
) -> None:
    request = ExportRequest(entity="team", project="project", name="name")
    trackings = [RunTracking(run_id=f"r{number:04}") for number in range(count)]
    state = some.state_of(trackings, last_exported_at=newest, max_created_at=newest)
    since, *batches = plan_listing(request, state).queries
    assert isinstance(since, RunsCreatedSince)
    start, moment = instant(since.since), instant(newest)
    assert start is not None
    assert moment is not None
    assert moment - start == timedelta(hours=1)
    asked: list[str] = []
    for batch in batches:
        assert isinstance(batch, RunsById)
        assert len(batch.run_ids) <= IDS_PER_QUERY
        asked.extend(batch.run_ids)
    assert asked == sorted(tracking.run_id for tracking in trackings)
    assert len(batches) == -(-count // IDS_PER_QUERY)


@given(full, some.export_states)
def test_full_reconcile_lists_everything(request: ExportRequest, state: ExportState) -> None:
    assert plan_listing(request, state).queries == (EveryRun(),)


@given(full, some.export_states, listed_runs)
def test_full_reconcile_plans_every_run_as_new(
    request: ExportRequest, state: ExportState, listing: list[RunListing]
) -> None:
    plan = plan_sync(request, state, listing)
    listed = {run.run_id: run for run in listing}
    for run in plan.runs:
        never_held = run.run_id in state.runs and state.runs[run.run_id].never_held
        gone = RunAction.FORGET if never_held else RunAction.MISSING
        assert run.action == (RunAction.NEW if run.run_id in listed else gone)
        if run.run_id in listed:
            assert HISTORY not in run.fetches or not run.fetches[HISTORY].tail
            counts = listed[run.run_id].counts_of(HISTORY)
            if request.mode == ExportMode.HISTORY and (counts.line_count or 0) > 0:
                assert run.fetches.get(HISTORY) is not None


@given(some.requests, some.export_states, listed_runs)
def test_metadata_mode_never_fetches_history(
    request: ExportRequest, state: ExportState, listing: list[RunListing]
) -> None:
    assume(request.mode == ExportMode.METADATA)
    assert all(run.fetches.get(HISTORY) is None for run in plan_sync(request, state, listing).runs)


@given(some.requests, some.export_states, listed_runs, asked_runs)
def test_run_is_missing_only_if_it_was_asked_for(
    request: ExportRequest,
    state: ExportState,
    listing: list[RunListing],
    asked: set[str] | None,
) -> None:
    listed = {run.run_id for run in listing}
    for run in plan_sync(request, state, listing, asked=asked).runs:
        if run.run_id in listed:
            assert run.action != RunAction.MISSING
            continue
        known_gone = state.runs[run.run_id].missing_since is not None
        wanted = asked is None or run.run_id in asked
        never_held = state.runs[run.run_id].never_held
        assert (run.action == RunAction.MISSING) == ((wanted or known_gone) and not never_held)
        assert run.fetches.get(HISTORY) is None
        assert run.requests == 0


@given(some.requests, some.export_states, listed_runs)
def test_runs_that_failed_come_first(
    request: ExportRequest, state: ExportState, listing: list[RunListing]
) -> None:
    order = [
        run.run_id in state.runs and state.runs[run.run_id].failed is not None
        for run in plan_sync(request, state, listing).runs
    ]
    assert order == sorted(order, reverse=True)


positions_under_request = st.tuples(of_history, some.positions, some.listings)


def tracked(
    listing: RunListing, position: Position, *, shape: int = ROW_SHAPE, **fields: Any
) -> RunTracking:
    return RunTracking(
        run_id=listing.run_id,
        run_state=listing.state,
        seen=listing,
        parts={HISTORY: PartTracking(position=position, row_shape=shape)},
        fingerprint=listing.fingerprint,
        snapshot=ByteRange(offset=0, length=1, rows=1, digest="d"),
        **{"created_at": listing.created_at, **fields},
    )


def received_as_listed(
    position: Position, listing: RunListing, selection: HistorySelection
) -> Position:
    """Return the position of a fetch that brought what the listing had announced, no more."""
    return replace(
        position,
        selection=selection,
        listed=listing.counts_of(HISTORY),
        rows=(listing.history_line_count or 0) + 2,
        last_step=listing.last_step,
        short_by=0,
    )


@given(of_history, some.positions, some.listings, st.none() | some.run_failures)
def test_run_whose_counts_did_not_move_costs_no_request(
    request: ExportRequest, position: Position, listing: RunListing, failure: RunFailure | None
) -> None:
    held = received_as_listed(position, listing, request.selection)
    state = some.state_of([tracked(listing, held, failure=failure)])
    run = one(plan_sync(request, state, [listing]), listing.run_id)
    assert run.fetches.get(HISTORY) is None
    assert run.requests == 0
    later = one(plan_sync(request, state, [listing], now="2100-01-01T00:00:00Z"), listing.run_id)
    if held.difference(listing.counts_of(HISTORY)) != NO_DIFFERENCE:
        assert later.fetches.get(HISTORY) is not None
        assert later.fetches.get(HISTORY).kind == FetchKind.LOOK
    if failure is None and listing.fingerprint:
        assert run.action == RunAction.REUSE


@given(of_history, some.positions, some.listings, some.listings)
def test_run_whose_line_count_moved_is_read(
    request: ExportRequest, position: Position, before: RunListing, now: RunListing
) -> None:
    assume(before.history_line_count is not None)
    assume(now.history_line_count is not None)
    held = replace(
        position,
        selection=request.selection,
        listed=before.counts_of(HISTORY),
        rows=max(0, before.history_line_count or 0),
        whole=True,
        short_by=0,
    )
    same = ("run_id", "storage_id", "created_at")
    now = replace(now, **{name: getattr(before, name) for name in same})
    assume(now.history_line_count != before.history_line_count)
    state = some.state_of([tracked(before, held)])
    run = one(plan_sync(request, state, [now]), before.run_id)
    assert run.fetches.get(HISTORY) is not None
    assert run.requests > 0
    assert run.action == RunAction.REFRESH


@given(of_history, some.positions, some.listings)
def test_changed_selection_reads_the_run_again_and_says_so(
    request: ExportRequest, position: Position, listing: RunListing
) -> None:
    assume(position.selection != request.selection)
    assume(position.rows > 0 or (listing.history_line_count or 0) > 0)
    state = some.state_of([tracked(listing, replace(position, listed=listing.counts_of(HISTORY)))])
    history = one(plan_sync(request, state, [listing]), listing.run_id).fetches.get(HISTORY)
    assert history is not None
    assert not history.tail
    assert history.reason.startswith("selection changed")
    assert history.window.whole


@given(of_history, some.positions, some.listings)
def test_run_whose_rows_have_an_earlier_shape_is_read_once_more(
    request: ExportRequest, position: Position, listing: RunListing
) -> None:
    held = received_as_listed(position, listing, request.selection)
    state = some.state_of([tracked(listing, held, shape=ROW_SHAPE - 1)])
    history = one(plan_sync(request, state, [listing]), listing.run_id).fetches.get(HISTORY)
    if listing.last_step is None and listing.history_line_count == 0 and not held.rows:
        assert history is None
    else:
        assert history is not None
        assert history.window.whole
    assert not state.runs[listing.run_id].complete(request)


OLD_AND_NEW: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "opaque storage ids": (
        {"storage_id": "old", "created_at": None},
        {"storage_id": "new", "created_at": None},
    ),
    "times of creation": (
        {"created_at": "2026-01-01T00:00:00Z"},
        {"created_at": "2026-01-01T00:00:01Z"},
    ),
}


@pytest.mark.parametrize("what", OLD_AND_NEW)
@given(of_history, some.positions, some.listings)
def test_run_made_again_under_the_same_id_is_new(
    what: str, request: ExportRequest, position: Position, listing: RunListing
) -> None:
    old, new = OLD_AND_NEW[what]
    before, now = replace(listing, **old), replace(listing, **new)
    held = replace(position, selection=request.selection, listed=now.counts_of(HISTORY))
    state = some.state_of([tracked(before, held)])
    run = one(plan_sync(request, state, [now]), listing.run_id)
    assert run.action == RunAction.NEW
    assert run.fetches.get(HISTORY) is None or not run.fetches.get(HISTORY).tail
    if (now.history_line_count or 0) > 0:
        assert run.fetches.get(HISTORY) is not None
    seen = see(state.runs[listing.run_id], now, "api")
    assert seen.parts == {}
    assert seen.seen == now
    elsewhere = one(plan_sync(request, state, [now], source="offline"), listing.run_id)
    assert elsewhere.action != RunAction.NEW or request.sync_mode == SyncMode.FULL_RECONCILE


REAL_IDS = ("UnVuOnYxOmE6b25lOmVudGl0eQ==", "UnVuOnYxOmE6cmVuYW1lZDplbnRpdHk=")
"""Those of run `a` in the projects `one` and `renamed` of one entity."""


@given(of_history, some.positions, some.listings, st.booleans())
def test_run_stays_the_same_run_when_its_project_is_renamed(
    request: ExportRequest, position: Position, listing: RunListing, fraction: bool
) -> None:
    created = "2026-01-01T00:00:00Z"
    before = replace(listing, run_id="a", storage_id=REAL_IDS[0], created_at=created)
    later = "2026-01-01T00:00:00.25Z" if fraction else created
    now = replace(before, storage_id=REAL_IDS[1], created_at=later)
    state = some.state_of([tracked(before, received_as_listed(position, now, request.selection))])
    assert not is_another_run(state.runs["a"], now)
    assert one(plan_sync(request, state, [now]), "a").fetches.get(HISTORY) is None


@given(some.requests, some.export_states, listed_runs)
def test_plan_reads_a_run_whole_or_from_its_position_on(
    request: ExportRequest, state: ExportState, listing: list[RunListing]
) -> None:
    for run in plan_sync(request, state, listing).runs:
        fetch = run.fetches.get(HISTORY)
        if fetch is None:
            continue
        if fetch.tail:
            position = state.runs[run.run_id].part(HISTORY).position
            assert position is not None
            assert position.selection == request.selection
            assert fetch.window.start == position.last_step
        else:
            assert fetch.window.whole


@given(some.export_states, some.requests, some.times | st.none())
def test_settled_is_complete_and_a_day_past_the_last_heartbeat(
    state: ExportState, request: ExportRequest, synced: str | None
) -> None:
    for tracking in state.runs.values():
        settled = tracking.settled(request, synced)
        if settled:
            assert tracking.complete(request)
            assert tracking.terminal
            assert tracking.failure is None
        if tracking.complete(request) and tracking.seen is not None:
            beat = instant(tracking.seen.heartbeat_at or tracking.seen.created_at)
            now = instant(synced)
            day = timedelta(hours=24)
            assert settled == (beat is not None and now is not None and now - beat > day)


# --- listings


@given(some.run_ids, st.none() | some.times, some.good_times, st.lists(some.run_ids))
def test_query_has_one_meaning(
    run_id: str, created_at: str | None, since: str, ids: list[str]
) -> None:
    assert answers(EveryRun(), run_id, created_at)
    assert answers(RunsById(run_ids=tuple(ids)), run_id, created_at) == (run_id in ids)
    created, start = instant(created_at), instant(since)
    assert start is not None
    expected = created is not None and created >= start
    assert answers(RunsCreatedSince(since=since), run_id, created_at) == expected


@given(some.times, st.integers(0, 100))
def test_earlier_is_total_and_goes_back(moment: str, hours: int) -> None:
    before, at = instant(earlier(moment, timedelta(hours=hours))), instant(moment)
    if at is None:
        assert earlier(moment, timedelta(hours=hours)) == moment
    else:
        assert before is not None
        assert before <= at
        if at.year > 1:
            assert at - before == timedelta(hours=hours)


@given(st.lists(st.none() | some.times))
def test_latest_is_the_latest_instant(times: list[str | None]) -> None:
    known = [moment for text in times if (moment := instant(text)) is not None]
    found = latest(times)
    assert instant(found) == max(known, default=None)
    assert found is None or found in times


@given(st.none() | some.trackings(st.just("a")), some.listings)
def test_run_that_is_seen_is_present(tracking: RunTracking | None, listing: RunListing) -> None:
    listing = replace(listing, run_id="a")
    seen = see(tracking, listing, "api")
    assert (seen.run_id, seen.seen, seen.source) == ("a", listing, "api")
    assert seen.missing_since is None
    assert seen.run_state == listing.state
    if tracking is not None and not is_another_run(tracking, listing):
        assert seen.parts == tracking.parts
    assert see(seen, listing, "api") == seen


queries: st.SearchStrategy[ListingQuery] = (
    st.just(EveryRun())
    | some.good_times.map(lambda since: RunsCreatedSince(since=since))
    | st.lists(some.run_ids).map(lambda ids: RunsById(run_ids=tuple(ids)))
)


@given(queries)
def test_queries_read_back_equal(query: ListingQuery) -> None:
    assert msgspec.json.decode(msgspec.json.encode(query), type=ListingQuery) == query


@given(of_history, some.trackings(st.just("a")), some.listings, some.selections)
def test_two_plans_of_one_state_are_equal(
    request: ExportRequest, tracking: RunTracking, listing: RunListing, other: HistorySelection
) -> None:
    state = some.state_of([tracking])
    assert plan_sync(request, state, [listing]) == plan_sync(request, state, [listing])
    plan_sync(replace(request, history_selection=other), state, [listing])
    assert plan_sync(request, state, (listing,)) == plan_sync(request, state, [listing])


@given(some.requests, some.export_states, asked_runs)
def test_run_of_which_nothing_is_held_is_forgotten_and_never_missing(
    request: ExportRequest, state: ExportState, asked: set[str] | None
) -> None:
    for planned in plan_sync(request, state, [], asked=asked).runs:
        held = not state.runs[planned.run_id].never_held
        assert planned.action != (RunAction.FORGET if held else RunAction.MISSING)


def test_plan_counts_runs_to_forget_only_if_there_are_some() -> None:
    request = ExportRequest(entity="e", project="p", name="n")
    never = RunTracking(run_id="a", failure=some.BROKEN)
    plan = plan_sync(request, some.state_of([never]), [])
    assert describe_plan(plan)[-1].startswith("1 run: 0 new, 0 refresh, 0 reuse, 0 missing, ")
    assert "0 prune, 1 forget; about" in describe_plan(plan)[-1]
    assert "forget" not in describe_plan(plan_sync(request, some.state_of([]), []))[-1]


@given(some.requests, some.trackings(st.just("a")), some.listings, st.booleans())
def test_run_at_rest_is_what_it_would_be_if_it_were_put_together_again(
    request: ExportRequest, tracking: RunTracking, listing: RunListing, outside: bool
) -> None:
    listing = replace(listing, run_id="a")
    kept = advance_run(request, tracking, RunOutcome(listing=listing), "api", "now")
    for before in (kept, tracking):
        if before.seen is None:
            continue
        outcome = RunOutcome(listing=before.seen, outside=outside)
        copied = replace(outcome, listing=replace(before.seen))
        assert advance_run(request, before, outcome, "api", "now") == advance_run(
            request, before, copied, "api", "now"
        )
    again = RunOutcome(listing=listing)
    assert kept.seen is listing
    assert advance_run(request, kept, again, "api", "later") == kept
