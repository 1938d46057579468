"""Turn history lines of any runs into the cells of some keys, without reading those of others.

Rows are decoded into structs that have just the wanted names. Lines with a value that such a
struct might change, and those for a name with a leading underscore, are decoded as a whole.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import groupby
from operator import attrgetter
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from dr_wandb.core.columnar.cells import (
    STEP,
    TIMESTAMP,
    CellBatch,
    Doubles,
    Integers,
    Key,
    KeyCells,
    batch_of,
)
from dr_wandb.core.columnar.from_lines import (
    MOST_NAMES,
    UnusualError,
    doubles_of,
    is_plain_number,
    moments_of,
    present,
    present_numbers,
    values_of_row,
)
from dr_wandb.core.columnar.run_rows import RunRows
from dr_wandb.core.columnar.values_as_cells import cells_of_values
from dr_wandb.core.contract.columns import fit_for_columns
from dr_wandb.core.contract.records import HistoryRow

DecodeRows = Callable[[bytes], Sequence[HistoryRow]]


class CellsOfKeys:
    """Turns batches of complete lines, in stored order, into pieces.

    keys: the wanted ones, None for all. decode: decodes the lines of a batch as a whole, and
    reports a line that does not read.
    """

    def __init__(self, keys: frozenset[str] | None, decode: DecodeRows) -> None:
        self._keys = keys
        self._decode = decode
        self._words: set[str] = set()
        self._for_structs = (
            keys is not None
            and len(keys) <= MOST_NAMES
            and fit_for_columns(keys)
            and not any(key.startswith("_") for key in keys)
        )
        self._extra = False

    def piece(self, lines: bytes) -> RunRows:
        """Return the rows of a batch, each run's counted from the first one here."""
        try:
            run_ids, batch = self._of_structs(lines)
        except (UnusualError, msgspec.DecodeError, OverflowError):
            run_ids, batch = self._of_rows(self._decode(lines))
        runs = _lengths(run_ids)
        borders = np.cumsum([0, *(rows for _, rows in runs)])
        found = {
            key: cells for key, cells in batch.columns.items() if key is not None and self._has(key)
        }
        times = batch.steps, batch.has_step, batch.timestamps
        return RunRows([run_id for run_id, _ in runs], [0] * len(runs), borders, *times, found)

    def _has(self, key: str) -> bool:
        return self._keys is None or key in self._keys

    def _of_structs(self, lines: bytes) -> tuple[Sequence[str], CellBatch]:
        """Return the runs of lines, and the cells of the wanted keys.

        Raises UnusualError and others if a value needs a closer look.
        """
        if not self._for_structs or self._keys is None:
            raise UnusualError
        names = tuple(_Name(key, key not in self._words) for key in sorted(self._keys))
        rows = self._structs(lines, names)
        members = list(map(attrgetter("metrics"), rows))
        columns: dict[str, KeyCells | None] = {}
        for index, (key, is_number) in enumerate(names):
            values = map(attrgetter(f"key{index}"), members)
            if is_number:
                columns[key] = present_numbers(np.fromiter(values, np.float64, len(rows)))
            else:
                columns[key] = present(list(values), msgspec.UNSET)
        found: dict[Key, KeyCells] = {
            key: cells for key, cells in columns.items() if cells is not None
        }
        run_ids = list(map(attrgetter("run_id"), rows))
        steps, has_step = _steps_of(rows)
        timestamps = _timestamps_of(list(map(attrgetter("timestamp"), rows)))
        return run_ids, CellBatch(0, steps, has_step, timestamps, found)

    def _structs(self, lines: bytes, names: "tuple[_Name, ...]") -> Sequence[Any]:
        """Decode lines. Raises UnusualError if `extra` has one of the names."""
        if not self._extra:
            try:
                return _decoder(names, extra=False).decode_lines(lines)
            except msgspec.DecodeError:  # perhaps it is not empty
                self._extra = True
        rows = _decoder(names, extra=True).decode_lines(lines)
        if any(map(_has_one, map(attrgetter("extra"), rows))):
            raise UnusualError
        return rows

    def _of_rows(self, rows: Sequence[HistoryRow]) -> tuple[Sequence[str], CellBatch]:
        found: dict[str, tuple[list[int], list[Any]]] = {}
        for number, row in enumerate(rows):
            for key, value in values_of_row(row):
                if value is None or not (self._has(key) or key in (STEP, TIMESTAMP)):
                    continue
                at, values = found.setdefault(key, ([], []))
                if not at or at[-1] != number:
                    at.append(number)
                    values.append(value)
        for key, (_, values) in found.items():
            if not all(map(is_plain_number, values)):
                self._words.add(key)
        columns = {
            key: cells_of_values(np.array(at), values) for key, (at, values) in found.items()
        }
        return [row.run_id for row in rows], batch_of(0, len(rows), columns)


class _Name(NamedTuple):
    """A wanted name. is_number: all its values so far are doubles, or fit into them."""

    name: str
    is_number: bool


@lru_cache(maxsize=64)
def _decoder(names: tuple[_Name, ...], *, extra: bool) -> msgspec.json.Decoder[Any]:
    """Return a decoder of rows that reads these names alone. extra: else it must be empty."""
    others = [_Name(name, False) for name, _ in names] if extra else []
    fields = [
        ("run_id", str),
        ("step", int | None),
        ("timestamp", str | None),
        ("metrics", _members_type(names)),
        ("extra", _members_type(others, forbid_unknown_fields=not extra)),
    ]
    return msgspec.json.Decoder(msgspec.defstruct("Row", fields, gc=False))


def _members_type(names: Sequence[_Name], **options: Any) -> Any:
    fields: list[tuple[str, Any, Any]] = [
        (f"key{index}", float, math.nan) if is_number else (f"key{index}", Any, msgspec.UNSET)
        for index, (_, is_number) in enumerate(names)
    ]
    rename = {f"key{index}": name for index, (name, _) in enumerate(names)}
    return msgspec.defstruct("Members", fields, rename=rename, gc=False, **options)


def _steps_of(rows: Sequence[Any]) -> tuple[Integers, NDArray[np.bool_]]:
    """Return steps, 0 for a row without one, and which rows have one.

    Raises OverflowError for one that does not fit into 64 bits.
    """
    steps = list(map(attrgetter("step"), rows))
    has_step = np.ones(len(rows), np.bool_)
    if None in steps:
        has_step = np.array([step is not None for step in steps])
        steps = [step or 0 for step in steps]
    return np.array(steps, np.int64), has_step


def _timestamps_of(texts: Sequence[str | None]) -> Doubles:
    """Return timestamps, NaN for a row without one. Raises UnusualError for other texts."""
    if None not in texts:
        return doubles_of(cast("Sequence[str]", texts))
    return np.array([math.nan if one is None else one for one in moments_of(texts)], np.float64)


def _has_one(members: Any) -> bool:
    return any(value is not msgspec.UNSET for value in msgspec.structs.astuple(members))


def _lengths(run_ids: Sequence[str]) -> Sequence[tuple[str, int]]:
    """Return the runs of rows in order, each with its number of rows."""
    if run_ids and run_ids.count(run_ids[0]) == len(run_ids):
        return [(run_ids[0], len(run_ids))]
    return [(run_id, len(list(rows))) for run_id, rows in groupby(run_ids)]
