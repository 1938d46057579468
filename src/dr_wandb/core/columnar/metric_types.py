"""The type of a metric's column: the first one that holds all its values as they are.

Rules
- A type holds a value if nothing of it changes there. Each cell narrows down the types that are
  left, so neither the order of cells nor their division into batches counts.
- JSON holds everything: it is the text of each value as JSON, so the digits of a number are all
  there, and the text `1` is `"1"` beside the number `1`.
- A metric without values is a double.
"""

from typing import Any

import numpy as np

from dr_wandb.core.columnar.cells import BOOL, JSON, NUMBER, TEXT, Doubles, KeyCells
from dr_wandb.core.columnar.key_counts import INTEGERS_END
from dr_wandb.core.columnar.runs import ColumnType
from dr_wandb.core.contract.values import EXACT_INTEGERS

_BOOLS, _INTEGERS, _DOUBLES, _TEXTS = (1 << bit for bit in range(4))

ANY_TYPE = _BOOLS | _INTEGERS | _DOUBLES | _TEXTS
"""The types of a metric without values, as bits."""

_BY_KIND = {BOOL: _BOOLS, TEXT: _TEXTS, JSON: 0}

_IN_ORDER = {
    _BOOLS: ColumnType.BOOL,
    _INTEGERS: ColumnType.INTEGER,
    _DOUBLES: ColumnType.DOUBLE,
    _TEXTS: ColumnType.TEXT,
}

_FEW = 64


def type_of(types: int) -> ColumnType:
    """Return the type of a column for which these types are left."""
    if types == ANY_TYPE:
        return ColumnType.DOUBLE
    return next((one for bit, one in _IN_ORDER.items() if types & bit), ColumnType.JSON)


def types_of(cells: KeyCells) -> int:
    """Return the types that hold all of these cells, as bits."""
    types = ANY_TYPE
    numbers = cells.kinds == NUMBER
    if not numbers.all():
        for kind, holding in _BY_KIND.items():
            if (cells.kinds == kind).any():
                types &= holding
    elif not len(cells.texts):
        return types & _types_of_doubles(cells.values)
    for index, text in zip(cells.text_at.tolist(), cells.texts, strict=True):
        if numbers[index]:
            types &= _types_of_integer(int(text), float(cells.values[index]))
            numbers[index] = False
    return types & _types_of_doubles(cells.values[numbers])


def _types_of_integer(integer: int, nearest: float) -> int:
    """Return the types of an integer of 2**53 or more. nearest: the nearest double, else NaN."""
    fits = -INTEGERS_END <= integer < INTEGERS_END
    is_double = nearest == nearest and int(nearest) == integer
    return fits * _INTEGERS | is_double * _DOUBLES


def _types_of_doubles(values: Doubles) -> int:
    types = ANY_TYPE
    for some in (values[:_FEW], values):
        whole, finite = _look(some)
        if whole.any():
            types &= _INTEGERS | _DOUBLES
        if (finite & ~whole).any():
            return _DOUBLES  # further numbers change nothing
        if not finite.all():
            types &= _DOUBLES | _TEXTS
    return types


def _look(values: Doubles) -> tuple[Any, Any]:
    """Say which doubles are integers of less than 2**53, and which are finite."""
    finite = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return (values == np.trunc(values)) & (np.abs(values) < EXACT_INTEGERS), finite
