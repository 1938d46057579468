"""One JSON-safe form for each value, one spelling for each number.

Rules
- The form depends on the value alone, not on where it came from. `docs/format.md` is the table.
- A double that is integral and below 2**53 in magnitude is an integer; -0.0 is 0. NaN and the
  infinities are the strings "NaN", "Infinity", "-Infinity".
- Nothing is dropped, except members of objects whose value is null if `drop_nulls` is set.
- Total: never fails, never recurses without end, never shows a memory address.
"""

import base64
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any
from uuid import UUID

import msgspec

EXACT_INTEGERS = 2.0**53
"""Below this magnitude an integral double stands for exactly one integer."""

MAX_DEPTH = 100
"""Levels of nesting that are kept as such; deeper values are kept as their JSON text."""

MAX_DIGITS = 4300
"""Digits of an integer that Python reads back by itself; a longer one is kept as text."""

_OBJECT_DEPTH = 25
"""Levels that one Python object counts for, so that objects that make new objects end soon."""

_KNOWN = (Mapping, Sequence, Set, bool, int, float)
_CYCLE = "<contains itself>"
_LARGE = 10**MAX_DIGITS
_TEXT = msgspec.json.Encoder(order="sorted")


def json_safe(value: Any, *, drop_nulls: bool = False, depth: int = 0) -> Any:
    """Return the one JSON-safe form of a value.

    drop_nulls: drop the members of objects whose value is null, as history rows do.
    depth: the number of levels above the value in the record it belongs to.
    """
    return _safe(value, drop_nulls, depth, set())


def number(value: float) -> int | float | str:
    """Return the JSON-safe form of this double; its encoding is the one spelling."""
    if value.is_integer():
        return int(value) if -EXACT_INTEGERS < value < EXACT_INTEGERS else value
    if math.isfinite(value):
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def spell_number(value: int | float) -> str:
    """Return the one spelling of a finite number as text."""
    safe = _safe(value, False, 0, set())
    return safe if isinstance(safe, str) else _TEXT.encode(safe).decode()


def clean_text(text: str) -> str:
    r"""Return text that UTF-8 can hold: a lone surrogate becomes its escape, as in `\ud800`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def text_keys(members: Mapping[Any, Any]) -> Iterable[tuple[str, Any]]:
    """Give the members of an object with text for keys, and their values as they are."""
    return _keyed(members)


def decode_json(text: str | bytes, what: str) -> Any:
    """Decode JSON as W&B stores it: with NaN and Infinity tokens and raw control characters.

    Integers keep all their digits. Raises ValueError that names `what` and the path inside it.
    """
    if not isinstance(text, str | bytes):
        raise ValueError(f"{what} is not text")
    with suppress(msgspec.DecodeError, ValueError, RecursionError):
        return msgspec.json.decode(text)
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    try:
        return json.loads(text, strict=False, parse_int=_parse_integer)
    except RecursionError:
        raise ValueError(f"{what} is nested too deeply to read") from None
    except ValueError as error:
        raise ValueError(f"{what} is not valid JSON: {error}") from None


def _parse_integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= MAX_DIGITS else digits


def _safe(value: Any, drop_nulls: bool, depth: int, inside: set[int]) -> Any:
    kind = type(value)
    if kind is float:
        return number(value)
    if kind is str:
        return value if value.isascii() else clean_text(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if -_LARGE < value < _LARGE else str(Decimal(value))
    if kind is dict or kind is list:
        return _safe_container(value, value, drop_nulls, depth, inside)
    opened, depth = _opened(value), depth + _weight(value)
    if isinstance(opened, Mapping | list):
        return _safe_container(value, opened, drop_nulls, depth, inside)
    if depth > 2 * MAX_DEPTH:
        return _name_of(value)
    return _safe(opened, drop_nulls, depth, inside)


def _safe_container(
    original: Any,
    opened: Mapping[Any, Any] | list[Any],
    drop_nulls: bool,
    depth: int,
    inside: set[int],
) -> Any:
    """Return the form of a container, or of an object that was opened into one."""
    if id(original) in inside:
        return _CYCLE
    if depth >= MAX_DEPTH:
        return _deep_text(original, drop_nulls)
    inside.add(id(original))
    try:
        if isinstance(opened, Mapping):
            return dict(_safe_members(opened, drop_nulls, depth + 1, inside))
        members = [_safe(member, drop_nulls, depth + 1, inside) for member in opened]
        return sorted(members, key=_TEXT.encode) if isinstance(opened, _Unordered) else members
    finally:
        inside.discard(id(original))


def _safe_members(
    members: Mapping[Any, Any], drop_nulls: bool, depth: int, inside: set[int]
) -> Iterator[tuple[str, Any]]:
    for key, raw_member in _keyed(members):
        if drop_nulls and raw_member is None:
            continue
        if type(raw_member) is float:
            yield key, number(raw_member)
            continue
        member = _safe(raw_member, drop_nulls, depth, inside)
        if member is not None or not drop_nulls:
            yield key, member


def _keyed(members: Mapping[Any, Any]) -> Iterable[tuple[str, Any]]:
    """Give the members with text keys: JSON's own words for null, booleans and numbers.

    If a key becomes the same text as another one, the name of its type is appended to it.
    """
    if {*map(type, members)} <= {str} and "".join(members).isascii():
        return members.items()
    return _renamed(members)


def _renamed(members: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    changed: list[tuple[str, str, Any]] = []
    for raw_key, member in members.items():
        if type(raw_key) is str and (raw_key.isascii() or clean_text(raw_key) == raw_key):
            yield raw_key, member
        else:
            safe = _safe(raw_key, False, 0, set())
            text = safe if isinstance(safe, str) else _TEXT.encode(safe).decode()
            changed.append((text, type(raw_key).__name__, member))
    taken: set[str] = set()
    for text, kind, member in sorted(changed, key=lambda entry: entry[:2]):
        key = text
        while key in taken or key in members:
            key = f"{key} ({kind})"
        taken.add(key)
        yield key, member


class _Unordered(list[Any]):
    """The members of a set, on their way to being sorted by their encoding."""


def _weight(value: Any) -> int:
    """Return the number of levels that opening a value adds: none for types that JSON has."""
    return 0 if isinstance(value, _KNOWN) else _OBJECT_DEPTH


def _opened(value: Any) -> Any:
    """Convert a foreign value to a type nearer to JSON, by one step only."""
    if isinstance(value, Enum):
        return value.value
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, Mapping):
        return value
    if isinstance(value, Set):
        return _Unordered(value)
    if isinstance(value, Sequence):
        return list(value)
    if isinstance(value, datetime):
        moment = value.replace(tzinfo=UTC) if value.tzinfo is None else value
        with suppress(OverflowError):
            moment = moment.astimezone(UTC)
        return moment.isoformat().replace("+00:00", "Z")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal | Fraction | complex | PurePath | UUID):
        return str(value)
    return _opened_object(value)


def _opened_object(value: Any) -> Any:
    """Return the result of an object's `tolist`, else its public attributes, else its type."""
    name = _name_of(value)
    if isinstance(value, type):
        return name
    with suppress(Exception):
        plain = value.tolist()
        return name if plain is value else plain
    with suppress(Exception):
        return dict(_public_attributes(value)) or name
    return name


def _name_of(value: Any) -> str:
    kind = value if isinstance(value, type) else type(value)
    return f"<{kind.__module__}.{kind.__qualname__}>"


def _public_attributes(value: Any) -> Iterator[tuple[str, Any]]:
    names: Iterable[str] = getattr(value, "__dict__", ())
    slots = [name for kind in type(value).__mro__ for name in _slots_of(kind)]
    for name in dict.fromkeys([*names, *slots]):
        with suppress(AttributeError):
            if not name.startswith("_") and not callable(member := getattr(value, name)):
                yield name, member


def _slots_of(kind: type) -> Sequence[str]:
    slots = kind.__dict__.get("__slots__", ())
    return [slots] if isinstance(slots, str) else list(slots)


def _deep_text(value: Any, drop_nulls: bool) -> str:
    """Return a container that is nested too deep as JSON text, without recursion."""
    parts: list[str] = []
    inside: set[int] = set()
    waiting: list[tuple[str, Any, int]] = [("value", value, 0)]
    while waiting:
        what, found, depth = waiting.pop()
        if what == "text":
            parts.append(found)
        elif what == "leave":
            inside.discard(id(found))
        elif _is_scalar(found) or depth > 2 * MAX_DEPTH:
            scalar = found if _is_scalar(found) else _name_of(found)
            parts.append(_TEXT.encode(_safe(scalar, False, 0, set())).decode())
        elif id(found) in inside:
            parts.append(f'"{_CYCLE}"')
        else:
            inside.add(id(found))
            waiting.append(("leave", found, 0))  # alive, so that its id stays its own
            opened = found if type(found) in (dict, list) else _opened(found)
            if isinstance(opened, Mapping | list):
                tokens = _tokens(opened, drop_nulls, depth + _weight(found))
                waiting.extend(reversed(list(tokens)))
            else:
                waiting.append(("value", opened, depth + _weight(found)))
    return "".join(parts)


def _is_scalar(value: Any) -> bool:
    return value is None or type(value) in (bool, int, float, str)


def _tokens(
    container: "Mapping[Any, Any] | list[Any]", drop_nulls: bool, depth: int
) -> Iterator[tuple[str, Any, int]]:
    """Give the text and the members of one container, in the order of writing."""
    if isinstance(container, Mapping):
        kept = ((k, v) for k, v in _keyed(container) if not (drop_nulls and v is None))
        opening, closing = "{", "}"
        members = [(f"{_TEXT.encode(k).decode()}:", v) for k, v in sorted(kept, key=_first)]
    else:
        opening, closing = "[", "]"
        ordered = container
        if isinstance(container, _Unordered):
            ordered = sorted(container, key=lambda member: _deep_text([member], drop_nulls))
        members = [("", member) for member in ordered]
    yield "text", opening, 0
    for position, (label, member) in enumerate(members):
        yield "text", f"{',' if position else ''}{label}", 0
        yield "value", member, depth
    yield "text", closing, 0


def _first(pair: tuple[str, Any]) -> str:
    return pair[0]
