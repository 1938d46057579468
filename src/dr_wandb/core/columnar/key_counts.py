"""Count the keys of objects of many runs, in bounded memory, and note what their values are.

Rules
- Counts are exact, and do not depend on the order of runs. With very many keys the runs are counted
  twice: first for the keys that may be frequent enough, then for these keys alone.
- A key that was forgotten was in too few of the runs so far. What it may have had is remembered
  when it comes again, so that no frequent key is lost.
"""

from collections.abc import Mapping
from typing import Any

from dr_wandb.core.columnar.values_as_cells import NON_FINITE
from dr_wandb.core.contract.row_shape import is_open
from dr_wandb.core.contract.values import EXACT_INTEGERS

MOST_COUNTED = 500_000
"""The most different keys of `config`, and of `summary`, of which each may have a column."""

RUNS_PER_KEY = 1000
"""If there are more, a key has a column only if at least one in this number of runs has it."""

INTEGERS_END = 2**63
"""The first integer that does not fit into 64 bits."""

BOOL, INTEGER, LARGE, DOUBLE, NON_FINITE_WORD, WORD, OTHER = (1 << bit for bit in range(7))
"""The kinds of values, as bits: those of a key say which type holds all of them."""

ONE_RUN = 1 << 7
"""What a run adds to the count of a key, which is above the bits."""

_SCALARS = frozenset({str, int, float, bool})


class KeyCounts:
    """How many runs have each key, and what its values are.

    If there are more than `MOST_COUNTED` keys, those that too few runs had so far are forgotten. A
    key that comes again may have been in `late` runs before. Then the keys that may be frequent
    enough are known, and counted again. only: those keys.
    """

    def __init__(self, only: frozenset[str] | None = None) -> None:
        self._only = only
        self._found: dict[str, int] = {}
        self._late: dict[str, int] = {}
        self._missed = 0
        self._most = MOST_COUNTED
        self._runs = 0
        self.exact = True

    def add(self, members: Mapping[str, Any]) -> None:
        """Count the keys of a run."""
        self._runs += 1
        found = self._found
        for key, value in scalars_of(members).items():
            before = found.get(key)
            if before is None:
                if self._only is not None and key not in self._only:
                    continue
                before = 0
                if self._missed:
                    self._late[key] = self._missed
            found[key] = (before + ONE_RUN) | kind_of(value)
        if len(found) > self._most and self._only is None:
            self._forget()

    def _forget(self) -> None:
        self.exact = False
        self._found = {key: one for key, one in self._found.items() if self._may_be_frequent(key)}
        self._late = {key: runs for key, runs in self._late.items() if key in self._found}
        self._missed = self._runs // RUNS_PER_KEY
        self._most = max(MOST_COUNTED, 2 * len(self._found))

    def _may_be_frequent(self, key: str) -> bool:
        runs = self._found[key] // ONE_RUN + self._late.get(key, 0)
        return runs * RUNS_PER_KEY >= self._runs

    def again(self) -> "KeyCounts":
        """Return what counts the keys exactly that may be frequent enough."""
        if self.exact:
            return KeyCounts()
        return KeyCounts(frozenset(filter(self._may_be_frequent, self._found)))

    def frequent(self) -> Mapping[str, int]:
        """Return the keys that may have columns."""
        if self._only is None:
            return self._found
        return {key: one for key, one in self._found.items() if self._may_be_frequent(key)}


def scalars_of(members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the texts, numbers and booleans in an object, by dotted key."""
    found = {key: value for key, value in members.items() if type(value) in _SCALARS}
    level = _inside("", members) if len(found) < len(members) else []
    while level:
        deeper = []
        for prefix, one in level:
            for key in sorted(one):
                if type(one[key]) in _SCALARS:
                    found.setdefault(f"{prefix}{key}", one[key])
            deeper += _inside(prefix, one)
        level = deeper
    return found


def _inside(prefix: str, members: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return the objects among members that are entered, in order, each with its prefix."""
    objects = ((key, one) for key, one in sorted(members.items()) if type(one) is dict)
    return [(f"{prefix}{key}.", one) for key, one in objects if is_open(one)]


def kind_of(value: Any) -> int:
    """Return the kind of a value."""
    kind = type(value)
    if kind is float:
        return DOUBLE
    if kind is int:
        if -EXACT_INTEGERS < value < EXACT_INTEGERS:
            return INTEGER
        return LARGE if -INTEGERS_END <= value < INTEGERS_END else OTHER
    if kind is bool:
        return BOOL
    return NON_FINITE_WORD if value in NON_FINITE else WORD
