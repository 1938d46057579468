"""Read the rows of a `.wandb` file, many at once.

Rules
- A row is what `decode_record` makes of its record; the fast path gives the same or gives up.
- Rows that are not written as the SDK writes them (one JSON text for each key) take the slow path.
- A row without a step of its own gets the number of such rows before it in its file.

Reading a million parsed records of eight values from Python takes the protobuf library 10 seconds
(protobuf 7, msgspec 0.22). Here their values are found with NumPy and decoded a column at a time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, compress
from typing import Any, NamedTuple

import numpy as np

from dr_wandb.core.contract.columns import (
    RowBatch,
    encode_columns,
    encode_raw_rows,
    fit_for_columns,
    safe_cells,
)
from dr_wandb.core.contract.encoded_rows import EncodedRows, SelectedRows
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.core.offline import few
from dr_wandb.core.offline.cells import (
    Cells,
    columns_of,
    last_of_each,
    overlap,
)
from dr_wandb.core.offline.parts import Records, row_of
from dr_wandb.core.offline.steps import as_step, step_of
from dr_wandb.core.offline.tree import Path
from dr_wandb.core.offline.wire import find_items

ROWS_AT_ONCE = 8192


class ColumnRows(NamedTuple):
    """Rows as columns of values, None for a row without one: a batch of a source."""

    columns: Mapping[str, Cells]
    size: int
    live: bool = True
    file: int = 0

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return the rows one by one."""
        keys = list(self.columns)
        return [
            {key: cell for key, cell in zip(keys, cells, strict=True) if cell is not None}
            for cells in zip(*self.columns.values(), strict=True)
        ] or [{}] * self.size

    def encode(self, run_id: str) -> EncodedRows:
        """Return the rows as lines."""
        if not self.columns or not fit_for_columns(self.columns):
            return encode_raw_rows(self.rows, run_id)
        columns = {key: safe_cells(cells) for key, cells in self.columns.items()}
        return encode_columns(columns, self.size, run_id)

    def select(self, run_id: str, selection: HistorySelection) -> SelectedRows:
        """Return the part of the rows that a selection admits, as lines."""
        return self.encode(run_id).select(selection)


def pieces(records: Records) -> Iterator[Records]:
    """Give the rows of a part, at most `ROWS_AT_ONCE` of them at a time."""
    for at in range(0, len(records.rows.starts), ROWS_AT_ONCE):
        yield records._replace(rows=records.rows.some(slice(at, at + ROWS_AT_ONCE)))


def odd_rows(records: Records) -> RowBatch:
    """Return the rows among the records of a part that may be of any kind."""
    rows = [row for content in records.odd if (row := row_of(content)) is not None]
    return RowBatch(rows=rows)


def last_values(records: Records) -> dict[Path, bytes] | None:
    """Return the last JSON text of each path that the changes of the summary set.

    None if they do more than set texts, or if their order matters.
    """
    _, _, begins, stops = records.summaries
    if len(begins) <= few.FEW:
        texts = few.last_texts(records.contents(records.summaries))
        return None if texts is None or overlap(texts) else texts
    items, unfit, _ = find_items(records.part, begins, stops, has_step=False)
    if unfit.any():
        return None
    return last_of_each(records.part, items)


def last_of_rows(records: Records) -> dict[Path, bytes] | None:
    """Return the last JSON text of each key of the rows of a part.

    None if that does not follow from their items, or if a value is inside of another one.
    """
    found: dict[Path, bytes] = {}
    for some in pieces(records):
        _, _, begins, stops = some.rows
        items, unfit, _ = find_items(some.part, begins, stops, has_step=True)
        last = None if unfit.any() else last_of_each(some.part, items)
        if last is None or any(len(path) > 1 for path in last):
            return None
        found.update(last)
    return None if records.odd else found


def rows_one_by_one(records: Records) -> Iterator[Mapping[str, Any]]:
    """Give the rows of a part, each decoded from its record."""
    rows = map(records.row, range(len(records.rows.starts)))
    yield from (row for row in chain(rows, map(row_of, records.odd)) if row is not None)


def read_rows(
    records: Records, window: FetchWindow, stepless: int = 0
) -> Iterator[tuple[RowBatch | ColumnRows, int]]:
    """Read the rows of a part whose step is in the window.

    stepless: the number of rows before the part without a step of their own. Each batch comes with
    that number after it.
    """
    for batch in chain(map(read_some, pieces(records)), [odd_rows(records)]):
        numbered, stepless = number_rows(batch, stepless)
        yield inside(numbered, window), stepless


def number_rows(batch: RowBatch | ColumnRows, stepless: int) -> tuple[RowBatch | ColumnRows, int]:
    """Give rows without a step of their own their numbers, and return their count so far."""
    if isinstance(batch, RowBatch):
        raw_steps = [row.get("_step") for row in batch.rows]
    else:
        raw_steps = batch.columns["_step"] if batch.size else []
    steps, after = count_on(raw_steps, stepless)
    return batch if after == stepless else with_steps(batch, steps), after


def count_on(steps: Sequence[Any], stepless: int) -> tuple[list[Any], int]:
    """Give each step that is None its number, and return the count of these so far.

    wandb-core does so when it sends rows without a step (shared mode, SDK 0.31.0): they are 0, 1,
    2, ... by themselves, for each session.
    """
    if None not in steps:
        return list(steps), stepless
    counted = []
    for step in steps:
        counted.append(stepless if step is None else step)
        stepless += step is None
    return counted, stepless


def read_some(records: Records) -> RowBatch | ColumnRows:
    """Read rows in order; those that are not fit for columns are read one by one."""
    _, _, begins, stops = records.rows
    items, unfit, beside = find_items(records.part, begins, stops, has_step=True)
    columns = columns_of(records.part, items, unfit, beside)
    if columns is None:
        unfit, columns = np.ones_like(unfit), {}
    found = ColumnRows(columns, int((~unfit).sum()))
    if not unfit.any():
        return found
    fast = iter(found.rows)
    rows = [
        records.row(index) if is_slow else next(fast)
        for index, is_slow in enumerate(unfit.tolist())
    ]
    return RowBatch(rows=[row for row in rows if row is not None])


def inside(batch: RowBatch | ColumnRows, window: FetchWindow) -> RowBatch | ColumnRows:
    """Return the part of a batch whose steps are in the window."""
    if window.whole:
        return batch
    return _chosen(batch, [window.has(step) for step in steps_of(batch)])


def _chosen(batch: RowBatch | ColumnRows, chosen: Sequence[bool]) -> RowBatch | ColumnRows:
    if isinstance(batch, RowBatch):
        return RowBatch(rows=list(compress(batch.rows, chosen)))
    columns = {key: list(compress(cells, chosen)) for key, cells in batch.columns.items()}
    return ColumnRows(columns, sum(chosen))


def steps_of(batch: RowBatch | ColumnRows) -> list[int | None]:
    """Return the steps of the rows of a batch."""
    if isinstance(batch, RowBatch):
        return [step_of(row) for row in batch.rows]
    return integers(batch.columns["_step"])


def with_steps(batch: RowBatch | ColumnRows, steps: Sequence[Any]) -> RowBatch | ColumnRows:
    """Return the rows with other steps."""
    if isinstance(batch, RowBatch):
        rows = zip(batch.rows, steps, strict=True)
        return RowBatch(rows=[{**row, "_step": step} for row, step in rows])
    return batch._replace(columns={**batch.columns, "_step": list(steps)})


def rising(steps: Iterable[int | None], after: int | None) -> list[int]:
    """Give rows steps after the last earlier one, as the server does for a resumed run."""
    following = 0 if after is None else after + 1
    risen = []
    for step in steps:
        risen.append(following if step is None else max(step, following))
        following = risen[-1] + 1
    return risen


def integers(steps: Sequence[Any]) -> list[int | None]:
    """Return steps as records hold them, None for values that no record can hold."""
    if {*map(type, steps)} == {int}:
        return list(steps)
    return [as_step(step) for step in steps]
