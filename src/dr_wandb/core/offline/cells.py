"""Decode the values of many rows, a column at a time.

Rules
- Items are grouped by the bytes of their keys, and decoded with their column.
- Numbers, true, false and null are decoded as one JSON array. In it only a comma can separate two
  of them, so too many or too few are noticed. Every other text is decoded by itself.
- Columns have the flat keys of rows: an object without `_type` is a column for each member.
- If the rows are too sparse for columns, or the order of columns would matter, there are none: rows
  are then read one by one.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from dr_wandb.core.contract.row_shape import OWN_METADATA, UNION
from dr_wandb.core.offline.framing import Bytes, Offsets
from dr_wandb.core.offline.text import json_or_text, text_of
from dr_wandb.core.offline.tree import Path
from dr_wandb.core.offline.wire import NESTED_KEY, Flags, Items

MOST_PATHS = 200
"""Rows with more different keys, counted together, make no columns."""

MOST_ABSENT = 4
"""Columns are made only if at least one in `MOST_ABSENT` cells has a value."""

LONGEST_IN_COLUMN = 64
"""The most bytes of a JSON text that is decoded with its column, not by itself."""

Cells = list[Any]

_PLAIN = frozenset({int, float, bool, type(None)})

_NUMBERS_OR_NONE = frozenset({int, float, type(None)})


def columns_of(part: Bytes, items: Items, unfit: Flags, beside: Offsets) -> dict[str, Cells] | None:
    """Make columns from the items of the rows that are fit; None if they are too sparse.

    There is always a column of steps; if the items have none, it has those beside the items.
    """
    fit = ~unfit
    keep = fit[items.owners]
    if not keep.all():
        items = Items(*(column[keep] for column in items))
    groups = _by_path(part, items)
    count = len(unfit)
    if groups is None or len(groups) * count > MOST_ABSENT * max(len(items.owners), 1):
        return None
    if any(len(path) > 1 for path in groups) and overlap(groups):
        return None
    columns: dict[Path, Cells] = {}
    for path, indices in groups.items():
        owners = items.owners[indices]
        if len(owners) > 1 and (np.bincount(owners, minlength=count) > 1).any():
            return None
        cells, kinds = _cells(part, items.values[indices], items.value_ends[indices], owners, count)
        if dict in kinds:
            return None  # its members may be leaves themselves
        if len(path) > 1 and cells.count(None) != count - len(owners):
            return None  # a null inside an object: the object stays, even if it has nothing else
        columns[path] = (
            cells if not unfit.any() else [c for c, f in zip(cells, fit.tolist(), strict=True) if f]
        )
    if any(path[0] == "_step" and len(path) > 1 for path in columns):
        return None
    steps = columns.get(("_step",)) or [None] * int(fit.sum())
    columns[("_step",)] = own_or_beside(steps, beside[fit])
    return _flat(columns)


def own_or_beside(steps: Cells, beside: Offsets) -> Cells:
    """Return steps, those that are None replaced by the ones in `beside`, in which -1 is none."""
    if None not in steps:
        return steps
    pairs = zip(steps, beside.tolist(), strict=True)
    return [other if own is None and other >= 0 else own for own, other in pairs]


def last_of_each(part: Bytes, items: Items) -> dict[Path, bytes] | None:
    """Return the last JSON text of each path, None if a value is inside of another one."""
    groups = _by_path(part, items)
    if groups is None or overlap(groups):
        return None
    found = {}
    for path, indices in groups.items():
        last = indices[np.lexsort((items.keys[indices], items.owners[indices]))[-1]]
        found[path] = bytes(part[items.values[last] : items.value_ends[last]])
    return found


def own_columns(part: Bytes, items: Items, unfit: Flags, keys: Sequence[str]) -> list[Cells]:
    """Return the numbers at some of W&B's own keys, None for a row without one.

    Rows in which a key appears twice, or with anything but a number, become unfit.
    """
    words = _words(part)
    heads = words[items.keys]
    lengths = items.key_ends - items.keys
    return [_own_column(part, items, unfit, key, words, heads, lengths) for key in keys]


def _own_column(
    part: Bytes,
    items: Items,
    unfit: Flags,
    key: str,
    words: NDArray[np.uint64],
    heads: NDArray[np.uint64],
    lengths: Offsets,
) -> Cells:
    blob = bytes([NESTED_KEY, len(key)]) + key.encode()
    mask = _MASKS[min(len(blob), 8)] & ~np.uint64(0xFF)  # whatever the tag
    like = np.flatnonzero(heads & mask == int.from_bytes(blob[:8], "little") & mask)
    if len(blob) > 8:
        behind = words[items.keys[like] + len(blob) - 8]
        like = like[behind == int.from_bytes(blob[-8:], "little")]
    exact = lengths[like] == len(blob)
    unfit[items.owners[like[~exact]]] = True
    found = like[exact]
    owners = items.owners[found]
    unfit |= np.bincount(owners, minlength=len(unfit)) > 1
    ends = items.value_ends[found]
    cells, kinds = _cells(part, items.values[found], ends, owners, len(unfit))
    if not kinds <= _NUMBERS_OR_NONE:
        unfit |= [type(cell) not in _NUMBERS_OR_NONE for cell in cells]
    return cells


def _by_path(part: Bytes, items: Items) -> dict[Path, Offsets] | None:
    """Group the items by their keys."""
    words = _words(part)
    lengths = items.key_ends - items.keys
    heads = words[items.keys] & _MASKS[np.minimum(lengths, 8)]
    tails = words[np.maximum(items.key_ends - 8, items.keys)] & _MASKS[np.minimum(lengths, 8)]
    groups: dict[Path, Offsets] = {}
    left = np.ones(len(lengths), np.bool_)
    while left.any():
        if len(groups) == MOST_PATHS:
            return None
        one = int(left.argmax())
        begin, length = int(items.keys[one]), int(lengths[one])
        alike = (lengths == length) & (heads == heads[one]) & (tails == tails[one])
        for offset in range(8, length - 8, 8):
            indices = np.flatnonzero(alike)
            alike[indices] = words[items.keys[indices] + offset] == words[begin + offset]
        path = _path(bytes(part[begin : begin + length]))  # `key` and `nested_key` give the same
        indices = np.flatnonzero(alike)
        groups[path] = np.concatenate([groups[path], indices]) if path in groups else indices
        left &= ~alike
    return groups


def _words(part: Bytes) -> NDArray[np.uint64]:
    """Return the eight bytes at any offset of a part as a number."""
    return np.ndarray((len(part) - 7,), "<u8", buffer=part, strides=(1,))


def _path(keys: bytes) -> Path:
    """Return the path of some keys, each written after its tag and its length."""
    path = []
    at = 0
    while at < len(keys):
        length = keys[at + 1]
        path.append(text_of(keys[at + 2 : at + 2 + length]))
        at += 2 + length
    return tuple(path)


def overlap(paths: Mapping[Path, Any]) -> bool:
    """Say whether a value is inside of another one, so that their order matters."""
    return any(path[:depth] in paths for path in paths for depth in range(1, len(path)))


_SPACES = np.uint64(int.from_bytes(b" " * 8, "little"))
_NULL = np.uint64(int.from_bytes(b"null    ", "little"))
_COMMA = np.uint64(int.from_bytes(b",       ", "little"))
_MASKS = np.array([(1 << (8 * n)) - 1 for n in range(9)], np.uint64)
_PADDING = _SPACES & ~_MASKS


def _cells(
    part: Bytes, begins: Offsets, ends: Offsets, owners: Offsets, count: int
) -> tuple[Cells, set[type]]:
    """Decode JSON texts to one value for each of `count` rows, None for those without one.

    Also returns the types among the values.
    """
    cells = None
    if int((ends - begins).max(initial=0)) <= LONGEST_IN_COLUMN:
        cells = _in_one_array(part, begins, ends, owners, count)
    kinds = set(map(type, cells or ()))
    if cells is None or not kinds <= _PLAIN:  # brackets and quotes may hide the end of a text
        cells = [None] * count
        for owner, begin, end in zip(owners.tolist(), begins.tolist(), ends.tolist(), strict=True):
            cells[owner] = json_or_text(bytes(part[begin:end]))
        kinds = set(map(type, cells))
    return cells, kinds


def _in_one_array(
    part: Bytes, begins: Offsets, ends: Offsets, owners: Offsets, count: int
) -> Cells | None:
    """Decode JSON texts as members of one array; None if it has more or fewer members."""
    words = _words(part)
    width = (int((ends - begins).max(initial=1)) + 7) // 8
    at, length = np.zeros(count, np.int64), np.zeros(count, np.int64)
    at[owners], length[owners] = begins, ends - begins
    grid = np.empty((count, width + 1), np.uint64)
    grid[:, width] = _COMMA
    for index in range(width):
        grid[:, index] = words[at + 8 * index]
        held = np.minimum(np.maximum(length - 8 * index, 0), 8)
        grid[:, index] &= _MASKS[held]
        grid[:, index] |= _PADDING[held]
    grid[length == 0, 0] = _NULL
    try:
        cells: Cells = msgspec.json.decode(b"[%b]" % grid.tobytes()[:-8])
    except (msgspec.DecodeError, ValueError):
        return None
    return cells if len(cells) == count else None


def _flat(columns: Mapping[Path, Cells]) -> dict[str, Cells] | None:
    """Return the columns by the flat keys of rows; None if that depends on the row.

    The members below a path with a `_type` make one column of objects. A `_type` that is an object,
    and values of mixed type, are read row by row.
    """
    if any(_is_odd(path) for path in columns):
        return None
    typed = {path[:-1] for path in columns if path[-1] == "_type"} - {(), (OWN_METADATA,)}
    flat: dict[str, Cells] = {}
    inside: dict[Path, dict[Path, Cells]] = {}
    for path, cells in columns.items():
        above = (path[:depth] for depth in range(1, len(path)))
        owner = next((part for part in above if part in typed), None)
        if owner is not None:
            inside.setdefault(owner, {})[path[len(owner) :]] = cells
        elif flat.setdefault(".".join(path), cells) is not cells:
            return None
    for owner, members in inside.items():
        objects = _objects(_nested(members))
        if not all(found is None or "_type" in found for found in objects):
            return None
        if flat.setdefault(".".join(owner), objects) is not objects:
            return None
    return flat


def _is_odd(path: Path) -> bool:
    """Say whether a path leads into a `_type`, or into a value of mixed type."""
    return "_type" in path[1:-1] or any(key.startswith(UNION) for key in path[1:])


def _nested(columns: Mapping[Path, Cells]) -> dict[str, Cells]:
    """Return the columns of the outermost keys."""
    outer: dict[str, Any] = {}
    for path, cells in columns.items():
        if len(path) == 1:
            outer[path[0]] = cells
        else:
            outer.setdefault(path[0], {})[path[1:]] = cells
    return {
        key: found if isinstance(found, list) else _objects(_nested(found))
        for key, found in outer.items()
    }


def _objects(columns: Mapping[str, Cells]) -> Cells:
    """Make a column of objects from the columns of their members."""
    keys = list(columns)
    return [
        {key: cell for key, cell in zip(keys, cells, strict=True) if cell is not None} or None
        for cells in zip(*columns.values(), strict=True)
    ]
