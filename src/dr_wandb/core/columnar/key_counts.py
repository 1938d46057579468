"""Count the keys of objects of many runs, in bounded memory, and note what their values are.

Rules
- Counts are exact, and do not depend on the order of runs. With very many keys the runs are counted
  twice: first for the keys that may be frequent enough, then for these keys alone.
- A key that was forgotten was in too few of the runs so far. What it may have had is remembered
  when it comes again, so that no frequent key is lost.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dr_wandb.core.columnar.scalars import Scalars
from dr_wandb.core.columnar.values_as_cells import NON_FINITE
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

    def add(self, runs: int, scalars: Mapping[str, Scalars]) -> None:
        """Count the keys of some runs. scalars: their values by key."""
        self._runs += runs
        found = self._found
        for key, (at, values) in scalars.items():
            before = found.get(key)
            if before is None:
                if self._only is not None and key not in self._only:
                    continue
                before = 0
                if self._missed:
                    self._late[key] = self._missed
            found[key] = (before + len(at) * ONE_RUN) | kinds_of(values)
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

    def kinds_of(self, key: str) -> int:
        """Return the kinds of the values of a key so far."""
        return self._found.get(key, 0) % ONE_RUN

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


def kinds_of(values: Sequence[Any]) -> int:
    """Return the kinds of values together."""
    types = {*map(type, values)}
    if types == {float}:
        return DOUBLE
    if types == {int} and min(values) > -EXACT_INTEGERS and max(values) < EXACT_INTEGERS:
        return INTEGER
    if types == {str} and NON_FINITE.keys().isdisjoint(values):
        return WORD
    kinds = 0
    for value in values:
        kinds |= kind_of(value)
    return kinds


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
