"""The columns of runs by example: types, names, limits."""

import hashlib
from typing import Any

import pytest

from dr_wandb.core.columnar import runs
from dr_wandb.core.columnar.key_counts import scalars_of
from dr_wandb.core.columnar.runs import KeySurvey, microseconds_of
from tests.support.snapshots import snapshot


def columns_of(*configs: dict[str, Any], summary: Any = ()) -> dict[str, str]:
    survey = KeySurvey()
    for config in configs:
        survey.add(snapshot(config=config, summary_metrics=dict(summary)))
    columns = survey.columns()
    return {one.column.name: str(one.column.type) for one in (*columns.config, *columns.summary)}


def values_of(*values: Any) -> tuple[str, list[Any]]:
    """Return the type of a key with these values in as many runs, and the values in its column."""
    snapshots = [snapshot(config={"key": value}) for value in values]
    survey = KeySurvey()
    for one in snapshots:
        survey.add(one)
    columns = survey.columns()
    [key] = columns.config
    return str(key.column.type), [columns.values(one)[-1] for one in snapshots]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ((True, False, None), "bool", [True, False, None]),
        ((1, 2**63 - 1), "integer", [1, 2**63 - 1]),
        ((1, 0.5), "double", [1.0, 0.5]),
        ((1, "Infinity"), "double", [1.0, float("inf")]),
        (("-Infinity",), "double", [float("-inf")]),
        (("NaN", "adam"), "text", ["NaN", "adam"]),
        ((2**53 + 1, 0.5), "json", ["9007199254740993", "0.5"]),
        ((2**63, 1), "json", ["9223372036854775808", "1"]),
        ((1, "1"), "json", ["1", '"1"']),
        ((True, 1), "json", ["true", "1"]),
        (("a", [1], {"b": None}, {"_type": "x"}), "text", ["a", None, None, None]),
    ],
)
def test_values_of_all_runs_decide_the_type(
    values: tuple[Any, ...], kind: str, expected: list[Any]
) -> None:
    assert values_of(*values) == (kind, expected)


def test_members_of_objects_have_dotted_names() -> None:
    config = {"a": {"b": {"c": 1}, "_x": "y"}, "l": [{"d": 1}], "t": {"_type": "table", "n": 1}}
    assert columns_of(config) == {"config.a._x": "text", "config.a.b.c": "integer"}


def test_member_with_fewer_objects_around_it_has_the_dotted_name() -> None:
    assert scalars_of({"a": {"b": 1}, "a.b": 2}) == {"a.b": 2}
    assert scalars_of({"a": {"b": {"c": 1}}, "a.b": {"c": 2}}) == {"a.b.c": 2}
    assert scalars_of({"a.b": {"c": 2}, "a": {"b.c": 1}}) == {"a.b.c": 1}


def test_names_that_differ_in_case_only_are_all_marked() -> None:
    """Readers that fold case gave the values of one for those of the other."""
    loss, big = (hashlib.sha256(name).hexdigest()[:8] for name in (b"loss", b"Loss"))
    assert columns_of({"loss": 1, "acc": 1}, {"Loss": 2}) == {
        "config.acc": "integer",
        f"config.Loss ({big})": "integer",
        f"config.loss ({loss})": "integer",
    }
    assert columns_of({"loss": 1}, summary={"Loss": 2}) == {
        "config.loss": "integer",
        "summary.Loss": "integer",
    }


def test_name_that_is_taken_already_is_not_given_twice() -> None:
    marked = f"loss ({hashlib.sha256(b'loss').hexdigest()[:8]})"
    columns = columns_of({"loss": 1, "Loss": 1}, {marked: "x"}, {marked: "y"})
    assert columns[f"config.{marked}"] == "text"
    assert len(columns) == 2


def test_keys_that_most_runs_have_get_the_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MOST_KEYS", 2)
    assert [*columns_of({"z": 1, "b": 1}, {"z": 1, "a": 1})] == ["config.a", "config.z"]


def test_keys_that_make_no_good_name_have_no_column() -> None:
    long = "x" * 200
    assert columns_of({"\x00": 1, "a\nb": 1, long + "x": 1, "": 1, long: 1}) == {
        "config.": "integer",
        f"config.{long}": "integer",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("soon", None),
        ("1970-01-01T00:00:01.123456789Z", 1_123_456),
        ("1969-12-31T23:59:59Z", -1_000_000),
        ("1970-01-01T01:00:00+01:00", 0),
        ("0001-01-01T00:00:00+05:00", None),
    ],
)
def test_times_are_microseconds(text: str | None, expected: int | None) -> None:
    assert microseconds_of(text) == expected


def test_counts_that_no_column_holds_are_absent() -> None:
    counts = [2**63, -(2**63), None]
    columns = KeySurvey().columns()
    at = [one.name for one in columns.all].index("history_line_count")
    found = [columns.values(snapshot(history_line_count=count))[at] for count in counts]
    assert found == [None, -(2**63), None]
