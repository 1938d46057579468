"""Make the cells of one key from its values: from arrays of one type, or from any JSON-safe values.

The rules of cells.py say which kind of cell a value becomes.
"""

import math
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from dr_wandb.core.columnar.cells import (
    BOOL,
    JSON,
    NOWHERE,
    NUMBER,
    TEXT,
    Doubles,
    Integers,
    KeyCells,
    all_of,
    shifted,
)
from dr_wandb.core.contract.values import EXACT_INTEGERS

NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""The numbers that are spelled as strings."""

_JSON = msgspec.json.Encoder(order="sorted")
_KIND_OF = {int: NUMBER, float: NUMBER, bool: BOOL, str: TEXT, list: JSON, dict: JSON}
_NUMBERS = frozenset({int, float})
_NO_KINDS = np.zeros(0, np.uint8)
_NO_VALUES = np.zeros(0, np.float64)


def cells_of_numbers(rows: Integers, numbers: Doubles) -> KeyCells:
    """Return the cells of doubles, one for each of these rows."""
    values = numbers + 0.0  # no -0.0
    values[values != values] = math.nan
    return KeyCells(rows, all_of(NUMBER, rows), values, NOWHERE, ())


def cells_of_integers(rows: Integers, integers: NDArray[Any]) -> KeyCells:
    """Return the cells of integers of at most 64 bits."""
    values = integers.astype(np.float64)
    large = np.flatnonzero(np.abs(values) >= EXACT_INTEGERS)
    digits = list(map(str, integers[large].tolist()))
    return KeyCells(rows, all_of(NUMBER, rows), values, large, digits)


def cells_of_booleans(rows: Integers, booleans: NDArray[Any]) -> KeyCells:
    """Return the cells of booleans."""
    return KeyCells(rows, all_of(BOOL, rows), booleans.astype(np.float64), NOWHERE, ())


def cells_of_texts(rows: Integers, texts: Sequence[str]) -> KeyCells:
    """Return the cells of texts, of which some may spell a number that is not finite."""
    if not NON_FINITE.keys().isdisjoint(texts):
        return cells_of_values(rows, texts)
    values = np.full(len(rows), math.nan)
    return KeyCells(rows, all_of(TEXT, rows), values, np.arange(len(rows)), texts)


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


def cells_by_key(rows: Iterable[Iterable[tuple[str, Any]]]) -> dict[str, KeyCells]:
    """Return the cells of rows that are given by their values, of which a null is none.

    If a key comes twice in a row, its first value counts.
    """
    found: dict[str, tuple[list[int], list[Any]]] = {}
    for row, members in enumerate(rows):
        for key, value in members:
            at, values = found.setdefault(key, ([], []))
            if value is not None and (not at or at[-1] != row):
                at.append(row)
                values.append(value)
    return {key: cells_of_values(np.array(at), values) for key, (at, values) in found.items() if at}


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
    rows = np.concatenate([NOWHERE, *(piece.rows for piece in pieces)])
    order = np.argsort(rows, kind="stable")
    if (np.diff(rows[order]) == 0).any():
        return None
    position = np.argsort(order)
    text_at = position[shifted(pieces, offsets)]
    texts = [text for piece in pieces for text in piece.texts]
    text_order = np.argsort(text_at)
    return KeyCells(
        rows[order],
        np.concatenate([_NO_KINDS, *(piece.kinds for piece in pieces)])[order],
        np.concatenate([_NO_VALUES, *(piece.values for piece in pieces)])[order],
        text_at[text_order],
        [texts[index] for index in text_order.tolist()],
    )
