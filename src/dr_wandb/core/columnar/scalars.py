"""The texts, numbers and booleans in the objects of many runs, by dotted key: a key at a time.

Rules
- An object without `_type` is entered, and its members get dotted keys. If two members of a run
  have the same dotted key, the one inside fewer objects counts; of those, the first by the path.
- Lists, nulls and objects with `_type` are no values here.
"""

from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from dr_wandb.core.columnar.cells import NOWHERE, Integers
from dr_wandb.core.contract.columns import MOST_ABSENT
from dr_wandb.core.contract.row_shape import UNION, is_open

_SCALARS = frozenset({str, int, float, bool})

Objects = Sequence[Mapping[str, Any]]


class Scalars(NamedTuple):
    """The values of one key or column. at: the runs that have one, ascending."""

    at: Integers
    values: Sequence[Any]


NO_SCALARS = Scalars(NOWHERE, ())


def scalars_by_key(objects: Objects) -> dict[str, Scalars]:
    """Return the values of each dotted key in the objects of runs, one for each run."""
    found: dict[str, Scalars] = {}
    level = [("", Scalars(np.arange(len(objects)), objects))]
    while level:
        deeper: list[tuple[str, Scalars]] = []
        for prefix, members in level:
            for name, column in _columns_of(_entered(members) if prefix else members):
                key = f"{prefix}{name}"
                types = {*map(type, column.values)}
                if dict in types:
                    deeper.append((f"{key}.", _of_types(column, frozenset({dict}))))
                if not types <= _SCALARS:
                    column = _of_types(column, _SCALARS)
                if len(column.values):
                    found[key] = _united(found[key], column) if key in found else column
        level = deeper
    return found


def _entered(members: Scalars) -> Scalars:
    """Return the objects that are entered."""
    names: set[str] = set().union(*members.values)
    if "_type" not in names and not any(name.startswith(UNION) for name in names):
        return members
    entered = [is_open(one) for one in members.values]
    values = [one for one, is_entered in zip(members.values, entered, strict=True) if is_entered]
    return Scalars(members.at[entered], values)


def _columns_of(members: Scalars) -> Iterator[tuple[str, Scalars]]:
    """Give the values of each name in objects, by name; nulls may be among them."""
    at, objects = members
    names = list(objects[0]) if objects else []
    if all(list(one) == names for one in objects):
        columns = zip(*(one.values() for one in objects), strict=True)
        for name, values in sorted(zip(names, columns, strict=True), key=itemgetter(0)):
            yield name, Scalars(at, values)
        return
    names = sorted(set().union(*objects))
    if len(names) * len(objects) <= MOST_ABSENT * sum(map(len, objects)):
        for name in names:
            yield name, Scalars(at, [one.get(name) for one in objects])
        return
    few: dict[str, tuple[list[int], list[Any]]] = {}
    for index, one in enumerate(objects):
        for name, value in one.items():
            where, present = few.setdefault(name, ([], []))
            where.append(index)
            present.append(value)
    for name in names:
        where, present = few[name]
        yield name, Scalars(at[where], present)


def _of_types(column: Scalars, types: frozenset[type]) -> Scalars:
    """Return the values of some types."""
    fits = [type(value) in types for value in column.values]
    return Scalars(
        column.at[fits], [value for value, fit in zip(column.values, fits, strict=True) if fit]
    )


def _united(one: Scalars, other: Scalars) -> Scalars:
    """Return the values of either; those of the first count if a run has both."""
    values = dict(zip(other.at.tolist(), other.values, strict=True))
    values |= dict(zip(one.at.tolist(), one.values, strict=True))
    at = sorted(values)
    return Scalars(np.array(at), [values[run] for run in at])
