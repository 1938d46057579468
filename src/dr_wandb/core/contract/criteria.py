"""One criterion for choosing runs: how it is spelled, and which runs it admits.

The table of all criteria is `CRITERIA` in scope.py.
"""

from enum import StrEnum
from typing import Any

from dr_wandb.core.contract.normalize import instant, normalize_time
from dr_wandb.core.contract.records import Record, WandbRun
from dr_wandb.core.contract.values import clean_text


class Operator(StrEnum):
    """How a run is compared with the wanted values; spelled as in filters of W&B."""

    ONE_OF = "$in"
    FROM = "$gte"
    BEFORE = "$lt"


class Criterion(Record, frozen=True, kw_only=True):
    """One criterion for choosing runs: a row of the table."""

    field: str
    """The name of its field in a RunScope."""

    flag: str
    """The parameter of the command, with underscores."""

    help: str
    """The help text of the flag."""

    word: str
    """The word before the values when a scope is described to people."""

    of_run: str
    """The field of a WandbRun that is compared."""

    filter_key: str
    """The name of that field in filters of W&B."""

    operator: Operator = Operator.ONE_OF

    listed_as: str | None = None
    """The name of that field in a listing, if some servers do not know it."""

    @property
    def takes_several(self) -> bool:
        """Say whether several values may be given; otherwise it takes one time."""
        return self.operator is Operator.ONE_OF

    def clean(self, wanted: Any) -> tuple[str, ...] | str | None:
        """Return the wanted values in one spelling. Raises ValueError with the field's name."""
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
        """Say whether a run is admitted. wanted: cleaned, at least one value."""
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
