"""Fields that a server does not know: how it says so, and what becomes of the runs."""

from typing import Any

import pytest

from dr_wandb.core.contract.normalize import normalize_run
from dr_wandb.core.contract.records import RunUser, WandbRun
from dr_wandb.core.sync.left_out import (
    COUNTS,
    LISTED,
    REQUIRED,
    is_counter,
    leave_out,
    listed_fields,
    unknown_fields,
    with_stored,
)

STORED = WandbRun(
    run_id="run",
    name="Nice name",
    display_name="Nice name",
    entity="e",
    project="p",
    notes="stored",
    tags=["stored"],
    system_metrics={"system.cpu": 1},
    user=RunUser(username="ada", name="Ada"),
)
NODE: dict[str, Any] = {
    "name": "run",
    "displayName": "Other name",
    "notes": "listed",
    "tags": ["listed"],
    "systemMetrics": '{"system.cpu": 2}',
    "user": {"username": "bob", "name": "Bob"},
}


@pytest.mark.parametrize(
    "text",
    [
        'input: Cannot query field "systemMetrics" on type "Run".\n',
        '[Cannot query field "systemMetrics" on type "Run". Did you mean "summaryMetrics"?]',
        r'400: {"errors":[{"message":"Cannot query field \"systemMetrics\" on type \"Run\"."}]}',
        "Cannot query field 'systemMetrics' on type 'Run'.",
        'Cannot query field "systemMetrics" on "Run".',
    ],
)
def test_unknown_field_is_read_from_every_spelling(text: str) -> None:
    assert unknown_fields(text) == ("systemMetrics",)


def test_several_unknown_fields_are_read_from_one_error() -> None:
    """The two forms in which wandb-core gives the errors of one answer (wandb 0.31.0)."""
    said = (
        'Cannot query field "readOnly" on type "Run".',
        'Cannot query field "username" on type "User". Did you mean "name"?',
        'Cannot query field "runCount" on type "Project".',
        'Cannot query field "readOnly" on type "Run".',
    )
    found = ("readOnly", "user.username", COUNTS)
    assert unknown_fields("".join(f"input: {one}\n" for one in said)) == found
    assert unknown_fields(f"[{'; '.join(said)}]") == found


@pytest.mark.parametrize(
    "text",
    [
        "HTTP 503: systemMetrics",
        'Field "systemMetrics" of type "JSONString" must not have a selection',
        'Cannot query field "parquetHistory" on type "Run".',
        'Cannot query field "systemMetrics" on type "Project".',
        'Cannot query field "notes" on type "User".',
    ],
)
def test_other_errors_name_no_field_of_a_listing(text: str) -> None:
    assert unknown_fields(text) == ()


@pytest.mark.parametrize("field", sorted(REQUIRED))
def test_required_field_cannot_be_left_out(field: str) -> None:
    assert leave_out((), [field, "notes"]).failure() == (field,)


def test_whole_user_is_left_out_with_both_its_parts() -> None:
    both = {"user.name", "user.username"}
    assert leave_out(["notes"], ["user"]).unwrap() == {"notes", *both}


@pytest.mark.parametrize("field", sorted({*LISTED} - REQUIRED))
def test_held_run_keeps_the_stored_value_of_a_field_that_was_left_out(field: str) -> None:
    name, _, part = field.partition(".")
    node = {key: value for key, value in NODE.items() if key != name}
    if part:
        node["user"] = {key: value for key, value in NODE["user"].items() if key != part}
    run = normalize_run(node, entity="e", project="p")
    whole = normalize_run(NODE, entity="e", project="p")
    kept = with_stored(run, STORED, [field])
    differing = {
        one for one in WandbRun.__struct_fields__ if getattr(kept, one) != getattr(whole, one)
    }
    expected = {
        "displayName": {"display_name", "name"},
        "notes": {"notes"},
        "tags": {"tags"},
        "systemMetrics": {"system_metrics"},
        "user.name": {"user"},
        "user.username": {"user"},
    }
    assert differing == expected.get(field, set())
    for one in differing - {"user"}:
        assert getattr(kept, one) == getattr(STORED, one)
    if part:
        assert kept.user is not None
        assert getattr(kept.user, part) == getattr(STORED.user, part)


@pytest.mark.parametrize("field", sorted({*LISTED} - REQUIRED))
def test_every_field_that_may_be_left_out_has_a_stored_value(field: str) -> None:
    """Without one, a run that is held would lose it to a server that does not know the field."""
    texts: dict[str, Any] = dict.fromkeys(WandbRun.__struct_fields__, "stored")
    stored = WandbRun(**texts | {"user": RunUser(username="stored", name="stored")})
    listed = WandbRun(run_id="run", name="run", entity="e", project="p")
    assert with_stored(listed, stored, [field]) != listed


def test_run_without_a_user_stays_so() -> None:
    nobody = WandbRun(run_id="run", name="run", entity="e", project="p")
    assert with_stored(nobody, nobody, ["user.name", "user.username"]).user is None


def test_user_that_is_not_known_is_left_out_with_both_its_fields() -> None:
    assert leave_out((), {"user"}).unwrap() == {"user.name", "user.username"}
    assert leave_out({"tags"}, {"notes"}).unwrap() == {"tags", "notes"}


def test_counters_are_listed_for_the_datasets_that_are_wanted() -> None:
    assert listed_fields([]) == LISTED
    assert listed_fields(["console"]) == (*LISTED, "logLineCount")
    assert {*listed_fields(["system", "console"])} - {*LISTED} == {
        "eventsLineCount",
        "logLineCount",
    }
    text = 'Cannot query field "logLineCount" on type "Run".'
    assert unknown_fields(text) == ("logLineCount",)
    assert is_counter("logLineCount")
    assert not is_counter("tags")
