"""The columns of runs by example: types, names, limits."""

import hashlib
from typing import Any

import pytest

from dr_wandb.core.columnar import runs
from dr_wandb.core.columnar.run_lines import decode_runs
from dr_wandb.core.columnar.runs import FIXED, KeySurvey, microseconds_of
from dr_wandb.core.columnar.scalars import scalars_by_key
from dr_wandb.core.contract.records import WandbRun
from tests.support import run_columns
from tests.support.snapshots import lines_of_snapshots, snapshot


def columns_of(*configs: dict[str, Any], summary: Any = ()) -> dict[str, str]:
    snapshots = [snapshot(config=config, summary_metrics=dict(summary)) for config in configs]
    columns = run_columns.columns_of(snapshots)
    return {one.column.name: str(one.column.type) for one in (*columns.config, *columns.summary)}


def values_of(*values: Any) -> tuple[str, list[Any]]:
    """Return the type of a key with these values in as many runs, and the values in its column."""
    snapshots = [snapshot(config={"key": value}) for value in values]
    columns = run_columns.columns_of(snapshots)
    [key] = columns.config
    found = columns.values(run_columns.runs_of(snapshots))[-1]
    held = dict(zip(found.at.tolist(), found.values, strict=True))
    return str(key.column.type), [held.get(index) for index in range(len(values))]


IN_OTHER_COLUMNS = {
    "user": {"username", "user_name"},
    "summary_metrics": {"summary"},
    "history_keys": {"history_keys", "last_step"},
}
"""The fields of a run whose columns have other names, or that have several."""


def test_every_field_of_a_run_has_a_column() -> None:
    """A new field was in `runs.jsonl`, and missing in `runs.parquet` without a word."""
    names = {column.name for column in FIXED}
    fields = {name: IN_OTHER_COLUMNS.get(name, {name}) for name in WandbRun.__struct_fields__}
    assert set().union(*fields.values()) | {"exported_at"} == names


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ((True, False, None), "bool", [True, False, None]),
        ((1, 2**63 - 1), "integer", [1, 2**63 - 1]),
        ((1, 0.5), "double", [1.0, 0.5]),
        ((1, "Infinity"), "double", [1.0, float("inf")]),
        (("-Infinity",), "double", [float("-inf")]),
        (("NaN", "adam"), "text", ["NaN", "adam"]),
        ((2**53 + 1, 0.5), "json", [b"9007199254740993", b"0.5"]),
        ((2**63, 1), "json", [b"9223372036854775808", b"1"]),
        ((1, "1"), "json", [b"1", b'"1"']),
        ((True, 1), "json", [b"true", b"1"]),
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


def scalars_of(members: dict[str, Any]) -> dict[str, Any]:
    """Return the values by key of the last of two runs; the first one has others."""
    found = scalars_by_key([{"other": 1}, members])
    return {key: one.values[-1] for key, one in found.items() if 1 in one.at}


def test_member_with_fewer_objects_around_it_has_the_dotted_name() -> None:
    assert scalars_of({"a": {"b": 1}, "a.b": 2}) == {"a.b": 2}
    assert scalars_of({"a": {"b": {"c": 1}}, "a.b": {"c": 2}}) == {"a.b.c": 2}
    assert scalars_of({"a.b": {"c": 2}, "a": {"b.c": 1}}) == {"a.b.c": 1}


def test_values_of_one_key_may_be_at_different_paths() -> None:
    found = scalars_by_key([{"a": {"b": 1}}, {"a.b": 2}, {"a": {"b": 3}, "a.b": 4}])["a.b"]
    assert dict(zip(found.at.tolist(), found.values, strict=True)) == {0: 1, 1: 2, 2: 4}


def test_objects_of_a_type_are_not_entered_but_those_beside_them_are() -> None:
    found = scalars_by_key([{"a": {"_type": "x", "b": 1}}, {"a": {"b": 2}}])
    assert found["a.b"].at.tolist() == [1]


def test_each_run_may_have_keys_of_its_own() -> None:
    found = scalars_by_key([{f"key {index}": index} for index in range(9)])
    assert [one.at.tolist() for one in found.values()] == [[index] for index in range(9)]


def test_lines_that_are_no_text_do_not_read() -> None:
    line = lines_of_snapshots([snapshot(metadata={"a": "?"})])
    with pytest.raises(ValueError, match="utf-8"):
        decode_runs(line.replace(b"?", b"\xff"))


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
    runs = run_columns.runs_of(snapshot(history_line_count=count) for count in counts)
    found = columns.values(runs)[at]
    assert (found.at.tolist(), found.values) == ([1], [-(2**63)])
