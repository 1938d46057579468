"""The laws of what a sync asks W&B for, and of what it believes to be gone."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.contract.codec import encode_document
from dr_wandb.core.contract.failures import RunsVanished
from dr_wandb.core.contract.listing import (
    EveryRun,
    RunListing,
    RunsById,
    RunsCreatedSince,
    scope_of,
)
from dr_wandb.core.contract.normalize import instant
from dr_wandb.core.contract.request import ExportRequest, SyncMode
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.core.sync.listing_plan import (
    IDS_PER_QUERY,
    LATE_RUNS,
    Answer,
    by_id,
    check_vanished,
    count_as_asked,
    count_missing,
    everything_is_due,
    judge_answer,
    plan_listing,
)
from dr_wandb.core.sync.plan import plan_sync
from tests.support import strategies as some
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME


@st.composite
def questions(draw: Any) -> tuple[ExportRequest, ExportState]:
    """Give a request and the state of the export that it is for."""
    scope = draw(some.scopes)
    request = replace(
        draw(some.requests),
        scope=scope,
        prune=draw(st.sampled_from([False, False, True])),
        allow_empty=draw(st.booleans()),
    )
    runs = draw(st.lists(some.trackings(), max_size=4))
    state = some.state_of(
        runs,
        last_exported_at=draw(st.none() | some.good_times),
        max_created_at=draw(st.none() | some.good_times),
        scope=draw(st.sampled_from([scope, scope, None, RunScope(tags=("other",))])),
    )
    return request, state


def is_settled(request: ExportRequest, state: ExportState, run: RunTracking) -> bool:
    return run.missing_since is None and run.settled(request, state.last_exported_at)


@given(questions())
def test_listing_is_asked_in_full_exactly_when_it_has_to_be(question: Any) -> None:
    request, state = question
    plan = plan_listing(request, state)
    in_full = (
        request.sync_mode != SyncMode.INCREMENTAL
        or request.prune
        or request.scope != state.scope
        or state.max_created_at is None
        or state.last_exported_at is None
    )
    assert in_full == (plan.queries == (EveryRun(scope=request.scope),))
    assert any(isinstance(query, EveryRun) for query in plan.queries) == in_full
    assert plan.reason


@given(questions())
def test_every_run_that_is_not_settled_is_asked_for_by_its_id(question: Any) -> None:
    request, state = question
    queries = plan_listing(request, state).queries
    if isinstance(queries[0], EveryRun):
        return
    by_id = [query for query in queries[1:] if isinstance(query, RunsById)]
    assert len(by_id) == len(queries) - 1
    asked = {run_id for query in by_id for run_id in query.run_ids}
    for run_id, run in state.runs.items():
        if run.missing_since is None:
            assert (run_id in asked) == (not is_settled(request, state, run)), run_id
        else:
            # Without a scope the count of all runs shows that one is back.
            assert (run_id in asked) == (request.scope is not None), run_id
    assert asked <= state.runs.keys()


@given(questions())
def test_runs_created_lately_are_asked_for_again(question: Any) -> None:
    request, state = question
    first = plan_listing(request, state).queries[0]
    if isinstance(first, EveryRun):
        return
    assert isinstance(first, RunsCreatedSince)
    newest, since = instant(state.max_created_at), instant(first.since)
    assert newest is not None
    assert since is not None
    assert newest - since == LATE_RUNS


@given(questions())
def test_every_query_but_those_by_id_is_bound_to_the_scope(question: Any) -> None:
    request, state = question
    for query in plan_listing(request, state).queries:
        assert scope_of(query) == (None if isinstance(query, RunsById) else request.scope)


@given(questions())
def test_plan_of_a_listing_depends_on_nothing_else(question: Any) -> None:
    request, state = question
    shuffled = replace(state, runs=dict(reversed(state.runs.items())))
    plan = plan_listing(request, state)
    assert plan == plan_listing(request, shuffled)
    assert encode_document(plan) == encode_document(plan_listing(request, shuffled))


@given(st.sets(st.integers(0, 3000).map(str), max_size=40), st.integers(0, 3 * IDS_PER_QUERY))
def test_ids_are_asked_for_in_batches_each_once(few: set[str], many: int) -> None:
    ids = few | {f"run{number}" for number in range(many)}
    queries = by_id(ids)
    asked = [run_id for query in queries for run_id in query.run_ids]
    assert asked == sorted(ids)
    assert all(0 < len(query.run_ids) <= IDS_PER_QUERY for query in queries)
    assert len(queries) == -(-len(ids) // IDS_PER_QUERY)


@given(questions(), st.data())
def test_listing_is_not_believed_exactly_when_most_runs_are_missing(
    question: Any, data: Any
) -> None:
    request, state = question
    ids = sorted(state.runs)
    some_of = st.sets(st.sampled_from(ids)) if ids else st.just(set())
    listed, asked = data.draw(some_of), data.draw(some_of)
    plan = plan_sync(request, state, [RunListing(run_id=run_id) for run_id in listed], asked=asked)
    present = {
        run_id
        for run_id, run in state.runs.items()
        if run.missing_since is None and (not run.failed or run.snapshot or run.stores_rows)
    }
    lost = (present & asked) - listed
    refusal = check_vanished(request, state, plan)
    if request.allow_empty or len(lost) <= len(present) / 2:
        assert refusal is None
    else:
        assert refusal == RunsVanished(name=request.name, vanished=len(lost), known=len(present))


@pytest.mark.parametrize(
    ("known", "lost", "refused"), [(1, 0, False), (1, 1, True), (4, 2, False), (5, 3, True)]
)
def test_sync_stops_when_more_than_half_of_the_runs_are_gone(
    known: int, lost: int, refused: bool
) -> None:
    runs = {f"run{number}": RunTracking(run_id=f"run{number}") for number in range(known)}
    state = some.state_of(list(runs.values()))
    request = syncing.request_for(Path("data"))
    listing = [RunListing(run_id=run_id) for run_id in list(runs)[lost:]]
    plan = plan_sync(request, state, listing)
    assert (check_vanished(request, state, plan) is not None) == refused
    assert check_vanished(replace(request, allow_empty=True), state, plan) is None


# --- what becomes of the answers


class CarelessSource(MemorySource):
    """A source that lists every run, whatever the scope: it need not leave anything out."""

    def admits(self, scope: RunScope, run: Any) -> bool:
        return True


def test_run_out_of_scope_is_not_taken_up_when_the_source_lists_it_all_the_same(
    tmp_path: Path,
) -> None:
    """A recording of a whole project filled an export of one tag with every run."""
    source = CarelessSource()
    for run_id in "abc":
        source.add_run(run_id, tags=["x"] if run_id == "a" else [])
        source.log(run_id, {"loss": 1})
    for mode in SyncMode:
        syncing.sync(source, tmp_path, sync_mode=mode, scope=RunScope(tags=("x",)))
        assert syncing.runs_in(tmp_path / NAME).keys() == {"a"}
        assert syncing.rows_in(tmp_path / NAME).keys() == {"a"}


def test_run_that_left_by_filters_is_marked_when_it_was_asked_for_by_its_id(
    tmp_path: Path,
) -> None:
    """A run that no longer answered to --run-filter counted as in scope for ever."""
    source = MemorySource(judge=lambda filters, run: run.notes == filters["notes"])
    for run_id in "ab":
        source.add_run(run_id, notes="keep")
    scope = RunScope(filters={"notes": "keep"})
    syncing.sync(source, tmp_path, scope=scope)
    source.update("b", notes="other")
    assert syncing.sync(source, tmp_path, scope=scope).out_of_scope_count == 1
    asked = len(source.asked)
    assert syncing.sync(source, tmp_path, scope=scope).out_of_scope_count == 1
    queries = [call[1] for call in source.asked[asked:]]
    assert not any(isinstance(query, EveryRun) for query in queries)


def test_missing_run_is_followed_again_when_it_is_back_outside_of_the_scope(
    tmp_path: Path,
) -> None:
    """What a run logged after it was undeleted was never exported, since it had left the scope."""
    source = MemorySource()
    for run_id in "abc":
        source.add_run(run_id, tags=["x"])
        source.log(run_id, {"loss": 1})
    scope = RunScope(tags=("x",))
    syncing.sync(source, tmp_path, scope=scope)
    source.delete("a")
    assert syncing.sync(source, tmp_path, scope=scope).missing_count == 1
    source.undelete("a")
    source.update("a", tags=[])
    source.log("a", {"loss": 2})
    summary = syncing.sync(source, tmp_path, scope=scope)
    assert (summary.missing_count, summary.out_of_scope_count) == (0, 1)
    assert len(syncing.rows_in(tmp_path / NAME)["a"]) == 2


said_of_pages = st.lists(
    st.tuples(st.none() | st.integers(0, 4), st.sampled_from([False, False, True])), max_size=4
)


@given(said_of_pages, st.integers(0, 4), st.integers(0, 6))
def test_answer_is_complete_only_if_every_page_counts_the_runs_that_came(
    pages: list[tuple[int | None, bool]], listed: int, answered: int
) -> None:
    answer = judge_answer(pages, listed)
    assert (answer == Answer.UNCOUNTED) == (not pages or any(count is None for count, _ in pages))
    if answer == Answer.COMPLETE:
        assert {count for count, _ in pages} == {listed}
        assert not any(disturbed for _, disturbed in pages)
        assert count_missing(pages, listed) == 0
    assert count_missing(pages, answered) == max(
        [0, *((count or 0) - answered for count, _ in pages)]
    )


@given(some.requests, some.export_states, st.sets(some.run_ids), st.sets(some.run_ids))
def test_everything_is_listed_if_the_source_counts_other_runs_than_are_followed(
    request: ExportRequest, state: ExportState, new: set[str], gone: set[str]
) -> None:
    followed = {
        run_id
        for run_id, run in state.runs.items()
        if run.missing_since is None and run.out_of_scope_since is None
    }
    there = (followed - gone) | new
    said = {"asked": gone, "answered": new, "inside": new}
    assert not everything_is_due(request, state, total=len(there), **said)
    assert everything_is_due(request, state, total=len(there) + 1, **said)
    assert not everything_is_due(request, state, total=None, **said)


@given(some.export_states, st.sets(some.run_ids), st.sets(some.run_ids))
def test_run_counts_as_asked_for_only_if_this_kind_of_source_may_show_it(
    state: ExportState, asked: set[str], broken: set[str]
) -> None:
    found = count_as_asked(state, asked, broken, "api")
    assert found <= asked & state.runs.keys()
    assert not found & broken
    for run_id in (asked & state.runs.keys()) - broken:
        assert (run_id in found) == (state.runs[run_id].source in ("", "api"))
