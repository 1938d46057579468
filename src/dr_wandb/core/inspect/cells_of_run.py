"""Check the cells of a run in a Parquet file: their order, and whether the run belongs there."""

import numpy as np

from dr_wandb.core.columnar.cells import CellBatch, key_order
from dr_wandb.core.columnar.files import month_of
from dr_wandb.core.contract.export_files import PARQUET_HISTORY


def problem_of_cells(batch: CellBatch) -> str | None:
    """Say what is wrong with the order of the cells of a run in a file, None if nothing is."""
    if list(batch.columns) != sorted(batch.columns, key=key_order):
        return "has keys that are not in order"
    for key, cells in batch.columns.items():
        if (np.diff(cells.rows) <= 0).any():
            return f"has cells of {key!r} that are not in order"
    return None


def problem_of_home(name: str, run_id: str, created_at: str | None) -> str | None:
    """Say whether a run belongs into a file of another month, None if it does not."""
    month = month_of(created_at)
    if name.startswith(f"{PARQUET_HISTORY}/{month}-"):
        return None
    return f"has run {run_id!r}, which belongs into a file of {month}"
