"""Read the Parquet files that W&B exports histories to, in batches, whatever their size."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dr_wandb.shell.sources import RowBatch, SourceError

ROWS_PER_BATCH = 2_000


def read_parquet(path: Path) -> Iterator[RowBatch]:
    """Read the rows of one file, with a null for each column that a row has no value in.

    Raises SourceError where the file is not whole: the SDK stores what it got as if it were.
    """
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=ROWS_PER_BATCH):
                yield RowBatch(rows=batch.to_pylist(), live=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SourceError(f"an exported Parquet file does not read: {reason[:200]}") from error
