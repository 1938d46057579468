"""Count the rows of a `.wandb` file, and find their steps and latest time.

Rules
- Counting and reading use the same rule for rows, so that the count is always that of the rows.
- Of rows that are only counted, nothing but the steps and the times is decoded.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from dr_wandb.core.contract.columns import RowBatch
from dr_wandb.core.offline import few
from dr_wandb.core.offline.cells import Cells, own_columns, own_or_beside
from dr_wandb.core.offline.framing import Offsets
from dr_wandb.core.offline.parts import Records
from dr_wandb.core.offline.rows import (
    ColumnRows,
    count_on,
    integers,
    number_rows,
    odd_rows,
    pieces,
    read_some,
    steps_of,
)
from dr_wandb.core.offline.wire import Flags, find_items


class CountedRows(NamedTuple):
    """Some rows of a file: their steps, the latest of their times, how many cannot be read.

    stepless: the number of rows of the file, up to these, without a step of their own.
    """

    steps: list[int | None]
    moment: float | None
    unreadable: int
    stepless: int


def count_rows(records: Records, stepless: int) -> Iterator[CountedRows]:
    """Count the rows of a part. stepless: the rows before it without a step of their own."""
    for some in pieces(records):
        counted = _count(some, stepless)
        stepless = counted.stepless
        yield counted
    odd = odd_rows(records).rows
    steps, stepless = count_on([row.get("_step") for row in odd], stepless)
    yield CountedRows(integers(steps), _latest(map(_moment_of, odd)), 0, stepless)


def read_and_count(
    records: Records, stepless: int
) -> Iterator[tuple[RowBatch | ColumnRows, CountedRows]]:
    """Read all rows of a part; each batch comes with what `count_rows` gives for its rows."""
    for some in pieces(records):
        batch = read_some(some)
        unreadable = len(some.rows.starts) - batch.size
        numbered, stepless = number_rows(batch, stepless)
        yield numbered, _counted(numbered, unreadable, stepless)
    numbered, stepless = number_rows(odd_rows(records), stepless)
    yield numbered, _counted(numbered, 0, stepless)


def _counted(batch: RowBatch | ColumnRows, unreadable: int, stepless: int) -> CountedRows:
    if isinstance(batch, RowBatch):
        moments = list(map(_moment_of, batch.rows))
    else:
        moments = batch.columns.get("_timestamp", [])
    return CountedRows(steps_of(batch), _latest(moments), unreadable, stepless)


def _count(records: Records, stepless: int) -> CountedRows:
    (steps, moments), unfit, beside = _own_numbers(records, ("_step", "_timestamp"))
    if None in steps:
        steps = own_or_beside(steps, beside)
    if not unfit.any() and {*map(type, steps)} == {int}:
        return CountedRows(steps, _latest(moments), 0, stepless)
    unreadable = set()
    for index in np.flatnonzero(unfit).tolist():
        row = records.row(index)
        if row is None:
            unreadable.add(index)
        else:
            steps[index], moments[index] = row.get("_step"), row.get("_timestamp")
    read = [step for index, step in enumerate(steps) if index not in unreadable]
    counted, stepless = count_on(read, stepless)
    return CountedRows(integers(counted), _latest(moments), len(unreadable), stepless)


def _own_numbers(records: Records, keys: Sequence[str]) -> tuple[list[Cells], Flags, Offsets]:
    """Return the values at some of W&B's own keys, and the rows whose values may be wrong.

    The third result has the steps that the rows have beside their items, -1 for none.
    """
    _, _, begins, stops = records.rows
    if len(begins) <= few.FEW:
        return few.own_numbers(records.contents(records.rows), keys)
    items, unfit, beside = find_items(records.part, begins, stops, has_step=True)
    return own_columns(records.part, items, unfit, keys), unfit, beside


def _latest(moments: Iterable[Any]) -> float | None:
    """Return the latest of some times; values that cannot be times do not count."""
    known = [m for m in moments if type(m) in _NUMBERS and 0 < m < _NO_MOMENT]
    return float(max(known)) if known else None


_NUMBERS = frozenset({int, float})

_NO_MOMENT = 1e11
"""Epoch seconds beyond the year 5000."""


def _moment_of(row: Mapping[str, Any]) -> Any:
    return row.get("_timestamp")
