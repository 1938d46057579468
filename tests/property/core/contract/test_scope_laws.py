"""The laws of a scope: what it admits, and when two say the same."""

import copy
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.contract.normalize import normalize_run
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.records import WandbRun
from dr_wandb.core.contract.scope import CRITERIA, EVERY_RUN, RunScope
from tests.support import strategies as some
from tests.support.memory_source import MemorySource
from tests.support.syncing import request_for

LISTS = tuple(criterion.field for criterion in CRITERIA if criterion.takes_several)
TIMES = tuple(criterion.field for criterion in CRITERIA if not criterion.takes_several)
MOMENTS = (
    "2024-01-01T00:00:00+00:00",
    "2024-01-02T00:00:00+00:00",
    "2024-01-02T00:00:01+00:00",
    "2024-06-30T23:59:59+00:00",
)

names = st.sampled_from(["x", "y", "running", "finished", "é/1"])
moments = st.sampled_from(MOMENTS).map(datetime.fromisoformat)
offsets = st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours)))


@st.composite
def spelled_moments(draw: Any) -> str:
    """Spell a time as people do: in any zone, with a Z, a blank, or without a zone."""
    moment: datetime = draw(moments)
    style = draw(st.sampled_from(["zone", "z", "blank", "none"]))
    if style == "zone":
        moment = moment.astimezone(draw(offsets))
        return moment.isoformat()
    text = moment.isoformat().removesuffix("+00:00")
    return {"z": f"{text}Z", "blank": f" {text.replace('T', ' ')} ", "none": text}[style]


value_lists = st.lists(names, max_size=3)
fields = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(LISTS, value_lists),
        **dict.fromkeys(TIMES, st.none() | spelled_moments()),
        "filters": st.sampled_from([None, {}, {"notes": "keep"}]),
    },
)


def scope_of(values: dict[str, Any]) -> RunScope:
    return RunScope(**copy.deepcopy(values))


scopes = fields.map(scope_of)


def project() -> MemorySource:
    return MemorySource(judge=lambda filters, run: run.notes == filters["notes"])


@st.composite
def listed_runs(draw: Any) -> tuple[WandbRun, Any]:
    """Give a run of a project, as W&B has it and as it is normalized."""
    source = project()
    moment = draw(moments) + timedelta(seconds=draw(st.integers(-1, 1)))
    kinds = {"run_id": names, "state": names, "tags": value_lists}
    chosen = {
        criterion.of_run: draw(kinds.get(criterion.of_run, st.none() | names))
        for criterion in CRITERIA
        if criterion.takes_several
    }
    notes = draw(st.sampled_from([None, "keep"]))
    run = source.add_run(**chosen, created_at=moment.isoformat(), notes=notes)
    return normalize_run(run.node("entity", "project"), entity="entity", project="project"), run


# --- the table


def test_scope_has_a_field_for_each_criterion_and_one_that_only_w_and_b_judges() -> None:
    fields = [criterion.field for criterion in CRITERIA]
    assert RunScope.__struct_fields__ == (*fields, "filters")


def test_criteria_differ_in_all_that_is_spelled_out_and_ask_about_fields_of_a_run() -> None:
    for name in ("field", "flag", "help", "word"):
        assert len({getattr(criterion, name) for criterion in CRITERIA}) == len(CRITERIA)
    asked = {(criterion.filter_key, criterion.operator) for criterion in CRITERIA}
    assert len(asked) == len(CRITERIA)
    assert {criterion.of_run for criterion in CRITERIA} <= set(WandbRun.__struct_fields__)


# --- two spellings of one scope


@given(fields, st.data())
def test_scopes_are_equal_when_they_say_the_same(values: dict[str, Any], data: Any) -> None:
    other = dict(values)
    for name in LISTS:
        if other.get(name):
            other[name] = [*data.draw(st.permutations(other[name])), other[name][0]]
        elif data.draw(st.booleans()):
            other[name] = ()
    for name in TIMES:
        if other.get(name):
            other[name] = getattr(RunScope(**{name: other[name]}), name)
    one, two = scope_of(values), scope_of(other)
    assert one == two
    assert msgspec.json.encode(one) == msgspec.json.encode(two)


@given(scopes)
def test_scope_reads_back_equal_and_does_not_change_when_it_is_made_again(
    scope: RunScope,
) -> None:
    encoded = msgspec.json.encode(scope)
    assert msgspec.json.decode(encoded, type=RunScope) == scope
    assert replace(scope) == scope
    assert scope.named.filters is None
    assert replace(scope.named, filters=scope.filters) == scope


@given(moments, offsets)
def test_time_is_the_same_moment_in_every_zone(moment: datetime, zone: timezone) -> None:
    one = RunScope(created_after=moment.isoformat())
    assert RunScope(created_after=moment.astimezone(zone).isoformat()) == one
    assert one.created_after is not None
    assert one.created_after.endswith("Z")
    assert datetime.fromisoformat(one.created_after) == moment


@given(scopes)
def test_request_without_a_choice_has_no_scope(scope: RunScope) -> None:
    if scope.contradiction is not None:
        with pytest.raises(InvalidRequestError, match="no run can be in scope"):
            request_for(Path("data"), scope=scope)
        return
    request = request_for(Path("data"), scope=scope)
    assert request.scope == (None if scope == EVERY_RUN else scope)


# --- what is admitted


@given(scopes, listed_runs())
def test_scope_admits_what_the_project_lists_within_it(scope: RunScope, run: Any) -> None:
    normalized, raw = run
    assert scope.admits(normalized) == project().admits(scope.named, raw)
    assert EVERY_RUN.admits(normalized)


@given(fields, listed_runs(), st.sampled_from(LISTS), names)
def test_another_value_widens_a_scope_and_another_field_narrows_it(
    values: dict[str, Any], run: Any, name: str, value: str
) -> None:
    normalized, _ = run
    before = scope_of(values)
    after = scope_of({**values, name: [*(values.get(name) or ()), value]})
    if values.get(name):
        assert after.admits(normalized) or not before.admits(normalized)
    else:
        assert before.admits(normalized) or not after.admits(normalized)


@given(scopes, listed_runs())
def test_scope_admits_what_each_of_its_fields_admits(scope: RunScope, run: Any) -> None:
    normalized, _ = run
    parts = [RunScope(**{name: getattr(scope, name)}) for name in (*LISTS, *TIMES)]
    assert scope.admits(normalized) == all(part.admits(normalized) for part in parts)


@given(moments, listed_runs())
def test_bounds_of_creation_divide_the_runs(moment: datetime, run: Any) -> None:
    """`created_after` is inclusive and `created_before` exclusive, so no run is in both."""
    normalized, _ = run
    at = moment.isoformat()
    earlier, later = RunScope(created_before=at), RunScope(created_after=at)
    assert earlier.admits(normalized) != later.admits(normalized)


def test_run_without_a_creation_time_is_outside_when_a_bound_is_set() -> None:
    run = WandbRun(run_id="a", name="a", entity="e", project="p")
    assert not RunScope(created_after="2020-01-01").admits(run)
    assert not RunScope(created_before="2030-01-01").admits(run)
    assert RunScope(states=()).admits(run)


# --- what is no scope


bad_values = st.sampled_from([[""], [" "], ["x", "\t"], [1], [None], [["x"]]])


@given(st.sets(st.sampled_from(LISTS)), bad_values, st.booleans(), st.booleans())
def test_all_problems_of_a_scope_are_reported_at_once(
    blank: set[str], bad: list[Any], time: bool, filters: bool
) -> None:
    values: dict[str, Any] = dict.fromkeys(blank, bad)
    if time:
        values["created_after"] = "soon"
    if filters:
        values["filters"] = [{"notes": "keep"}]
    if not values:
        return
    with pytest.raises(InvalidRequestError) as caught:
        RunScope(**values)
    assert len(caught.value.problems) == len(values)
    for name in values:
        assert any(name in problem for problem in caught.value.problems)


@given(some.json_values)
def test_bound_is_a_time_or_a_problem_whatever_is_given(value: Any) -> None:
    try:
        scope = RunScope(created_after=value)
    except InvalidRequestError:
        return
    assert scope.created_after is None or scope.created_after.endswith("Z")
    assert (scope.created_after is None) == (value is None)
