"""What is known of one run's rows of one dataset: a *part* of the run.

Rules
- A position names the selection under which it was reached; under another one it does not count.
- A position records what was received from the source, never what the server announced.
- A part of which nothing was ever read is `UNKNOWN`.
"""

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from dr_wandb.core.contract.dataset import Counts, Dataset
from dr_wandb.core.contract.evidence import (
    NO_DIFFERENCE,
    Difference,
    Evidence,
    Look,
    Standing,
    difference_between,
)
from dr_wandb.core.contract.file_choice import NO_FILE, FileChoice
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection

CELL_DIGEST_LENGTH = 64
"""The hex digits of a digest of cells; one of lines has 32."""


def is_of_cells(digest: str) -> bool:
    """Say whether a digest of rows is that of their cells: it is longer than one of lines."""
    return len(digest) == CELL_DIGEST_LENGTH


class ByteRange(Record, frozen=True, kw_only=True):
    """A range of bytes in a file of the export: `rows` lines, and the digest of the bytes.

    Rows that are held in Parquet alone may never have been lines. Then `digest` is that of their
    cells, and `length` is 0.
    """

    offset: int
    length: int
    rows: int
    digest: str

    @property
    def of_cells(self) -> bool:
        """Say whether the digest is that of the cells of the rows."""
        return is_of_cells(self.digest)

    @property
    def end(self) -> int:
        """Return the offset of the first byte after it."""
        return self.offset + self.length


class Position(Record, frozen=True, kw_only=True):
    """How far the rows of one run were received, under one selection.

    `rows` counts the rows received of the whole run, before selection. `boundary_rows` of them are
    at `last_step`, at which a tail begins. `without_step` of them have no step, so no tail brings
    them again; None in states of earlier builds. `listed` is what the listing said then. `short_by`
    is the number of listed lines that never came and are no longer waited for. `whole` is false in
    positions of early builds that read only part of a run. `left_out` listed lines are no rows, and
    of `wanting` rows a part did not come; both are absent if there are none.
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
    left_out: int | UnsetType = UNSET
    wanting: int | UnsetType = UNSET

    @property
    def lines(self) -> int:
        """Return how many listed lines the received rows account for."""
        return self.rows + (self.left_out or 0)

    @property
    def whole_lines(self) -> int:
        """Return how many of these lines are no rows, or rows of which everything came."""
        return self.lines - (self.wanting or 0)

    def difference(self, counts: Counts) -> Difference:
        """Return how a listing differs from these rows; one of which a part is wanting is none."""
        lines = self.whole_lines
        found = difference_between(counts, lines, self.last_step, self.last_timestamp)
        if counts.line_count is None and self.wanting:
            return replace(found, rows=self.wanting)
        return found


class PartTracking(Record, omit_defaults=True, frozen=True, kw_only=True):
    """What is known of one run's rows of one dataset.

    `stored`: their byte range in the data file. `position` is the last proof; `held` describes the
    rows in the file if they differ from it. `evidence` and `look` are what is known beyond it.
    `row_shape` is the version of the shape in which they were received. `rows_from` is the kind of
    source they came from, "" for the one that last saw the run. `of_earlier_run`: the rows in the
    file belong to another run that had the id before. `failure` is why the last fetch failed.
    `contents`: which bytes were wanted when the rows were read last; None if none were.
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
    contents: FileChoice | None = None

    def has_contents(self, wanted: FileChoice) -> bool:
        """Say whether all bytes of a choice were wanted when the rows were read last."""
        return (self.contents or NO_FILE).covers(wanted)

    @property
    def holds_rows(self) -> bool:
        """Say whether any rows are held."""
        return self.stored is not None or (self.rows is not None and self.rows.rows > 0)

    @property
    def rows_incomplete(self) -> bool:
        """Say whether rows are held in an older shape, so that the stored rows are incomplete."""
        holds = self.stored is not None or (self.position is not None and self.position.rows > 0)
        return holds and self.row_shape < ROW_SHAPE

    def complete(self, selection: HistorySelection, counts: Counts) -> bool:
        """Say whether everything was read that was listed then and that the selection admits."""
        return (
            self.failure is None
            and self.position is not None
            and not self.rows_incomplete
            and self.position.selection == selection
            and self.accounts_for(counts)
        )

    @property
    def rows(self) -> Position | None:
        """Return the description of the rows in the file, None if it is not known."""
        return self.held or self.position

    def selection_for(self, wanted: HistorySelection, *, narrower: bool) -> HistorySelection:
        """Return the selection under which to read the rows if this one is wanted.

        narrower: rows may be dropped because of the selection. Even then, rows that the source may
        not give again keep the selection that they have.
        """
        if self.rows is None or self.stored is None or wanted.covers(self.rows.selection):
            return wanted
        if self.read_before_under(wanted):
            return wanted
        proven = self.standing in (Standing.PROVEN, Standing.BEHIND) and not self.rows.short_by
        return wanted if narrower and proven else self.rows.selection

    def read_before_under(self, selection: HistorySelection) -> bool:
        """Say whether rows were read under another selection than the held ones, without a proof.

        Then the source was asked already, and dropping rows was allowed.
        """
        if self.evidence is None or self.standing.stands:
            return False
        return self.evidence.selection == selection

    @property
    def sampled_from(self) -> int | None:
        """Return the number of listed rows if a sample of them is held, else None."""
        if self.standing != Standing.SAMPLED or self.position is None:
            return None
        return self.position.listed.line_count

    def capped_from(self, dataset: Dataset) -> int | None:
        """Return the number of listed rows if W&B keeps no more than the held ones, else None."""
        position = self.position
        if dataset.is_capped is None or position is None or not position.short_by:
            return None
        capped = self.standing.stands and dataset.is_capped(position.rows)
        return position.listed.line_count if capped else None

    @property
    def standing(self) -> Standing:
        """Return the standing of the rows in the file."""
        return Standing.PROVEN if self.evidence is None else self.evidence.standing

    @property
    def short_by(self) -> int | None:
        """Return how many listed lines did not come, None if the run is not short."""
        evidence = self.evidence
        if evidence is not None and evidence.standing in (Standing.SHORT, Standing.ACCEPTED):
            return max(0, evidence.difference or 0)
        short_by = self.position.short_by if self.position is not None else 0
        return short_by if short_by > 0 else None

    def accounts_for(self, counts: Counts) -> bool:
        """Say whether everything in a listing with these counts was received.

        A confirmed difference is no news as long as it stays the same.
        """
        position = self.position
        if position is None or not self.standing.stands:
            return False
        if counts == position.listed or not position.whole:
            return counts == position.listed
        if counts.version != position.listed.version:
            return False
        difference = position.difference(counts)
        counted = counts.line_count is not None and counts.last_step == position.last_step
        if counted and difference == NO_DIFFERENCE:
            return not position.short_by  # a count that came true is proven again
        if counts.mark != position.listed.mark:
            return False
        look = self.look
        return look is not None and bool(look.confirmed_at) and look.difference == difference

    def look_due(self, counts: Counts, now: str | None) -> bool:
        """Say whether to read the rows again as the listing differs from them for no reason."""
        if self.position is None or now is None:
            return False
        difference = self.position.difference(counts)
        if difference == NO_DIFFERENCE:
            return False
        return self.look is None or self.look.difference != difference or self.look.due(now)

    def looked_at(self, counts: Counts) -> bool:
        """Say whether every look at a difference between these rows and the listing is over."""
        if self.position is None or self.position.difference(counts) == NO_DIFFERENCE:
            return True
        return self.look is not None and self.look.ended


UNKNOWN = PartTracking()
"""A part of which nothing was ever read."""


def part_with_rows(part: PartTracking, stored: ByteRange | None) -> PartTracking:
    """Return a part whose rows were found in the data file.

    Its position is dropped if it describes other rows than these.
    """
    before = part.stored
    known = (before.digest, before.rows) if before is not None and before.rows else None
    now = (stored.digest, stored.rows) if stored is not None else None
    if known == now:
        return replace(part, stored=stored)
    return replace(part, stored=stored, position=None, held=None, evidence=None, look=None)
