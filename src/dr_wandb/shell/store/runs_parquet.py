"""Write `runs.parquet`: the snapshots of `runs.jsonl` as columns, one line for each run.

Rules
- `runs.jsonl` is read twice: for the columns, then for their values. With very many different keys
  it is read once more for the columns. If the columns of an earlier file turn out to be right, it
  is read once: the file is the same, whatever was before.
- The bytes of the file depend on those of `runs.jsonl` and on the version of pyarrow alone. A group
  of rows ends by its contents, and no more than a group is held in memory.
- Columns of doubles have no statistics: by them DuckDB 2.0 skips groups with NaN.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dr_wandb.core.columnar.cells import Integers
from dr_wandb.core.columnar.files import NOTHING, Size, cuts
from dr_wandb.core.columnar.run_lines import decode_runs
from dr_wandb.core.columnar.runs import (
    PARTS,
    Column,
    ColumnType,
    KeySurvey,
    RunColumns,
    columns_with,
)
from dr_wandb.core.columnar.scalars import Scalars
from dr_wandb.core.contract.codec import encode_line
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.arrow_memory import (
    Numbers,
    bits,
    booleans_to_arrow,
    encoded_to_arrow,
    numbers_to_arrow,
    text_lengths,
    texts_to_arrow,
)
from dr_wandb.shell.store.decoding import SNAPSHOTS, one_by_one, opened
from dr_wandb.shell.store.disk_errors import disk_refusals
from dr_wandb.shell.store.group_writer import write_groups

MOST_RUNS = 16_384
"""The most runs of a group."""

MOST_TEXT_BYTES = 32 << 20
"""The most bytes of all texts of a group, unless one run has more."""

BYTES_AT_A_TIME = 1 << 20
"""How many bytes of lines are decoded at once."""

_T = TypeVar("_T")

_NUMBERS = {ColumnType.BOOL: np.bool_, ColumnType.DOUBLE: np.float64}

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


class _OtherColumnsError(Exception):
    """The runs do not have the columns that were taken for theirs."""


def write_runs(runs_file: Path, path: Path, like: Path | None = None) -> WrittenRuns:
    """Write the runs of a `runs.jsonl` to a Parquet file. Durable when it returns.

    like: an earlier file of this kind, which must not be damaged. If the columns are the same,
    `runs.jsonl` is read once. Raises DrWandbError for a line that does not read, and if the disk
    refuses. An unfinished file is for the caller to remove.
    """
    with opened(runs_file) as stream:
        contents = disk.sha256_of(runs_file)
        with suppress(_OtherColumnsError), disk_refusals(path):
            if like is not None:
                return _write_as(stream, runs_file, path, columns_in(like), contents)
        survey: KeySurvey | None = KeySurvey()
        while survey is not None:
            for runs in _of_lines(stream, runs_file, decode_runs):
                survey.add(runs)
            columns, survey = survey.columns(), survey.again()
        with disk_refusals(path):
            return _write(path, _batches(stream, runs_file, columns), columns, contents)


def _write_as(
    stream: IO[bytes], runs_file: Path, path: Path, columns: RunColumns, contents: str
) -> WrittenRuns:
    """Write the runs with columns that are a guess. Raises _OtherColumnsError if it is wrong."""
    survey = KeySurvey()
    batches = _batches(stream, runs_file, columns, survey)
    written = _write(path, batches, columns, contents)
    if survey.again() is not None or survey.columns() != columns:
        raise _OtherColumnsError
    return written


def columns_in(path: Path) -> RunColumns:
    """Return the columns of keys in a file of runs, from its schema."""
    with pq.ParquetFile(path, pre_buffer=False) as file:
        if not file.metadata.num_row_groups:
            return RunColumns()
        group, schema = file.metadata.row_group(0), file.schema_arrow
        found = {
            group.column(at).path_in_schema: group.column(at) for at in range(group.num_columns)
        }
    return columns_with(
        (field.name, _type_in(field, has_statistics=found[field.name].is_stats_set))
        for field in schema
        if field.name.startswith(PARTS)
    )


def _type_in(field: pa.Field, *, has_statistics: bool) -> ColumnType:
    """Return the type of the column of a key."""
    if field.type == pa.string():
        return ColumnType.TEXT if has_statistics else ColumnType.JSON
    return next((kind for kind, ours in _TYPES.items() if ours == field.type), ColumnType.JSON)


def _of_lines(stream: IO[bytes], path: Path, decode: Callable[[bytes], _T]) -> Iterator[_T]:
    """Give what is decoded of all lines, some at a time."""
    stream.seek(0)
    number = 0
    while lines := stream.readlines(BYTES_AT_A_TIME):
        try:
            yield decode(b"".join(lines))
        except (ValueError, RecursionError):  # a line in another form, or one that does not read
            yield decode(b"".join(map(encode_line, one_by_one(lines, path, SNAPSHOTS, number))))
        number += len(lines)


def _batches(
    stream: IO[bytes], path: Path, columns: RunColumns, survey: KeySurvey | None = None
) -> Iterator[pa.RecordBatch]:
    """Give the columns of all runs, some runs at a time.

    survey: gets all runs, if the columns are a guess. Raises _OtherColumnsError for a wrong one.
    """
    schema = _schema_of(columns.all)

    def columns_of(lines: bytes) -> pa.RecordBatch:
        runs = decode_runs(lines)
        if survey is not None:
            survey.add(runs)
            if not survey.fits(columns):
                raise _OtherColumnsError
        arrays = [
            _array(column.type, found, len(runs.runs))
            for column, found in zip(columns.all, columns.values(runs), strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    return _of_lines(stream, path, columns_of)


def _write(
    path: Path, batches: Iterable[pa.RecordBatch], columns: RunColumns, contents: str
) -> WrittenRuns:
    schema, options = _schema_of(columns.all), _options(columns.all)
    return WrittenRuns(*write_groups(path, schema, options, _groups(batches)), contents)


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Give the runs of each group in one piece."""
    held: list[pa.RecordBatch] = []
    used = NOTHING
    for batch in batches:
        each, limits = np.ones(batch.num_rows, np.int64), Size(MOST_RUNS, MOST_TEXT_BYTES)
        stops, used = cuts(each, _text_bytes_of(batch), used, limits)
        for start, stop in pairwise([0, *stops, batch.num_rows]):
            if stop > start:
                held.append(batch.slice(start, stop - start))
            if stop < batch.num_rows:
                yield pa.Table.from_batches(held).combine_chunks()
                held = []
    if held:
        yield pa.Table.from_batches(held).combine_chunks()


def _text_bytes_of(batch: pa.RecordBatch) -> Integers:
    """Return how many bytes of text each run has."""
    texts = [one for one in batch.columns if one.type == pa.string()]
    return sum(map(text_lengths, texts), np.zeros(batch.num_rows, np.int64))


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


def _array(kind: ColumnType, found: Scalars, runs: int) -> pa.Array:
    """Return the values of some runs as a column, null for a run without one."""
    at, values = found
    if kind == ColumnType.JSON:
        return encoded_to_arrow(values, at, runs)
    if kind == ColumnType.TEXT:
        return texts_to_arrow(values, at, runs)
    if kind == ColumnType.TEXTS:
        return _lists(found, runs)
    held: Numbers = np.zeros(runs, _NUMBERS.get(kind, np.int64))
    held[at] = values
    valid = None
    if len(at) < runs:
        valid = np.zeros(runs, np.bool_)
        valid[at] = True
    if kind == ColumnType.BOOL:
        return booleans_to_arrow(held, valid)
    column = numbers_to_arrow(held, valid)
    return column.view(_TIME) if kind == ColumnType.TIME else column


def _lists(found: Scalars, runs: int) -> pa.Array:
    """Return lists of texts."""
    at, lists = found
    texts = [text for one in lists for text in one]
    lengths, valid = np.zeros(runs + 1, np.int32), np.zeros(runs, np.bool_)
    lengths[at + 1] = list(map(len, lists))
    valid[at] = True
    members = texts_to_arrow(texts, np.arange(len(texts)), len(texts))
    buffers = [bits(valid), pa.py_buffer(np.cumsum(lengths, dtype=np.int32))]
    return pa.Array.from_buffers(_TYPES[ColumnType.TEXTS], runs, buffers, children=[members])
