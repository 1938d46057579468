"""History selection: which rows a request admits, and which of their metrics.

Rules
- A row is admitted if it is in the step window and has at least one of the keys. It then keeps only
  those metrics, and its step, timestamp, runtime, wandb_metadata and extra.
- A key is the exact name of a metric. In a row without such a metric it is the name of an object
  (`val` for all `val.*`), or else a dotted path into a value that is still an object.
- A key with a leading underscore names one of W&B's own columns. It admits rows, and selects no
  metric.
- Selecting twice is selecting once. `max_records` applies to the whole run (see merge.py).
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.row_shape import OWN_PREFIX, flatten_row
from dr_wandb.core.contract.selection import HistorySelection

_OWN_COLUMNS = {"_step": "step", "_timestamp": "timestamp", "_runtime": "runtime"}


def select_row(row: HistoryRow, selection: HistorySelection) -> HistoryRow | None:
    """Return the part of a row that the selection admits, None if it admits nothing of it."""
    if selection.window is not None and not selection.window.admits_step(row.step):
        return None
    if selection.keys is None:
        return row
    own = [key for key in selection.keys if key.startswith("_")]
    metrics = _select_metrics(row.metrics, selection.keys)
    if not metrics and not any(_has_own(row, key) for key in own):
        return None
    return replace(row, metrics=metrics)


def select_rows(rows: Iterable[HistoryRow], selection: HistorySelection) -> tuple[HistoryRow, ...]:
    """Select from the rows of one run, given in stored order; keeps the last `max_records`."""
    admitted = [kept for row in rows if (kept := select_row(row, selection)) is not None]
    last = selection.bounds.max_records
    return tuple(admitted if last is None else admitted[-last:])


def select_names(names: Collection[str], selection: HistorySelection) -> frozenset[str] | None:
    """Return the columns that a selection keeps of each row that it admits.

    names: all columns of some rows, W&B's own included. None if that depends on the row, because
    a key is the name of both a metric and an object, or a path into a value.
    """
    if selection.keys is None:
        return frozenset(names)
    kept = {name for name in names if name.startswith("_")}
    for key in selection.keys:
        if key.startswith("_"):
            continue
        inside = {name for name in names if name.startswith(f"{key}.")}
        if (key in names and inside) or any(key.startswith(f"{name}.") for name in names):
            return None
        kept |= inside | ({key} & {*names})
    return frozenset(kept)


def _select_metrics(metrics: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    paths = []
    for key in keys:
        if key.startswith("_"):
            continue
        if key in metrics:
            kept[key] = metrics[key]
        elif inside := _members(metrics, key):
            kept |= inside
        else:
            paths.append(key)
    parts = [_inside_value(metrics, key, kept) for key in paths]
    return {name: value for part in (kept, *parts) for name, value in part.items()}


def _members(metrics: Mapping[str, Any], key: str) -> dict[str, Any]:
    start = f"{key}."
    return {name: value for name, value in metrics.items() if name.startswith(start)}


def _inside_value(metrics: Mapping[str, Any], key: str, kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return the member at a dotted path inside a value that is not itself kept.

    It is named by the key, and flattened like a row.
    """
    parts = key.split(".")
    for length in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:length])
        value = metrics.get(name)
        if isinstance(value, Mapping) and (found := _follow(value, parts[length:])) is not None:
            return {} if name in kept else flatten_row({key: found})
    return {}


def _follow(value: Mapping[str, Any], path: list[str]) -> Any:
    """Return the value at a dotted path, None if absent.

    A step of the path is the longest run of parts that is a key, so keys with dots are found.
    """
    for length in range(len(path), 0, -1):
        member = value.get(".".join(path[:length]))
        if length == len(path) and member is not None:
            return member
        if isinstance(member, Mapping) and (found := _follow(member, path[length:])) is not None:
            return found
    return None


def _has_own(row: HistoryRow, key: str) -> bool:
    """Say whether a row has one of W&B's own columns, or an object of that name."""
    column = _OWN_COLUMNS.get(key)
    if column is not None and getattr(row, column) is not None:
        return True
    if key == "_wandb" and row.wandb_metadata:
        return True
    if key.startswith(OWN_PREFIX) and _names_one(row.wandb_metadata, key[len(OWN_PREFIX) :]):
        return True
    return _names_one(row.extra, key)


def _names_one(members: Mapping[str, Any], key: str) -> bool:
    return key in members or any(name.startswith(f"{key}.") for name in members)
