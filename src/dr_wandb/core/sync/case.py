"""One answer compared with the listing and the held rows: the facts behind a verdict."""

from msgspec import UNSET
from msgspec.structs import replace

from dr_wandb.core.contract.dataset import DATASETS, HISTORY
from dr_wandb.core.contract.evidence import Evidence, Look, Standing
from dr_wandb.core.contract.fetch_window import FetchWindow, Received
from dr_wandb.core.contract.identity import FILES_SOURCE, holds_another_run
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.normalize import instant
from dr_wandb.core.contract.part import UNKNOWN, Position
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.sync.row_pairs import Comparison
from dr_wandb.core.sync.verdict import Keep


class Answer(Record, frozen=True, kw_only=True):
    """What one read of a dataset brought. `tail`: it is of the steps from the position on.

    `rows` and `digest` are of the lines that the selection admits. `begins_as_before`: they begin
    with the lines of the last whole answer. `comparison` is with the held rows of the same run,
    from the window's start on, as far as the selection admits them; None if there are none.
    `stored` describes these if the tracking of the run does not.
    """

    dataset: str = HISTORY
    window: FetchWindow = FetchWindow()
    tail: bool = False
    received: Received = Received()
    rows: int = 0
    digest: str = ""
    begins_as_before: bool = False
    comparison: Comparison | None = None
    stored: Position | None = None


class Case:
    """One answer with its listing and the held rows. `before`: what was known of the run."""

    def __init__(
        self,
        listing: RunListing,
        answer: Answer,
        before: RunTracking | None,
        selection: HistorySelection,
        source: str,
        now: str,
    ) -> None:
        self.listing = listing
        self.answer = answer
        self.received = answer.received
        self.before = before
        self.selection = selection
        self.now = now
        dataset = answer.dataset
        self.dataset = DATASETS[dataset]
        self.counts = listing.counts_of(dataset)
        self.count = self._count_rows()
        self.part = before.part(dataset) if before is not None else UNKNOWN
        self.another = before is not None and holds_another_run(before, dataset, listing, source)
        self.of_files = source == FILES_SOURCE
        self.same_source = before is None or before.rows_source(dataset) == source
        known = self.part.evidence
        fits = known is not None and known.speaks_of(listing, selection)
        self.evidence = known if known is not None and fits else Evidence()
        self.position = None if self.another else self.part.position
        self.held = (self.part.rows or answer.stored) if before is not None else None
        self.held_rows = self._count_held()

    def _count_rows(self) -> int | None:
        """Return how many rows should have come, None if that is not known.

        Lines that are no rows are not among them. A row of which part did not come counts twice, so
        that one is short by it.
        """
        listed, received = self.counts.line_count, self.received
        if listed is None:
            return received.rows + received.wanting if received.wanting else None
        return max(0, listed - received.left_out) + received.wanting

    def _count_held(self) -> int:
        """Return how many rows are known to be held, selected or not."""
        if self.before is None:
            return 0
        stored = self.part.stored.rows if self.part.stored is not None else 0
        return max(stored, self.held.rows) if self.held is not None else stored

    @property
    def apart(self) -> bool:
        """Say whether held rows cannot be mixed with received ones: other run or selection."""
        if not self.held_rows:
            return False
        under = self.held.selection if self.held is not None else EVERYTHING
        return self.another or under != self.selection

    @property
    def begins_later(self) -> bool:
        """Say whether files of the run begin later than those that the held rows came from.

        The earlier files may be elsewhere: then it is the same run, without its first rows.
        """
        if not self.another or not self.of_files or self.before is None or not self.held_rows:
            return False
        before, now = instant(self.before.created_at), instant(self.listing.created_at)
        if before is None or now is None or self.part.of_earlier_run:
            return True
        return before < now

    @property
    def accepted_before(self) -> int:
        """Return how many lines are accepted as never coming."""
        return self.position.short_by if self.position is not None else 0

    @property
    def reaches_last_step(self) -> bool:
        """Say whether the answer has a row at the last listed step, or beyond.

        Rows without a step count as step 0. If a step was listed before and none is now, the run
        may have been reset: then an answer with steps is an old one, unless it has exactly as many
        rows as are listed.
        """
        last = self.counts.last_step
        may_be_old = self._listed_a_step and self.received.rows != self.count
        if last is None and self.received.last_step is not None and may_be_old:
            return False
        if last is None or last < self.answer.window.low:
            return True
        reached = self.received.last_step
        if reached is None and self.received.rows:
            reached = 0
        return reached is not None and reached >= last

    @property
    def _listed_a_step(self) -> bool:
        """Say whether a last step was listed when the held rows were stored."""
        return self.held is not None and self.held.listed.last_step is not None

    @property
    def is_capped(self) -> bool:
        """Say whether the answer has as many rows as W&B gives at most, and more are listed."""
        if self.dataset.is_capped is None or self.count is None or self.apart:
            return False
        return self.received.rows < self.count and self.dataset.is_capped(self.received.rows)

    @property
    def is_sample(self) -> bool:
        """Say whether the answer is a sample of the listed rows, to be held with earlier ones."""
        if not self.dataset.sampled or self.count is None or self.apart:
            return False
        mixed = bool(self.missing_rows) and not self.same_source
        return not mixed and 0 < self.received.rows < self.count

    @property
    def replaces_sample(self) -> bool:
        """Say whether held rows are a sample, which a whole answer takes the place of."""
        return self.part.standing == Standing.SAMPLED and self.same_source

    @property
    def rows_below(self) -> int:
        """Return how many held rows are below a tail that brought all held rows in it."""
        assert self.position is not None
        if self.dataset.overlap and self.answer.comparison is not None:
            return self.held_rows - (self.received.rows - self.answer.comparison.adds)
        return self.position.rows - self.position.boundary_rows

    @property
    def missing_rows(self) -> int:
        """Return how many held rows did not come.

        All of them, if a run made again has none, or its files begin later than before. Under
        another selection some rows cannot be identified; then a smaller number of rows is a
        sign.
        """
        comparison = self.answer.comparison
        if comparison is None:
            return self.held_rows if self.begins_later or not self.received.rows else 0
        fewer = self.held_rows - self.received.rows if self.apart else 0
        return max(comparison.missing_rows, fewer)

    @property
    def missing_digest(self) -> str:
        """Return a text that identifies the missing held rows."""
        comparison = self.answer.comparison
        digest = comparison.missing_digest if comparison is not None else ""
        return digest or f"{self.missing_rows} rows"

    @property
    def adds(self) -> bool:
        """Say whether rows came that are not held."""
        if self.answer.comparison is not None:
            return self.answer.comparison.adds > 0
        return self.received.rows > 0

    @property
    def has_witness(self) -> bool:
        """Say whether the listing confirms that the missing rows are gone.

        It does if its count fell since they were stored, if they are beyond its last step, or if it
        lists no step and none came.
        """
        if self.another:
            return True
        listed = self.held.listed.line_count if self.held is not None else self.held_rows
        now = self.counts.line_count
        if now is not None and listed is not None and now < listed:
            return True
        comparison = self.answer.comparison
        if self.counts.last_step is None:
            return self.received.last_step is None
        return comparison is not None and comparison.beyond

    @property
    def accounts(self) -> bool:
        """Say whether nothing that is listed is missing. An unknown count proves little."""
        if not self.reaches_last_step:
            return False
        if self.count is None:
            return not self.missing_rows
        return self.received.rows + self.accepted_before >= self.count

    @property
    def keep_received(self) -> Keep:
        """Return how to hold the received rows: as they are held now if the bytes are the same."""
        stored = self.part.stored
        if self.another or stored is None:
            return Keep.RECEIVED
        most = self.selection.bounds.max_records
        if most is not None and self.answer.rows > most:
            return Keep.RECEIVED
        same = (stored.digest, stored.rows) == (self.answer.digest, self.answer.rows)
        return Keep.HELD if same else Keep.RECEIVED

    @property
    def waited_for(self) -> bool:
        """Say whether the run already waits for a second read without exactly these rows."""
        known = self.evidence
        return known.standing == Standing.WAITING and known.missing_digest == self.missing_digest

    def contradicts_held(self, evidence: Evidence) -> bool:
        """Say whether there is a reason to believe short answers instead of the held rows.

        The reason is a witness, rows that were not held before the first short answer, or as many
        rows as are listed. If the count is not known, such rows have to be at the steps of the
        missing ones.
        """
        if self.count is None:
            comparison = self.answer.comparison
            conflicts = comparison is not None and comparison.conflicts
            return self.has_witness or (evidence.added and conflicts)
        return self.has_witness or evidence.added or self.received.rows >= self.count

    @property
    def look_before(self) -> Look | None:
        """Return the last look at an earlier difference."""
        return None if self.another else self.part.look

    @property
    def still_held(self) -> Position | None:
        """Return the description of held rows that stay, None if it is the position."""
        return self.part.held

    def answer_as_held(self, short_by: int = 0) -> Position:
        """Describe the received rows as the ones to hold."""
        return replace(self.received_as(Position(selection=self.selection), 0), short_by=short_by)

    def received_as(self, position: Position, below: int) -> Position:
        """Describe the received rows together with the rows below them."""
        received = self.received
        return replace(
            position,
            rows=below + received.rows,
            whole=True,
            last_step=received.last_step,
            last_timestamp=received.last_timestamp,
            boundary_rows=received.boundary_rows,
            without_step=received.without_step,
            listed=self.counts,
            left_out=received.left_out or UNSET,
            wanting=received.wanting or UNSET,
        )

    @property
    def may_unite(self) -> bool:
        """Say whether held and received rows may be one history, each with gaps."""
        comparison = self.answer.comparison
        if comparison is None or comparison.conflicts or self.selection != EVERYTHING:
            return False
        return self.count is None or self.received.rows + self.missing_rows <= self.count

    def united(self) -> Position:
        """Describe the received rows together with the missing held ones."""
        came = self.answer_as_held(0)
        held = self.held or Position()
        last = max(came, held, key=_end_of)
        comparison = self.answer.comparison
        without_step = comparison.missing_without_step if comparison is not None else 0
        at_last = [rows.boundary_rows for rows in (came, held) if rows.last_step == last.last_step]
        return replace(
            last,
            selection=self.selection,
            rows=self.received.rows + self.missing_rows,
            boundary_rows=max(at_last),
            without_step=self.received.without_step + without_step,
            listed=self.counts,
            short_by=0,
            left_out=came.left_out,
            wanting=came.wanting,
        )

    @property
    def listed(self) -> str:
        """Say how many lines are listed."""
        if self.count is None:
            return "the number of lines is not listed"
        return f"{self.count:,} are listed"


def _end_of(rows: Position) -> tuple[bool, int, float]:
    """Order descriptions of rows by their last step, then by the time there."""
    step = rows.last_step
    try:
        moment = float(rows.last_timestamp or "-inf")
    except ValueError:
        moment = float("-inf")
    return (step is not None, step or 0, moment)
