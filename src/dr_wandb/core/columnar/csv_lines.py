"""Lines of CSV that spreadsheets and readers take as they are meant.

Rules
- A text that a spreadsheet would run as a formula gets a `'` in front, unless it spells a number:
  one that begins with `=`, `+`, `-`, `@`, a tab or a carriage return. So does one that begins with
  `'` and such a sign, so that the `'` can be taken away again.
- An empty text is `""`, and a value that is missing is nothing.
- Numbers are spelled as in an export; NaN and the infinities have no quotes.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np

from dr_wandb.core.columnar.to_lines import plain_numbers

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?Infinity", re.ASCII)
_QUOTED = re.compile(r'[",\r\n]|^\s|\s$')
_JSON = msgspec.json.Encoder()


def cell_of_text(text: str) -> str:
    """Return a text as a cell."""
    if _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        text = f"'{text}"
    if not text or _QUOTED.search(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def cells_of_texts(texts: Iterable[str | None]) -> list[str]:
    """Return texts as cells."""
    return ["" if text is None else cell_of_text(text) for text in texts]


def cells_of_doubles(values: Sequence[float | None]) -> list[str]:
    """Return doubles as cells."""
    numbers = np.array([0.0 if value is None else value for value in values], np.float64)
    spelled = _JSON.encode(plain_numbers(numbers)).decode()[1:-1].replace('"', "").split(",")
    return [
        "" if value is None else cell for value, cell in zip(values, spelled, strict=bool(values))
    ]


def cells_of_others(values: Iterable[Any]) -> list[str]:
    """Return integers, booleans and lists as cells."""
    return ["" if value is None else cell_of_text(_JSON.encode(value).decode()) for value in values]


def lines_of_columns(columns: Sequence[Sequence[str]]) -> str:
    """Return lines with the cells of some columns."""
    return "".join(f"{','.join(cells)}\n" for cells in zip(*columns, strict=True))
