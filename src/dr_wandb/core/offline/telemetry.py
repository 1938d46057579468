"""What a file says of the program that wrote it: its versions, its imports, what it used.

Rules
- Telemetry is kept as W&B's clients upload it, as `_wandb.t` of the config: under the numbers of
  its fields, flags as the sorted list of those that are set (measured with SDK 0.10.33 to 0.31.0).
- Fields are taken by their numbers, so those that newer or older SDKs have are kept too.
- Each record adds to those before it. What cannot be decoded says nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from dr_wandb.core.offline.schema import nothing_class, text_of

Telemetry = Mapping[str, Any]
"""The value of `_wandb.t`: a list of numbers, a text, or for labels an object of texts."""

IMPORTS_INIT, IMPORTS_FINISH, FEATURE, ENV = "1", "2", "3", "8"
PYTHON_VERSION, CLI_VERSION, HUGGINGFACE_VERSION, CORE_VERSION = "4", "5", "6", "12"

_FLAGS = frozenset({IMPORTS_INIT, IMPORTS_FINISH, FEATURE, ENV, "10", "11"})
_LABEL, _INFO = "9", "200"

OFFLINE, RESUMED = 4, 5
"""Numbers of features."""

JUPYTER, KAGGLE = 1, 2
"""Numbers of environments."""


def telemetry_of(raws: Iterable[bytes]) -> dict[str, Any]:
    """Return what telemetry records say together."""
    found: dict[str, list[Any]] = {}
    for number, content in _fields(raws):
        found.setdefault(str(number), []).append(content)
    values = ((key, _value(key, contents)) for key, contents in found.items() if key != _INFO)
    return {key: value for key, value in values if value}


def _fields(raws: Iterable[bytes]) -> list[tuple[int, Any]]:
    """Return numbers and contents of the fields of messages; those that are none are left out.

    Messages that are put behind each other are one, which takes less time to look at.
    """
    whole = b"".join(raw for raw in raws if _is_message(raw))
    fields = UnknownFieldSet(nothing_class().FromString(whole))
    told = ((field.field_number, field.data) for field in fields)
    return [(number, content) for number, content in told if isinstance(content, int | bytes)]


def _is_message(raw: bytes) -> bool:
    try:
        nothing_class().FromString(raw)
    except DecodeError:
        return False
    return True


def _value(key: str, contents: Sequence[Any]) -> Any:
    """Return a number or a text, or what an inner message has that comes in several pieces."""
    if not all(isinstance(content, bytes) for content in contents):
        return contents[-1]
    if key not in _FLAGS and key != _LABEL:
        return next((text_of(content) for content in reversed(contents) if content), "")
    inner = _fields(contents)
    if key == _LABEL:
        return {str(number): text_of(text) for number, text in inner if isinstance(text, bytes)}
    return sorted({number for number, is_set in inner if is_set})


def merged(before: Telemetry, said: Telemetry) -> dict[str, Any]:
    """Return telemetry with what a further record says: flags and labels add up."""
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
    return tuple(map(int, numbers)) if all(number.isdecimal() for number in numbers) else ()
