"""The step and the time of a row, as they were logged."""

from collections.abc import Mapping
from typing import Any

from dr_wandb.core.contract.row_shape import settle
from dr_wandb.core.contract.values import number


def step_of(row: Mapping[str, Any]) -> int | None:
    """Return the step of a row, None if it has no step that a record can hold."""
    return as_step(row.get("_step"))


def as_step(value: Any) -> int | None:
    """Return a value of a row as a step, None if a record cannot hold it as one."""
    if type(value) is dict:
        value = settle(value)  # a number in a value of mixed type
    safe = number(value) if type(value) is float else value
    return safe if type(safe) is int else None


def moment_of(row: Mapping[str, Any]) -> float | None:
    """Return the time of a row or a sample in epoch seconds, None if it has none."""
    moment: Any = row.get("_timestamp")
    is_number = isinstance(moment, int | float) and not isinstance(moment, bool)
    return float(moment) if is_number and 0 < moment < 1e11 else None
