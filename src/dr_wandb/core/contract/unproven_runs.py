"""Runs that a sync could not read, or that differ from their listing, for its summary."""

from enum import StrEnum

from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.wording import count


class FailedRun(Record, frozen=True, kw_only=True):
    """One run that could not be read; its stored data and position stay as they were."""

    run_id: str
    kind: RunFailureKind
    reason: str

    @property
    def failure(self) -> RunFailure:
        """Return why it failed."""
        return RunFailure(kind=self.kind, reason=self.reason)


def failed_run(run_id: str, failure: RunFailure) -> FailedRun:
    """Return a run with why it failed."""
    return FailedRun(run_id=run_id, kind=failure.kind, reason=failure.reason)


class ShortKind(StrEnum):
    """The way in which a run is short. `UNKNOWN`: an earlier build did not record enough."""

    FEWER_ROWS = "fewer_rows"
    LAST_STEP = "last_step"
    HELD_ROWS = "held_rows"
    WITHOUT_CONTENT = "without_content"
    UNKNOWN = "unknown"


def without_content(rows: int) -> str:
    """Say that the bytes of some files did not come."""
    return f"the content of {count(rows, 'file')} did not come"


class ShortRun(Record, frozen=True, kw_only=True):
    """One run whose source lists `short_by` more lines than the rows it gave, which are held.

    `short_by` is None if it is not a matter of numbers; `reason` says what it is.
    """

    run_id: str
    kind: ShortKind
    short_by: int | None
    reason: str


BEGINS_LATER = "begins_later"
"""The run waits because its files begin later than those that its rows came from."""


class WaitingRun(Record, frozen=True, kw_only=True):
    """One run that lost rows upstream according to one answer: `missing_rows` of the held ones.

    They stay until a second answer, ten minutes later, agrees. `kind` is "emptied", "shrunk",
    "rewritten" or `BEGINS_LATER`.
    """

    run_id: str
    kind: str
    missing_rows: int
