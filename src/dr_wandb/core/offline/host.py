"""What a `.wandb` file records of the machine and the program, and its times."""

from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any


def time_of(seconds: int, nanos: int) -> str:
    """Return a moment as UTC, ISO 8601, with 0, 3, 6 or 9 decimals, as few as it needs."""
    moment = _second(seconds)
    if moment is None:
        return f"{seconds} seconds"
    digits = f"{nanos:09}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{moment}.{digits}Z" if digits else f"{moment}Z"


@lru_cache(maxsize=1024)
def _second(seconds: int) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    except (OverflowError, OSError, ValueError):
        return None


def merge_into(known: dict[str, Any], said: Mapping[str, Any]) -> None:
    """Merge a report of a machine into the known ones, member by member."""
    for key, value in said.items():
        inner = known.get(key)
        if isinstance(inner, dict) and isinstance(value, Mapping):
            merge_into(inner, value)
        else:
            known[key] = deepcopy(value)
