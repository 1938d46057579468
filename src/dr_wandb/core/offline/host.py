"""What a `.wandb` file says of the machine and the program, and when."""

from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any


def time_of(seconds: int, nanos: int) -> str:
    """Return a moment as UTC, ISO 8601, with as many groups of three digits as its second needs."""
    try:
        moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    except (OverflowError, OSError, ValueError):
        return f"{seconds} seconds"
    digits = f"{nanos:09}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{moment}.{digits}Z" if digits else f"{moment}Z"


def merge_into(known: dict[str, Any], said: Mapping[str, Any]) -> None:
    """Merge what is said of a machine into what is known of it, member by member."""
    for key, value in said.items():
        inner = known.get(key)
        if isinstance(inner, dict) and isinstance(value, Mapping):
            merge_into(inner, value)
        else:
            known[key] = deepcopy(value)
