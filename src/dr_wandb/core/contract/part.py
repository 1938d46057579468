"""What is known of one run's rows of one dataset: a *part* of the run.

Rules
- A position says under which selection it was reached; under another it counts for nothing.
- A position is what was received from the source, never what the server announced.
- A part of which nothing is known is `UNKNOWN`: nothing of it was ever read.
"""

from msgspec.structs import replace

from dr_wandb.core.contract.dataset import Counts
from dr_wandb.core.contract.evidence import (
    NO_DIFFERENCE,
    Difference,
    Evidence,
    Look,
    Standing,
    difference_between,
)
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import EVERYTHING, HistorySelection
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.run_failure import RunFailure


class ByteRange(Record, frozen=True, kw_only=True):
    """A run of bytes in a file of the export: `rows` lines, and the digest of the bytes."""

    offset: int
    length: int
    rows: int
    digest: str

    @property
    def end(self) -> int:
        """Return the offset of the first byte after it."""
        return self.offset + self.length


class Position(Record, frozen=True, kw_only=True):
    """How far the rows of one run were received, under one selection.

    `rows` counts the rows received of the whole run, before selection; `boundary_rows` of them are
    those of `last_step`, at which a tail begins. `without_step` have none, so that no tail brings
    them again; None in states of earlier builds. `listed` is what the listing said of them then.
    `short_by` is how many lines it listed that never came, and are not waited for any more.
    `whole` is false in positions of early builds that read a part of a run.
    """

    selection: HistorySelection = EVERYTHING
    rows: int = 0
    whole: bool = True
    last_step: int | None = None
    last_timestamp: str | None = None
    boundary_rows: int = 0
    without_step: int | None = None
    listed: Counts = Counts()
    short_by: int = 0

    def difference(self, counts: Counts) -> Difference:
        """Return how a listing differs from these rows."""
        return difference_between(counts, self.rows, self.last_step, self.last_timestamp)


class PartTracking(Record, omit_defaults=True, frozen=True, kw_only=True):
    """What is known of one run's rows of one dataset.

    `stored`: where they lie in the data file. `position` is the last proof; `held` describes the
    rows that are in the file, if they are others than it says. `evidence` and `look` are what is
    known beyond it. `row_shape` is the version of the shape in which they were received.
    `rows_from` is the kind of source they came from, "" for the one that the run was last seen by.
    `of_earlier_run`: the rows in the file are of another run that had the id before. `failure` is
    why the last fetch failed.
    """

    stored: ByteRange | None = None
    position: Position | None = None
    held: Position | None = None
    evidence: Evidence | None = None
    look: Look | None = None
    row_shape: int = 1
    rows_from: str = ""
    of_earlier_run: bool = False
    failure: RunFailure | None = None

    @property
    def holds_rows(self) -> bool:
        """Say whether any rows are held."""
        return self.stored is not None or (self.rows is not None and self.rows.rows > 0)

    @property
    def rows_incomplete(self) -> bool:
        """Say whether rows are held whose shape could not be had back from what was stored."""
        holds = self.stored is not None or (self.position is not None and self.position.rows > 0)
        return holds and self.row_shape < ROW_SHAPE

    def complete(self, selection: HistorySelection, counts: Counts) -> bool:
        """Say whether all that was listed then, and the selection admits, was read."""
        return (
            self.failure is None
            and self.position is not None
            and not self.rows_incomplete
            and self.position.selection == selection
            and self.accounts_for(counts)
        )

    @property
    def rows(self) -> Position | None:
        """Describe the rows that are in the file, None if that is not known."""
        return self.held or self.position

    @property
    def standing(self) -> Standing:
        """Return what is known of the rows that are in the file."""
        return Standing.PROVEN if self.evidence is None else self.evidence.standing

    @property
    def short_by(self) -> int | None:
        """Return how many lines are listed that did not come, None if the run is not short."""
        evidence = self.evidence
        if evidence is not None and evidence.standing in (Standing.SHORT, Standing.ACCEPTED):
            return max(0, evidence.difference or 0)
        short_by = self.position.short_by if self.position is not None else 0
        return short_by if short_by > 0 else None

    def accounts_for(self, counts: Counts) -> bool:
        """Say whether a listing with these counts has nothing that was not received.

        A difference that was confirmed says nothing new as long as it stays the same.
        """
        position = self.position
        if position is None or not self.standing.stands:
            return False
        if counts == position.listed or not position.whole:
            return counts == position.listed
        difference = position.difference(counts)
        counted = counts.line_count is not None and counts.last_step == position.last_step
        if counted and difference == NO_DIFFERENCE:
            return not position.short_by  # a count that came true is proven again
        look = self.look
        return look is not None and bool(look.confirmed_at) and look.difference == difference

    def look_due(self, counts: Counts, now: str | None) -> bool:
        """Say whether rows that a listing differs from, for no reason, are to be read once more."""
        if self.position is None or now is None:
            return False
        difference = self.position.difference(counts)
        if difference == NO_DIFFERENCE:
            return False
        return self.look is None or self.look.difference != difference or self.look.due(now)

    def looked_at(self, counts: Counts) -> bool:
        """Say whether no look at a difference between these rows and the listing is to come."""
        if self.position is None or self.position.difference(counts) == NO_DIFFERENCE:
            return True
        return self.look is not None and self.look.ended


UNKNOWN = PartTracking()
"""A part of which nothing was ever read."""


def part_with_rows(part: PartTracking, stored: ByteRange | None) -> PartTracking:
    """Return a part whose rows were found in the data file.

    A position goes if they are not the rows it is of.
    """
    before = part.stored
    known = (before.digest, before.rows) if before is not None and before.rows else None
    now = (stored.digest, stored.rows) if stored is not None else None
    if known == now:
        return replace(part, stored=stored)
    return replace(part, stored=stored, position=None, held=None, evidence=None, look=None)
