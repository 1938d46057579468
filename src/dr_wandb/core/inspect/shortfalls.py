"""How far the rows of a run were behind, or short of, its listing at the last look at it.

Each has a kind for programs beside its text for people.
"""

from enum import StrEnum

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.contract.unproven_runs import ShortKind, without_content
from dr_wandb.core.contract.wording import count
from dr_wandb.core.sync.left_behind import rows_behind


class LagKind(StrEnum):
    """The way in which a run was behind at the last look, for programs."""

    NEVER_READ = "never_read"
    LOGGED_SINCE = "logged_since"
    ROWS = "rows"


class Lag(Record, frozen=True, kw_only=True):
    """How far a run was behind: a kind for programs, a reason for people."""

    kind: LagKind
    reason: str


class Shortage(Record, frozen=True, kw_only=True):
    """What a run is short of. short_by: listed lines that are missing, below 1 if none are."""

    kind: ShortKind
    reason: str
    short_by: int


def lag_of(run: RunTracking) -> Lag | None:
    """Say how far a run's history was behind at the last look at it, None if it was not."""
    if run.missing_since is not None or run.never_held:
        return None
    if run.part(HISTORY).rows is None:
        return Lag(kind=LagKind.NEVER_READ, reason="history never read")
    behind = rows_behind(run)
    if behind is None:
        return None
    if not behind:
        return Lag(kind=LagKind.LOGGED_SINCE, reason="logged since it was read")
    return Lag(kind=LagKind.ROWS, reason=f"{count(behind, 'row')} behind")


def shortage_of(run: RunTracking) -> Shortage | None:
    """Say what a run is short of, None if nothing; for several datasets, the kind of the first."""
    if run.short_by is None:
        return None
    short = [
        _shortage_in(run, dataset, part.short_by)
        for dataset, part in run.parts.items()
        if part.short_by is not None
    ]
    reason = "; ".join(text for _, text in short)
    return Shortage(kind=short[0][0], reason=reason, short_by=run.short_by)


def shortage_in(run: RunTracking, dataset: str) -> Shortage | None:
    """Say what a run is short of in one dataset, None if nothing."""
    short_by = run.part(dataset).short_by
    if short_by is None:
        return None
    kind, reason = _shortage_in(run, dataset, short_by)
    return Shortage(kind=kind, reason=reason, short_by=short_by)


def _shortage_in(run: RunTracking, dataset: str, short_by: int) -> tuple[ShortKind, str]:
    part = run.part(dataset)
    wanting = (part.rows.wanting or 0) if part.rows is not None else 0
    if wanting and wanting == short_by:
        return ShortKind.WITHOUT_CONTENT, without_content(wanting)
    if short_by > 0:
        return ShortKind.FEWER_ROWS, f"{count(short_by, 'row')} short"
    listed = run.seen.counts_of(dataset).last_step if run.seen is not None else None
    reached = part.rows.last_step if part.rows is not None else None
    if listed is not None and (reached is None or reached < listed):
        return ShortKind.LAST_STEP, f"step {listed} is listed but was not reached"
    missing = part.evidence.missing_rows if part.evidence is not None else 0
    if missing:
        held = f"{count(missing, 'exported row')} did not come again"
        return ShortKind.HELD_ROWS, held
    return ShortKind.UNKNOWN, "its rows differ from its listing"
