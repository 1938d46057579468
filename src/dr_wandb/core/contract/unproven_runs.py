"""Runs that a sync did not get, or not as they are listed: what its summary says of them."""

from enum import StrEnum

from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind


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
    """In which way a run is short. `UNKNOWN`: an earlier build did not write down enough."""

    FEWER_ROWS = "fewer_rows"
    LAST_STEP = "last_step"
    HELD_ROWS = "held_rows"
    UNKNOWN = "unknown"


class ShortRun(Record, frozen=True, kw_only=True):
    """One run whose source lists `short_by` lines more than it gave rows. What it gave is held.

    None where no number says so; the reason does.
    """

    run_id: str
    kind: ShortKind
    short_by: int | None
    reason: str


BEGINS_LATER = "begins_later"
"""Why a run waits whose files begin later than those that its rows came from."""


class WaitingRun(Record, frozen=True, kw_only=True):
    """One run that lost rows upstream, by one answer: `missing_rows` of those held.

    They stay until another answer, ten minutes later, says so too. `kind` is "emptied", "shrunk",
    "rewritten" or `BEGINS_LATER`.
    """

    run_id: str
    kind: str
    missing_rows: int
