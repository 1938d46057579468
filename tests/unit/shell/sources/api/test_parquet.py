"""Exported Parquet files are read in batches, however large they are."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.shell.sources.api.parquet import read_parquet

ROWS = 20_000


def test_file_is_not_held_in_memory_while_it_is_read(tmp_path: Path) -> None:
    """It was, group after group, until all of it had been read."""
    random = np.random.default_rng(1)
    path = tmp_path / "history.parquet"
    columns = {f"metric_{index}": pa.array(random.random(20 * ROWS)) for index in range(8)}
    pq.write_table(pa.table(columns), path, row_group_size=ROWS)
    before = pa.total_allocated_bytes()
    held, rows = [], 0
    for batch in read_parquet(path, FetchWindow()):
        rows += len(batch.rows)
        held.append(pa.total_allocated_bytes() - before)
    assert rows == 20 * ROWS
    assert max(held) < path.stat().st_size / 4
