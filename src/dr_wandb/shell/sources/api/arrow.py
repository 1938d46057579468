"""Turn a batch of Arrow columns into history lines. Touches nothing, but needs pyarrow.

Rules
- The lines are, byte for byte, those of the row path, `encode_line(normalize_row(row))`.
- A null is an absent member, wherever it stands.
"""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dr_wandb.core.contract.values import EXACT_INTEGERS, json_safe, number
from dr_wandb.core.sync.columns import Cells, encode_columns, fit_for_columns, safe_cells
from dr_wandb.core.sync.merge import EncodedRows

FEW_ROWS = 200
"""Fewer rows are looked at cell by cell: functions on whole columns cost more than they save."""


def encode_batch(batch: pa.RecordBatch, run_id: str) -> EncodedRows | None:
    """Encode the rows of a batch; None where the row path has to do it.

    Raises what pyarrow does for values that do not read, such as text that is not UTF-8.
    """
    names = batch.schema.names
    if not names or len({*names}) < len(names) or not fit_for_columns(names):
        return None
    columns = {
        name: _cells(column)
        for name, column in zip(names, batch.columns, strict=True)
        if column.null_count < batch.num_rows
    }
    return encode_columns(columns, batch.num_rows, run_id)


def _cells(column: pa.Array) -> Cells:
    """Return the cells of a column in their JSON-safe form, None where null."""
    kind = column.type
    if len(column) < FEW_ROWS:
        return safe_cells(column.to_pylist())
    if pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return _numbers(column)
    cells: list[Any] = column.to_pylist()
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or _is_text(kind):
        return cells
    return [None if cell is None else json_safe(cell, drop_nulls=True, depth=1) for cell in cells]


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _numbers(column: pa.Array) -> Cells:
    """Return doubles as `values.number` does, looking at each one only where it may differ.

    NumPy does it: Arrow's functions take three times as long, as each lets other threads go first.
    It reads Arrow's memory, as `to_numpy` imports pandas where that is installed (pyarrow 26).
    """
    kind = np.float32 if pa.types.is_float32(column.type) else np.float64
    held = np.frombuffer(column.buffers()[1], kind)[column.offset : column.offset + len(column)]
    values = held.astype(np.float64, copy=False)
    whole = (values == np.trunc(values)) & (np.abs(values) < EXACT_INTEGERS)
    if whole.all() and not column.null_count:
        return values.astype(np.int64).tolist()  # type: ignore[no-any-return]
    cells: list[Any] = values.tolist()
    places = np.flatnonzero(whole)
    for place, integer in zip(
        places.tolist(), values[places].astype(np.int64).tolist(), strict=True
    ):
        cells[place] = integer
    for place in np.flatnonzero(~np.isfinite(values)).tolist():
        cells[place] = number(cells[place])
    if column.null_count:
        for place in pc.indices_nonzero(column.is_null()).to_pylist():
            cells[place] = None
    return cells
