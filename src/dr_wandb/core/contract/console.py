"""Lines of a console, as servers of any age give them.

Rules (wandb-core of 0.31.0; W&B servers before 0.77 store what older clients sent)
- A line has a number, a time, a level, a label and its content; any of them may be null.
- A line with neither time nor level is text of an older client: `ERROR ` for standard error, a time
  and a blank come before the content. A label in brackets after them stays in the content, since
  programs print such brackets too. Older lines end with a newline. An empty time is no text.
- A line without a number, or with one of more than 64 bits, follows the one before it.

Everything here is total and pure.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from dr_wandb.core.contract.normalize import normalize_time, whole_step
from dr_wandb.core.contract.records import ConsoleLine
from dr_wandb.core.contract.values import clean_text

ERROR = "error"
"""The level of lines of standard error; others have none."""

_PLAIN = re.compile(
    r"(?P<error>ERROR )?(?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?) (?P<content>.*)",
    re.DOTALL,
)


class PlainLine(NamedTuple):
    """A line that an older client sent as text."""

    level: str | None
    timestamp: str | None
    content: str


def read_plain(text: str) -> PlainLine:
    """Take a line of an older client apart; text that is none is all content."""
    text = text.removesuffix("\n")
    found = _PLAIN.fullmatch(text)
    if found is None:
        return PlainLine(None, None, text)
    return PlainLine(ERROR if found["error"] else None, found["time"], found["content"])


def console_line(raw_row: Mapping[str, Any], run_id: str) -> ConsoleLine:
    """Make a line of a raw row, whose number is its `_step`."""
    content = _text(raw_row.get("line")) or ""
    level, timestamp = _text(raw_row.get("level")), _text(raw_row.get("timestamp"))
    if timestamp is None and not level:
        level, timestamp, content = read_plain(content)
    return ConsoleLine(
        run_id=run_id,
        number=line_number(raw_row.get("_step")) or 0,
        timestamp=_time(timestamp) if timestamp else None,
        level=level or None,
        label=_text(raw_row.get("label")) or None,
        content=content,
    )


def line_number(value: Any) -> int | None:
    """Return the number of a line, None if that has none."""
    number = whole_step(value)
    return number if number is not None and -(2**63) <= number < 2**63 else None


def _text(value: Any) -> str | None:
    return None if value is None else clean_text(str(value))


def _time(text: str) -> str | None:
    """Return a time as `normalize_time` does, but fast if many are of the same second."""
    second, rest = text[:19], text[19:].removesuffix("Z")
    point, fraction = rest[:1], rest[1:]
    if rest and (point != "." or not (fraction.isascii() and fraction.isdigit())):
        return normalize_time(text)
    spelled = spell_second(second)
    if spelled is None:
        return normalize_time(text)
    fraction = fraction.rstrip("0")
    return f"{second}.{fraction}Z" if fraction else spelled


@lru_cache(maxsize=1024)
def spell_second(text: str) -> str | None:
    """Return a second as it is spelled, None if it is not in that spelling already."""
    spelled = normalize_time(text)
    return spelled if spelled == f"{text}Z" else None
