"""Arrow arrays as Python values, without loss and without pandas.

Rules
- Values are those of `to_pylist`, except for moments and spans of time: `to_pylist` rounds or
  refuses their nanoseconds, unless pandas is installed (pyarrow 26).
- `_timestamp` is a number of seconds, whatever the type of its column.
- Any other moment is ISO 8601 text in UTC, a time of day ISO 8601 text, a span is seconds. A
  moment that Python's calendar cannot express stays the number in the file.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_EPOCH = datetime(1970, 1, 1)


def python_values(column: pa.Array) -> list[Any]:
    """Return the values of an array, None for null."""
    kind = column.type
    if not _has_times(kind):
        plain: list[Any] = column.to_pylist()
        return plain
    if pa.types.is_dictionary(kind):
        return python_values(column.dictionary_decode())
    if pa.types.is_struct(kind):
        return _objects(column)
    if _is_list(kind):
        return _lists(column)
    spell = _speller(kind)
    bits = pa.int32() if kind.bit_width == 32 else pa.int64()
    return [None if count is None else spell(count) for count in column.cast(bits).to_pylist()]


def epoch_seconds(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return a batch whose `_timestamp` is a number, as W&B logs it, if it came as moments."""
    index = batch.schema.get_field_index("_timestamp")
    if index < 0 or not pa.types.is_timestamp(batch.schema.field(index).type):
        return batch
    column = batch.column(index)
    counts, unit = column.cast(pa.int64()), 10 ** _DIGITS[column.type.unit]
    whole = pc.divide(counts, unit)
    rest = pc.subtract(counts, pc.multiply(whole, unit)).cast(pa.float64())
    seconds = pc.add(whole.cast(pa.float64()), pc.divide(rest, float(unit)))
    return batch.set_column(index, "_timestamp", seconds)


def _has_times(kind: pa.DataType) -> bool:
    if pa.types.is_timestamp(kind) or pa.types.is_time(kind) or pa.types.is_duration(kind):
        return True
    if pa.types.is_dictionary(kind) or _is_list(kind):
        return _has_times(kind.value_type)
    return pa.types.is_struct(kind) and any(_has_times(field.type) for field in kind)


def _is_list(kind: pa.DataType) -> bool:
    fixed = pa.types.is_fixed_size_list(kind)
    return bool(fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _objects(column: pa.Array) -> list[Any]:
    names = [field.name for field in column.type]
    if len({*names}) < len(names) and column.null_count < len(column):
        raise ValueError("a struct has two members of one name")
    members = zip(*map(python_values, column.flatten()), strict=True)
    objects = (dict(zip(names, values, strict=True)) for values in members)
    there = column.is_valid().to_pylist()
    return [found if valid else None for found, valid in zip(objects, there, strict=True)]


def _lists(column: pa.Array) -> list[Any]:
    members = iter(python_values(column.flatten()))
    lengths = pc.list_value_length(column).to_pylist()
    return [
        None if length is None else [next(members) for _ in range(length)] for length in lengths
    ]


def _speller(kind: pa.DataType) -> Callable[[int], Any]:
    digits = _DIGITS[kind.unit]
    if pa.types.is_duration(kind):
        return lambda count: count / 10**digits
    if pa.types.is_time(kind):
        return lambda count: _moment(count, digits).partition("T")[2].removesuffix("Z")
    return lambda count: _moment(count, digits)


def _moment(count: int, digits: int) -> Any:
    seconds, fraction = divmod(count, 10**digits)
    try:
        whole = (_EPOCH + timedelta(seconds=seconds)).isoformat()
    except OverflowError:
        return count
    nanoseconds = fraction * 10 ** (9 - digits)
    if not nanoseconds:
        return f"{whole}Z"
    digits = 6 if nanoseconds % 1000 == 0 else 9
    return f"{whole}.{nanoseconds:09d}"[: len(whole) + 1 + digits] + "Z"
