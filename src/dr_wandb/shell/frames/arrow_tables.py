"""Rows as tables of Arrow: wide ones with a column for each metric, and long ones."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dr_wandb.core.columnar.cells import KINDS, Integers
from dr_wandb.core.columnar.column_names import FIXED_COLUMNS, column_name
from dr_wandb.core.columnar.long import LongRows
from dr_wandb.core.columnar.runs import ColumnType
from dr_wandb.core.columnar.wide import MetricColumn, WideRows
from dr_wandb.shell.store.arrow_memory import bits, numbers_to_arrow, texts_to_arrow

MOST_TEXT_BYTES = 1 << 30
"""The most bytes of text in a chunk of a column: Arrow's `string` holds less than twice that."""

ARROW_TYPES: dict[ColumnType, pa.DataType] = {
    ColumnType.BOOL: pa.bool_(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.DOUBLE: pa.float64(),
    ColumnType.TEXT: pa.string(),
    ColumnType.JSON: pa.string(),
}

LONG = pa.schema(
    [
        ("run_id", pa.string()),
        ("row", pa.int64()),
        ("step", pa.int64()),
        ("timestamp", pa.float64()),
        ("key", pa.string()),
        ("kind", pa.string()),
        ("value", pa.float64()),
        ("text", pa.string()),
    ]
)
"""The columns of long rows: those of the Parquet files."""


def wide_schema(
    types: Mapping[str, ColumnType], name_of: Callable[[str], str] = column_name
) -> pa.Schema:
    """Return the columns of wide rows. name_of: the name of a metric's column."""
    fixed = zip(FIXED_COLUMNS, (pa.string(), pa.int64(), pa.float64()), strict=True)
    metrics = ((name_of(key), ARROW_TYPES[kind]) for key, kind in types.items())
    return pa.schema([*fixed, *metrics])


def wide_table(rows: WideRows, name_of: Callable[[str], str] = column_name) -> pa.Table:
    """Return wide rows as a table."""
    types = {key: column.type for key, column in rows.columns.items()}
    codes = np.repeat(np.arange(len(rows.run_ids)), rows.counts)
    arrays = [
        words(codes, rows.run_ids),
        numbers_to_arrow(rows.steps, rows.has_step),
        numbers_to_arrow(rows.timestamps, ~np.isnan(rows.timestamps)),
        *map(metric_array, rows.columns.values()),
    ]
    return pa.Table.from_arrays(arrays, schema=wide_schema(types, name_of))


def metric_array(column: MetricColumn) -> Any:
    """Return the values of a metric, null for a row without one."""
    if column.numbers is None:
        return texts(column.texts, column.valid)
    if column.type == ColumnType.BOOL:
        packed = pa.py_buffer(np.packbits(column.numbers, bitorder="little"))
        return pa.Array.from_buffers(pa.bool_(), len(column.valid), [bits(column.valid), packed])
    return numbers_to_arrow(column.numbers, column.valid)


def long_table(rows: LongRows) -> pa.Table:
    """Return long rows as a table."""
    found = rows.columns
    has_text = np.zeros(len(found.rows), np.bool_)
    has_text[rows.text_at] = True
    arrays = [
        words(found.runs, rows.run_ids),
        numbers_to_arrow(found.rows),
        numbers_to_arrow(found.steps, found.has_step),
        numbers_to_arrow(found.timestamps, ~np.isnan(found.timestamps)),
        words(found.key_codes, rows.keys),
        words(found.kinds, KINDS),
        numbers_to_arrow(found.values, rows.has_value),
        texts(rows.texts, has_text),
    ]
    return pa.Table.from_arrays(arrays, schema=LONG)


def words(codes: NDArray[Any], known: Sequence[str]) -> pa.ChunkedArray:
    """Return words by their codes."""
    dictionary = texts_to_arrow(known, np.arange(len(known)), len(known))
    longest = max((len(word.encode()) for word in known), default=0)
    at_once = max(1, MOST_TEXT_BYTES // (longest + 1))
    chunks = [
        pa.DictionaryArray.from_arrays(
            numbers_to_arrow(codes[start : start + at_once].astype(np.int32)), dictionary
        ).dictionary_decode()
        for start in range(0, len(codes), at_once)
    ]
    return pa.chunked_array(chunks, pa.string())


def texts(found: Sequence[str], valid: NDArray[np.bool_]) -> pa.ChunkedArray:
    """Return texts for the rows that have one, null for the others."""
    chunks = []
    at = np.flatnonzero(valid)
    ends = np.cumsum([len(text.encode()) for text in found])
    begin = first = 0
    while begin < len(found):
        used = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, used + MOST_TEXT_BYTES, side="right")))
        last = len(valid) if end >= len(found) else int(at[end])
        chunks.append(texts_to_arrow(found[begin:end], at[begin:end] - first, last - first))
        begin, first = end, last
    if first < len(valid):
        nothing: Integers = np.zeros(0, np.int64)
        chunks.append(texts_to_arrow((), nothing, len(valid) - first))
    return pa.chunked_array(chunks, pa.string())
