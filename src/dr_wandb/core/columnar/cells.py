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
from contextlib import suppress
from itertools import accumulate
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from dr_wandb.core.contract.values import EXACT_INTEGERS

KINDS = ("row", "number", "bool", "text", "json")
"""The words for the kinds of cells, in the order of their codes."""

ROW, NUMBER, BOOL, TEXT, JSON = range(len(KINDS))

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""The numbers that are spelled as strings."""

STEP, TIMESTAMP = "_step", "_timestamp"

_JSON = msgspec.json.Encoder(order="sorted")
_KIND_OF = {int: NUMBER, float: NUMBER, bool: BOOL, str: TEXT, list: JSON, dict: JSON}
_NUMBERS = frozenset({int, float})
_STEPS_END = 2.0**63

Integers = NDArray[np.int64]
Doubles = NDArray[np.float64]
Key = str | None


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


def cells_of_numbers(rows: Integers, numbers: Doubles) -> KeyCells:
    """Return the cells of doubles, one for each of these rows."""
    values = numbers + 0.0  # no -0.0
    values[values != values] = math.nan
    return KeyCells(rows, _all_of(NUMBER, rows), values, _NOWHERE, ())


def cells_of_integers(rows: Integers, integers: NDArray[Any]) -> KeyCells:
    """Return the cells of integers of at most 64 bits."""
    values = integers.astype(np.float64)
    large = np.flatnonzero(np.abs(values) >= EXACT_INTEGERS)
    digits = list(map(str, integers[large].tolist()))
    return KeyCells(rows, _all_of(NUMBER, rows), values, large, digits)


def cells_of_booleans(rows: Integers, booleans: NDArray[Any]) -> KeyCells:
    """Return the cells of booleans."""
    return KeyCells(rows, _all_of(BOOL, rows), booleans.astype(np.float64), _NOWHERE, ())


def cells_of_texts(rows: Integers, texts: Sequence[str]) -> KeyCells:
    """Return the cells of texts, of which some may spell a number that is not finite."""
    if not NON_FINITE.keys().isdisjoint(texts):
        return cells_of_values(rows, texts)
    values = np.full(len(rows), math.nan)
    return KeyCells(rows, _all_of(TEXT, rows), values, np.arange(len(rows)), texts)


def cells_of_values(rows: Integers, values: Sequence[Any]) -> KeyCells:
    """Return the cells of JSON-safe values, none of them null, one for each of these rows."""
    types = {*map(type, values)}
    if types == {float}:
        return cells_of_numbers(rows, np.array(values, np.float64))
    if types <= _NUMBERS:
        with suppress(OverflowError):
            return _cells_of_plain_numbers(rows, values)
    kinds = [_KIND_OF[type(value)] for value in values]
    numbers = [math.nan] * len(values)
    text_at, texts = [], []
    for index, (kind, value) in enumerate(zip(kinds, values, strict=True)):
        text = None
        if type(value) is float:
            numbers[index] = value
        elif kind == NUMBER:
            numbers[index], text = _double_and_digits(value)
        elif kind == BOOL:
            numbers[index] = float(value)
        elif kind == JSON:
            text = _JSON.encode(value).decode()
        elif value in NON_FINITE:
            kinds[index], numbers[index] = NUMBER, NON_FINITE[value]
        else:
            text = value
        if text is not None:
            text_at.append(index)
            texts.append(text)
    found = cells_of_numbers(rows, np.array(numbers))
    return found._replace(
        kinds=np.array(kinds, np.uint8), text_at=np.array(text_at, np.int64), texts=texts
    )


def _cells_of_plain_numbers(rows: Integers, values: Sequence[int | float]) -> KeyCells:
    """Return the cells of numbers. Raises OverflowError if an integer is beyond all doubles."""
    numbers = np.array(values, np.float64)
    found = cells_of_numbers(rows, numbers)
    large = (np.abs(numbers) >= EXACT_INTEGERS).nonzero()[0].tolist()
    if not large:
        return found
    exact = [index for index in large if type(values[index]) is int]
    digits = [str(values[index]) for index in exact]
    return found._replace(text_at=np.array(exact, np.int64), texts=digits)


def _double_and_digits(integer: int) -> tuple[float, str | None]:
    if -EXACT_INTEGERS < integer < EXACT_INTEGERS:
        return float(integer), None
    try:
        return float(integer), str(integer)
    except OverflowError:
        return math.nan, str(integer)


def interleaved(pieces: Sequence[KeyCells]) -> KeyCells | None:
    """Return the cells of several columns of one key; None if two of them are of the same row."""
    offsets = [0, *accumulate(len(piece.rows) for piece in pieces)]
    rows = np.concatenate([_NOWHERE, *(piece.rows for piece in pieces)])
    order = np.argsort(rows, kind="stable")
    if (np.diff(rows[order]) == 0).any():
        return None
    position = np.argsort(order)
    text_at = position[_shifted(pieces, offsets)]
    texts = [text for piece in pieces for text in piece.texts]
    text_order = np.argsort(text_at)
    return KeyCells(
        rows[order],
        np.concatenate([_NO_KINDS, *(piece.kinds for piece in pieces)])[order],
        np.concatenate([_NO_VALUES, *(piece.values for piece in pieces)])[order],
        text_at[text_order],
        [texts[index] for index in text_order.tolist()],
    )


def _shifted(pieces: Sequence[KeyCells], offsets: Sequence[int]) -> Integers:
    """Return which cells have a text, counted from the first cell of the first piece."""
    shifted = (piece.text_at + start for piece, start in zip(pieces, offsets, strict=False))
    return np.concatenate([_NOWHERE, *shifted])


def markers(count: int, lines: Mapping[int, str] | None = None) -> KeyCells:
    """Return the marker cells of rows. lines: rows that their other cells cannot give back."""
    rows = np.arange(count)
    at = np.array(sorted(lines or ()), np.int64)
    texts = [(lines or {})[row] for row in at.tolist()]
    return KeyCells(rows, _all_of(ROW, rows), np.full(count, math.nan), at, texts)


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
            left = _without(cells, fits)
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
    return _without(cells, fits)


def _without(cells: KeyCells, gone: NDArray[np.bool_]) -> KeyCells:
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


def _joined(pieces: Sequence[tuple[int, KeyCells]]) -> KeyCells:
    cells = [piece for _, piece in pieces]
    offsets = [0, *accumulate(len(one.rows) for one in cells)]
    return KeyCells(
        np.concatenate([one.rows + start for start, one in pieces]),
        np.concatenate([one.kinds for one in cells]),
        np.concatenate([one.values for one in cells]),
        _shifted(cells, offsets),
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


def _all_of(kind: int, rows: Integers) -> NDArray[np.uint8]:
    count = len(rows)
    return _MANY[kind][:count] if count <= _MANY.shape[1] else np.full(count, kind, np.uint8)


_MANY = np.repeat(np.arange(len(KINDS), dtype=np.uint8), 1 << 14).reshape(len(KINDS), -1)
"""Many codes of each kind: a slice costs a tenth of a new array."""
_MANY.setflags(write=False)


_NOWHERE: Integers = np.zeros(0, np.int64)
_NO_KINDS = np.zeros(0, np.uint8)
_NO_VALUES = np.zeros(0, np.float64)
