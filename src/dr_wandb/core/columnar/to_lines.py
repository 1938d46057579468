"""Turn cells back into history lines, byte for byte those that they were made from."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import numpy as np

from dr_wandb.core.columnar.cells import (
    BOOL,
    JSON,
    NUMBER,
    STEP,
    TIMESTAMP,
    CellBatch,
    Doubles,
    Integers,
    KeyCells,
)
from dr_wandb.core.contract.codec import locate
from dr_wandb.core.contract.columns import MOST_ABSENT, encode_columns, fit_for_columns
from dr_wandb.core.contract.encoded_rows import EncodedRows, encode_rows
from dr_wandb.core.contract.normalize import row_of_values
from dr_wandb.core.contract.values import EXACT_INTEGERS, number


def lines_of(batch: CellBatch, run_id: str) -> EncodedRows:
    """Return the rows of a batch as lines."""
    if not batch.row_count:
        return encode_rows(())
    columns = {key: cells for key, cells in batch.columns.items() if key is not None}
    cells = sum(len(found.rows) for found in columns.values())
    if len(columns) * batch.row_count <= MOST_ABSENT * cells and fit_for_columns(columns):
        encoded = encode_columns(_full_columns(batch), batch.row_count, run_id)
    else:
        encoded = encode_rows([row_of_values(row, run_id) for row in rows_of(batch)])
    marked = batch.columns[None]
    if not len(marked.texts):
        return encoded
    return _with_lines(encoded, dict(zip(marked.text_at.tolist(), marked.texts, strict=True)))


def plain_numbers(values: Doubles) -> list[Any]:
    """Return doubles as `values.number` does, but convert one by one only those that may differ."""
    with np.errstate(invalid="ignore"):  # a NaN may be a signaling one
        whole = (values == np.trunc(values)) & (np.abs(values) < EXACT_INTEGERS)
    if whole.all():
        return values.astype(np.int64).tolist()  # type: ignore[no-any-return]
    cells: list[Any] = values.tolist()
    indices = np.flatnonzero(whole)
    for index, integer in zip(
        indices.tolist(), values[indices].astype(np.int64).tolist(), strict=True
    ):
        cells[index] = integer
    for index in np.flatnonzero(~np.isfinite(values)).tolist():
        cells[index] = number(cells[index])
    return cells


def rows_of(batch: CellBatch) -> list[dict[str, Any]]:
    """Return the values of each row by flat keys, those of markers not among them."""
    rows: list[dict[str, Any]] = [{} for _ in range(batch.row_count)]
    for key, at, values in _values_of(batch):
        for row, value in zip(at.tolist(), values, strict=True):
            rows[row][key] = value
    return rows


def _full_columns(batch: CellBatch) -> dict[str, list[Any]]:
    """Return a value for each row and key, None for a row without one."""
    columns: dict[str, list[Any]] = {}
    for key, at, values in _values_of(batch):
        if len(at) == batch.row_count:
            columns[key] = values
            continue
        column = columns.setdefault(key, [None] * batch.row_count)
        for row, value in zip(at.tolist(), values, strict=True):
            column[row] = value
    return columns


def _values_of(batch: CellBatch) -> Iterator[tuple[str, Integers, list[Any]]]:
    """Give the values of each key with their rows; a key may come twice, for different rows."""
    at = np.flatnonzero(batch.has_step)
    yield STEP, at, batch.steps[at].tolist()
    at = np.flatnonzero(~np.isnan(batch.timestamps))
    yield TIMESTAMP, at, plain_numbers(batch.timestamps[at])
    for key, cells in batch.columns.items():
        if key is not None:
            yield key, cells.rows, values_of_cells(cells)


def values_of_cells(cells: KeyCells) -> list[Any]:
    """Return the JSON-safe value of each cell; those that are JSON already as they are."""
    all_texts = len(cells.texts) == len(cells.rows)
    values = [None] * len(cells.rows) if all_texts else plain_numbers(cells.values)
    for index in np.flatnonzero(cells.kinds == BOOL).tolist():
        values[index] = bool(cells.values[index])
    kinds = cells.kinds[cells.text_at].tolist()
    for index, kind, text in zip(cells.text_at.tolist(), kinds, cells.texts, strict=True):
        if kind == NUMBER:
            values[index] = int(text)
        else:
            values[index] = msgspec.Raw(text.encode()) if kind == JSON else text
    return values


def _with_lines(encoded: EncodedRows, lines: Mapping[int, str]) -> EncodedRows:
    """Return the rows with some of their lines replaced."""
    found = encoded.lines.splitlines(keepends=True)
    steps, timestamps = list(encoded.steps), list(encoded.timestamps)
    for row, text in lines.items():
        found[row] = f"{text}\n".encode()
        _, steps[row], timestamps[row] = locate(found[row])
    return EncodedRows(b"".join(found), steps, timestamps)
