"""What is known of the held rows of one run, beyond the rows themselves.

Words, each with one meaning
- *Proven*: the last read accounted for what was listed, and brought every held row.
- *Behind*: the run is alive, and more is listed than its last tail brought. Nothing is wrong.
- *Waiting*: a read accounted for what was listed, but did not bring all held rows. The missing ones
  are dropped if a second read does not bring them either.
- *Short*: the source gave fewer rows than it lists. The rows it gave are held.
- *Accepted* as short: three syncs in a row changed nothing about that.
- *Sampled*: the source gives a sample of the rows. All samples that it gave are held.
- *Failed*: nothing usable came though more is listed, or the rows contradict the held ones.

Evidence is about one run under one selection. It does not apply to another run, or under another
selection.
"""

from datetime import timedelta
from enum import StrEnum

from dr_wandb.core.contract.dataset import Counts
from dr_wandb.core.contract.listing import RunListing, same_second
from dr_wandb.core.contract.normalize import instant
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection

SAME_MOMENT = 1e-6
"""Two times of one row that differ by less than this many seconds are the same. A row that was
exported to Parquet may differ in the last digit from its live form (recorded in 2025: 2.4e-7 s)."""

SECOND_LOOK = timedelta(minutes=10)
"""Two reads must be at least this far apart to count as two witnesses."""

LAST_LOOK = timedelta(hours=24)
"""The time from confirming a difference to the last look at it."""


class Standing(StrEnum):
    """What is known of the held rows of a run."""

    PROVEN = "proven"
    BEHIND = "behind"
    WAITING = "waiting"
    SHORT = "short"
    ACCEPTED = "accepted"
    SAMPLED = "sampled"
    FAILED = "failed"

    @property
    def stands(self) -> bool:
        """Say whether the last read settled the run: nothing is left to do."""
        return self in (Standing.PROVEN, Standing.ACCEPTED, Standing.SAMPLED)


class Evidence(Record, frozen=True, kw_only=True):
    """What syncs have seen of a run whose rows no single answer settles.

    `created_at` and `selection` say which run and selection it is about. `kind` is why the run
    waits: "emptied", "shrunk", "rewritten" or "begins_later". `missing_rows` held rows did not come
    with the last read; `missing_digest` is their digest. `answer_rows` and `answer_digest` describe
    the last answer to a whole read, and `reached` says that it reached the last step. `answers`
    counts the short answers in a row that did, each beginning with the one before; `added` says
    that one of them brought rows that were not held. `difference` is how many more lines were
    listed than rows were held after the last answer; `reads` is how many of these answers in a row
    left just that. `since` is the time of the first of the reads that agree. `target` is a listing
    that a run which is behind has yet to catch up with, `misses` the number of syncs in which it
    did not.
    """

    standing: Standing = Standing.PROVEN
    created_at: str | None = None
    selection: HistorySelection = EVERYTHING
    kind: str = ""
    missing_digest: str = ""
    missing_rows: int = 0
    since: str | None = None
    difference: int | None = None
    reads: int = 0
    answer_rows: int = 0
    answer_digest: str = ""
    reached: bool = False
    answers: int = 0
    added: bool = False
    target: Counts | None = None
    misses: int = 0

    def speaks_of(self, listing: RunListing, selection: HistorySelection) -> bool:
        """Say whether it is about this run, under this selection."""
        same = same_second(self.created_at, listing.created_at)
        return self.selection == selection and same is not False


class Difference(Record, frozen=True, kw_only=True):
    """How a listing differs from the held rows; a member is None if it does not differ.

    `rows`: listed lines minus held rows. `last_step` and `last_logged_at`: the listed last step,
    and the listed time of the last row. A value that is not listed does not differ.
    """

    rows: int | None = None
    last_step: int | None = None
    last_logged_at: str | None = None


NO_DIFFERENCE = Difference()


class Look(Record, frozen=True, kw_only=True):
    """What was seen of a difference that a proof has left.

    `since`: the last read that left it and was no second look: the first one, or a later tail.
    `confirmed_at`: the whole read that left it again. `ended`: one more whole read, a day after
    that, left it too.
    """

    difference: Difference
    since: str
    confirmed_at: str | None = None
    ended: bool = False

    def due(self, now: str) -> bool:
        """Say whether it is time to read the run again because of this difference."""
        if not later_by(SECOND_LOOK, self.since, now):
            return False
        return self.confirmed_at is None or (
            not self.ended and later_by(LAST_LOOK, self.confirmed_at, now)
        )


def difference_between(
    counts: Counts, rows: int, last_step: int | None, last_timestamp: str | None
) -> Difference:
    """Return how a listing differs from held rows in number, last step and last time."""
    lines = 0 if counts.line_count is None else counts.line_count - rows
    step, logged = counts.last_step, counts.last_logged_at
    return Difference(
        rows=lines or None,
        last_step=None if step == last_step else step,
        last_logged_at=None if same_moment(logged, last_timestamp) else logged,
    )


def same_moment(one: str | None, other: str | None) -> bool:
    """Say whether two timestamps name the same moment, to the microsecond."""
    if one is None or other is None or one == other:
        return one == other
    try:
        return nearly_equal(float(one), float(other))
    except ValueError:
        return False


def nearly_equal(one: float, other: float) -> bool:
    """Say whether two times in seconds are the same to the microsecond."""
    try:
        return abs(one - other) < SAME_MOMENT
    except OverflowError:  # an integer that no double can hold
        return False


def earlier_of(since: str | None, now: str) -> str:
    """Return `since`; `now` if it is unknown or later than now (a clock was ahead)."""
    then, present = instant(since), instant(now)
    return now if since is None or then is None or present is None or then > present else since


def later_by(least: timedelta, before: str | None, now: str | None) -> bool:
    """Say whether at least `least` has passed; not if a time is unknown."""
    then, present = instant(before), instant(now)
    return then is not None and present is not None and present - then >= least
