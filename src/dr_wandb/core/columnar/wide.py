"""Rows with a column for each metric, made of the cells of many runs.

Rules
- A value is in its row. A row without one has none, which is not NaN.
- No value changes: the type of a column is one that holds all values of the metric.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from dr_wandb.core.columnar.cells import NOWHERE, Doubles, Integers, KeyCells
from dr_wandb.core.columnar.run_rows import OrderedRows
from dr_wandb.core.columnar.runs import ColumnType
from dr_wandb.core.columnar.to_lines import values_of_cells
from dr_wandb.core.contract.selection import HistoryWindow

_JSON = msgspec.json.Encoder(order="sorted")

_NUMBERS = {
    ColumnType.BOOL: np.dtype(np.bool_),
    ColumnType.INTEGER: np.dtype(np.int64),
    ColumnType.DOUBLE: np.dtype(np.float64),
}


class MetricColumn(NamedTuple):
    """The values of a metric. valid: the rows that have one.

    numbers: a boolean, an integer or a double for each row, None in a column of texts. texts: those
    of the rows that have one, in order.
    """

    type: ColumnType
    valid: NDArray[np.bool_]
    numbers: NDArray[Any] | None
    texts: Sequence[str] = ()


class WideRows(NamedTuple):
    """Rows by run and row. run_ids: the runs that have some; `counts` is how many each has."""

    run_ids: Sequence[str]
    counts: Integers
    steps: Integers
    has_step: NDArray[np.bool_]
    timestamps: Doubles
    columns: Mapping[str, MetricColumn]


def wide_rows(
    ordered: OrderedRows,
    types: Mapping[str, ColumnType],
    window: HistoryWindow | None = None,
    *,
    every_row: bool = False,
) -> WideRows:
    """Return rows with a column for each of the metrics whose types are given.

    window: only rows of these steps. every_row: rows without any of the metrics too.
    """
    count = ordered.row_count
    steps, has_step = np.zeros(count, np.int64), np.zeros(count, np.bool_)
    timestamps = np.empty(count, np.float64)
    for number, piece in enumerate(ordered.pieces):
        ordered.put(steps, number, piece.steps)
        ordered.put(has_step, number, piece.has_step)
        ordered.put(timestamps, number, piece.timestamps)
    columns = {key: _column(ordered, key, kind) for key, kind in types.items()}
    rows = WideRows(ordered.run_ids, ordered.counts, steps, has_step, timestamps, columns)
    kept = np.ones(count, np.bool_) if every_row else _with_any(columns, count)
    if window is not None:
        kept &= in_window(window, steps)
    return rows if kept.all() else _only(rows, kept)


def in_window(window: HistoryWindow, steps: Integers) -> NDArray[np.bool_]:
    """Say which steps are inside a window; a row without a step counts as step 0."""
    low = -(2**63) if window.min_step is None else min(window.min_step, 2**63 - 1)
    kept = steps >= low
    if window.min_step is not None and window.min_step >= 2**63:
        kept[:] = False
    if window.max_step is not None and window.max_step < 2**63:
        kept &= steps < window.max_step
    return kept


def _with_any(columns: Mapping[str, MetricColumn], count: int) -> NDArray[np.bool_]:
    kept = np.zeros(count, np.bool_)
    for column in columns.values():
        kept |= column.valid
    return kept


def _column(ordered: OrderedRows, key: str, kind: ColumnType) -> MetricColumn:
    valid = np.zeros(ordered.row_count, np.bool_)
    numbers = None if kind not in _NUMBERS else np.zeros(ordered.row_count, _NUMBERS[kind])
    cells = [
        (n, piece.columns[key]) for n, piece in enumerate(ordered.pieces) if key in piece.columns
    ]
    for number, found in cells:
        _put(ordered, valid, number, found, np.ones(len(found.rows), np.bool_))
        if numbers is not None:
            values = found.values if kind == ColumnType.DOUBLE else _whole(found)
            _put(ordered, numbers, number, found, values)
    texts = [] if numbers is not None else _texts(ordered, cells, kind)
    return MetricColumn(kind, valid, numbers, texts)


def _put(
    ordered: OrderedRows,
    target: NDArray[Any],
    number: int,
    cells: KeyCells,
    values: NDArray[Any],
) -> None:
    """Put the values of cells of a piece into the positions of their rows."""
    if len(cells.rows) == ordered.pieces[number].row_count:
        ordered.put(target, number, values)
    else:
        target[ordered.positions(number)[cells.rows]] = values


def _whole(cells: KeyCells) -> Integers:
    """Return integers of 64 bits, or booleans as such."""
    values = cells.values
    if len(cells.texts):
        values = values.copy()
        values[cells.text_at] = 0
    integers = values.astype(np.int64)
    for index, text in zip(cells.text_at.tolist(), cells.texts, strict=True):
        integers[index] = int(text)
    return integers


def _texts(
    ordered: OrderedRows, cells: Sequence[tuple[int, KeyCells]], kind: ColumnType
) -> list[str]:
    """Return the texts of cells by position."""
    texts = [text for _, found in cells for text in texts_of(found, kind)]
    positions = (ordered.positions(number)[found.rows] for number, found in cells)
    order = np.argsort(np.concatenate([NOWHERE, *positions]))
    return [texts[index] for index in order.tolist()]


def texts_of(cells: KeyCells, kind: ColumnType) -> list[str]:
    """Return each value as text, or as JSON."""
    values = values_of_cells(cells)
    if kind == ColumnType.TEXT:  # values that are no texts are spelled as one
        return values
    return [_JSON.encode(value).decode() for value in values]


def _only(rows: WideRows, kept: NDArray[np.bool_]) -> WideRows:
    ends = np.cumsum(rows.counts)
    before = np.concatenate([[0], np.cumsum(kept)])
    counts = before[ends] - before[ends - rows.counts]
    return WideRows(
        [run_id for run_id, left in zip(rows.run_ids, counts.tolist(), strict=True) if left],
        counts[counts > 0],
        rows.steps[kept],
        rows.has_step[kept],
        rows.timestamps[kept],
        {key: _only_column(column, kept) for key, column in rows.columns.items()},
    )


def _only_column(column: MetricColumn, kept: NDArray[np.bool_]) -> MetricColumn:
    texts = column.texts
    if len(texts):
        texts = [text for text, left in zip(texts, kept[column.valid], strict=True) if left]
    numbers = None if column.numbers is None else column.numbers[kept]
    return MetricColumn(column.type, column.valid[kept], numbers, texts)
