"""Rows with a line for each value, made of the cells of many runs."""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dr_wandb.core.columnar.cells import BOOL, NUMBER, Integers, KeyCells
from dr_wandb.core.columnar.run_rows import OrderedRows
from dr_wandb.core.columnar.wide import in_window
from dr_wandb.core.contract.selection import HistoryWindow


class LongRows(NamedTuple):
    """Values by run, key and row, with the number of the run in `run_ids`, of the key in `keys`.

    rows: counted in the run. has_value: whether `values` has a number. texts: those of the lines
    `text_at`, which ascend.
    """

    run_ids: Sequence[str]
    keys: Sequence[str]
    columns: "_Columns"
    has_value: NDArray[np.bool_]
    text_at: Integers
    texts: Sequence[str]


class _Columns(NamedTuple):
    """A line for each value. texts: the number of its text, -1 without one."""

    runs: NDArray[Any]
    key_codes: NDArray[Any]
    rows: NDArray[Any]
    steps: NDArray[Any]
    has_step: NDArray[Any]
    timestamps: NDArray[Any]
    kinds: NDArray[Any]
    values: NDArray[Any]
    texts: NDArray[Any]

    def only(self, which: NDArray[Any]) -> "_Columns":
        """Return some of the lines, in any order."""
        return _Columns(*(one[which] for one in self))


_NOTHING = _Columns(
    *(np.zeros(0, kind) for kind in ("i8", "i8", "i8", "i8", "?", "f8", "u1", "f8", "i8"))
)


def long_rows(
    ordered: OrderedRows, keys: Collection[str], window: HistoryWindow | None = None
) -> LongRows:
    """Return a line for each value of these keys. window: only values of these steps."""
    names = sorted(keys)
    pieces = [_NOTHING]
    texts: list[str] = []
    for number, piece in enumerate(ordered.pieces):
        for code, key in enumerate(names):
            if key in piece.columns:
                pieces.append(_columns_of(ordered, number, piece.columns[key], code, len(texts)))
                texts += piece.columns[key].texts
    columns = _Columns(*(np.concatenate(one) for one in zip(*pieces, strict=True)))
    if window is not None:
        columns = columns.only(in_window(window, columns.steps))
    columns = columns.only(np.lexsort((columns.rows, columns.key_codes, columns.runs)))
    text_at = np.flatnonzero(columns.texts >= 0)
    has_value = (columns.kinds == NUMBER) | (columns.kinds == BOOL)
    has_value[text_at] &= ~np.isnan(columns.values[text_at])  # an integer beyond all doubles
    found = [texts[number] for number in columns.texts[text_at].tolist()]
    return LongRows(ordered.run_ids, names, columns, has_value, text_at, found)


def _columns_of(
    ordered: OrderedRows, number: int, cells: KeyCells, code: int, texts_before: int
) -> _Columns:
    """Return the lines of a key in a piece."""
    piece, positions = ordered.pieces[number], ordered.positions(number)[cells.rows]
    ends = np.cumsum(ordered.counts)
    runs = np.searchsorted(ends, positions, side="right")
    texts = np.full(len(positions), -1)
    texts[cells.text_at] = np.arange(texts_before, texts_before + len(cells.texts))
    return _Columns(
        runs,
        np.full(len(positions), code),
        positions - (ends - ordered.counts - ordered.firsts)[runs],
        piece.steps[cells.rows],
        piece.has_step[cells.rows],
        piece.timestamps[cells.rows],
        cells.kinds,
        cells.values,
        texts,
    )
