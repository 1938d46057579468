"""Select and order runs as the W&B server does for `Api.runs(filters=..., order=...)`.

Guarantees:
- keys and operators outside the documented ones raise FilterError, they never match by accident;
- a missing field equals null, is unequal to everything else, and is never less or greater;
- time keys are compared as instants; a number for one is refused with ServerFailureError, as the
  real server answers 500;
- runs that are equal under the order are ordered by storage id.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tests.support.server.world import instant

if TYPE_CHECKING:
    from tests.support.server.run import Run


class FilterError(Exception):
    """A filter or order that the stand-in does not know."""


class ServerFailureError(Exception):
    """A request that makes the real server answer 500."""


_PLAIN: dict[str, Callable[[Run], Any]] = {
    "name": lambda run: run.run_id,
    "display_name": lambda run: run.display_name,
    "state": lambda run: run.state,
    "tags": lambda run: list(run.tags),
    "group": lambda run: run.group,
    "job_type": lambda run: run.job_type,
    "sweep": lambda run: run.sweep_name,
    "host": lambda run: run.host,
    "username": lambda run: (run.user or {}).get("username"),
}
_TIMES: dict[str, Callable[[Run], Any]] = {
    "created_at": lambda run: run.created_at,
    "heartbeat_at": lambda run: run.heartbeat_at,
}
_SPELLINGS = {
    "displayName": "display_name",
    "jobType": "job_type",
    "createdAt": "created_at",
    "heartbeatAt": "heartbeat_at",
}
_MISSING = object()


def matches(run: Run, condition: Mapping[str, Any]) -> bool:
    """Tell whether a run satisfies a filter; an empty filter admits every run."""
    for key, wanted in condition.items():
        if key == "$and":
            admitted = False not in _each(run, wanted)
        elif key == "$or":
            admitted = True in _each(run, wanted)
        elif key == "$nor":
            admitted = True not in _each(run, wanted)
        elif key.startswith("$"):
            raise FilterError(f"filter operator {key}")
        else:
            admitted = _field_matches(run, key, wanted)
        if not admitted:
            return False
    return True


def _each(run: Run, conditions: Iterable[Mapping[str, Any]]) -> list[bool]:
    # A list, not a generator: an unknown key raises wherever it stands.
    return [matches(run, condition) for condition in conditions]


def ordered(runs: Iterable[Run], order: str | None) -> list[Run]:
    """Order runs: + ascending, - descending, no prefix descending."""
    result = sorted(runs, key=lambda run: run.number)
    for part in reversed((order or "-created_at").split(",")):
        sign, key = (part[0], part[1:]) if part[0] in "+-" else ("-", part)
        read = _sort_value(key)
        ranks = {id(run): _rank(read(run)) for run in result}
        result.sort(key=lambda run, ranks=ranks: ranks[id(run)], reverse=sign == "-")  # type: ignore[misc]
    return result


def _sort_value(key: str) -> Callable[[Run], Any]:
    plain = _SPELLINGS.get(key, key)
    if plain in _TIMES:
        read = _TIMES[plain]
        return lambda run: instant(read(run)).timestamp()
    if plain in _PLAIN:
        return _PLAIN[plain]
    path = _path(key)
    if path is None:
        raise FilterError(f"order key {key}")
    return lambda run: _dig(run, path)


def _rank(value: Any) -> tuple[int, Any]:
    if value is None or value is _MISSING:
        return (0, 0)
    if isinstance(value, bool | int | float):
        return (1, value)
    return (2, str(value))


def _path(key: str) -> list[str] | None:
    root, _, rest = key.partition(".")
    if root not in ("config", "summary_metrics", "summaryMetrics") or not rest:
        return None
    parts = rest.split(".")
    if root == "config" and len(parts) > 1 and "value" in parts[1:]:
        parts.remove("value")
    return ["config" if root == "config" else "summary", *parts]


def _dig(run: Run, path: list[str]) -> Any:
    value: Any = run.config if path[0] == "config" else run.summary
    for part in path[1:]:
        if not isinstance(value, Mapping) or part not in value:
            return _MISSING
        value = value[part]
    return value


def _field_matches(run: Run, key: str, wanted: Any) -> bool:
    plain = _SPELLINGS.get(key, key)
    if plain in _TIMES:
        value: Any = instant(_TIMES[plain](run))
        convert: Callable[[Any], Any] = _as_instant
    elif plain in _PLAIN:
        value, convert = _PLAIN[plain](run), _same
    else:
        path = _path(key)
        if path is None:
            raise FilterError(f"filter key {key}")
        value, convert = _dig(run, path), _same
    if isinstance(wanted, Mapping) and any(name.startswith("$") for name in wanted):
        answers = [_compare(value, name, arg, convert) for name, arg in wanted.items()]
        return all(answers)
    return _equal(value, convert(wanted))


def _same(value: Any) -> Any:
    return value


def _as_instant(value: Any) -> Any:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ServerFailureError(f"time given as {type(value).__name__}")
    try:
        return instant(value)
    except ValueError as error:
        raise FilterError(str(error)) from error


def _equal(value: Any, wanted: Any) -> bool:
    if value is _MISSING or value is None:
        return wanted is None
    if isinstance(value, list) and not isinstance(wanted, list):
        return wanted in value
    if isinstance(value, bool) != isinstance(wanted, bool):
        return False
    return bool(value == wanted)


def _compare(value: Any, operator: str, wanted: Any, convert: Callable[[Any], Any]) -> bool:
    if operator == "$in":
        return any(_equal(value, convert(one)) for one in wanted)
    if operator == "$nin":
        return not any(_equal(value, convert(one)) for one in wanted)
    if operator == "$exists":
        return (value is not _MISSING and value is not None) is bool(wanted)
    if operator == "$regex":
        return isinstance(value, str) and re.search(wanted, value) is not None
    if operator == "$eq":
        return _equal(value, convert(wanted))
    if operator == "$ne":
        return not _equal(value, convert(wanted))
    if operator not in ("$gt", "$gte", "$lt", "$lte"):
        raise FilterError(f"filter operator {operator}")
    return _in_order(value, operator, convert(wanted))


def _in_order(value: Any, operator: str, wanted: Any) -> bool:
    numbers = isinstance(value, int | float) and isinstance(wanted, int | float)
    if not numbers and (type(value) is not type(wanted) or isinstance(value, list | dict)):
        return False
    if value is None or value is _MISSING:
        return False
    if operator == "$gt":
        return bool(value > wanted)
    if operator == "$gte":
        return bool(value >= wanted)
    if operator == "$lt":
        return bool(value < wanted)
    return bool(value <= wanted)
