"""Write history rows as Parquet files in the shape of W&B's exports.

Guarantees (what the real exporter does with odd values is not documented, so this is a choice):
- dense: every column that occurs in a file is there for each of its rows, null where absent;
- whole numbers are int64, uint64 if some exceed it and none is negative, else double; whole and
  fractional numbers together are double; NaN and infinities are real doubles;
- dicts are structs of all members that occur, lists are lists, nested to any depth;
- booleans are booleans; values of different kinds in one column make it a text column: text
  stays as it is, the rest becomes JSON text ("NaN", "Infinity" without quotes);
- a column of nulls only is double, a list that is always empty is a list of doubles, and a dict
  that is always empty becomes the text "{}", since Parquet has no struct without members.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.server.history import spell_non_finite

_INT64_MAX = 2**63 - 1
_INT64_MIN = -(2**63)
_UINT64_MAX = 2**64 - 1


@dataclass(frozen=True)
class ParquetFile:
    """One exported file: its name, its bytes and how many rows it holds."""

    name: str
    content: bytes
    line_count: int


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


def encode_parquet(
    name: str, rows: Sequence[Mapping[str, Any]], float32: Collection[str] = ()
) -> ParquetFile:
    """Encode rows as one file; columns in order of first occurrence, `float32` ones narrowed."""
    columns: dict[str, list[Any]] = {}
    for position, row in enumerate(rows):
        for key, value in row.items():
            column = columns.get(key)
            if column is None:
                column = columns[key] = [None] * position
            elif len(column) < position:
                column.extend([None] * (position - len(column)))
            column.append(value)
    arrays = []
    for key, column in columns.items():
        column.extend([None] * (len(rows) - len(column)))
        kind = pa.float32() if key in float32 else infer(column)
        arrays.append(pa.array([_fit(value, kind) for value in column], type=kind))
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays, names=[_whole_text(key) for key in columns]), sink)
    return ParquetFile(name, sink.getvalue(), len(rows))


def infer(values: Sequence[Any]) -> pa.DataType:
    """Choose the column type for values, by the rules at the top of this module."""
    kinds = {_kind(value) for value in values} - {"null"}
    if not kinds:
        return pa.float64()
    if kinds == {"bool"}:
        return pa.bool_()
    if kinds == {"int"}:
        return _integer_type([value for value in values if value is not None])
    if kinds <= {"int", "float"}:
        return pa.float64()
    if kinds == {"list"}:
        members = [one for value in values if value is not None for one in value]
        return pa.list_(infer(members))
    if kinds == {"dict"}:
        names = list(dict.fromkeys(name for value in values if value for name in value))
        if names:
            return pa.struct(
                [(name, infer([value.get(name) for value in values if value])) for name in names]
            )
    return pa.string()


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "float"
    if isinstance(value, str):
        return "str"
    return "dict" if isinstance(value, Mapping) else "list"


def _whole_text(text: str) -> str:
    """Join surrogate pairs; lone ones become U+FFFD, as Parquet holds UTF-8 only."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _integer_type(values: Sequence[int]) -> pa.DataType:
    low, high = min(values), max(values)
    if low >= _INT64_MIN and high <= _INT64_MAX:
        return pa.int64()
    if low >= 0 and high <= _UINT64_MAX:
        return pa.uint64()
    return pa.float64()


def _fit(value: Any, kind: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_string(kind):
        text = spell_non_finite(value)
        text = text if isinstance(text, str) else json.dumps(text)
        return _whole_text(text)
    if pa.types.is_floating(kind):
        return float(value)
    if pa.types.is_list(kind):
        return [_fit(one, kind.value_type) for one in value]
    if pa.types.is_struct(kind):
        return {
            part.name: _fit(value.get(part.name), part.type)
            for part in (kind.field(index) for index in range(kind.num_fields))
        }
    return value
