"""Cells as columns of Arrow, in the one schema of the Parquet files of an export."""

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dr_wandb.core.columnar.cells import BOOL, KINDS, NUMBER, CellBatch, Integers, Key, KeyCells
from dr_wandb.shell.store.arrow_memory import (
    numbers_of,
    numbers_to_arrow,
    texts_to_arrow,
    validity_of,
)

WORDS = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        pa.field("run_id", WORDS, nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        pa.field("step", pa.int64()),
        pa.field("timestamp", pa.float64()),
        pa.field("key", WORDS),
        pa.field("kind", WORDS, nullable=False),
        pa.field("value", pa.float64()),
        pa.field("text", pa.string()),
    ]
)
"""The columns of a file. In the file itself a dictionary is text: Arrow's schema is not stored."""

_NAMES = tuple(SCHEMA.names)
DICTIONARIES = ["run_id", "key", "kind"]


def cells_as_arrow(batch: CellBatch, run_id: str) -> pa.RecordBatch:
    """Return cells of one run as columns of the schema, sorted by key and row."""
    columns = list(batch.columns.values())
    lengths = [len(cells.rows) for cells in columns]
    count = sum(lengths)
    rows = np.concatenate([cells.rows for cells in columns])
    kinds = np.concatenate([cells.kinds for cells in columns])
    values = np.concatenate([cells.values for cells in columns])
    starts = [0, *accumulate(lengths)]
    text_at = np.concatenate(
        [cells.text_at + start for cells, start in zip(columns, starts, strict=False)]
    )
    texts = [text for cells in columns for text in cells.texts]
    has_value = (kinds == NUMBER) | (kinds == BOOL)
    has_value[text_at] &= ~np.isnan(values[text_at])  # an integer beyond all doubles
    timestamps = batch.timestamps[rows]
    key_codes = np.repeat(np.arange(len(columns), dtype=np.int32), lengths)
    words = ["" if key is None else key for key in batch.columns]
    arrays = [
        _words(np.zeros(count, np.int32), _dictionary([run_id])),
        numbers_to_arrow(rows + batch.first),
        numbers_to_arrow(batch.steps[rows], batch.has_step[rows]),
        numbers_to_arrow(timestamps, ~np.isnan(timestamps)),
        _words(key_codes, _dictionary(words), rows_without_key=batch.row_count),
        _words(kinds.astype(np.int32), _KINDS),
        numbers_to_arrow(values, has_value),
        texts_to_arrow(texts, text_at, count),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def _words(
    codes: NDArray[np.int32], words: pa.Array, rows_without_key: int = 0
) -> pa.DictionaryArray:
    """Return words by their codes, null for the first ones if these are markers."""
    valid = np.arange(len(codes)) >= rows_without_key if rows_without_key else None
    return pa.DictionaryArray.from_arrays(numbers_to_arrow(codes, valid), words)


def words_to_arrow(words: Sequence[str | None]) -> pa.DictionaryArray:
    """Return a column of words, of which few differ."""
    different = dict.fromkeys(word for word in words if word is not None)
    known = {word: code for code, word in enumerate(different)}
    codes = np.array([-1 if word is None else known[word] for word in words], np.int32)
    indices = numbers_to_arrow(codes, codes >= 0)
    return pa.DictionaryArray.from_arrays(indices, _dictionary([*known]))


def _dictionary(words: Sequence[str]) -> pa.Array:
    return texts_to_arrow(words, np.arange(len(words)), len(words))


_KINDS = _dictionary(KINDS)


def text_bytes_of(batch: pa.RecordBatch) -> Integers:
    """Return how many bytes of text each cell has."""
    texts = batch.column("text")
    if texts.null_count == len(texts):
        return np.zeros(len(texts), np.int64)
    lengths = numbers_of(pc.binary_length(texts)).astype(np.int64)
    return lengths * validity_of(texts)


def one_table(batches: Sequence[pa.RecordBatch], schema: pa.Schema = SCHEMA) -> pa.Table:
    """Return rows in one piece, whose dictionaries hold their words in the order of occurrence."""
    table = pa.Table.from_batches(batches, schema=schema).unify_dictionaries().combine_chunks()
    for index, field in enumerate(schema):
        if field.type == WORDS and table.num_rows:
            column = _in_order(table.column(field.name).chunk(0))
            table = table.set_column(index, field, column)
    return table


def _in_order(column: pa.DictionaryArray) -> pa.DictionaryArray:
    codes = codes_of(column)
    changes = np.flatnonzero(codes[1:] != codes[:-1]) + 1
    found = np.concatenate([codes[:1], codes[changes]])
    used, first = np.unique(found, return_index=True)
    order = used[np.argsort(first)]
    order = order[order >= 0]
    if np.array_equal(order, np.arange(len(column.dictionary))):
        return column
    new = np.full(len(column.dictionary) + 1, -1, np.int32)  # the last one is for null: code -1
    new[order] = np.arange(len(order))
    codes = new[codes]
    words = column.dictionary.take(numbers_to_arrow(order))
    return pa.DictionaryArray.from_arrays(numbers_to_arrow(codes, codes >= 0), words)


def runs_of(batch: pa.RecordBatch) -> tuple[list[str], list[int]]:
    """Return the runs of a batch in order, and the borders of their cells, one more than runs."""
    column = batch.column("run_id")
    codes = codes_of(column)
    starts = np.flatnonzero(np.diff(codes, prepend=-1))
    words = column.dictionary.to_pylist()
    return [words[code] for code in codes[starts].tolist()], [*starts.tolist(), len(codes)]


def codes_of(column: pa.DictionaryArray) -> NDArray[np.int32]:
    """Return the code of each word, -1 for null."""
    codes = numbers_of(column.indices)
    return codes if not column.null_count else np.where(validity_of(column.indices), codes, -1)


def cells_of_arrow(pieces: Sequence[pa.RecordBatch]) -> CellBatch:
    """Return consecutive rows of one run, given by columns of the schema.

    Raises ValueError if a row has no marker cell.
    """
    table = pa.Table.from_batches(pieces).unify_dictionaries().combine_chunks()
    row, step, timestamp, key, kind, value, text = (
        table.column(name).chunk(0) for name in SCHEMA.names[1:]
    )
    first = int(numbers_of(row).min())
    rows = numbers_of(row) - first
    count = int(rows.max()) + 1
    codes = codes_of(key)
    if not np.array_equal(np.flatnonzero(codes < 0), rows[:count]):
        raise ValueError("a row has no marker cell")
    kind_codes = np.array([KINDS.index(word) for word in kind.dictionary.to_pylist()], np.uint8)
    kinds = kind_codes[codes_of(kind)]
    values = np.where(validity_of(value), numbers_of(value), math.nan)
    text_at = np.flatnonzero(validity_of(text))
    texts = text.drop_null().to_pylist()
    words = key.dictionary.to_pylist()
    columns: dict[Key, KeyCells] = {}
    borders = (np.flatnonzero(np.diff(codes)) + 1).tolist()
    for start, stop in pairwise([0, *borders, len(codes)]):
        low, high = np.searchsorted(text_at, (start, stop))
        columns[None if codes[start] < 0 else words[codes[start]]] = KeyCells(
            rows[start:stop],
            kinds[start:stop],
            values[start:stop],
            text_at[low:high] - start,
            texts[low:high],
        )
    has_step, has_timestamp = validity_of(step)[:count], validity_of(timestamp)[:count]
    return CellBatch(
        first,
        np.where(has_step, numbers_of(step)[:count], 0),
        has_step,
        np.where(has_timestamp, numbers_of(timestamp)[:count], math.nan),
        columns,
    )
