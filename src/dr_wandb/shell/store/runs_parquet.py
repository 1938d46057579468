"""Write `runs.parquet`: the snapshots of `runs.jsonl` as columns, one line for each run.

Rules
- `runs.jsonl` is read twice: for the columns, then for their values. With very many different keys
  it is read once more for the columns.
- The bytes of the file depend on those of `runs.jsonl` and on the version of pyarrow alone. A group
  of rows ends by its contents, and no more than a group is held in memory.
- Columns of doubles have no statistics: by them DuckDB 2.0 skips groups with NaN.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dr_wandb.core.columnar.runs import Column, ColumnType, KeySurvey, RunColumns
from dr_wandb.core.contract.records import RunSnapshot
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.arrow_memory import Valid, bits, numbers_to_arrow, texts_to_arrow
from dr_wandb.shell.store.decoding import SNAPSHOTS, decode_stream, opened
from dr_wandb.shell.store.disk_errors import disk_refusals
from dr_wandb.shell.store.hashed_stream import HashedStream

MOST_RUNS = 16_384
"""The most runs of a group."""

MOST_LETTERS = 32 << 20
"""The most letters of all texts of a group, unless one run has more."""

_TIME = pa.timestamp("us", tz="UTC")

_TYPES: dict[ColumnType, pa.DataType] = {
    ColumnType.BOOL: pa.bool_(),
    ColumnType.INTEGER: pa.int64(),
    ColumnType.DOUBLE: pa.float64(),
    ColumnType.TEXT: pa.string(),
    ColumnType.TEXTS: pa.list_(pa.field("element", pa.string(), nullable=False)),
    ColumnType.TIME: _TIME,
    ColumnType.JSON: pa.string(),
}

_WITH_STATISTICS = (ColumnType.BOOL, ColumnType.INTEGER, ColumnType.TEXT, ColumnType.TIME)


class WrittenRuns(NamedTuple):
    """What the file holds: runs, bytes, and their SHA-256.

    contents: the SHA-256 of the `runs.jsonl` that it was made from.
    """

    runs: int
    bytes: int
    sha256: str
    contents: str


def write_runs(runs_file: Path, path: Path) -> WrittenRuns:
    """Write the runs of a `runs.jsonl` to a Parquet file. Durable when it returns.

    Raises DrWandbError for a line that does not read, and if the disk refuses. An unfinished file
    is for the caller to remove.
    """
    with opened(runs_file) as stream:
        contents = disk.sha256_of(runs_file)
        survey: KeySurvey | None = KeySurvey()
        while survey is not None:
            stream.seek(0)
            for snapshot in decode_stream(stream, runs_file, SNAPSHOTS):
                survey.add(snapshot)
            columns, survey = survey.columns(), survey.again()
        stream.seek(0)
        snapshots = decode_stream(stream, runs_file, SNAPSHOTS)
        with disk_refusals(path):
            return _write(path, snapshots, columns, contents)


def _write(
    path: Path, snapshots: Iterable[RunSnapshot], columns: RunColumns, contents: str
) -> WrittenRuns:
    schema, written, runs = _schema_of(columns.all), HashedStream(path), 0
    writer = pq.ParquetWriter(written, schema, **_options(columns.all))
    try:
        for group in _groups(snapshots, columns):
            arrays = [
                _array(column.type, values)
                for column, values in zip(columns.all, zip(*group, strict=True), strict=True)
            ]
            table = pa.Table.from_arrays(arrays, schema=schema)
            writer.write_table(table, row_group_size=len(group))
            runs += len(group)
        writer.close()
        written.make_durable()
    finally:
        with suppress(OSError, pa.ArrowException):  # nobody will read an incomplete file
            writer.close()
        written.end()
    return WrittenRuns(runs, written.length, written.sha256, contents)


def _groups(snapshots: Iterable[RunSnapshot], columns: RunColumns) -> Iterator[list[list[Any]]]:
    """Give the values of the runs of each group."""
    group: list[list[Any]] = []
    letters = 0
    for snapshot in snapshots:
        values = columns.values(snapshot)
        more = sum(len(value) for value in values if isinstance(value, str))
        if group and (len(group) == MOST_RUNS or letters + more > MOST_LETTERS):
            yield group
            group, letters = [], 0
        group.append(values)
        letters += more
    if group:
        yield group


def _schema_of(columns: Sequence[Column]) -> pa.Schema:
    return pa.schema(
        [pa.field(one.name, _TYPES[one.type], nullable=not one.always) for one in columns]
    )


def _options(columns: Sequence[Column]) -> dict[str, Any]:
    """Return how the columns are written."""
    doubles = [one.name for one in columns if one.type == ColumnType.DOUBLE]
    return {
        "version": "2.6",
        "data_page_version": "1.0",
        "compression": "zstd",
        "compression_level": 3,
        "use_dictionary": [one.name for one in columns if one.type == ColumnType.TEXT],
        "column_encoding": dict.fromkeys(doubles, "BYTE_STREAM_SPLIT"),
        "write_statistics": [one.name for one in columns if one.type in _WITH_STATISTICS],
        "store_schema": False,
    }


def _array(kind: ColumnType, values: Sequence[Any]) -> pa.Array:
    """Return the values of a column, which are None for a run without one."""
    valid = np.array([value is not None for value in values], np.bool_)
    at = np.flatnonzero(valid)
    found = [value for value in values if value is not None]
    if kind in (ColumnType.TEXT, ColumnType.JSON):
        return texts_to_arrow(found, at, len(values))
    if kind == ColumnType.TEXTS:
        return _lists(values, valid)
    if kind == ColumnType.BOOL:
        held = np.zeros(len(values), np.bool_)
        held[at] = found
        buffers = [bits(valid), pa.py_buffer(np.packbits(held, bitorder="little"))]
        return pa.Array.from_buffers(pa.bool_(), len(values), buffers)
    numbers = np.zeros(len(values), np.float64 if kind == ColumnType.DOUBLE else np.int64)
    numbers[at] = found
    column = numbers_to_arrow(numbers, valid)
    return column.view(_TIME) if kind == ColumnType.TIME else column


def _lists(values: Sequence[Sequence[str] | None], valid: Valid) -> pa.Array:
    """Return lists of texts."""
    texts = [text for one in values for text in one or ()]
    ends = np.array([0, *accumulate(len(one or ()) for one in values)], np.int32)
    members = texts_to_arrow(texts, np.arange(len(texts)), len(texts))
    buffers = [bits(valid), pa.py_buffer(ends)]
    return pa.Array.from_buffers(_TYPES[ColumnType.TEXTS], len(values), buffers, children=[members])
