"""Laws of normalization: total, idempotent, one form for each value, nothing dropped."""

import gc
import json
import re
import subprocess
import sys
from collections import UserDict, deque
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.normalize import instant, normalize_row, normalize_run, normalize_time
from dr_wandb.core.contract.values import decode_json, json_safe, spell_number
from tests.support import strategies as some

NATIVE = (type(None), bool, int, float, str, list, dict)


def assert_json_safe(value: Any) -> None:
    assert type(value) in NATIVE
    if isinstance(value, dict):
        for key, member in value.items():
            assert type(key) is str
            key.encode()
            assert_json_safe(member)
    elif isinstance(value, list):
        for member in value:
            assert_json_safe(member)
    elif isinstance(value, str):
        value.encode()


def encode(value: Any) -> bytes:
    return msgspec.json.encode(value, order="sorted")


@given(some.python_values, st.booleans())
@example(datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), False)
@example(datetime.min.replace(tzinfo=timezone(timedelta(hours=1))), False)
@example([datetime(1, 1, 1)], False)
@example(timedelta.max, False)
@example({"value": some.Colour.NOTHING}, True)
@example({"value": some.ArrayLike(None)}, True)
@example({some.Colour.RED: 1, "red": 2}, False)
def test_json_safe_is_total_and_idempotent(value: Any, drop_nulls: bool) -> None:
    safe = json_safe(value, drop_nulls=drop_nulls)
    assert_json_safe(safe)
    encode(safe)
    assert encode(json_safe(safe, drop_nulls=drop_nulls)) == encode(safe)


@given(some.python_values)
def test_no_memory_address_reaches_the_output(value: Any) -> None:
    text = encode(json_safe(value)).decode()
    assert not re.search(r" at 0x[0-9a-f]+", text)


@pytest.mark.parametrize("kind", ["list", "object"])
@pytest.mark.parametrize("levels", [99, 100, 101, 5000])
def test_no_memory_address_reaches_the_output_when_nested_deep(levels: int, kind: str) -> None:
    text = str(json_safe(some.nested(levels, kind=kind, core=object())))
    assert " at 0x" not in text


@given(some.json_values, st.data())
def test_json_safe_depends_on_the_value_alone(value: Any, data: st.DataObject) -> None:
    other = some.spell_otherwise(value, data.draw)
    assert encode(json_safe(other)) == encode(json_safe(value))


def count_scalars(value: Any) -> int:
    if isinstance(value, dict):
        return sum(count_scalars(member) for member in value.values())
    if isinstance(value, list | tuple):
        return sum(count_scalars(member) for member in value)
    return 1


@given(st.dictionaries(some.foreign_keys, some.ints, max_size=6))
@example({1: 0, "1": 1, "1 (int)": 2})
@example({"1 (int)": 2, "1": 1, 1: 0})
@example({"\ud800": 1, "\\ud800": 2, "\\ud800 (str)": 3})
@example({"\\ud800 (str)": 3, "\\ud800": 2, "\ud800": 1})
@example({None: 1, "null": 2, True: 3, "true": 4, 1.5: 5, "1.5": 6, b"a": 7, "YQ==": 8})
def test_keys_that_collide_as_text_are_all_kept(members: dict[Any, int]) -> None:
    safe = json_safe(members)
    assert sorted(safe.values()) == sorted(members.values())
    text_keys = [key for key in members if isinstance(key, str) and key.isascii()]
    assert all(safe[key] == members[key] for key in text_keys)


@given(st.dictionaries(some.texts, some.ints, max_size=6))
@example({"\ud800": 1, "\\ud800": 2})
@example({"_\ud800": 1, "_\\ud800": 2})
def test_columns_that_collide_as_text_are_all_kept(raw_row: dict[str, int]) -> None:
    assume(not {"_step", "_timestamp", "_runtime", "_wandb"} & set(raw_row))
    row = normalize_row(raw_row, some.RUN_ID)
    assert sorted([*row.metrics.values(), *row.extra.values()]) == sorted(raw_row.values())


@given(some.json_values)
def test_nothing_is_dropped_from_a_snapshot(value: Any) -> None:
    assert count_scalars(json_safe(value)) == count_scalars(value)


# --- depth


@pytest.mark.parametrize("kind", ["list", "object"])
@pytest.mark.parametrize("levels", [1, 98, 99, 100, 101, 102, 5000])
def test_deep_nesting_keeps_its_content(levels: int, kind: str) -> None:
    safe = json_safe(some.nested(levels, kind=kind, core="needle"))
    text = encode(safe).decode()
    assert "needle" in text
    assert encode(json_safe(safe)) == encode(safe)


@pytest.mark.parametrize("levels", [100, 101, 102])
def test_values_nested_too_deep_are_kept_as_json_text(levels: int) -> None:
    value = json_safe(some.nested(levels, core={"b": 1, "a": [None, 4.0, "é"]}))
    for _ in range(100):
        assert type(value) is list
        (value,) = value
    assert type(value) is str
    assert json.loads(value) == some.nested(levels - 100, core={"b": 1, "a": [None, 4, "é"]})


@pytest.mark.parametrize(
    "core",
    [
        {1: "needle", "1": "needle"},
        {None: "needle", "a": "needle"},
        {b"a": "needle"},
        {(1, 2): "needle"},
        some.OtherMapping({"a": "needle"}),
        [some.ArrayLike("needle")],
        [some.Plain(value="needle")],
        {"needle"},
        [float("nan"), "needle"],
        [datetime(2024, 1, 1), "needle"],
        ["\ud800", "needle"],
    ],
    ids=lambda core: type(core).__name__,
)
def test_values_nested_too_deep_keep_their_content_whatever_they_are(core: Any) -> None:
    text = encode(json_safe(some.nested(100, core=core))).decode()
    assert "needle" in text
    assert " at 0x" not in text


def test_text_of_values_nested_too_deep_depends_on_the_value_alone() -> None:
    one = some.nested(100, core={"a": 4.0, "b": [float("nan"), -0.0, 1e16]})
    two = some.nested(100, core={"b": [float("nan"), 0, 1e16], "a": 4})
    assert json_safe(one) == json_safe(two)


@pytest.mark.parametrize("levels", [100, 101, 5000])
def test_deep_rows_and_runs_raise_no_recursion_error(levels: int) -> None:
    text = "[" * levels + "]" * levels
    encode_line(normalize_row({"value": some.nested(levels)}, "run"))
    encode_line(normalize_row({"_wandb": some.nested(levels, kind="object")}, "run"))
    for raw_run in (
        {"name": "run", "config": {"key": {"value": some.nested(levels)}}},
        {"name": "run", "config": f'{{"key": {{"value": {text}}}}}'},
    ):
        try:
            encode_line(normalize_run(raw_run, entity="team", project="project"))
        except ValueError as refused:
            assert "config" in str(refused)  # noqa: PT017


# --- what contains itself


def list_in_itself() -> Any:
    value: list[Any] = [1]
    value.append(value)
    return value


def list_in_itself_twice() -> Any:
    value: list[Any] = []
    value.extend([value, value])
    return value


def dict_in_itself() -> Any:
    value: dict[str, Any] = {"one": 1}
    value["self"] = value
    return value


def dict_in_itself_twice() -> Any:
    value: dict[str, Any] = {}
    value.update(left=value, right=value)
    return value


def object_in_itself() -> Any:
    value = SimpleNamespace(one=1)
    value.me = value
    return value


def object_in_itself_twice() -> Any:
    parent = SimpleNamespace(name="parent")
    child = SimpleNamespace(name="child", parent=parent, root=parent)
    parent.first = parent.last = child
    return parent


def array_of_itself() -> Any:
    class Scalar:
        def tolist(self) -> Any:
            return self

    return Scalar()


CYCLES = [
    list_in_itself,
    list_in_itself_twice,
    dict_in_itself,
    dict_in_itself_twice,
    object_in_itself,
    object_in_itself_twice,
    array_of_itself,
]


@pytest.mark.parametrize("make", CYCLES)
def test_json_safe_ends_when_a_value_contains_itself(make: Any) -> None:
    with some.within(2):
        safe = json_safe(make())
    assert_json_safe(safe)
    assert encode(safe) == encode(json_safe(make()))
    assert " at 0x" not in str(safe)


# --- foreign values, by example


class Level(IntEnum):
    HIGH = 3


class Word(StrEnum):
    YES = "yes"


class Wrapped(Enum):
    LIST = (1, 2)


@dataclass
class Point:
    x: int
    y: float


@dataclass(slots=True)
class SlottedPoint:
    x: int
    y: float


class Struct(msgspec.Struct):
    x: int
    _private: int = 0


@pytest.mark.parametrize(
    ("value", "safe"),
    [
        ((1, 2.0), [1, 2]),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ({1, "1", None, 2.5}, ["1", 1, 2.5, None]),
        (b"\x00\xff", "AP8="),
        (bytearray(b"a"), "YQ=="),
        (memoryview(b"a"), "YQ=="),
        (datetime(2024, 1, 2, 3, 4, 5), "2024-01-02T03:04:05Z"),
        (
            datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1))),
            "2024-01-02T02:04:05Z",
        ),
        (date(2024, 1, 2), "2024-01-02"),
        (timedelta(minutes=1), 60),
        (Level.HIGH, 3),
        (Word.YES, "yes"),
        (Wrapped.LIST, [1, 2]),
        (Decimal("1.50"), "1.50"),
        (some.OtherMapping({"b": 1, "a": None}), {"a": None, "b": 1}),
        (UserDict({"a": 1}), {"a": 1}),
        (some.ArrayLike([1.0, [2.5]]), [1, [2.5]]),
        (some.ArrayLike(4.0), 4),
        (Point(1, 2.0), {"x": 1, "y": 2}),
        (SlottedPoint(1, 2.0), {"x": 1, "y": 2}),
        (some.Slotted(5), {"value": 5}),
        (Struct(x=1), {"x": 1}),
        (some.Plain(a=1, b=None), {"a": 1, "b": None}),
        (SimpleNamespace(username="u", name="n"), {"username": "u", "name": "n"}),
        (SimpleNamespace(username="u", email="e"), {"username": "u", "email": "e"}),
        (deque([1, 2]), [1, 2]),
        (range(3), [0, 1, 2]),
        ({"a": 1}.keys(), ["a"]),
        (float("nan"), "NaN"),
        (True, True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_foreign_values_have_one_documented_form(value: Any, safe: Any) -> None:
    found = json_safe(value)
    if isinstance(value, set | frozenset):
        assert sorted(found, key=encode) == sorted(safe, key=encode)
        assert found == sorted(found, key=encode)
    else:
        assert found == safe
        assert encode(found) == encode(safe)


@pytest.mark.parametrize("value", [Fraction(1, 3), 1 + 2j], ids=["fraction", "complex"])
def test_numbers_that_json_does_not_have_keep_their_value(value: Any) -> None:
    assert json_safe(value) in (str(value), repr(value))


def test_numpy_values_equal_those_of_tolist() -> None:
    numpy = pytest.importorskip("numpy")
    assert json_safe(numpy.float32(0.1)) == 0.10000000149011612
    assert json_safe(numpy.float64(4.0)) == 4
    assert type(json_safe(numpy.float64(4.0))) is int
    assert json_safe(numpy.int64(2**62)) == 2**62
    assert json_safe(numpy.bool_(True)) is True
    assert json_safe(numpy.array([[1, 2], [3, 4]])) == [[1, 2], [3, 4]]
    assert json_safe(numpy.array([numpy.nan, numpy.inf])) == ["NaN", "Infinity"]
    assert json_safe({numpy.int64(3): 1}) == {"3": 1}


class Prickly:
    """An object that refuses to be looked at."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


class BadArray:
    def tolist(self) -> Any:
        raise ValueError("no")


REFUSING = {
    "attributes raise": Prickly,
    "tolist raises": BadArray,
    "class": lambda: Prickly,
    "class with tolist": lambda: BadArray,
    "function": lambda: len,
    "module": lambda: gc,
}


@pytest.mark.parametrize("make", REFUSING.values(), ids=REFUSING)
def test_json_safe_is_total_for_objects_that_refuse(make: Any) -> None:
    with some.within(10):
        assert_json_safe(json_safe(make()))


@pytest.mark.parametrize("digits", [400, 5000])
def test_integers_of_any_size_are_exact(digits: int) -> None:
    value = 10**digits + 7
    line = encode_line(normalize_row({"value": value}, "run"))
    spelled = "1" + "0" * (digits - 1) + "7"
    assert (spelled if digits < 4300 else f'"{spelled}"').encode() in line


@pytest.mark.parametrize("digits", [400, 5000])
def test_integers_of_any_size_are_read_from_json_text(digits: int) -> None:
    text = "1" + "0" * (digits - 1) + "7"
    run = normalize_run(
        {"name": "run", "config": f'{{"key": {{"value": {text}}}}}'}, entity="t", project="p"
    )
    assert run.config["key"] == (10**digits + 7 if digits < 4300 else text)


_SETS = """
from dr_wandb.core.contract.normalize import json_safe
import msgspec
print(msgspec.json.encode(json_safe({
    "set": {"a", "b", "c", 1, 2.5, None, ("x", "y"), frozenset("pqr")},
    "object": object(),
    "function": len,
})).decode())
"""


def test_json_safe_does_not_depend_on_the_hash_seed() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _SETS],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1


# --- rows


def with_nulls(value: Any, draw: Any) -> Any:
    """Return the dense form: null members put into objects at every depth, lists left alone."""
    if isinstance(value, dict):
        names = draw(st.lists(st.sampled_from(["null1", "null2", "_null"]), unique=True))
        dense = {key: with_nulls(member, draw) for key, member in value.items()}
        return {**{name: None for name in names if name not in dense}, **dense}
    if isinstance(value, list):
        return [with_nulls(member, draw) for member in value]
    return value


@given(some.raw_rows, st.data())
def test_dense_row_with_nulls_equals_the_sparse_row(
    raw_row: dict[str, Any], data: st.DataObject
) -> None:
    dense = with_nulls(raw_row, data.draw)
    assert normalize_row(dense, "run") == normalize_row(raw_row, "run")


def null_members(value: Any) -> int:
    if isinstance(value, dict):
        return sum(member is None or null_members(member) for member in value.values())
    if isinstance(value, list):
        return sum(null_members(member) for member in value)
    return 0


def nulls_in_lists(value: Any) -> int:
    if isinstance(value, dict):
        return sum(nulls_in_lists(member) for member in value.values())
    if isinstance(value, list):
        return sum(1 if member is None else nulls_in_lists(member) for member in value)
    return 0


@given(some.raw_rows)
@example({"value": some.Colour.NOTHING})
@example({"value": {"in": some.ArrayLike(None)}})
def test_null_members_are_absent_at_every_depth_and_nulls_in_lists_stay(
    raw_row: dict[str, Any],
) -> None:
    row = normalize_row(raw_row, "run")
    parts = {"metrics": row.metrics, "extra": row.extra, "wandb": row.wandb_metadata}
    assert null_members(parts) == 0
    assert nulls_in_lists(parts) == nulls_in_lists(raw_row)


@given(some.raw_rows)
def test_every_column_of_a_row_is_somewhere_in_the_record(raw_row: dict[str, Any]) -> None:
    row = normalize_row(raw_row, "run")
    assert row.run_id == "run"
    assert not any(key.startswith("_") for key in row.metrics)
    assert all(key.startswith("_") for key in row.extra)
    columns = {"_step": row.step, "_timestamp": row.timestamp, "_runtime": row.runtime}
    for name, value in columns.items():
        given_value = raw_row.get(name)
        if not isinstance(given_value, dict):
            assert (value is not None) + (name in row.extra) == (given_value is not None)
    if "_wandb" in raw_row:
        kept_apart = isinstance(raw_row["_wandb"], dict)
        assert ("_wandb" in row.extra) == (not kept_apart and raw_row["_wandb"] is not None)
        if not kept_apart:
            assert row.wandb_metadata == {}
    for key, value in raw_row.items():
        if key.isascii() and not key.startswith("_") and type(value) not in (dict, type(None)):
            assert key in row.metrics


@given(st.booleans() | some.texts | st.floats(0.1, 0.9) | st.lists(some.ints))
def test_own_columns_of_unusable_type_land_in_extra(value: Any) -> None:
    row = normalize_row({"_step": value}, "run")
    assert row.step is None
    assert row.extra == {"_step": json_safe(value, drop_nulls=True)}
    if not isinstance(value, float):
        raw_row = {"_timestamp": value, "_runtime": value}
        row = normalize_row(raw_row, "run")
        assert (row.timestamp, row.runtime) == (None, None)
        assert row.extra == json_safe(raw_row, drop_nulls=True)
    row = normalize_row({"_wandb": value}, "run")
    assert row.wandb_metadata == {}
    assert row.extra == {"_wandb": json_safe(value, drop_nulls=True)}


@given(st.integers(-(2**53) + 1, 2**53 - 1))
def test_step_that_came_as_a_double_is_that_integer(step: int) -> None:
    assert normalize_row({"_step": float(step)}, "run") == normalize_row({"_step": step}, "run")
    assert type(normalize_row({"_step": float(step)}, "run").step) is int


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**1000), 2**1000))
def test_timestamp_reads_back_as_the_number_it_was(timestamp: float) -> None:
    row = normalize_row({"_timestamp": timestamp}, "run")
    assert row.timestamp is not None
    assert float(row.timestamp) == float(timestamp)
    assert row.timestamp == spell_number(timestamp)


# --- runs


@given(st.dictionaries(some.texts, some.json_values, max_size=4), st.booleans(), st.booleans())
def test_config_is_unwrapped_and_wandbs_own_part_is_kept_apart(
    config: dict[str, Any], as_text: bool, wrapped: bool
) -> None:
    assume(not config.keys() & {"_wandb", "wandb_version"})
    entries = {
        key: {"desc": None, "value": value}
        if wrapped or (isinstance(value, dict) and "value" in value)
        else value
        for key, value in config.items()
    }
    entries["_wandb"] = {"desc": None, "value": {"cli_version": "0.31.0"}}
    entries["wandb_version"] = 1
    raw: Any = json.dumps(entries) if as_text else entries
    run = normalize_run({"name": "run", "config": raw}, entity="team", project="project")
    assert run.config == json_safe(config)
    assert run.wandb_config == {"_wandb": {"cli_version": "0.31.0"}, "wandb_version": 1}


@given(some.json_values)
def test_json_text_is_read_as_the_object_it_spells(summary: Any) -> None:
    raw = {"name": "run", "summaryMetrics": {"value": summary}}
    text = {"name": "run", "summaryMetrics": json.dumps({"value": summary})}
    assert normalize_run(text, entity="t", project="p") == normalize_run(
        raw, entity="t", project="p"
    )


@given(
    st.sampled_from(["config", "summaryMetrics", "systemMetrics"]),
    st.sampled_from(["{", "[]", "3", '"text"', "", "{'a': 1}", '{"a": }', "nul", b"\xff"]),
)
def test_text_that_is_no_json_object_is_refused_by_the_name_of_its_field(
    field: str, text: str | bytes
) -> None:
    with pytest.raises(ValueError, match=field):
        normalize_run({"name": "run", field: text}, entity="team", project="project")


@given(
    st.sampled_from([("NaN", "NaN"), ("Infinity", "Infinity"), ("-Infinity", "-Infinity")]),
    st.sampled_from("\x00\x01\n\t\x1f"),
)
def test_tokens_and_control_characters_in_json_text_are_read(
    token: tuple[str, str], control: str
) -> None:
    text = f'{{"a": {token[0]}, "b": "x{control}y", "c": 9007199254740993}}'
    run = normalize_run({"name": "run", "summaryMetrics": text}, entity="t", project="p")
    assert run.summary_metrics == {"a": token[1], "b": f"x{control}y", "c": 9007199254740993}


@given(some.json_values)
def test_decode_json_reads_what_json_writes(value: Any) -> None:
    read = decode_json(json.dumps(value), "it")
    assert encode(json_safe(read)) == encode(json_safe(value))


@given(
    st.fixed_dictionaries(
        {},
        optional={
            field: st.none()
            for field in [
                "displayName",
                "state",
                "createdAt",
                "updatedAt",
                "heartbeatAt",
                "id",
                "projectId",
                "url",
                "tags",
                "group",
                "jobType",
                "sweepName",
                "notes",
                "description",
                "commit",
                "user",
                "readOnly",
                "config",
                "summaryMetrics",
                "systemMetrics",
                "historyKeys",
                "historyLineCount",
            ]
        },
    )
)
def test_missing_fields_equal_null_fields(fields: dict[str, None]) -> None:
    bare = normalize_run({"name": "run"}, entity="team", project="project")
    assert normalize_run({"name": "run", **fields}, entity="team", project="project") == bare
    assert bare.user is None
    assert bare.system_metrics is None
    assert (bare.run_id, bare.name, bare.display_name) == ("run", "run", None)


# --- times


offsets = st.sampled_from([0, 60, -300, 330, 765])
fractions = st.from_regex(r"[0-9]{0,9}", fullmatch=True)


@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1)),
    fractions,
    offsets,
    st.sampled_from("T "),
    st.integers(0, 3),
)
@example(datetime(2024, 1, 2), "", 0, "T", 0)
def test_all_spellings_of_an_instant_have_one_text(
    moment: datetime, fraction: str, offset: int, separator: str, zeros: int
) -> None:
    moment = moment.replace(microsecond=0)
    expected = moment.isoformat()
    if digits := fraction.rstrip("0"):
        expected += f".{digits}"
    expected += "Z"
    local = (moment + timedelta(minutes=offset)).isoformat(separator)
    if spelled := fraction + "0" * zeros:
        local += f".{spelled}"
    sign = "-" if offset < 0 else "+"
    hours, minutes = divmod(abs(offset), 60)
    zones = [f"{sign}{hours:02}:{minutes:02}", f"{sign}{hours:02}{minutes:02}"]
    if offset == 0:
        zones += ["", "Z"]
    for zone in zones:
        assert normalize_time(local + zone) == expected
    assert normalize_time(expected) == expected


@given(some.datetimes)
@example(datetime(2024, 1, 1, microsecond=500000))
@example(datetime(1, 1, 1))
@example(datetime(999, 1, 1, tzinfo=UTC))
def test_datetime_has_the_text_of_its_iso_form(moment: datetime) -> None:
    assume(2 < moment.year < 9998 or moment.tzinfo in (None, UTC))
    text = normalize_time(moment)
    assert text == normalize_time(moment.isoformat())
    assert text == normalize_time(text)
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    assert instant(text) == aware


@given(some.texts | some.times | some.good_times)
def test_normalize_time_is_idempotent(text: str) -> None:
    once = normalize_time(text)
    assert normalize_time(once) == once


@given(st.integers(1, 999_999_999), st.sampled_from(["", "Z", "+00:00"]))
def test_nanosecond_digits_are_kept(nanoseconds: int, zone: str) -> None:
    fraction = f"{nanoseconds:09}"
    text = normalize_time(f"2024-01-02T03:04:05.{fraction}{zone}")
    assert text == f"2024-01-02T03:04:05.{fraction.rstrip('0')}Z"
    assert instant(text) == datetime(2024, 1, 2, 3, 4, 5, nanoseconds // 1000, tzinfo=UTC)


@given(some.texts)
def test_instant_is_total_and_aware(text: str) -> None:
    moment = instant(text)
    assert moment is None or moment.tzinfo is not None
    assert instant(None) is None
