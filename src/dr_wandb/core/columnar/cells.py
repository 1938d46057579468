"""The cells of rows of one run, in columns: one cell for each value, and one for each row.

Rules
- The key of a cell is a flat key of `flatten_row`, W&B's own columns included. The marker cell of a
  row has no key.
- A number is in `values`; an integer of 2**53 and more has its digits as text besides, since
  doubles cannot distinguish all of those. The strings "NaN", "Infinity" and "-Infinity" are
  numbers, as their spelling says. Everything that is no number or boolean is text.
- `_step` and `_timestamp` are columns of all cells of a row. Only a value that such a column cannot
  spell back is a cell of its own.
- Equal rows have equal cells, down to the bits of their doubles: there is one NaN and no -0.0.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

KINDS = ("row", "number", "bool", "text", "json")
"""The words for the kinds of cells, in the order of their codes."""

ROW, NUMBER, BOOL, TEXT, JSON = range(len(KINDS))

STEP, TIMESTAMP = "_step", "_timestamp"

_STEPS_END = 2.0**63

Integers = NDArray[np.int64]
Doubles = NDArray[np.float64]
Key = str | None

NOWHERE: Integers = np.zeros(0, np.int64)


class KeyCells(NamedTuple):
    """The cells of one key.

    rows: their rows, ascending, counted from the first row of the batch. values: NaN for a cell
    without a number. text_at: the cells that have a text, ascending; `texts` are those texts.
    """

    rows: Integers
    kinds: NDArray[np.uint8]
    values: Doubles
    text_at: Integers
    texts: Sequence[str]

    def between(self, start: int, stop: int) -> "KeyCells":
        """Return the cells of some rows, counted from `start`. stop: the row after the last one."""
        low, high = np.searchsorted(self.rows, (start, stop))
        text_low, text_high = np.searchsorted(self.text_at, (low, high))
        return KeyCells(
            self.rows[low:high] - start,
            self.kinds[low:high],
            self.values[low:high],
            self.text_at[text_low:text_high] - low,
            self.texts[text_low:text_high],
        )


class CellBatch(NamedTuple):
    """The cells of consecutive rows of one run.

    first: the number of the first row in its run, counted from 0. steps: 0 for a row without one.
    timestamps: NaN for a row without one. columns: the cells by key, sorted, markers first; no key
    is without cells.
    """

    first: int
    steps: Integers
    has_step: NDArray[np.bool_]
    timestamps: Doubles
    columns: Mapping[Key, KeyCells]

    @property
    def row_count(self) -> int:
        """Return how many rows there are."""
        return len(self.steps)

    def between(self, start: int, stop: int) -> "CellBatch":
        """Return the cells of some rows, counted from the first one of this batch."""
        if start == 0 and stop == self.row_count:
            return self
        cut = {key: cells.between(start, stop) for key, cells in self.columns.items()}
        return CellBatch(
            self.first + start,
            self.steps[start:stop],
            self.has_step[start:stop],
            self.timestamps[start:stop],
            {key: cells for key, cells in cut.items() if len(cells.rows)},
        )


def markers(count: int, lines: Mapping[int, str] | None = None) -> KeyCells:
    """Return the marker cells of rows. lines: rows that their other cells cannot give back."""
    rows = np.arange(count)
    at = np.array(sorted(lines or ()), np.int64)
    texts = [(lines or {})[row] for row in at.tolist()]
    return KeyCells(rows, all_of(ROW, rows), np.full(count, math.nan), at, texts)


def with_differing_lines(
    batch: CellBatch, lines: Iterable[bytes], ours: Iterable[bytes]
) -> CellBatch:
    """Return a batch in which rows that their cells do not give back have their lines.

    lines: of each row. ours: those that its cells give. Neither ends with a newline.
    """
    differing = {
        row: line.decode()
        for row, (line, other) in enumerate(zip(lines, ours, strict=True))
        if line != other
    }
    if not differing:
        return batch
    marked = markers(batch.row_count, differing)
    return batch._replace(columns={**batch.columns, None: marked})


def batch_of(first: int, count: int, columns: Mapping[str, KeyCells]) -> CellBatch:
    """Return the cells of rows that are given by their flat keys, `_step` among them."""
    steps, has_step = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    timestamps = np.full(count, math.nan)
    found: dict[Key, KeyCells] = {None: markers(count)}
    for key, cells in sorted(columns.items()):
        left = cells
        if key == STEP:
            left = _take_steps(cells, steps, has_step)
        elif key == TIMESTAMP:
            fits = (cells.kinds == NUMBER) & np.isfinite(cells.values)
            fits[cells.text_at] = False
            timestamps[cells.rows[fits]] = cells.values[fits]
            left = without(cells, fits)
        if len(left.rows):
            found[key] = left
    return CellBatch(first, steps, has_step, timestamps, found)


def _take_steps(cells: KeyCells, steps: Integers, has_step: NDArray[np.bool_]) -> KeyCells:
    """Move the steps that their column can hold there, and return the other cells."""
    values = cells.values
    fits = (cells.kinds == NUMBER) & (values == np.trunc(values)) & (np.abs(values) < _STEPS_END)
    fits[cells.text_at] = False
    steps[cells.rows[fits]] = values[fits].astype(np.int64)
    if len(cells.texts):
        for index, text in zip(cells.text_at.tolist(), cells.texts, strict=True):
            if cells.kinds[index] == NUMBER and -(2**63) <= (step := int(text)) < 2**63:
                steps[cells.rows[index]], fits[index] = step, True
    has_step[cells.rows[fits]] = True
    return without(cells, fits)


def without(cells: KeyCells, gone: NDArray[np.bool_]) -> KeyCells:
    """Return the cells that are not gone."""
    kept = np.flatnonzero(~gone)
    if len(kept) == len(gone):
        return cells
    texts = [
        text for index, text in zip(cells.text_at, cells.texts, strict=True) if not gone[index]
    ]
    text_at = np.searchsorted(kept, cells.text_at[~gone[cells.text_at]])
    return KeyCells(cells.rows[kept], cells.kinds[kept], cells.values[kept], text_at, texts)


def joined(batches: Sequence[CellBatch]) -> CellBatch:
    """Return the cells of batches that follow each other. There must be at least one."""
    if len(batches) == 1:
        return batches[0]
    starts = [0, *accumulate(batch.row_count for batch in batches)]
    pieces: dict[Key, list[tuple[int, KeyCells]]] = {}
    for start, batch in zip(starts, batches, strict=False):
        for key, cells in batch.columns.items():
            pieces.setdefault(key, []).append((start, cells))
    return CellBatch(
        batches[0].first,
        np.concatenate([batch.steps for batch in batches]),
        np.concatenate([batch.has_step for batch in batches]),
        np.concatenate([batch.timestamps for batch in batches]),
        {key: _joined(pieces[key]) for key in sorted(pieces, key=key_order)},
    )


def key_order(key: Key) -> tuple[bool, str]:
    """Return the sort key of a key: markers first, then by code point."""
    return key is not None, key or ""


def shifted(pieces: Sequence[KeyCells], offsets: Sequence[int]) -> Integers:
    """Return which cells have a text, counted from the first cell of the first piece."""
    shifted = (piece.text_at + start for piece, start in zip(pieces, offsets, strict=False))
    return np.concatenate([NOWHERE, *shifted])


def _joined(pieces: Sequence[tuple[int, KeyCells]]) -> KeyCells:
    cells = [piece for _, piece in pieces]
    offsets = [0, *accumulate(len(one.rows) for one in cells)]
    return KeyCells(
        np.concatenate([one.rows + start for start, one in pieces]),
        np.concatenate([one.kinds for one in cells]),
        np.concatenate([one.values for one in cells]),
        shifted(cells, offsets),
        [text for one in cells for text in one.texts],
    )


def sizes_of(batch: CellBatch) -> tuple[Integers, Integers]:
    """Return how many cells each row has, and how many bytes of text."""
    cells, text_bytes = np.zeros(batch.row_count, np.int64), np.zeros(batch.row_count, np.int64)
    for found in batch.columns.values():
        if len(found.rows) == batch.row_count:
            cells += 1
        else:
            cells[found.rows] += 1
        if len(found.texts):
            text_bytes[found.rows[found.text_at]] += _lengths(found.texts)
    return cells, text_bytes


def _lengths(texts: Iterable[str]) -> list[int]:
    return [len(text) if text.isascii() else len(text.encode()) for text in texts]


def all_of(kind: int, rows: Integers) -> NDArray[np.uint8]:
    """Return the code of a kind for each row; it is read-only."""
    count = len(rows)
    return _MANY[kind][:count] if count <= _MANY.shape[1] else np.full(count, kind, np.uint8)


_MANY = np.repeat(np.arange(len(KINDS), dtype=np.uint8), 1 << 14).reshape(len(KINDS), -1)
"""Many codes of each kind: a slice costs a tenth of a new array."""
_MANY.setflags(write=False)
