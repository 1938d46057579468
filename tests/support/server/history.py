"""Hold the history rows of one run and answer for them quickly.

Guarantees:
- `Rows` is a list of dicts in the order in which they were logged; changing the list itself is
  noticed, changing a dict inside it needs `Run.touch()`;
- a page costs O(log rows + page), encoded rows are kept;
- rows are answered by step, then in the order logged; a row without a step counts as step 0;
- non-finite numbers are answered as the strings NaN, Infinity, -Infinity.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, SupportsIndex


def step_of(row: Mapping[str, Any]) -> float:
    """Return the step by which the server sorts a row."""
    step = row.get("_step")
    return 0 if isinstance(step, bool) or not isinstance(step, int | float) else step


def spell_non_finite(value: Any) -> Any:
    """Replace NaN and infinities by the strings that W&B stores for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: spell_non_finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [spell_non_finite(one) for one in value]
    return value


def flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as the server keeps it: objects without `_type` as members with dotted keys."""
    return dict(_flat(row))


def encode_row(row: Mapping[str, Any]) -> str:
    """Encode one row as the JSON text that the server stores."""
    try:
        return json.dumps(row, allow_nan=False)
    except ValueError:
        return json.dumps(spell_non_finite(row))


def splice(row: Mapping[str, Any], raw: Mapping[str, str]) -> str:
    """Encode a row with some members spelled exactly as given."""
    members = []
    for key, value in row.items():
        text = raw[key] if key in raw else encode_row({"": value})[len('{"": ') : -1]
        members.append(f"{json.dumps(key)}: {text}")
    return "{" + ", ".join(members) + "}"


class Rows(list[dict[str, Any]]):
    """A list that counts the changes other than appending."""

    epoch = 0
    _seen = (0, 0)
    _last_step: float = -1

    def last_step(self) -> float:
        """Return the highest step, -1 without rows; costs only the rows added since."""
        epoch, count = self._seen
        if epoch != self.epoch or count > len(self):
            count, self._last_step = 0, -1
        for position in range(count, len(self)):
            self._last_step = max(self._last_step, step_of(self[position]))
        self._seen = (self.epoch, len(self))
        return self._last_step

    def _changed(self) -> None:
        self.epoch += 1

    def __setitem__(self, index: Any, value: Any) -> None:
        self._changed()
        super().__setitem__(index, value)

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        self._changed()
        super().__delitem__(index)

    def insert(self, index: SupportsIndex, value: dict[str, Any]) -> None:
        self._changed()
        super().insert(index, value)

    def pop(self, index: SupportsIndex = -1) -> dict[str, Any]:
        self._changed()
        return super().pop(index)

    def remove(self, value: dict[str, Any]) -> None:
        self._changed()
        super().remove(value)

    def clear(self) -> None:
        self._changed()
        super().clear()

    def sort(self, **options: Any) -> None:
        self._changed()
        super().sort(**options)

    def reverse(self) -> None:
        self._changed()
        super().reverse()


class HistoryIndex:
    """Answer pages of rows from a position in the list on, with cached encoding."""

    def __init__(self) -> None:
        self._key: tuple[int, int] | None = None
        self._count = 0
        self._steps: list[float] = []
        self._positions: list[int] = []
        self._texts: dict[int, str] = {}
        self._literals: dict[int, str] = {}
        self.spelled: dict[int, tuple[dict[str, Any], str]] = {}

    def _refresh(self, rows: Rows, first: int) -> None:
        key = (rows.epoch, first)
        if key != self._key:
            if self._key is None or self._key[0] != rows.epoch:
                self._texts.clear()
                self._literals.clear()
            self._key, self._count, self._steps, self._positions = key, first, [], []
        if self._count >= len(rows):
            return
        start = len(self._steps)
        for position in range(self._count, len(rows)):
            self._steps.append(step_of(rows[position]))
            self._positions.append(position)
        self._count = len(rows)
        tail = self._steps[max(start - 1, 0) :]
        if any(before > after for before, after in pairwise(tail)):
            pairs = sorted(zip(self._steps, self._positions, strict=True))
            self._steps = [step for step, _ in pairs]
            self._positions = [position for _, position in pairs]

    def positions(
        self, rows: Rows, first: int, min_step: float | None, max_step: float | None
    ) -> list[int]:
        """Return positions with min_step <= step < max_step; None leaves a side open."""
        self._refresh(rows, first)
        low = 0 if min_step is None else bisect_left(self._steps, min_step)
        high = len(self._steps) if max_step is None else bisect_left(self._steps, max_step)
        return self._positions[low:high]

    def text(self, rows: Rows, position: int) -> str:
        """Return a row as the JSON text that the server stores."""
        found = self._texts.get(position)
        if found is None:
            row = rows[position]
            verbatim = self.spelled.get(id(row))
            found = self._texts[position] = verbatim[1] if verbatim else encode_row(flat_row(row))
        return found

    def literal(self, rows: Rows, position: int) -> str:
        """Return the text of a row as a JSON string literal, ready for a response."""
        found = self._literals.get(position)
        if found is None:
            found = self._literals[position] = json.dumps(self.text(rows, position))
        return found


def spread(positions: list[int], samples: int) -> list[int]:
    """Keep `samples` positions, evenly spread, first and last included."""
    if samples >= len(positions) or samples <= 0:
        return positions if samples > 0 else []
    if samples == 1:
        return positions[:1]
    last = len(positions) - 1
    return [positions[index * last // (samples - 1)] for index in range(samples)]


class KeyCounts:
    """Count value types per key as `historyKeys` reports them, row by row."""

    def __init__(self) -> None:
        self._epoch = -1
        self._count = 0
        self._keys: dict[str, dict[str, Any]] = {}

    def report(self, rows: Rows, events: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
        """Return the `historyKeys` object for these rows; lastStep is -1 without rows.

        events: rows of system metrics. Their keys are there too, as `system/...`, each with the
        count of all of them, also where there is no history (recorded in 2025).
        """
        if rows.epoch != self._epoch or self._count > len(rows):
            self._epoch, self._count, self._keys = rows.epoch, 0, {}
        for position in range(self._count, len(rows)):
            self._add(rows[position])
        self._count = len(rows)
        keys = {key: _key_report(known) for key, known in self._keys.items()}
        for name in {name for event in events for name in event if name.startswith("system.")}:
            counts = [{"type": "number", "count": len(events)}]
            keys[f"system/{name.removeprefix('system.')}"] = {"typeCounts": counts}
        return {"lastStep": rows.last_step(), "sets": [], "keys": keys}

    def _add(self, row: Mapping[str, Any]) -> None:
        for key, value in _flat(row):
            known = self._keys.get(key)
            if known is None:
                known = self._keys[key] = {"counts": {}, "monotonic": True, "value": None}
            kind = _type_name(value)
            known["counts"][kind] = known["counts"].get(kind, 0) + 1
            if kind == "number":
                before = known["value"]
                if before is not None and value < before:
                    known["monotonic"] = False
                known["value"] = value
            else:
                known["monotonic"] = False


def _key_report(known: Mapping[str, Any]) -> dict[str, Any]:
    counts = [{"type": kind, "count": count} for kind, count in known["counts"].items()]
    value = spell_non_finite(known["value"])
    return {"typeCounts": counts, "monotonic": known["monotonic"], "previousValue": value}


def _flat(row: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    if not any(isinstance(value, dict) for value in row.values()):
        return row.items()
    flat: list[tuple[str, Any]] = []
    for key, value in row.items():
        if isinstance(value, dict) and "_type" not in value:
            flat.extend((f"{key}.{name}", one) for name, one in _flat(value))
        else:
            flat.append((key, value))
    return flat


def _type_name(value: Any) -> str:
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    if isinstance(value, Mapping):
        return str(value.get("_type", "map"))
    return "list"
