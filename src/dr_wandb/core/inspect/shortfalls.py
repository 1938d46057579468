"""How far the rows of a run were behind, or short of, its listing at the last look at it.

Each has a kind for programs beside its text for people.
"""

from enum import StrEnum

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.evidence import Standing
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.contract.unproven_runs import ShortKind
from dr_wandb.core.contract.wording import count


class LagKind(StrEnum):
    """The way in which a run was behind at the last look, for programs."""

    NEVER_READ = "never_read"
    LOGGED_SINCE = "logged_since"
    ROWS = "rows"


def lag_of(run: RunTracking) -> tuple[LagKind, str] | None:
    """Say how far a run's history was behind at the last look at it, None if it was not."""
    if run.missing_since is not None or run.never_held:
        return None
    part = run.part(HISTORY)
    held = part.rows
    if held is None:
        return LagKind.NEVER_READ, "history never read"
    if run.seen is None or part.standing in (Standing.SHORT, Standing.WAITING):
        return None
    counts = run.seen.counts_of(HISTORY)
    if part.accounts_for(counts):
        return None
    lines, expected = counts.line_count, held.rows + held.short_by
    if lines is None or not held.whole or lines <= expected:
        return LagKind.LOGGED_SINCE, "logged since it was read"
    return LagKind.ROWS, f"{count(lines - expected, 'row')} behind"


def shortage_of(run: RunTracking) -> tuple[ShortKind, str] | None:
    """Say what a run is short of, None if nothing; for several datasets, the kind of the first."""
    said = [_shortage_of(run, dataset) for dataset in run.parts]
    short = [shortage for shortage in said if shortage is not None]
    return (short[0][0], "; ".join(text for _, text in short)) if short else None


def _shortage_of(run: RunTracking, dataset: str) -> tuple[ShortKind, str] | None:
    part = run.part(dataset)
    if part.short_by is None:
        return None
    if part.short_by > 0:
        return ShortKind.FEWER_ROWS, f"{count(part.short_by, 'row')} short"
    listed = run.seen.counts_of(dataset).last_step if run.seen is not None else None
    reached = part.rows.last_step if part.rows is not None else None
    if listed is not None and (reached is None or reached < listed):
        return ShortKind.LAST_STEP, f"step {listed} is listed but was not reached"
    missing = part.evidence.missing_rows if part.evidence is not None else 0
    if missing:
        held = f"{count(missing, 'exported row')} did not come again"
        return ShortKind.HELD_ROWS, held
    return ShortKind.UNKNOWN, "its rows differ from its listing"
