"""Write a Parquet file group by group, digested on the way."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
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


def write_groups(
    path: Path, schema: pa.Schema, options: Mapping[str, Any], groups: Iterable[pa.Table]
) -> WrittenFile:
    """Write one file. Durable when it returns.

    options: those of pyarrow's writer. groups: the rows of each group; one without rows is none.
    """
    stream, rows = HashedStream(path), 0
    buffer = pa.BufferedOutputStream(pa.PythonFile(stream, mode="w"), WRITTEN_AT_ONCE)
    writer = pq.ParquetWriter(buffer, schema, **options)
    try:
        for group in groups:
            if group.num_rows:
                writer.write_table(group, row_group_size=group.num_rows)
                rows += group.num_rows
            del group  # before the rows of the next one come
        writer.close()
        buffer.flush()
        stream.make_durable()
    finally:
        with suppress(OSError, pa.ArrowException):  # nobody will read an incomplete file
            writer.close()
            buffer.close()
        stream.end()
    return WrittenFile(rows, stream.length, stream.sha256)
