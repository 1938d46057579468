"""Write tables of Arrow to files of CSV, Parquet and DuckDB, a piece at a time."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from dr_wandb.core.columnar.csv_lines import (
    cells_of_doubles,
    cells_of_others,
    cells_of_texts,
    lines_of_columns,
)
from dr_wandb.shell.frames.duckdb_views import add_table, insert
from dr_wandb.shell.frames.engines import library
from dr_wandb.shell.store import disk

GROUP_ROWS = 122_880
"""The rows of a group of a Parquet file, whatever pieces they come in."""


class TableWriter(Protocol):
    """Writes the rows of one table."""

    def write(self, table: pa.Table) -> None:
        """Append rows."""

    def close(self) -> None:
        """Complete the file, durable."""


class CsvWriter:
    """Writes a file of CSV: UTF-8, a line of names, lines that end in a newline."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._stream = path.open("xb")
        self._write([[name] for name in cells_of_texts(schema.names)])

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        self._write([_cells(column) for column in table.columns])

    def _write(self, columns: Sequence[Sequence[str]]) -> None:
        self._stream.write(lines_of_columns(columns).encode())

    def close(self) -> None:
        """Complete the file, durable."""
        with self._stream:
            disk.sync_file(self._stream)


def _cells(column: pa.ChunkedArray) -> list[str]:
    if pa.types.is_string(column.type):
        return cells_of_texts(column.to_pylist())
    if pa.types.is_floating(column.type):
        return cells_of_doubles(column.to_pylist())
    if pa.types.is_timestamp(column.type):
        moments = column.cast(pa.timestamp("us")).cast(pa.string()).to_pylist()
        return ["" if one is None else f"{one.replace(' ', 'T')}Z" for one in moments]
    return cells_of_others(column.to_pylist())


class ParquetWriter:
    """Writes a Parquet file. Doubles have no statistics: DuckDB 2.0 skips NaN by them."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._held = schema.empty_table()
        self._writer = pq.ParquetWriter(
            path,
            schema,
            version="2.6",
            compression="zstd",
            store_schema=False,
            write_statistics=[
                field.name
                for field in schema
                if not pa.types.is_floating(field.type) and not pa.types.is_list(field.type)
            ],
        )

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        self._held = pa.concat_tables([self._held, table])
        while self._held.num_rows >= GROUP_ROWS:
            self._writer.write_table(self._held.slice(0, GROUP_ROWS), row_group_size=GROUP_ROWS)
            self._held = self._held.slice(GROUP_ROWS)

    def close(self) -> None:
        """Complete the file, durable."""
        if self._held.num_rows:
            self._writer.write_table(self._held, row_group_size=GROUP_ROWS)
        self._writer.close()
        with self._path.open("rb+") as stream:
            disk.sync_file(stream)


class DuckdbWriter:
    """Writes a table of a file of DuckDB."""

    def __init__(self, connection: Any, name: str, schema: pa.Schema) -> None:
        self._connection = connection
        self._name = name
        add_table(connection, name, schema.empty_table())

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        insert(self._connection, self._name, table)

    def close(self) -> None:
        """Do nothing: the file is complete when its connection is closed."""


def open_file(path: Path) -> Any:
    """Open a new file of DuckDB. Raises ModuleNotFoundError without DuckDB."""
    return library("duckdb").connect(str(path))
