"""Write a Parquet file group by group, digested on the way."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from dr_wandb.shell.store.hashed_stream import HashedStream

WRITTEN_AT_ONCE = 1 << 20
"""Arrow gives its stream each page and each header by itself, and waits for Python each time."""


class WrittenFile(NamedTuple):
    """What a file holds: rows of its table, bytes, and their SHA-256."""

    rows: int
    bytes: int
    sha256: str


class GroupWriter:
    """Writes one Parquet file. Durable when the `with` block ends.

    options: those of pyarrow's writer.
    """

    def __init__(self, path: Path, schema: pa.Schema, options: Mapping[str, Any]) -> None:
        self._stream = HashedStream(path)
        file = pa.PythonFile(self._stream, mode="w")
        self._buffer = pa.BufferedOutputStream(file, WRITTEN_AT_ONCE)
        self._writer = pq.ParquetWriter(self._buffer, schema, **options)
        self._rows = 0

    def __enter__(self) -> "GroupWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._writer.close()
                self._buffer.flush()
                self._stream.make_durable()
        finally:
            with suppress(OSError, pa.ArrowException):  # nobody will read an incomplete file
                self._writer.close()
                self._buffer.close()
            self._stream.end()

    def write(self, group: pa.Table) -> None:
        """Append a group of rows, nothing if it has none."""
        if group.num_rows:
            self._writer.write_table(group, row_group_size=group.num_rows)
            self._rows += group.num_rows

    @property
    def written(self) -> WrittenFile:
        """Return what the file holds, after the `with` block."""
        return WrittenFile(self._rows, self._stream.length, self._stream.sha256)
