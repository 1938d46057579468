"""What a file records of the program that wrote it: its versions, imports and used features.

Rules
- Telemetry is kept as W&B's clients upload it, as `_wandb.t` of the config: by the numbers of its
  fields, flags as the sorted list of those that are set (measured with SDK 0.10.33 to 0.31.0).
- Each record adds to those before it; `telemetry_fields.py` decodes them.
"""

from collections.abc import Mapping
from typing import Any

Telemetry = Mapping[str, Any]
"""The value of `_wandb.t`: a list of numbers, a text, or for labels an object of texts."""

IMPORTS_INIT, IMPORTS_FINISH, FEATURE, ENV = "1", "2", "3", "8"
PYTHON_VERSION, CLI_VERSION, HUGGINGFACE_VERSION, CORE_VERSION = "4", "5", "6", "12"

OFFLINE, RESUMED = 4, 5
"""Numbers of features."""

JUPYTER, KAGGLE = 1, 2
"""Numbers of environments."""

MOST_DIGITS = 9
"""A longer number is not part of a version; Python refuses to read one of thousands of digits."""


def merged(before: Telemetry, said: Telemetry) -> dict[str, Any]:
    """Return telemetry merged with a further record: flags and labels add up."""
    found = dict(before)
    for key, value in said.items():
        held = found.get(key)
        if isinstance(held, list) and isinstance(value, list):
            found[key] = sorted({*held, *value})
        elif isinstance(held, dict) and isinstance(value, dict):
            found[key] = {**held, **value}
        else:
            found[key] = value
    return found


def has_feature(telemetry: Telemetry, feature: int) -> bool:
    """Say whether a feature was used."""
    return feature in telemetry.get(FEATURE, ())


def sdk_version(telemetry: Telemetry) -> tuple[int, ...]:
    """Return the first two numbers of the version of the SDK, () if it is not known."""
    return _first_two(str(telemetry.get(CLI_VERSION, "")))


def core_version(producer: str) -> tuple[int, ...]:
    """Return the first two numbers of the version of wandb-core, () if it is not known."""
    return _first_two(producer)


def _first_two(version: str) -> tuple[int, ...]:
    numbers = version.split(".")[:2]
    is_known = all(number.isdecimal() and len(number) <= MOST_DIGITS for number in numbers)
    return tuple(map(int, numbers)) if is_known else ()
