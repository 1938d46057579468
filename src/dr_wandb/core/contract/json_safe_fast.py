"""A fast path to the JSON-safe form of values that come from a JSON decoder.

Rules
- The form is always that of values.py, which does all that is not plain JSON.
- A value that is in its form already is returned as it is, not copied; nothing is changed in place.
"""

from collections.abc import Iterable
from typing import Any

from dr_wandb.core.contract.values import json_safe, number

MOST_LEVELS = 50
"""Levels of nesting that are handled here; deeper values may contain themselves."""

_LEAST, _GREATEST = -(2**63), 2**64
"""Integers in between are certainly encoded as plain digits."""


MOST_CONTAINERS = 10_000
"""Containers of one level; a value that contains itself twice has twice as many on each level."""


class _NotPlainError(Exception):
    """The value did not come from a JSON decoder, or is not simple enough."""


def plain_form(value: Any) -> Any:
    """Return what `json_safe` returns; fast if the value is plain JSON."""
    if _is_in_form(value):
        return value
    try:
        changes = _changes([(0, value)], 0)
    except _NotPlainError:
        return json_safe(value)
    return changes[0][1] if changes else value


def _is_in_form(value: Any) -> bool:
    """Say whether a value certainly is in its form already, as nearly all are.

    Level by level: a call for each container takes a third longer.
    """
    level: list[Any] = [[value]]
    for _ in range(MOST_LEVELS):
        inner: list[Any] = []
        for container in level:
            if type(container) is dict:
                for key in container:
                    if type(key) is not str or not (key.isascii() or _is_encodable(key)):
                        return False
                container = container.values()
            for member in container:
                kind = type(member)
                if kind is dict or kind is list:
                    inner.append(member)
                elif kind is float:
                    if member.is_integer() or member - member != 0:
                        return False
                elif kind is str:
                    if not (member.isascii() or _is_encodable(member)):
                        return False
                elif kind is int:
                    if not _LEAST <= member < _GREATEST:
                        return False
                elif member is not None and kind is not bool:
                    return False
        if not inner:
            return True
        if len(inner) > MOST_CONTAINERS:
            return False
        level = inner
    return False


def _changes(members: Iterable[tuple[Any, Any]], levels: int) -> list[tuple[Any, Any]]:
    """Return the members of a container whose form is another value, each with its key."""
    if levels > MOST_LEVELS:
        raise _NotPlainError
    changes: list[tuple[Any, Any]] = []
    for key, member in members:
        kind = type(member)
        if kind is str:
            if not member.isascii():
                _require_encodable(member)
        elif kind is int:
            if not _LEAST <= member < _GREATEST:
                raise _NotPlainError
        elif kind is float:
            if member.is_integer() or member - member != 0:
                changes.append((key, number(member)))
        elif kind is dict:
            for name in member:
                if type(name) is not str or not name.isascii():
                    _require_text(member)
                    break
            if inner := _changes(member.items(), levels + 1):
                changes.append((key, {**member, **dict(inner)}))
        elif kind is list:
            if inner := _changes(enumerate(member), levels + 1):
                changed = dict(inner)
                changes.append((key, [changed.get(at, old) for at, old in enumerate(member)]))
        elif member is not None and kind is not bool:
            raise _NotPlainError
    return changes


def _require_text(keys: Iterable[Any]) -> None:
    for key in keys:
        if type(key) is not str:
            raise _NotPlainError
        if not key.isascii():
            _require_encodable(key)


def _require_encodable(text: str) -> None:
    if not _is_encodable(text):
        raise _NotPlainError


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
