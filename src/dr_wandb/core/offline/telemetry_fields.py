"""Decode what a file records of the program that wrote it, as `telemetry.py` describes it.

Rules
- Fields are taken by their numbers, so those that newer or older SDKs have are kept too.
- A field that cannot be decoded, or has the wrong wire type, is skipped.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from dr_wandb.core.offline.schema import nothing_class
from dr_wandb.core.offline.telemetry import (
    CLI_VERSION,
    CORE_VERSION,
    ENV,
    FEATURE,
    HUGGINGFACE_VERSION,
    IMPORTS_FINISH,
    IMPORTS_INIT,
    PYTHON_VERSION,
)
from dr_wandb.core.offline.text import text_of

_FLAGS = frozenset({IMPORTS_INIT, IMPORTS_FINISH, FEATURE, ENV, "10", "11"})
_LABEL, _INFO = "9", "200"
_TEXTS = frozenset({PYTHON_VERSION, CLI_VERSION, HUGGINGFACE_VERSION, CORE_VERSION})
_NO_NUMBERS = _FLAGS | _TEXTS | {_LABEL}


def telemetry_of(raws: Iterable[bytes]) -> dict[str, Any]:
    """Return the merged content of telemetry records."""
    found: dict[str, list[Any]] = {}
    for number, content in _fields(raws):
        if isinstance(content, bytes) or str(number) not in _NO_NUMBERS:
            found.setdefault(str(number), []).append(content)
    values = ((key, _value(key, contents)) for key, contents in found.items() if key != _INFO)
    return {key: value for key, value in values if value}


def _fields(raws: Iterable[bytes]) -> list[tuple[int, Any]]:
    """Return numbers and contents of the fields of messages, skipping anything else.

    Concatenated messages are one message, which takes less time to read.
    """
    whole = b"".join(raw for raw in raws if _is_message(raw))
    fields = UnknownFieldSet(nothing_class().FromString(whole))
    numbered = ((field.field_number, field.data) for field in fields)
    return [(number, content) for number, content in numbered if isinstance(content, int | bytes)]


def _is_message(raw: bytes) -> bool:
    try:
        nothing_class().FromString(raw)
    except DecodeError:
        return False
    return True


def _value(key: str, contents: Sequence[Any]) -> Any:
    """Return a number, a text, or the content of an inner message in several pieces."""
    if not all(isinstance(content, bytes) for content in contents):
        return contents[-1]
    if key not in _FLAGS and key != _LABEL:
        return next((text_of(content) for content in reversed(contents) if content), "")
    inner = _fields(contents)
    if key == _LABEL:
        return {str(number): text_of(text) for number, text in inner if isinstance(text, bytes)}
    return sorted({number for number, is_set in inner if is_set and isinstance(is_set, int)})
