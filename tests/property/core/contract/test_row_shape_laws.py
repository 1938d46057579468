"""Laws of the shape of a row: every way in which a value comes gives the same row."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.columns import encode_raw_rows
from dr_wandb.core.contract.normalize import normalize_row, reshape_row
from dr_wandb.core.contract.row_shape import flatten_row

KEYS = ("a", "b", "a.b", "c", "", "a.b (nested)", "_step", "_wandb", "_own", "x.y")
scalars = (
    st.integers(-9, 9)
    | st.booleans()
    | st.sampled_from([0.5, 3.0, "NaN", "text", "", '{"a": 1}'])
    | st.just(float("nan"))
)


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    media = objects.map(lambda members: {**members, "_type": "image-file"})
    return objects | media | st.lists(inner | st.none(), max_size=3)


values = st.recursive(scalars, _containers, max_leaves=6)
rows = st.dictionaries(st.sampled_from(KEYS), values, max_size=5)


ODD_KEYS = ("a", "b", "_type", "_type_a", "_type_b", "_step")


def _odd_containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    objects = st.dictionaries(st.sampled_from(ODD_KEYS), inner | st.none(), max_size=3)
    return objects | st.lists(inner | st.none(), max_size=2)


odd_scalars = scalars | st.sampled_from([b"null", b"{}", b'{"_type_a":1}', b"\xff"])
odd_rows = st.dictionaries(
    st.sampled_from(ODD_KEYS), st.recursive(odd_scalars, _odd_containers, max_leaves=5), max_size=3
)
"""Rows in which mixed types have members that vanish, or have their names by chance."""


def line(raw_row: Any) -> bytes:
    return encode_line(normalize_row(raw_row, "run"))


def rebuilt(value: Any, change: Callable[[Any], Any]) -> Any:
    """Return a value in which every value inside was changed, the innermost first."""
    if isinstance(value, dict):
        return change({key: rebuilt(member, change) for key, member in value.items()})
    if isinstance(value, list):
        return change([rebuilt(member, change) for member in value])
    return change(value)


@given(rows)
def test_flattening_a_row_twice_is_flattening_it_once(raw_row: dict[str, Any]) -> None:
    once = flatten_row(raw_row)
    assert json.dumps(flatten_row(once), sort_keys=True) == json.dumps(once, sort_keys=True)
    assert line(once) == line(raw_row)


@given(odd_rows)
@example({"x": {"_type_a": 1, "_type_b": {}}})
@example({"x": [{"_type_a": 1, "_type_b": b"null"}], "y": {"_type": {}, "_type_b": 0}})
def test_mixed_types_whose_members_vanish_have_the_shape_at_once(raw_row: dict[str, Any]) -> None:
    """One pass left an object that the next one took for its only member."""
    once = flatten_row(raw_row)
    assert json.dumps(flatten_row(once), sort_keys=True) == json.dumps(once, sort_keys=True)
    assert line(once) == line(raw_row)
    stored = normalize_row(raw_row, "run")
    assert encode_line(reshape_row(stored)) == encode_line(stored)


@given(st.lists(odd_rows, max_size=4))
def test_odd_rows_have_the_same_bytes_by_columns(raw_rows: list[dict[str, Any]]) -> None:
    found, expected = encode_raw_rows(raw_rows, "run"), b"".join(map(line, raw_rows))
    assert found.lines.split(b"\n") == expected.split(b"\n")
    assert list(found.steps) == [normalize_row(row, "run").step for row in raw_rows]


@pytest.mark.parametrize("levels", [90, 120, 160, 900])
def test_deep_values_have_the_shape_at_once(levels: int) -> None:
    mixed: Any = {"_type_float64": 0.5, "_type_utf8": None}
    chain: Any = 1
    for _ in range(levels):
        mixed, chain = {"a": mixed}, {"_type_a": chain}
    for value in (mixed, chain, json.dumps(chain).encode()):
        stored = normalize_row({"x": value}, "run")
        assert encode_line(reshape_row(stored)) == encode_line(stored)
        assert encode_raw_rows([{"x": value}], "run").lines == encode_line(stored)


@given(rows)
def test_no_object_without_a_type_is_left_outside_of_lists(raw_row: dict[str, Any]) -> None:
    for value in flatten_row(raw_row).values():
        assert value is not None
        assert not isinstance(value, dict) or value.get("_type") is not None


def flattened_by_hand(members: dict[str, Any]) -> dict[str, Any]:
    """Flatten as W&B's server does, one level after another; keys may not meet."""
    flat: dict[str, Any] = {}
    for key, value in members.items():
        if isinstance(value, dict) and "_type" not in value:
            inner = {f"{key}.{name}": one for name, one in flattened_by_hand(value).items()}
        else:
            inner = {key: value}
        assert not flat.keys() & inner.keys()
        flat |= inner
    return flat


plain_keys = st.sampled_from(["a", "b", "c/d", "_own", "_wandb"])
plain_rows = st.dictionaries(
    plain_keys,
    st.recursive(
        scalars,
        lambda inner: (
            st.dictionaries(st.sampled_from(["a", "b", "c/d"]), inner, min_size=1) | st.lists(inner)
        ),
        max_leaves=6,
    ),
)


@given(plain_rows)
def test_row_is_the_same_flattened_by_the_server_and_nested(raw_row: dict[str, Any]) -> None:
    assert line(flattened_by_hand(raw_row)) == line(raw_row)


@given(rows, st.randoms(use_true_random=False))
def test_value_of_mixed_type_is_its_one_member_at_any_depth(
    raw_row: dict[str, Any], random: Any
) -> None:
    names = ("_type_float64", "_type_utf8", "_type_list", "_type_struct")

    def wrap(value: Any) -> Any:
        if random.random() < 0.5:
            return value
        held = random.randrange(4)
        return {name: value if at == held else None for at, name in enumerate(names)}

    mixed = {key: rebuilt(value, wrap) for key, value in raw_row.items()}
    assert line(mixed) == line(raw_row)


@given(rows, st.randoms(use_true_random=False))
def test_bytes_of_json_are_that_json_at_any_depth(raw_row: dict[str, Any], random: Any) -> None:
    def encode(value: Any) -> Any:
        return value if random.random() < 0.7 or _holds_bytes(value) else json.dumps(value).encode()

    encoded = {key: rebuilt(value, encode) for key, value in raw_row.items()}
    assert line(encoded) == line(raw_row)


def _holds_bytes(value: Any) -> bool:
    if isinstance(value, dict | list):
        return any(map(_holds_bytes, value.values() if isinstance(value, dict) else value))
    return isinstance(value, bytes)


@given(rows, st.randoms(use_true_random=False))
def test_null_and_empty_members_do_not_count(raw_row: dict[str, Any], random: Any) -> None:
    """A dense file has every column in each row, and every member in each struct."""

    def pad(value: Any) -> Any:
        if not isinstance(value, dict) or random.random() < 0.3:
            return value
        return {"pad": None, "hollow": {"inner": None}, **value}

    padded = {"unset": None, **{key: rebuilt(value, pad) for key, value in raw_row.items()}}
    in_lists = [value for value in raw_row.values() if isinstance(value, list)]
    if not in_lists:
        assert line(padded) == line(raw_row)
    else:
        assert line(json.loads(json.dumps(padded))) == line(padded)


@given(rows, st.randoms(use_true_random=False))
@example({"a": {"b.c": 1}, "a.b": {"c": 2}}, None)
def test_rows_do_not_depend_on_the_order_of_members(raw_row: dict[str, Any], random: Any) -> None:
    def shuffle(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        keys = list(value)
        random.shuffle(keys) if random else keys.reverse()
        return {key: value[key] for key in keys}

    assert line(rebuilt(raw_row, shuffle)) == line(raw_row)


@given(rows)
def test_no_value_is_lost_when_keys_collide(raw_row: dict[str, Any]) -> None:
    raw_row.pop("_wandb", None)  # it is opened also with a `_type`
    assert len(flatten_row(raw_row)) == sum(map(_leaves, raw_row.values()))


def _leaves(value: Any) -> int:
    if isinstance(value, dict) and "_type" not in value:
        return sum(map(_leaves, value.values()))
    return 1


def test_literal_key_is_kept_and_the_flattened_one_is_marked() -> None:
    assert flatten_row({"a": {"b": 1}, "a.b": 2}) == {"a.b": 2, "a.b (nested)": 1}
    assert flatten_row({"a": {"b": 1}, "a.b": 2, "a.b (nested)": 3}) == {
        "a.b": 2,
        "a.b (nested)": 3,
        "a.b (nested 2)": 1,
    }
    assert flatten_row({"a": {"b": 1}, "a.b": None}) == {"a.b": 1}


def test_value_with_several_members_stays_an_object() -> None:
    both = {"_type_float64": 0.5, "_type_utf8": "x", "_type_bool": None}
    assert flatten_row({"m": both}) == {"m": {"_type_float64": 0.5, "_type_utf8": "x"}}
    assert flatten_row({"m": {"_type_float64": None}, "l": [{"_type_utf8": None}]}) == {"l": [None]}


def test_text_and_bytes_that_are_no_json_stay() -> None:
    assert flatten_row({"t": '{"a":1}', "b": b"\xff\x00", "c": b"{", "d": b"[1, null]"}) == {
        "t": '{"a":1}',
        "b": "/wA=",
        "c": "ew==",
        "d": [1, None],
    }


def test_members_of_wandb_metadata_are_flattened_whatever_their_type() -> None:
    row = normalize_row(
        {"_wandb": {"_type": "x", "a": {"b": 1}}, "_wandb.a.b": 2, "_wandb.c": {"d": 3}}, "run"
    )
    assert row.wandb_metadata == {"_type": "x", "a.b": 2, "a.b (nested)": 1, "c.d": 3}
    assert not row.extra


def test_flattening_ends_when_an_object_contains_itself() -> None:
    endless: dict[str, Any] = {"a": 1}
    endless["self"] = endless
    listed: list[Any] = []
    listed.append(listed)
    flat = flatten_row({"x": endless, "y": listed, "z": {"_type_float64": endless}})
    assert flat["x.a"] == 1
