"""Turn history lines into cells.

Rules
- The cells do not depend on how the lines are divided into batches.
- Lines as this tool writes them are decoded into structs whose fields are the names of the rows
  before them. A batch with another name, or with a row that its cells might not give back, is
  decoded into dicts, and its cells are turned into lines again: a row that differs has its line as
  the text of its marker cell. A row can be so if it was joined from several copies.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np

from dr_wandb.core.columnar.cells import (
    STEP,
    TIMESTAMP,
    CellBatch,
    Doubles,
    Integers,
    KeyCells,
    batch_of,
    with_differing_lines,
)
from dr_wandb.core.columnar.to_lines import lines_of
from dr_wandb.core.columnar.values_as_cells import (
    cells_by_key,
    cells_of_numbers,
    cells_of_values,
)
from dr_wandb.core.contract.codec import moment_of
from dr_wandb.core.contract.columns import MOST_ABSENT, fit_for_columns
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.row_shape import OWN_PREFIX
from dr_wandb.core.contract.values import EXACT_INTEGERS

RUNTIME = "_runtime"

MOST_NAMES = 1000
"""Rows with more names are decoded into dicts."""

_OWN = frozenset({STEP, TIMESTAMP, RUNTIME})
_NUMBERS = frozenset({int, float})
_ENCODER = msgspec.json.Encoder()
_NUMBERS_IN_LIST = msgspec.json.Decoder(list[int | float])
_ROWS = msgspec.json.Decoder(HistoryRow)


class _Name(NamedTuple):
    """A name in an object of rows. is_number: all values so far are doubles, or fit into them."""

    name: str
    is_number: bool


class _Names(NamedTuple):
    """The names in the three objects of rows, sorted."""

    extra: tuple[_Name, ...] = ()
    metrics: tuple[_Name, ...] = ()
    metadata: tuple[_Name, ...] = ()


@lru_cache(maxsize=64)
def _are_usual(names: _Names) -> bool:
    """Say whether the cells of rows with these names certainly give the rows back."""
    extra, metrics, metadata = ([name for name, _ in part] for part in names)
    return (
        len(extra) + len(metrics) + len(metadata) <= MOST_NAMES
        and fit_for_columns([*extra, *metrics, *metadata])
        and not any(name.startswith("_") for name in metrics)
        and all(name.startswith("_") for name in extra)
        and not any(name in _OWN or name.startswith(OWN_PREFIX) for name in extra)
    )


class UnusualError(Exception):
    """A batch has a name or a value that needs a closer look."""


def cells_of_lines(batches: Iterable[bytes], first: int = 0) -> Iterator[CellBatch]:
    """Turn batches of complete lines of one run into cells.

    first: the number of the first row in its run. Raises ValueError for a line that does not read.
    """
    names: _Names | None = None
    for lines in batches:
        names = names or _names_of(_ROWS.decode_lines(lines[: lines.find(b"\n") + 1]))
        try:
            batch = _usual_cells(lines, first, names)
        except (UnusualError, msgspec.DecodeError):
            rows = _ROWS.decode_lines(lines)
            batch = _any_cells(rows, lines, first)
            names = _more_names(names, rows)
        yield batch
        first += batch.row_count


def _usual_cells(lines: bytes, first: int, names: _Names) -> CellBatch:
    """Turn lines into cells. Raises UnusualError or DecodeError if they are not all usual."""
    if not _are_usual(names):
        raise UnusualError
    rows = _decoder(names).decode_lines(lines)
    columns: dict[str, KeyCells | None] = {}
    for part, start in zip(_Names._fields, ("", "", OWN_PREFIX), strict=True):
        members = list(map(attrgetter(part), rows))
        for index, (name, is_number) in enumerate(getattr(names, part)):
            values = map(attrgetter(f"key{index}"), members)
            if is_number:
                cells = present_numbers(np.fromiter(values, np.float64, len(rows)))
            else:
                cells = present(list(values), msgspec.UNSET)
            columns[f"{start}{name}"] = cells
    columns[RUNTIME] = present_numbers(np.array([row.runtime for row in rows], np.float64))
    columns[STEP] = present([row.step for row in rows], None)
    columns[TIMESTAMP] = present(moments_of([row.timestamp for row in rows]), None)
    found = {key: cells for key, cells in columns.items() if cells is not None}
    return batch_of(first, len(rows), found)


def present(values: Sequence[Any], absent: Any) -> KeyCells | None:
    """Return the cells of values, None if no row has one.

    absent: the value for a row without one. Raises UnusualError for any other null.
    """
    types = {*map(type, values)}
    rows: Integers = np.arange(len(values))
    if type(absent) in types:
        types.discard(type(absent))
        rows = np.array([row for row, value in enumerate(values) if value is not absent], np.int64)
        values = [value for value in values if value is not absent]
    if type(None) in types:
        raise UnusualError
    return cells_of_values(rows, values) if types else None


def present_numbers(found: Doubles) -> KeyCells | None:
    """Return the cells of numbers, NaN for a row without one. None if no row has one.

    Raises UnusualError for a number that may have been an integer which is no double.
    """
    if (np.abs(found) >= EXACT_INTEGERS).any():
        raise UnusualError
    rows = (found == found).nonzero()[0]
    if len(rows) < len(found):
        found = found[rows]
    return cells_of_numbers(rows, found) if len(rows) else None


def moments_of(timestamps: Sequence[str | None]) -> Sequence[float | None]:
    """Return the numbers that timestamps spell. Raises UnusualError if one spells none."""
    texts = [text for text in timestamps if text is not None]
    moments: list[float] = doubles_of(texts).tolist()
    if len(moments) == len(timestamps):
        return moments
    known = iter(moments)
    return [None if text is None else next(known) for text in timestamps]


def doubles_of(texts: Sequence[str]) -> Doubles:
    """Return the numbers that texts spell, each as a double and as an export spells it.

    Raises UnusualError if one spells none, or one of 2**53 and more.
    """
    joined = ",".join(texts)
    try:
        numbers = _NUMBERS_IN_LIST.decode(f"[{joined}]")
    except msgspec.DecodeError as error:
        raise UnusualError from error
    found = np.array(numbers, np.float64)
    as_double = ".0," in f"{joined},"  # as of 4.0, which is spelled 4
    if len(found) != len(texts) or as_double or (np.abs(found) >= EXACT_INTEGERS).any():
        raise UnusualError
    if _ENCODER.encode(numbers) != f"[{joined}]".encode():
        raise UnusualError
    return found


@lru_cache(maxsize=64)
def _decoder(names: _Names) -> msgspec.json.Decoder[Any]:
    """Return a decoder of rows that have no other names than these."""
    fields: list[tuple[str, Any]] = [
        *zip(_Names._fields, map(_members_type, names), strict=True),
        ("run_id", str),
        ("runtime", float | None),
        ("step", int | None),
        ("timestamp", str | None),
    ]
    rename = {"metadata": "wandb_metadata"}
    row = msgspec.defstruct("Row", fields, rename=rename, gc=False, forbid_unknown_fields=True)
    return msgspec.json.Decoder(row)


def _members_type(names: Sequence[_Name]) -> Any:
    fields: list[tuple[str, Any, Any]] = [
        (f"key{index}", float, math.nan) if is_number else (f"key{index}", Any, msgspec.UNSET)
        for index, (_, is_number) in enumerate(names)
    ]
    rename = {field[0]: name for field, (name, _) in zip(fields, names, strict=True)}
    return msgspec.defstruct("Members", fields, rename=rename, gc=False, forbid_unknown_fields=True)


def _names_of(rows: Sequence[HistoryRow]) -> _Names:
    """Return the names of rows."""
    found: tuple[dict[str, bool], ...] = ({}, {}, {})
    for row in rows:
        for part, members in zip(found, (row.extra, row.metrics, row.wandb_metadata), strict=True):
            for name, value in members.items():
                part[name] = part.get(name, True) and is_plain_number(value)
    return _Names(*(tuple(map(_Name._make, sorted(part.items()))) for part in found))


def is_plain_number(value: Any) -> bool:
    """Say whether a value is a double, or an integer smaller than 2**53 in magnitude."""
    return type(value) in _NUMBERS and -EXACT_INTEGERS < value < EXACT_INTEGERS


def _more_names(names: _Names, rows: Sequence[HistoryRow]) -> _Names:
    """Return the names to expect after rows that have others than these."""
    found = _names_of(rows)
    cells = sum(len(row.extra) + len(row.metrics) + len(row.wandb_metadata) for row in rows)
    if sum(map(len, found)) * len(rows) > MOST_ABSENT * cells:
        return _TOO_MANY
    return _Names(*map(_both, names, found))


def _both(names: Sequence[_Name], others: Sequence[_Name]) -> tuple[_Name, ...]:
    """Return the names of either, sorted; one is a number only if it is in both."""
    one, other = dict(names), dict(others)
    both = {name: one.get(name, True) and other.get(name, True) for name in {**one, **other}}
    return tuple(map(_Name._make, sorted(both.items())))


_TOO_MANY = _Names(extra=(_Name(STEP, False),))
"""Names with which every batch is unusual: rows of this run have too few of their names each."""


def _any_cells(rows: Sequence[HistoryRow], lines: bytes, first: int) -> CellBatch:
    """Return the cells of any rows, with the lines of those that their cells do not give back."""
    batch = batch_of(first, len(rows), cells_by_key(map(values_of_row, rows)))
    ours = lines_of(batch, rows[0].run_id).lines.splitlines() if rows else []
    return with_differing_lines(batch, lines.splitlines(), ours)


def values_of_row(row: HistoryRow) -> Iterator[tuple[str, Any]]:
    """Give the values of a row by flat keys; a key may come twice."""
    moment = moment_of(row.timestamp)
    yield STEP, row.step
    yield TIMESTAMP, row.timestamp if moment is None else moment
    yield RUNTIME, row.runtime
    for key, value in row.wandb_metadata.items():
        yield f"{OWN_PREFIX}{key}", value
    yield from row.extra.items()
    yield from row.metrics.items()
