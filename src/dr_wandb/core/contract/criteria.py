"""What one way of choosing runs is: how it is spelled, and which runs it admits.

The ways that there are stand in one table, `CRITERIA` in scope.py.
"""

from enum import StrEnum
from typing import Any

from dr_wandb.core.contract.normalize import instant, normalize_time
from dr_wandb.core.contract.records import Record, WandbRun
from dr_wandb.core.contract.values import clean_text


class Operator(StrEnum):
    """How a run is compared with what is wanted; spelled as in filters of W&B."""

    ONE_OF = "$in"
    FROM = "$gte"
    BEFORE = "$lt"


class Criterion(Record, frozen=True, kw_only=True):
    """One way of choosing runs: a row of the table."""

    field: str
    """Of a RunScope."""

    flag: str
    """The parameter of the command, with underscores."""

    help: str
    """Of the flag."""

    word: str
    """Stands before the values when a scope is said in words."""

    of_run: str
    """The field of a WandbRun that is compared."""

    filter_key: str
    """The name of that field in filters of W&B."""

    operator: Operator = Operator.ONE_OF

    listed_as: str | None = None
    """The name of that field in a listing, if there are servers that do not know it."""

    @property
    def takes_several(self) -> bool:
        """Say whether several values may be given; otherwise it takes one time."""
        return self.operator is Operator.ONE_OF

    def clean(self, wanted: Any) -> tuple[str, ...] | str | None:
        """Return the one spelling of what is wanted. Raises ValueError, with the field's name."""
        if not self.takes_several:
            moment = normalize_moment(wanted)
            if moment is None and wanted is not None:
                raise ValueError(f"{self.field} must be a date or a time, not {wanted!r}")
            return moment
        values = (wanted,) if isinstance(wanted, str) else tuple(wanted or ())
        if not all(isinstance(value, str) and value.strip() for value in values):
            raise ValueError(f"{self.field} must not have a blank value")
        return tuple(sorted({clean_text(value) for value in values}))

    def admits(self, wanted: tuple[str, ...], run: WandbRun) -> bool:
        """Say whether a run is admitted. wanted: clean, at least one value."""
        own = getattr(run, self.of_run)
        if self.takes_several:
            return not set(wanted).isdisjoint(own if isinstance(own, list) else [own])
        moment, bound = instant(own), instant(wanted[0])
        if moment is None or bound is None:
            return False
        return moment >= bound if self.operator is Operator.FROM else moment < bound


def normalize_moment(value: Any) -> str | None:
    """Return a date or a time as UTC, ISO 8601, ending in `Z`; None if it is neither."""
    if value is None:
        return None
    moment = instant(str(value).strip())
    return None if moment is None else normalize_time(moment)
