"""Encode many lines of one console at once, a column at a time.

Rules
- The lines are, byte for byte, those of the row path, `encode_line(console_line(row))`.
- The row path encodes lines that older clients sent as text, and any of an unusual form.
"""

import re
from collections.abc import Mapping, Sequence
from itertools import repeat
from operator import itemgetter
from typing import Any

import msgspec

from dr_wandb.core.contract.codec import NO_TIME
from dr_wandb.core.contract.console import console_line, line_number, spell_second
from dr_wandb.core.contract.encoded_rows import EncodedRows
from dr_wandb.core.contract.values import clean_text

RawRow = Mapping[str, Any]

_ENCODER = msgspec.json.Encoder(order="sorted")
_MEMBERS = itemgetter("_step", "timestamp", "level", "line")
_TEXTS = frozenset({str, type(None)})
_TIMES = re.compile(r"(?:[^\n]{19}(?:\.[0-9]+)?Z?\n)+")
"""Times as W&B gives them, with or without a fraction, each on a line."""

_SECOND = len("2026-01-01T00:00:00")


class _Line(msgspec.Struct, gc=False):
    """A line with its members in the order in which they are written."""

    content: str
    label: str | None
    level: str | None
    number: int
    run_id: str
    timestamp: str


def encode_console(raw_rows: Sequence[RawRow], run_id: str) -> EncodedRows:
    """Encode lines as they came from the source."""
    encoded = _encode_alike(raw_rows, run_id) if raw_rows else None
    if encoded is not None:
        return encoded
    rows = [console_line(raw_row, run_id) for raw_row in raw_rows]
    lines = _ENCODER.encode_lines(rows)
    return EncodedRows(lines, [row.number for row in rows], [NO_TIME] * len(rows))


def _encode_alike(rows: Sequence[RawRow], run_id: str) -> EncodedRows | None:
    """Encode lines of the usual form; None if each has to be looked at."""
    try:
        numbers, times, levels, contents = zip(*map(_MEMBERS, rows), strict=True)
    except KeyError:
        return None
    labels = [row.get("label") for row in rows]
    plain = {*map(type, numbers)} == {int} and {*map(type, contents)} == {str}
    if not plain or None in map(line_number, (min(numbers), max(numbers))):
        return None
    if not {*map(type, levels), *map(type, labels)} <= _TEXTS:
        return None
    if not _is_encodable(contents):
        return None
    spelled = _spell_times(times)
    if spelled is None:
        return None
    lines = map(_Line, contents, _few(labels), _few(levels), numbers, repeat(run_id), spelled)
    return EncodedRows(_ENCODER.encode_lines(list(lines)), numbers, [NO_TIME] * len(numbers))


def _spell_times(times: Sequence[Any]) -> Sequence[str] | None:
    """Return times as they are stored; None unless all have W&B's usual form."""
    if {*map(type, times)} != {str}:
        return None
    joined = "\n".join((*times, ""))
    if joined.count("\n") != len(times) or not _TIMES.fullmatch(joined):
        return None
    if None in map(spell_second, {time[:_SECOND] for time in times}):
        return None
    if "Z" in joined:
        times = [time.removesuffix("Z") for time in times]
    if joined.count(".") == len(times):
        return [f"{time.rstrip('0').rstrip('.')}Z" for time in times]
    return [f"{time.rstrip('0').rstrip('.') if '.' in time else time}Z" for time in times]


def _is_encodable(texts: Sequence[str]) -> bool:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return False
    return True


def _few(texts: Sequence[Any]) -> Sequence[str | None]:
    """Return texts as they are stored, of which few differ; None for empty ones."""
    known = {text: clean_text(text) if text else None for text in {*texts}}
    return [known[text] for text in texts]
