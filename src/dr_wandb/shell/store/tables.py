"""The tables of datasets other than the history: Parquet files beside their lines.

Rules
- The lines can be had back from a table, byte for byte.
- The bytes of a file depend on the lines of its runs and on the version of pyarrow alone.
- A group of a file has whole blocks, each with consecutive rows of a run. A file is written and
  read a group at a time.
- As in the history, no column that can hold NaN has statistics.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dr_wandb.core.columnar.cells import Integers
from dr_wandb.core.columnar.files import NOTHING, cut_parts, cuts
from dr_wandb.core.columnar.samples import cells_of_samples, lines_of_samples
from dr_wandb.core.contract.dataset import CONSOLE, FILES, SYSTEM
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.records import ConsoleLine, Record, RunFile
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.arrow_memory import numbers_to_arrow, text_lengths, texts_to_arrow
from dr_wandb.shell.store.cell_columns import (
    SCHEMA,
    WORDS,
    cells_as_arrow,
    cells_of_arrow,
    one_table,
    runs_of,
    words_to_arrow,
)
from dr_wandb.shell.store.checked_parquet import DescribedFile, reading
from dr_wandb.shell.store.group_writer import WrittenFile, write_groups
from dr_wandb.shell.store.parquet_files import MOST_PIECES, OPTIONS, as_group
from dr_wandb.shell.store.writing import LineWriter


class Table(Protocol):
    """How the rows of a dataset are columns."""

    @property
    def schema(self) -> pa.Schema:
        """Return the columns."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """Return those of pyarrow's writer."""
        ...

    def blocks(self, run_id: str, lines: Iterable[bytes]) -> Iterator[pa.RecordBatch]:
        """Turn a run into blocks. lines: all of them, in batches of complete lines.

        Raises ValueError for a line that does not read.
        """
        ...

    def lines(self, run_id: str, block: pa.RecordBatch) -> bytes:
        """Return the lines of a block."""
        ...


class SampleTable:
    """Samples of machines, in the columns of the history. A block is a part of a run."""

    schema = SCHEMA
    options = OPTIONS

    def blocks(self, run_id: str, lines: Iterable[bytes]) -> Iterator[pa.RecordBatch]:
        """Turn a run into blocks."""
        return (cells_as_arrow(part, run_id) for part in cut_parts(cells_of_samples(lines)))

    def lines(self, run_id: str, block: pa.RecordBatch) -> bytes:
        """Return the lines of a block."""
        return lines_of_samples(cells_of_arrow([block]), run_id)


class RecordTable:
    """Records whose members are texts and integers, each a column of the member's name.

    order: the member by which the records of a run are ordered. integers: those that are no texts.
    words: texts of which few differ.
    """

    def __init__(
        self, record: type[Record], order: str, *, integers: Iterable[str], words: Iterable[str]
    ) -> None:
        types: dict[str, pa.DataType] = dict.fromkeys(record.__struct_fields__, pa.string())
        types |= dict.fromkeys(integers, pa.int64()) | dict.fromkeys(["run_id", *words], WORDS)
        fields = [
            pa.field(name, kind, nullable=name not in ("run_id", order))
            for name, kind in types.items()
        ]
        self.schema = pa.schema(fields)
        self.options: Mapping[str, Any] = OPTIONS | {
            "use_dictionary": [field.name for field in fields if field.type == WORDS],
            "column_encoding": dict.fromkeys(integers, "DELTA_BINARY_PACKED"),
            "write_statistics": ["run_id", order],
        }
        self._record = record
        self._decoder = msgspec.json.Decoder(record)
        self._encoder = msgspec.json.Encoder(order="sorted")

    def blocks(self, run_id: str, lines: Iterable[bytes]) -> Iterator[pa.RecordBatch]:
        """Turn a run into blocks, one for each batch of lines."""
        for some in lines:
            rows = self._decoder.decode_lines(some)
            columns = [
                _column(field.type, [getattr(row, field.name) for row in rows])
                for field in self.schema
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def lines(self, run_id: str, block: pa.RecordBatch) -> bytes:
        """Return the lines of a block."""
        return self._encoder.encode_lines([self._record(**row) for row in block.to_pylist()])


FORMS: dict[str, Table] = {
    SYSTEM: SampleTable(),
    CONSOLE: RecordTable(ConsoleLine, "number", integers=["number"], words=["level", "label"]),
    FILES: RecordTable(RunFile, "path", integers=["size"], words=["mimetype", "absent", "newer"]),
}
"""The form of each table, by dataset."""


def write_table(
    path: Path, table: Table, runs: Iterable[tuple[str, Iterable[bytes]]]
) -> WrittenFile:
    """Write a file of a table. Durable when it returns.

    runs: each line of each run, ascending by run id. Raises ValueError for one that does not read.
    """
    return write_groups(path, table.schema, table.options, _groups(table, runs))


def read_table(path: Path, table: Table) -> Iterator[tuple[str, bytes]]:
    """Read a file of a table: give the lines of some rows of a run at a time, in its order."""
    words = [field.name for field in table.schema if field.type == WORDS]
    with pq.ParquetFile(path, read_dictionary=words, pre_buffer=False) as file:
        for index in range(file.num_row_groups):
            group = file.read_row_group(index, use_threads=False)
            block = one_table(group.to_batches(), table.schema).to_batches()[0]
            run_ids, borders = runs_of(block)
            for run_id, (start, stop) in zip(run_ids, pairwise(borders), strict=True):
                yield run_id, table.lines(run_id, block.slice(start, stop - start))


def write_lines(target: Path, dataset: str, files: Mapping[Path, DataFile]) -> None:
    """Write the lines that some files of the table of a dataset hold, in the order of these.

    files: as the manifest describes them. Raises DrWandbError for one that does not read.
    """
    with LineWriter(target) as writer:
        for path, described in files.items():
            with reading(DescribedFile(path, described)):
                for _, lines in read_table(path, FORMS[dataset]):
                    writer.write(lines.splitlines(keepends=True))


def _blocks(table: Table, runs: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[pa.RecordBatch]:
    for run_id, lines in runs:
        yield from table.blocks(run_id, (some for some, _ in disk.gathered(lines)))


def _groups(table: Table, runs: Iterable[tuple[str, Iterable[bytes]]]) -> Iterator[pa.Table]:
    """Give each group: as many blocks as fit, of which each may be too large by itself."""
    joined: list[pa.RecordBatch] = []
    held: list[pa.RecordBatch] = []
    used = NOTHING
    for block in _blocks(table, runs):
        stops, used = cuts(np.array([block.num_rows]), _text_bytes_of(block), used)
        if stops:
            pieces, joined, held = [*joined, *held], [], []
            yield as_group(pieces, table.schema)
        held.append(block)
        if len(held) == MOST_PIECES:
            joined += one_table(held, table.schema).to_batches()
            held = []
    yield as_group([*joined, *held], table.schema)


def _text_bytes_of(block: pa.RecordBatch) -> Integers:
    """Return how many bytes of text a block has. Each of its words counts once."""
    texts = (one.dictionary if one.type == WORDS else one for one in block.columns)
    lengths = (text_lengths(one).sum() for one in texts if one.type == pa.string())
    return np.array([sum(lengths)], np.int64)


def _column(kind: pa.DataType, values: Sequence[Any]) -> pa.Array:
    """Return texts, words or integers as a column. Raises ValueError for more than 64 bits."""
    if kind == WORDS:
        return words_to_arrow(values)
    if kind == pa.int64():
        valid = np.array([value is not None for value in values])
        try:
            return numbers_to_arrow(np.array([value or 0 for value in values], np.int64), valid)
        except OverflowError as error:
            raise ValueError("a number has more than 64 bits") from error
    at = np.array([index for index, value in enumerate(values) if value is not None], np.int64)
    return texts_to_arrow([value for value in values if value is not None], at, len(values))
