"""History selection: which rows a request admits, and which of their metrics.

Rules
- A row is admitted when it lies in the step window and has at least one of the keys; then it keeps
  just those metrics, and its step, timestamp, runtime, wandb_metadata and extra.
- A key is an exact name; where no metric has that name, a dotted path into a nested value. A key
  with a leading underscore names one of W&B's own columns and only admits.
- Selecting twice is selecting once. `max_records` is a matter of the whole run (see merge.py).
"""

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.request import HistorySelection

_OWN_COLUMNS = {"_step": "step", "_timestamp": "timestamp", "_runtime": "runtime"}


def select_row(row: HistoryRow, selection: HistorySelection) -> HistoryRow | None:
    """Return the part of a row that the selection admits, None where it admits nothing of it."""
    if selection.window is not None and not selection.window.admits_step(row.step):
        return None
    if selection.keys is None:
        return row
    metrics: dict[str, Any] = {}
    admitted = False
    for key in selection.keys:
        if key.startswith("_"):
            admitted = admitted or _has_own(row, key)
        elif key in row.metrics:
            metrics[key] = row.metrics[key]
        else:
            _merge_into(metrics, _follow(row.metrics, key.split(".")))
    return replace(row, metrics=metrics) if metrics or admitted else None


def select_rows(rows: Iterable[HistoryRow], selection: HistorySelection) -> tuple[HistoryRow, ...]:
    """Select from the rows of one run, given in stored order; keeps the last `max_records`."""
    admitted = [kept for row in rows if (kept := select_row(row, selection)) is not None]
    last = selection.bounds.max_records
    return tuple(admitted if last is None else admitted[-last:])


def _has_own(row: HistoryRow, key: str) -> bool:
    if key == "_wandb" and row.wandb_metadata:
        return True
    column = _OWN_COLUMNS.get(key)
    return key in row.extra or (column is not None and getattr(row, column) is not None)


def _follow(value: Mapping[str, Any], path: list[str]) -> dict[str, Any]:
    """Return the value at a dotted path inside just the objects that lead to it, {} if absent.

    A step of the path is the longest run of parts that is a key, so keys with dots are found.
    """
    for length in range(len(path), 0, -1):
        key = ".".join(path[:length])
        if key not in value:
            continue
        if length == len(path):
            return {key: value[key]}
        member = value[key]
        if isinstance(member, Mapping) and (found := _follow(member, path[length:])):
            return {key: found}
    return {}


def _merge_into(target: dict[str, Any], part: Mapping[str, Any]) -> None:
    for key, value in part.items():
        present = target.get(key)
        if isinstance(present, dict) and isinstance(value, Mapping):
            merged = dict(present)
            _merge_into(merged, value)
            target[key] = merged
        else:
            target[key] = value
