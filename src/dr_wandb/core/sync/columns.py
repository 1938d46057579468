"""Encode many rows of one run at once, a column at a time.

Rules
- The lines are, byte for byte, those of the row path, `encode_line(normalize_row(row))`.
- What the fast way cannot hold, such as a key that JSON has to escape, is left to the row path.

A row is a struct of the encoder, not a dict: with 8 metrics it takes a third of the time that the
row path needs, and a sixth where its columns come as such (msgspec 0.22).
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain, repeat
from typing import Any

import msgspec

from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.values import EXACT_INTEGERS, clean_text, json_safe, number
from dr_wandb.core.sync.merge import EncodedRows, encode_rows

Cells = Sequence[Any]
"""The values of one column, JSON-safe, None where a row has none."""

MOST_ABSENT = 4
"""Columns are made of rows where these have at least one in so many of the cells."""

_ENCODER = msgspec.json.Encoder(order="deterministic")
"""Sorts the keys of dicts. The fields of structs come as declared, which is sorted too."""

_UNFIT_KEY = re.compile(r'["\\\x00-\x1f]')
"""A struct of msgspec has no field with such a name."""

_NOTHING: dict[str, Any] = {}

_OWN_COLUMNS: dict[str, frozenset[type]] = {
    "_step": frozenset({int}),
    "_timestamp": frozenset({int, float}),
    "_runtime": frozenset({int, float}),
    "_wandb": frozenset({dict}),
}


class _Row(msgspec.Struct, gc=False):
    """A history row with its fields in the order of a line."""

    extra: Any
    metrics: Any
    run_id: str
    runtime: Any
    step: int | None
    timestamp: str | None
    wandb_metadata: Any


class RowBatch(Record, frozen=True, kw_only=True):
    """Some raw rows of one run, in any order: a batch of a source.

    live: the rows are not from the exported Parquet files.
    """

    rows: Sequence[Mapping[str, Any]]
    live: bool = True

    @property
    def size(self) -> int:
        """Return how many rows there are."""
        return len(self.rows)

    def encode(self, run_id: str) -> EncodedRows:
        """Return the rows as lines."""
        return encode_raw_rows(self.rows, run_id)


def fit_for_columns(keys: Iterable[str]) -> bool:
    """Say whether `encode_columns` takes these keys."""
    return not any(_UNFIT_KEY.search(key) or clean_text(key) != key for key in keys)


def encode_columns(columns: Mapping[str, Cells], count: int, run_id: str) -> EncodedRows:
    """Encode `count` rows that are given by their columns, whose keys fit and are all different."""
    own: dict[str, Cells] = {}
    metrics: dict[str, Cells] = {}
    extra: dict[str, Cells] = {}
    for key, cells in sorted(columns.items()):
        if not key.startswith("_"):
            metrics[key] = cells
        elif key not in _OWN_COLUMNS:
            extra[key] = cells
        else:
            own[key], other = _split(cells, _OWN_COLUMNS[key])
            if other is not None:
                extra[key] = other
    absent: Cells = [None] * count
    steps = own.get("_step", absent)
    timestamps = _spell_all(own["_timestamp"]) if "_timestamp" in own else absent
    rows = map(
        _Row,
        _objects(extra),
        _objects(metrics),
        repeat(run_id),
        own.get("_runtime", absent),
        steps,
        timestamps,
        [cell or _NOTHING for cell in own["_wandb"]] if "_wandb" in own else repeat(_NOTHING),
    )
    return EncodedRows(_ENCODER.encode_lines(list(rows)), steps, timestamps)


def encode_raw_rows(rows: Sequence[Mapping[str, Any]], run_id: str) -> EncodedRows:
    """Encode rows as they came from the source."""
    keys = list(dict.fromkeys(chain.from_iterable(rows)))
    cells = sum(map(len, rows))
    if (
        len(keys) * len(rows) > MOST_ABSENT * cells
        or {*map(type, keys)} != {str}
        or not fit_for_columns(keys)
    ):
        return encode_rows([normalize_row(row, run_id) for row in rows])
    columns = {key: safe_cells([row.get(key) for row in rows]) for key in keys}
    return encode_columns(columns, len(rows), run_id)


def safe_cells(cells: list[Any]) -> Cells:
    """Return raw values in their JSON-safe form, looking at each one only where it may differ."""
    kinds = {*map(type, cells)}
    if kinds == {float} and math.isfinite(sum(cells)):
        if not any(map(float.is_integer, cells)):
            return cells
        least, most = -EXACT_INTEGERS, EXACT_INTEGERS
        return [int(c) if c.is_integer() and least < c < most else c for c in cells]
    if kinds == {int} and min(cells) >= -(2**63) and max(cells) < 2**64:
        return cells
    if kinds == {str} and all(map(str.isascii, cells)):
        return cells
    safe: Callable[[Any], Any] = number if kinds == {float} else _safe
    return [None if cell is None else safe(cell) for cell in cells]


def _safe(cell: Any) -> Any:
    return json_safe(cell, drop_nulls=True, depth=1)


def _split(cells: Cells, kinds: frozenset[type]) -> tuple[Cells, Cells | None]:
    """Take the cells of the wanted types apart from the others, where there are others."""
    if {*map(type, cells)} <= {*kinds, type(None)}:
        return cells, None
    fit = [cell if type(cell) in kinds else None for cell in cells]
    return fit, [None if type(cell) in kinds else cell for cell in cells]


def _spell_all(numbers: Cells) -> Sequence[str | None]:
    """Return the one spelling of each number as text."""
    known = numbers if None not in numbers else [value for value in numbers if value is not None]
    texts = _ENCODER.encode(known)[1:-1].decode().split(",")
    if len(known) == len(numbers):
        return texts
    spelled = iter(texts)
    return [None if value is None else next(spelled) for value in numbers]


def _objects(columns: dict[str, Cells]) -> Iterator[Any]:
    """Give an object for each row, with the members that it has in these sorted columns."""
    if not columns:
        return repeat(_NOTHING)
    return map(_object_type(tuple(columns)), *columns.values())


@lru_cache(maxsize=64)
def _object_type(keys: tuple[str, ...]) -> Any:
    """Return a struct that is encoded as an object of these keys, without those that are None."""
    fields = [(f"key{place}", Any, None) for place in range(len(keys))]
    return msgspec.defstruct(
        "Members",
        fields,
        rename={field[0]: key for field, key in zip(fields, keys, strict=True)},
        omit_defaults=True,
        gc=False,
    )
