"""The layout of a help page: plain lines, wrapped to a width.

Rules
- Lines end between words. A line is longer than the width only if one word is.
- Texts of a section stand in one column beside their labels, or below a label that is longer.
- There are no escape codes: a page is the same on a terminal, in a pipe and in a file.
"""

from collections.abc import Iterable, Iterator, Sequence
from textwrap import wrap
from typing import NamedTuple

INDENT = 2
"""Spaces before a label; as many are between a label and its text."""

LABELS = 1 / 3
"""The part of the width that labels may take: text beside them still has room."""


class Entry(NamedTuple):
    """A flag, a command or a code, and what it means; an example has no text."""

    label: str
    text: str = ""


class Section(NamedTuple):
    """Entries below a title."""

    title: str
    entries: Sequence[Entry]


def lay_out(usage: str, parts: Iterable[str | Section], width: int) -> str:
    """Return a page of at most `width` columns: the usage, then paragraphs and sections."""
    hanging = len("Usage: ") + INDENT
    lines = [line for part in usage.splitlines() for line in _wrapped(part, width, 0, hanging)]
    for part in parts:
        if isinstance(part, Section):
            lines += ["", f"{part.title}:", *_section_lines(part.entries, width)]
        else:
            lines += ["", *_wrapped(part, width, 0, 0)]
    return "\n".join([*lines, ""])


def _section_lines(entries: Sequence[Entry], width: int) -> Iterator[str]:
    widths = (len(entry.label) + 2 * INDENT for entry in entries)
    column = max((one for one in widths if one <= width * LABELS), default=3 * INDENT)
    for entry in entries:
        text = _wrapped(entry.text, width, column, column)
        if text and len(entry.label) + 2 * INDENT <= column and len(text[0]) <= width:
            text[0] = f"{' ' * INDENT}{entry.label}".ljust(column) + text[0][column:]
            yield from text
        else:
            yield from _wrapped(entry.label, width, INDENT, 2 * INDENT)
            yield from text


def _wrapped(text: str, width: int, first: int, others: int) -> list[str]:
    """Break a text into lines that begin with spaces; those at its start are kept."""
    own = len(text) - len(text.lstrip())
    return wrap(
        text.strip(),
        width,
        initial_indent=" " * (first + own),
        subsequent_indent=" " * others,
        break_long_words=False,
        break_on_hyphens=False,
    )
