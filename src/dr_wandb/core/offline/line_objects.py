"""Read the JSON objects at the beginning of a line of a history.

Rules
- As the SDK writes it, a line is one object, and is decoded at once.
- Consecutive objects are the same ones, wherever the line was cut when it was read before.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from dr_wandb.core.contract.values import decode_json

BLANK = b" \t\r\n\x00"
"""Bytes that mean nothing between two objects; a crash leaves zeros."""

_BLANKS = re.compile(r"[ \t\r\n\x00]*")
_ANY_OBJECT = json.JSONDecoder(strict=False, parse_int=str)
"""Finds the end of an object."""


class LineObject(NamedTuple):
    """A row, and the offset in its line after it and the blanks that follow."""

    row: dict[str, Any]
    end: int


def objects_in(line: bytes) -> Iterator[LineObject]:
    """Give the objects that a line begins with, up to the first other text."""
    row = _row_of(line) if line else None
    if row is not None:
        yield LineObject(row, len(line))
        return
    text = line.decode("utf-8", "backslashreplace")
    at = end = 0
    while text.startswith("{", at):
        try:
            _, stop = _ANY_OBJECT.raw_decode(text, at)
        except (ValueError, RecursionError):
            return
        row = _row_of(text[at:stop].encode())
        if row is None:
            return
        behind = _end_of_blanks(text, stop)
        end += len(text[at:behind].encode())
        yield LineObject(row, end)
        at = behind


def _end_of_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return at if found is None else found.end()


def _row_of(line: bytes) -> dict[str, Any] | None:
    try:
        row = decode_json(line, "a line")
    except ValueError:
        return None
    return row if isinstance(row, dict) else None
