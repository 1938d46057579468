"""Read the Parquet files of exported histories in batches, so that they may be of any size."""

from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dr_wandb.core.columnar.cells import CellBatch
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.core.contract.encoded_rows import EncodedRows, SelectedRows
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.row_shape import free_key
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.shell.sources import HistoryFiles, RawRow, RowBatch, SourceError
from dr_wandb.shell.sources.api.arrow import (
    cells_of_batch,
    encode_batch,
    plain_steps,
    select_batch,
    whole_steps,
)
from dr_wandb.shell.sources.api.arrow_values import epoch_seconds, python_values
from dr_wandb.shell.store.arrow_memory import trim_memory
from dr_wandb.shell.store.file_slice import FileSlice

CELLS_PER_BATCH = 50_000
"""A few megabytes as Python objects."""

WIDE_BATCH = 200_000
"""As many cells take less than two megabytes in Arrow's memory, if they are numbers."""

MOST_ROWS = 10_000

COLUMN_BYTES = 1 << 16
"""How many bytes of a column are read at once: a file may have thousands of columns.

With pyarrow's `pre_buffer` the whole file would stay in memory until its end (pyarrow 26)."""

BATCH_BYTES = 4 << 20
"""The size of a batch in Arrow's memory, unless a single row is larger."""

_STEP_AND_TIME = ["_step", "_timestamp"]

_REFUSALS = (pa.ArrowException, OSError, ValueError, OverflowError)


class ColumnBatch:
    """A batch of columns; a row has a null in each column that it has no value for."""

    live = False

    def __init__(self, columns: pa.RecordBatch, file: int = 0) -> None:
        self._columns = columns
        self.file = file

    @property
    def rows(self) -> Sequence[RawRow]:
        """Return the rows as dicts. Raises SourceError if a value does not read."""
        try:
            columns = [python_values(column) for column in self._columns.columns]
        except _REFUSALS as error:
            raise _unreadable(error) from error
        names = self._columns.schema.names
        if len({*names}) == len(names):
            return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]
        return [_row_of_twins(names, cells) for cells in zip(*columns, strict=True)]

    def encode(self, run_id: str) -> EncodedRows:
        """Return the rows as lines. Raises SourceError if a value does not read."""
        try:
            encoded = encode_batch(self._columns, run_id)
        except _REFUSALS as error:
            raise _unreadable(error) from error
        return encoded or RowBatch(rows=self.rows, live=False).encode(run_id)

    def cells(self, run_id: str, first: int) -> CellBatch:
        """Return the rows as cells. first: the number of the first row in its run.

        Raises SourceError if a value does not read.
        """
        try:
            found = cells_of_batch(self._columns, first)
        except _REFUSALS as error:
            raise _unreadable(error) from error
        return found or next(cells_of_lines([self.encode(run_id).lines], first))

    def rising_steps(self, after: int | None) -> Sequence[int] | None:
        """Return the steps, None unless they are sure to rise from row to row, beyond `after`."""
        steps = plain_steps(self._columns)
        if steps is None or not len(steps):
            return None if steps is None else ()
        if (after is not None and steps[0] <= after) or not (np.diff(steps) > 0).all():
            return None
        found: list[int] = steps.tolist()
        return found

    def last_line(self, run_id: str) -> bytes:
        """Return the step and the time of the last row as a line.

        Raises SourceError if a value does not read.
        """
        last = self._columns.slice(self._columns.num_rows - 1)
        names = last.schema.names
        if all(names.count(name) == 1 for name in _STEP_AND_TIME):
            last = last.select(_STEP_AND_TIME)
        return ColumnBatch(last).encode(run_id).lines

    def select(self, run_id: str, selection: HistorySelection) -> SelectedRows:
        """Return the selected rows, as lines. Raises SourceError if a value does not read."""
        rows = self._columns.num_rows
        if not rows:
            return SelectedRows(b"", 0, (), b"", b"")
        try:
            selected = select_batch(self._columns, run_id, selection)
            steps = whole_steps(self._columns)
        except _REFUSALS as error:
            raise _unreadable(error) from error
        if selected is None or steps is None:
            return self.encode(run_id).select(selection)
        first, last = (
            ColumnBatch(self._columns.slice(at, 1)).encode(run_id).lines for at in (0, rows - 1)
        )
        return SelectedRows(*selected, steps, first, last)

    def inside(self, window: FetchWindow) -> "ColumnBatch":
        """Return the rows whose step may be in a window; dropping the others saves encoding."""
        names = self._columns.schema.names
        if window.whole or names.count("_step") != 1:
            return self
        step = self._columns.column(names.index("_step"))
        if not (pa.types.is_integer(step.type) or pa.types.is_float64(step.type)):
            return self
        if pa.types.is_float64(step.type):  # a step is a whole number
            is_whole = pc.and_(pc.is_finite(step), pc.equal(pc.floor(step), step))
            step = pc.if_else(is_whole, step, 0.0)
        known_step = pc.fill_null(step, 0)
        within = (
            pc.greater_equal(known_step, window.start) if window.start else pc.is_valid(known_step)
        )
        if window.stop is not None:
            within = pc.and_(within, pc.less(known_step, window.stop))
        return ColumnBatch(self._columns.filter(within), self.file)


def _row_of_twins(names: Sequence[str], cells: Sequence[Any]) -> RawRow:
    """Return a row of a file in which two columns have the same name, with both values."""
    row: dict[str, Any] = {}
    for name, cell in zip(names, cells, strict=True):
        if cell is not None:
            row[free_key(name, row)] = cell
    return row


class ParquetFiles(HistoryFiles):
    """The Parquet files of one run, and the requested window."""

    in_columns = True

    def in_order(self) -> Sequence[Path]:
        """Return the files in the order of their first steps."""
        return in_step_order(self.paths)

    def batches(self) -> Generator[ColumnBatch]:
        """Read the rows in the order of the files' first steps."""
        return self._read(wide=False)

    def wide_batches(self) -> Generator[ColumnBatch]:
        """Read the rows in large batches, on a thread that keeps its memory."""
        return self._read(wide=True)

    def _read(self, *, wide: bool) -> Generator[ColumnBatch]:
        for number, path in enumerate(self.in_order()):
            yield from read_parquet(path, self.window, number, wide=wide)


def read_parquet(
    path: Path | FileSlice | bytes, window: FetchWindow, number: int = 0, *, wide: bool = False
) -> Iterator[ColumnBatch]:
    """Read the rows of one file that may be in a window. number: of the file.

    wide: in large batches that will not become Python objects, on a thread that keeps its memory.
    Raises SourceError if the file is incomplete: the SDK stores a part as if it were all of it.
    """
    try:
        source = pa.BufferReader(path) if isinstance(path, bytes) else path
        with pq.ParquetFile(source, buffer_size=COLUMN_BYTES, pre_buffer=False) as file:
            cells = WIDE_BATCH if wide else CELLS_PER_BATCH
            rows = max(1, min(MOST_ROWS, cells // max(1, len(file.schema.names))))
            for batch in file.iter_batches(batch_size=rows, use_threads=False):
                for piece in _pieces(epoch_seconds(batch)):
                    yield ColumnBatch(piece, number).inside(window)
    except _REFUSALS as error:
        raise _unreadable(error) from error
    finally:
        if not wide:
            trim_memory()  # else each thread would keep its memory


def count_rows(path: Path) -> int:
    """Return the row count in a file's metadata. Raises SourceError if the file is incomplete."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except _REFUSALS as error:
        raise _unreadable(error) from error


def in_step_order(paths: Sequence[Path]) -> Sequence[Path]:
    """Order files by their first steps, so that rows of files without overlap need no sorting."""
    return paths if len(paths) == 1 else sorted(paths, key=_least_step)


def _least_step(path: Path) -> float:
    """Return the least step in the statistics of a file, 0 if they have none."""
    try:
        metadata = pq.read_metadata(path)
        groups = map(metadata.row_group, range(metadata.num_row_groups))
        return min(map(_least_step_of_group, groups), default=0)
    except _REFUSALS:
        return 0  # reading the file will report the error


def _least_step_of_group(group: Any) -> float:
    for index in range(group.num_columns):
        column = group.column(index)
        if column.path_in_schema == "_step" and column.is_stats_set:
            least = column.statistics.min if column.statistics.has_min_max else None
            return least if isinstance(least, int | float) else 0
    return 0


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut a batch whose rows are large into several."""
    count = max(1, batch.nbytes // BATCH_BYTES)
    length = max(1, -(-batch.num_rows // count))
    for start in range(0, batch.num_rows, length):
        yield batch.slice(start, length)


def _unreadable(error: Exception) -> SourceError:
    reason = " ".join(str(error).split())
    text = f"an exported Parquet file cannot be read: {reason[:200]}"
    return SourceError(text, RunFailureKind.UNREADABLE)
