"""The fast form of plain JSON is the form; the fast fingerprint is the fingerprint."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.contract.codec import (
    encode_line,
    encode_run,
    encode_snapshot,
    fingerprint,
    fingerprint_encoded,
)
from dr_wandb.core.contract.json_safe_fast import MOST_CONTAINERS, MOST_LEVELS, plain_form
from dr_wandb.core.contract.normalize import normalize_run, normalize_time
from dr_wandb.core.contract.records import RunSnapshot, WandbRun
from dr_wandb.core.contract.values import json_safe
from tests.support import strategies as some


def spelled(value: Any) -> Any:
    """Return a value with its types and the order of its members, so that nothing hides in ==."""
    if isinstance(value, dict):
        return (type(value), [(spelled(key), spelled(member)) for key, member in value.items()])
    if isinstance(value, list | tuple):
        return (type(value), [spelled(member) for member in value])
    return (type(value), repr(value))


@given(some.json_values | some.python_values)
@example({"a": [1, {"b": 4.0}], "c": 0.5})
@example([[1.0], [2], {"x": [float("nan")]}])
@example({some.Colour.RED: 1, "red": 2})
@example({"\ud800": 1.0})
@example({"deep": ["\ud800", 1.0]})
@example([10**400, -(2**63) - 1, 2**64])
@example({True: {1.0: None}})
def test_plain_form_equals_json_safe(value: Any) -> None:
    assert spelled(plain_form(value)) == spelled(json_safe(value))


@pytest.mark.parametrize("levels", [MOST_LEVELS - 2, MOST_LEVELS, MOST_LEVELS + 2, 99, 101, 5000])
@pytest.mark.parametrize("kind", ["list", "object"])
def test_plain_form_equals_json_safe_when_nested_deep(levels: int, kind: str) -> None:
    value = some.nested(levels, kind=kind, core=4.0)
    assert plain_form(value) == json_safe(value)


def test_plain_form_equals_json_safe_when_a_value_contains_itself() -> None:
    value: dict[str, Any] = {"a": [1.0]}
    value["a"].append(value)
    assert plain_form(value) == json_safe(value)


def test_plain_form_equals_json_safe_when_a_value_contains_itself_twice() -> None:
    """Each level has twice as many containers: the fiftieth would never be reached."""
    value: list[Any] = [0.5]
    value += [value, value]
    assert plain_form(value) == json_safe(value)


@pytest.mark.parametrize("core", [0.5, 4.0])
def test_plain_form_equals_json_safe_when_a_level_is_very_wide(core: float) -> None:
    value = [[core] for _ in range(MOST_CONTAINERS + 1)]
    assert spelled(plain_form(value)) == spelled(json_safe(value))


@given(some.json_values)
def test_plain_form_does_not_change_its_argument(value: Any) -> None:
    """A recording holds what W&B said, not what became of it."""
    before = deepcopy(value)
    plain_form(value)
    assert spelled(value) == spelled(before)


def test_plain_form_returns_the_same_object_when_nothing_changes() -> None:
    value = {"a": [1, 2.5, {"b": None}], "c": "é"}
    assert plain_form(value) is value


URLS = st.none() | st.sampled_from(["", "null", '"', "https://w/e/p", "\u2028", "}"]) | some.texts
HIDING = st.sampled_from([None, {}, {"url": None}, {"url": "https://w/e/p"}, '"url":null', '"'])


@given(URLS, st.dictionaries(some.texts | st.just("url"), some.json_values | HIDING, max_size=3))
@example(None, {"url": None})
@example("https://w/e/p", {"_wandb": {"value": {"url": "https://w/e/p"}}})
@example('"url":null', {"a": '"url":null'})
def test_fingerprint_of_an_encoded_run_equals_that_of_the_run(
    url: str | None, config: dict[str, Any]
) -> None:
    """A url that was taken for another one would let every run differ once the host has changed."""
    node = {"name": "run", "url": url, "config": config, "user": {"name": '"url":null'}}
    run = normalize_run(node, entity="team", project="project")
    assert fingerprint_encoded(encode_run(run), run) == fingerprint(run)
    assert fingerprint_encoded(encode_run(run), run) == fingerprint(replace(run, url="other"))


@given(st.sampled_from(["wandb_config", "config", "summary_metrics"]), URLS.filter(bool))
def test_fingerprint_of_an_encoded_run_equals_that_of_the_run_when_the_url_occurs_twice(
    field: str, url: str
) -> None:
    run = WandbRun(run_id="run", name="run", entity="e", project="p", url=json_safe(url))
    run = replace(run, **{field: {"url": run.url}})
    assert fingerprint_encoded(encode_run(run), run) == fingerprint(run)


@given(some.clean_texts, st.dictionaries(some.texts, some.json_values, max_size=3))
def test_snapshot_of_an_encoded_run_has_the_bytes_of_the_snapshot(
    exported_at: str, config: dict[str, Any]
) -> None:
    run = normalize_run({"name": "run", "config": config}, entity="team", project="project")
    snapshot = RunSnapshot(run=run, exported_at=exported_at)
    assert encode_snapshot(encode_run(run), exported_at) == encode_line(snapshot)


TIMES = st.from_regex(
    r"\A[0-9]{4}-(0[0-9]|1[0-3]|W[0-5][0-9])-[0-3]?[0-9][T ][0-2][0-9]:[0-6][0-9]:[0-6][0-9]"
    r"(\.[0-9]{0,3})?(Z|z|\+00:00|\+01:30)?\Z"
)


@given(TIMES | st.text(st.sampled_from("0129-:TZW. "), min_size=19, max_size=20))
@example("2026-01-01T00:00:00")
@example("2026-01-01T00:00:00Z")
@example("2025-W01-1T00:03:30")
@example("2026-02-30T00:00:00")
@example("2026-01-01 00:00:00")
@example("2026-01-01T24:00:00")
@example("0000-01-01T00:00:00Z")
@example("\u0662026-01-01T00:00:00")
def test_time_is_normalized_alike_with_and_without_white_space(text: str) -> None:
    """White space around a time keeps it from the fast way, and means nothing."""
    assert normalize_time(text) == normalize_time(f"  {text}  ")
