"""Write history rows as Parquet files in the shape of W&B's exports.

Guarantees (from the code that W&B's own readers have for its exports, 2023 to 2026; what no reader
tells of is a choice)
- dense: every column that occurs in a file is there for each of its rows, null where absent;
- an object without `_type` is a column for each member, with dotted keys; one with `_type`, and any
  object in a list, is a struct of all members that occur;
- whole numbers are int64, uint64 if some exceed it and none is negative; with fractional numbers
  they are double; booleans, text and lists are what they are;
- values of different kinds in one column, and NaN or infinities among numbers, make it a column of
  mixed type: a struct of `_type_float64`, `_type_utf8`, `_type_bool`, `_type_list` and
  `_type_struct`, of which each value has one;
- what no such type can hold, such as an object without members in a list, is bytes of JSON text;
- a column of nulls only is double, a list that is always empty is a list of doubles.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.server.history import flat_row, spell_non_finite

_INT64_MAX = 2**63 - 1
_INT64_MIN = -(2**63)
_UINT64_MAX = 2**64 - 1
_EXACT = 2**53

PLACES = ("_step", "_timestamp", "_runtime")
"""Columns that every part of a split file has."""


@dataclass(frozen=True)
class ParquetFile:
    """One exported file: its name, its bytes and how many rows it holds."""

    name: str
    content: bytes
    line_count: int


class _UnfitError(Exception):
    """No column type holds these values."""


def split_rows(rows: Sequence[dict[str, Any]], files: int) -> list[list[dict[str, Any]]]:
    """Split rows into contiguous parts of nearly equal length; parts are never empty."""
    base, extra = divmod(len(rows), files)
    parts, start = [], 0
    for index in range(files):
        end = start + base + (index < extra)
        if end > start:
            parts.append(list(rows[start:end]))
        start = end
    return parts


def split_columns(rows: Sequence[dict[str, Any]], parts: int) -> list[list[dict[str, Any]]]:
    """Split each row by its columns into as many parts, each with the step and the timestamp."""
    flat = [flat_row(row) for row in rows]
    names = sorted({name for row in flat for name in row if name not in PLACES})
    groups = [{*PLACES, *names[part::parts]} for part in range(parts)]
    return [
        [{key: value for key, value in row.items() if key in group} for row in flat]
        for group in groups
    ]


def encode_parquet(
    name: str,
    rows: Sequence[Mapping[str, Any]],
    float32: Collection[str] = (),
    *,
    double_steps: bool = False,
    as_json: Collection[str] = (),
) -> ParquetFile:
    """Encode rows as one file; columns in order of first occurrence, `float32` ones narrowed.

    double_steps: `_step` is a double. as_json: columns that are bytes of JSON text.
    """
    columns: dict[str, list[Any]] = {}
    for position, row in enumerate(map(flat_row, rows)):
        for key, value in row.items():
            column = columns.setdefault(key, [])
            column.extend([None] * (position - len(column)))
            column.append(value)
    arrays = []
    for key, column in columns.items():
        column.extend([None] * (len(rows) - len(column)))
        kind = pa.float32() if key in float32 else _column_type(column)
        if key in as_json:
            kind = pa.binary()
        elif key == "_step" and double_steps:
            kind = pa.float64()
        arrays.append(pa.array([_fit(value, kind) for value in column], type=kind))
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays, names=[_whole_text(key) for key in columns]), sink)
    return ParquetFile(name, sink.getvalue(), len(rows))


def _column_type(values: Sequence[Any]) -> pa.DataType:
    try:
        return infer(values)
    except _UnfitError:
        return pa.binary()


def infer(values: Sequence[Any]) -> pa.DataType:
    """Choose the type for values, by the rules at the top of this module."""
    kinds = {_kind(value) for value in values} - {"null"}
    if not kinds:
        return pa.float64()
    if kinds == {"int"}:
        return _integer_type([value for value in values if value is not None])
    if kinds <= {"int", "float"}:
        return _double(values)
    if len(kinds) == 1:
        return _MEMBERS[kinds.pop()][1](values)
    members = {_MEMBERS[kind][0]: kind for kind in _MEMBERS if kind in kinds}
    return pa.struct(
        [
            (name, _MEMBERS[kind][1]([value for value in values if _belongs(value, name)]))
            for name, kind in members.items()
        ]
    )


def _double(values: Sequence[Any]) -> pa.DataType:
    if any(isinstance(value, int) and abs(value) > _EXACT for value in values):
        raise _UnfitError
    return pa.float64()


def _list(values: Sequence[Any]) -> pa.DataType:
    return pa.list_(infer([one for value in values if value is not None for one in value]))


def _struct(values: Sequence[Any]) -> pa.DataType:
    found = [value for value in values if value is not None]
    names = list(dict.fromkeys(name for value in found for name in value))
    if not all(found) or not names or any(one == {} for value in found for one in value.values()):
        raise _UnfitError
    return pa.struct([(name, infer([value.get(name) for value in found])) for name in names])


_MEMBERS: dict[str, tuple[str, Any]] = {
    "float": ("_type_float64", _double),
    "int": ("_type_float64", _double),
    "word": ("_type_utf8", lambda _: pa.string()),
    "str": ("_type_utf8", lambda _: pa.string()),
    "bool": ("_type_bool", lambda _: pa.bool_()),
    "list": ("_type_list", _list),
    "dict": ("_type_struct", _struct),
}
"""For each kind of value its member of a mixed type, and what chooses the type of that member."""


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float" if math.isfinite(value) else "word"
    if isinstance(value, str):
        return "str"
    return "dict" if isinstance(value, Mapping) else "list"


def _belongs(value: Any, member: str) -> bool:
    return value is not None and _MEMBERS[_kind(value)][0] == member


def _whole_text(text: str) -> str:
    """Join surrogate pairs; lone ones become U+FFFD, as Parquet holds UTF-8 only."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _integer_type(values: Sequence[int]) -> pa.DataType:
    low, high = min(values), max(values)
    if low >= _INT64_MIN and high <= _INT64_MAX:
        return pa.int64()
    if low >= 0 and high <= _UINT64_MAX:
        return pa.uint64()
    raise _UnfitError


def _fit(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_binary(kind):
        return json.dumps(spell_non_finite(value)).encode()
    if pa.types.is_string(kind):
        return _whole_text(str(spell_non_finite(value)))
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_list(kind):
        return [_fit(one, kind.value_type) for one in value]
    if pa.types.is_struct(kind) and kind.field(0).name.startswith("_type_"):
        return {part.name: _fit(value, part.type) for part in kind if _belongs(value, part.name)}
    if pa.types.is_struct(kind):
        return {part.name: _fit(value.get(part.name), part.type) for part in kind}
    return value
