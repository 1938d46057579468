"""Write cells to Parquet files, and read and merge such files, in the one schema of an export.

Rules
- The bytes of a file depend on its cells and on the version of pyarrow alone, not on how the cells
  were divided into batches. So groups of rows end by the contents, and dictionaries hold their
  values in the order of first occurrence.
- No file has statistics of `value` and `timestamp`: DuckDB 2.0 skips groups with NaN by them.
- A merge holds one group of each file in memory, not the file.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import chain, groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dr_wandb.core.columnar.cells import CellBatch
from dr_wandb.core.columnar.files import MOST_CELLS, NOTHING, cuts
from dr_wandb.core.columnar.to_lines import lines_of
from dr_wandb.core.contract.encoded_rows import EncodedRows
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.cell_columns import (
    DICTIONARIES,
    SCHEMA,
    cells_as_arrow,
    cells_of_arrow,
    one_table,
    runs_of,
    text_bytes_of,
)
from dr_wandb.shell.store.group_writer import WrittenFile, write_groups

OPTIONS: dict[str, Any] = {
    "version": "2.6",
    "data_page_version": "1.0",
    "compression": "zstd",
    "compression_level": 3,
    "use_dictionary": DICTIONARIES,
    "column_encoding": {
        "row": "DELTA_BINARY_PACKED",
        "step": "DELTA_BINARY_PACKED",
        "timestamp": "BYTE_STREAM_SPLIT",
        "value": "BYTE_STREAM_SPLIT",
        "text": "PLAIN",
    },
    "write_statistics": ["run_id", "row", "step", "key"],
    "store_schema": False,
    "data_page_size": 4 << 20,
    "write_batch_size": MOST_CELLS,
    "dictionary_pagesize_limit": 64 << 20,
}
"""A page holds a whole column of a group, and a dictionary is never given up half-way."""

CELLS_AT_A_TIME = 32_768
"""How many cells are read at once."""

MOST_PIECES = 256
"""How many pieces of a group are held before they are joined: each takes some kilobytes."""


def write_cells(path: Path, batches: Iterable[pa.RecordBatch]) -> WrittenFile:
    """Write one file. Durable when it returns. batches: in the order of the file, by run, key, row.

    A group of the file ends after the last cell with which it has at most `MOST_CELLS` cells and
    `MOST_TEXT_BYTES` of text, counted from the beginning of the file.
    """
    return write_groups(path, SCHEMA, OPTIONS, _groups(batches))


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Give the cells of each group in one piece."""
    joined: list[pa.RecordBatch] = []
    held: list[pa.RecordBatch] = []
    used = NOTHING
    for batch in batches:
        stops, used = cuts(np.ones(batch.num_rows, np.int64), text_bytes_of(batch), used)
        for start, stop in pairwise([0, *stops, batch.num_rows]):
            if stop > start:
                held.append(batch.slice(start, stop - start))
            if stop < batch.num_rows:
                pieces, joined, held = [*joined, *held], [], []
                yield as_group(pieces)
        if len(held) == MOST_PIECES:
            joined += one_table(held).to_batches()
            held = []
    yield as_group([*joined, *held])


def as_group(pieces: list[pa.RecordBatch], schema: pa.Schema = SCHEMA) -> pa.Table:
    """Return pieces as one table, which is a copy, and let go of them."""
    group = one_table(pieces, schema)
    pieces.clear()
    return group


def read_cells(path: Path) -> Iterator[pa.RecordBatch]:
    """Read the cells of a file, at most `CELLS_AT_A_TIME` at once, in its order."""
    with pq.ParquetFile(path, read_dictionary=DICTIONARIES, pre_buffer=False) as file:
        yield from file.iter_batches(batch_size=CELLS_AT_A_TIME, use_threads=False)


def read_run(path: Path, run_id: str) -> CellBatch | None:
    """Read one run of a file, without the groups that cannot hold it. None if it is not there."""
    with pq.ParquetFile(path, read_dictionary=DICTIONARIES, pre_buffer=False) as file:
        groups = [
            index
            for index in range(file.num_row_groups)
            if _may_hold(file.metadata.row_group(index).column(0).statistics, run_id)
        ]
        batches = file.iter_batches(CELLS_AT_A_TIME, row_groups=groups, use_threads=False)
        pieces = [piece for found, piece in _by_run(batches) if found == run_id]
    return cells_of_arrow(pieces) if pieces else None


def _may_hold(statistics: Any, run_id: str) -> bool:
    return may_hold_any(statistics, (run_id,))


def may_hold_any(statistics: Any, texts: Iterable[str]) -> bool:
    """Say whether a column of a group may hold one of these texts.

    There may be no statistics: long texts have none, and neither has a column of nulls.
    """
    if statistics is None or not statistics.has_min_max:
        return True
    low, high = statistics.min, statistics.max
    return any(low <= text <= high for text in texts)


def read_run_ids(path: Path) -> set[str]:
    """Return the runs in a file, without reading anything else of it."""
    with pq.ParquetFile(path, read_dictionary=DICTIONARIES, pre_buffer=False) as file:
        batches = file.iter_batches(CELLS_AT_A_TIME, columns=["run_id"], use_threads=False)
        return {run_id for batch in batches for run_id in runs_of(batch)[0]}


def rows_of_part(path: Path) -> range:
    """Return the numbers of the rows in a part of a run, from its statistics."""
    metadata = pq.read_metadata(path)
    found = [metadata.row_group(at).column(1).statistics for at in range(metadata.num_row_groups)]
    return range(min(one.min for one in found), max(one.max for one in found) + 1)


def last_step_of(path: Path) -> int | None:
    """Return the highest step of a file, from its statistics; None if they do not say it."""
    metadata = pq.read_metadata(path)
    found = [metadata.row_group(at).column(2).statistics for at in range(metadata.num_row_groups)]
    if any(one is None or not one.has_min_max or one.null_count for one in found):
        return None
    return max((int(one.max) for one in found), default=None)


def read_runs(path: Path) -> Iterator[tuple[str, CellBatch]]:
    """Read the runs of a file, each as a whole: a file has at most a part of a run."""
    for run_id, pieces in groupby(_by_run(read_cells(path)), key=itemgetter(0)):
        yield run_id, cells_of_arrow([piece for _, piece in pieces])


def _by_run(batches: Iterable[pa.RecordBatch]) -> Iterator[tuple[str, pa.RecordBatch]]:
    """Divide cells at the borders of runs. A run may come in several pieces, one after another."""
    for batch in batches:
        run_ids, borders = runs_of(batch)
        for run_id, (start, stop) in zip(run_ids, pairwise(borders), strict=True):
            yield run_id, batch.slice(start, stop - start)


def read_lines(path: Path) -> Iterator[tuple[str, EncodedRows]]:
    """Read the rows of a file as lines, run by run."""
    for run_id, batch in read_runs(path):
        yield run_id, lines_of(batch, run_id)


def write_part(path: Path, run_id: str, part: CellBatch) -> WrittenFile:
    """Write a part of a run with files of its own."""
    return write_cells(path, [cells_as_arrow(part, run_id)])


Changes = Iterable[tuple[str, Iterable[pa.RecordBatch]]]
"""Runs that differ, by run id, ascending: all cells of each, none to drop it."""


def merge_pack(old: Path | None, new: Path, changes: Changes) -> WrittenFile | None:
    """Write a pack that differs from another one in some runs. The old pack stays as it is.

    old: None if there is none. Cells are those of `cells_as_arrow`, or of another file. Returns
    what the new pack holds; None, and there is no new pack, if it would hold nothing.
    """
    written = write_cells(new, _merged(() if old is None else read_cells(old), changes))
    if written.rows:
        return written
    disk.remove(new)
    return None


def _merged(kept: Iterable[pa.RecordBatch], changes: Changes) -> Iterator[pa.RecordBatch]:
    """Give the cells of the new pack. Old ones are divided at changed runs only."""
    waiting = chain(changes, (_END,))
    changed, cells = next(waiting)
    last = None  # the last changed run: its old cells may go on in the next batch
    for batch in kept:
        run_ids, borders = runs_of(batch)
        index = int(run_ids[0] == last)
        while changed is not None and changed <= run_ids[-1]:
            at = bisect_left(run_ids, changed, index)
            yield batch.slice(borders[index], borders[at] - borders[index])
            yield from cells
            index = at + (run_ids[at] == changed)
            last = changed
            changed, cells = next(waiting)
        yield batch.slice(borders[index])
    while changed is not None:
        yield from cells
        changed, cells = next(waiting)


_END: tuple[None, tuple[()]] = None, ()
