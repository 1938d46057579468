"""Turn a batch of Arrow columns into history lines, or into cells. No input or output is done.

Rules
- The lines are, byte for byte, those of the row path, `encode_line(normalize_row(row))`. The cells
  are those of these lines, without text on the way.
- A null is an absent member, at any depth of objects.
- Columns take the shape of rows before anything else: a struct without `_type` becomes one column
  for each member, a struct of `_type_*` members one column of their values.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dr_wandb.core.columnar.cells import (
    CellBatch,
    Doubles,
    Integers,
    KeyCells,
    batch_of,
)
from dr_wandb.core.columnar.to_lines import plain_numbers
from dr_wandb.core.columnar.values_as_cells import (
    cells_of_booleans,
    cells_of_integers,
    cells_of_numbers,
    cells_of_texts,
    cells_of_values,
    interleaved,
)
from dr_wandb.core.contract.columns import (
    Cells,
    encode_columns,
    fit_for_columns,
    is_typed,
    safe_cells,
    select_columns,
)
from dr_wandb.core.contract.encoded_rows import EncodedRows
from dr_wandb.core.contract.normalize import whole_step
from dr_wandb.core.contract.row_shape import OWN_METADATA, is_union
from dr_wandb.core.contract.select import select_names
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.core.contract.values import EXACT_INTEGERS
from dr_wandb.shell.sources.api.arrow_values import python_values
from dr_wandb.shell.store.arrow_memory import numbers_of

FEW_ROWS = 200
"""Fewer rows are converted cell by cell: functions on whole columns cost more than they save."""

Columns = dict[str, pa.Array]


def encode_batch(batch: pa.RecordBatch, run_id: str) -> EncodedRows | None:
    """Encode the rows of a batch; None if the row path has to do it.

    Raises pyarrow's errors for values that do not read, such as text that is not UTF-8.
    """
    leaves = _leaf_columns(batch)
    columns = None if leaves is None else _all_cells(leaves)
    return None if columns is None else encode_columns(columns, batch.num_rows, run_id)


def select_batch(
    batch: pa.RecordBatch, run_id: str, selection: HistorySelection
) -> tuple[bytes, int] | None:
    """Encode the rows of a batch that a selection admits. Returns the lines and their number.

    None if the row path has to do it. Raises as `encode_batch` does.
    """
    leaves = _leaf_columns(batch)
    kept = None if leaves is None else select_names(leaves, selection)
    if leaves is None or kept is None:
        return None
    wanted = {name: leaves[name] for name in leaves if name in kept or name.startswith("_")}
    columns = _all_cells(wanted)
    if columns is None:
        return None
    return select_columns(columns, batch.num_rows, run_id, selection)


def whole_steps(batch: pa.RecordBatch) -> Sequence[int | None] | None:
    """Return the step of each row, None for one without; None if only rows have the answer."""
    leaves = _leaf_columns(batch)
    if leaves is None:
        return None
    if "_step" not in leaves:
        return [None] * batch.num_rows
    return [whole_step(cell) for cell in _cells(leaves["_step"])]


def plain_steps(batch: pa.RecordBatch) -> Integers | None:
    """Return the step of each row; None if one has none, or if they are in no column of integers.

    A double may be an integer.
    """
    names = batch.schema.names
    if names.count("_step") != 1:
        return None
    column = batch.column(names.index("_step"))
    kind = column.type
    if column.null_count or not (pa.types.is_integer(kind) or pa.types.is_float64(kind)):
        return None
    found = numbers_of(column)
    if found.dtype == np.uint64 and (found >= 1 << 63).any():
        return None
    if (
        found.dtype == np.float64
        and not ((found == np.trunc(found)) & (np.abs(found) < EXACT_INTEGERS)).all()
    ):
        return None
    return found.astype(np.int64)


def _leaf_columns(batch: pa.RecordBatch) -> Columns | None:
    """Return the columns under the flat keys of rows; None if keys collide, or do not fit."""
    if len({*batch.schema.names}) < batch.num_columns:
        return None
    leaves: Columns = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        for key, leaf in _flattened(name, column):
            if key in leaves:
                return None
            if leaf.null_count < len(leaf):
                leaves[key] = leaf
    return leaves if batch.num_columns and fit_for_columns(leaves) else None


def _flattened(name: str, column: pa.Array) -> Iterator[tuple[str, pa.Array]]:
    kind = column.type
    if not pa.types.is_struct(kind):
        yield name, column
        return
    names = [field.name for field in kind]
    if is_union(names) or ("_type" in names and name != OWN_METADATA):
        yield name, column
        return
    for member, values in zip(names, column.flatten(), strict=True):
        yield from _flattened(f"{name}.{member}", values)


def _all_cells(leaves: Columns) -> dict[str, Cells] | None:
    """Return the JSON-safe cells of all columns; None if one holds an object to be flattened."""
    columns = {name: _cells(column) for name, column in leaves.items()}
    for name, column in leaves.items():
        if _may_be_open(column.type) and not all(_stays(name, cell) for cell in columns[name]):
            return None
    return columns


def _stays(name: str, cell: Any) -> bool:
    """Say whether a JSON-safe value is a leaf of its row."""
    if type(cell) is not dict:
        return True
    return name != OWN_METADATA and (is_typed(cell) or is_union(cell))


def _may_be_open(kind: pa.DataType) -> bool:
    """Say whether a leaf may hold an object that has no `_type`."""
    return bool(pa.types.is_struct(kind) or _is_binary(kind) or pa.types.is_dictionary(kind))


def _cells(column: pa.Array) -> Cells:
    """Return the cells of a column in their JSON-safe form, None for null."""
    kind = column.type
    if len(column) >= FEW_ROWS:
        if pa.types.is_float32(kind) or pa.types.is_float64(kind):
            return _numbers(column)
        if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or _is_text(kind):
            plain: list[Any] = column.to_pylist()
            return plain
        if pa.types.is_struct(kind) and is_union([field.name for field in kind]):
            return _alternatives(column)
    return safe_cells(python_values(column))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_binary(kind: pa.DataType) -> bool:
    fixed = pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind)
    return bool(fixed or pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _alternatives(column: pa.Array) -> Cells:
    """Return the one member of each value of mixed type that is not null."""
    members = sorted(column.flatten(), key=lambda member: int(member.null_count))
    known = [member.is_valid() for member in members]
    rows = pc.sum(reduce(pc.or_, known)).as_py() or 0
    if sum(len(member) - member.null_count for member in members) > rows:
        return safe_cells(python_values(column))  # a value has several members
    cells = list(_cells(members[0]))
    for member, valid in zip(members[1:], known[1:], strict=True):
        if member.null_count < len(member):
            indices = pc.indices_nonzero(valid)
            for index, cell in zip(indices.to_pylist(), _cells(member.take(indices)), strict=True):
                cells[index] = cell
    return cells


def _numbers(column: pa.Array) -> Cells:
    """Return doubles as `values.number` does, None for null."""
    cells = plain_numbers(_doubles(column))
    if column.null_count:
        for index in pc.indices_nonzero(column.is_null()).to_pylist():
            cells[index] = None
    return cells


def _doubles(column: pa.Array) -> Doubles:
    """Return the doubles of a column of floats, any number for null.

    NumPy is used: Arrow's functions take three times as long, since each of them yields to other
    threads.
    """
    return numbers_of(column).astype(np.float64, copy=False)


def cells_of_batch(batch: pa.RecordBatch, first: int) -> CellBatch | None:
    """Turn the rows of a batch into cells; None if the row path has to do it.

    first: the number of the first row in its run. Raises as `encode_batch` does.
    """
    with np.errstate(invalid="ignore"):  # a NaN may be a signaling one
        columns = _key_cells(batch)
    return None if columns is None else batch_of(first, batch.num_rows, columns)


def _key_cells(batch: pa.RecordBatch) -> dict[str, KeyCells] | None:
    leaves = _leaf_columns(batch)
    if leaves is None:
        return None
    columns: dict[str, KeyCells] = {}
    for name, column in leaves.items():
        cells = _fast_cells(column)
        if cells is None:
            values = _cells(column)
            if _may_be_open(column.type) and not all(_stays(name, cell) for cell in values):
                return None
            rows = [row for row, value in enumerate(values) if value is not None]
            cells = cells_of_values(np.array(rows, np.int64), [values[row] for row in rows])
        columns[name] = cells
    return columns


def _fast_cells(column: pa.Array) -> KeyCells | None:
    """Return the cells of a column of plain values; None for one of another type."""
    kind = column.type
    if not _is_fast(kind):
        return None
    if column.null_count:
        rows = numbers_of(pc.indices_nonzero(column.is_valid())).astype(np.int64)
        column = column.drop_null()
    else:
        rows = np.arange(len(column))
    if pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return cells_of_numbers(rows, _doubles(column))
    if pa.types.is_integer(kind):
        return cells_of_integers(rows, numbers_of(column))
    if pa.types.is_boolean(kind):
        return cells_of_booleans(rows, numbers_of(column.cast(pa.uint8())))
    if _is_text(kind):
        return cells_of_texts(rows, column.to_pylist())
    found = _fast_cells_of_union(column)
    return None if found is None else found._replace(rows=rows[found.rows])


def _is_fast(kind: pa.DataType) -> bool:
    """Say whether values of this type are scalars, or may be scalars of mixed type."""
    if pa.types.is_struct(kind):
        return is_union([field.name for field in kind])
    numbers = pa.types.is_float32(kind) or pa.types.is_float64(kind) or pa.types.is_integer(kind)
    return bool(numbers or pa.types.is_boolean(kind) or _is_text(kind))


def _fast_cells_of_union(column: pa.Array) -> KeyCells | None:
    """Return the cells of values of mixed type; None if a value is no scalar, or has two members.

    The cells of a column without nulls: their rows are counted from its first value.
    """
    pieces: list[KeyCells] = []
    for member in column.flatten():
        if member.null_count < len(member):
            cells = _fast_cells(member)
            if cells is None:
                return None
            pieces.append(cells)
    return interleaved(pieces)
