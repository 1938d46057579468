"""What becomes of the rows that a read brought: the judge.

Theory
    W&B says three things of a history from afar: how many lines it has, the largest step, and the
    time in the summary. Each is stored by itself and arrives by itself, seconds late. The count is
    of stored lines. It was the number of rows in all 15 real runs that could be looked at; yet it
    falls to 0 when a run is reset, it may include rows of a parent that a fork does not give, and
    nobody promises that it is right.

    An answer is made up of pages and files. One of them may be missing, cut short or old, and
    nothing in the answer says so. So an answer proves that the rows in it exist. It never proves
    by itself that a row does not.

    What can be proved: if an answer brings every row that is held, reaches the step that is listed
    as the last, and has at least as many rows as are listed, then nothing that W&B knows of is
    missing. That is a proof, and everything else waits for one.

    What takes a row away: rows that are held and do not come are either gone or were not given. A
    run that was rewound or reset says so in its count or its last step, or has other rows in their
    place; that is a witness, and a second read at least ten minutes later is another one. Without
    both, nothing goes.

    What happens if no proof comes: the count is too high, or the server is broken. Whatever came
    and adds to what is held is held from then on, and the run is *short*. After three syncs that
    change nothing about that it is accepted as short: its rows are used like proven ones, and it
    is named as short for ever.

    What no rule can see is listed in docs/sync.md, numbered. A count that is too low by b hides up
    to b rows.

A run that is alive is never quite complete. So its tail is read from the last step that was proven,
and if that brings fewer rows than are listed, it is *behind*: one listing becomes its target, and
when what is held has caught up with that, the proof moves on.
"""

from enum import StrEnum

from msgspec.structs import replace

from dr_wandb.core.contract.evidence import (
    NO_DIFFERENCE,
    SECOND_LOOK,
    Evidence,
    Look,
    Standing,
    later_by,
)
from dr_wandb.core.contract.fetch_window import FetchWindow, Received
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import EVERYTHING, HistorySelection
from dr_wandb.core.contract.state import HistoryPosition, RunTracking, holds_another_run
from dr_wandb.core.sync.row_pairs import Comparison

SHORT_SYNCS = 3
"""Syncs in a row that have to leave the same, until it is accepted that no more comes."""

MISSED_SYNCS = 3
"""Syncs in a row that may leave a run behind one listing, until it is read whole."""


class Keep(StrEnum):
    """Which rows of a run are in the file after a read."""

    RECEIVED = "received"
    RECEIVED_AND_BELOW = "received_and_below"
    BOTH = "both"
    HELD = "held"


class Answer(Record, frozen=True, kw_only=True):
    """What one read brought. `tail`: it is of the steps from the position on.

    `rows` and `digest` are of the lines that the selection admits. `begins_as_before`: they begin
    with the lines of the last whole answer. `comparison` is with the rows that are held of the same
    run, from the window's start on, as far as the selection admits them; None if there are none.
    """

    window: FetchWindow = FetchWindow()
    tail: bool = False
    received: Received = Received()
    rows: int = 0
    digest: str = ""
    begins_as_before: bool = False
    comparison: Comparison | None = None


class Judged(Record, tag_field="verdict", tag="judged", frozen=True, kw_only=True):
    """What is held of the run from now on, and what is known of it. `reason` is for people.

    `position` is the last proof, `held` describes what is in the file if that is something else.
    """

    keep: Keep
    position: HistoryPosition | None
    held: HistoryPosition | None = None
    evidence: Evidence
    look: Look | None = None
    reason: str = ""

    @property
    def standing(self) -> Standing:
        """Return what is known of the rows now."""
        return self.evidence.standing


class Rejected(Record, tag_field="verdict", tag="rejected", frozen=True, kw_only=True):
    """What came and what is held exclude each other: what is held stays."""

    reason: str
    evidence: Evidence


class ReadWhole(Record, tag_field="verdict", tag="read_whole", frozen=True, kw_only=True):
    """The tail cannot be judged by itself: read the whole run."""

    reason: str


Verdict = Judged | Rejected | ReadWhole


def judge(
    listing: RunListing,
    answer: Answer,
    before: RunTracking | None,
    *,
    selection: HistorySelection,
    source: str,
    now: str,
) -> Verdict:
    """Decide what becomes of the rows of an answer.

    listing: what was listed before they were read. before: what was known of the run. source: the
    kind of source that answered. now: the time of this sync, ISO 8601.
    """
    case = _Case(listing, answer, before, selection, source, now)
    return case.judge_tail() if answer.tail else case.judge_whole()


class _Case:
    """One answer, what it is held against, and what follows."""

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
        self.count = listing.history_line_count
        self.another = before is not None and holds_another_run(before, listing, source)
        self.same_source = before is None or (before.rows_from or before.source) in ("", source)
        known = before.evidence if before is not None else None
        fits = known is not None and known.speaks_of(listing, selection)
        self.evidence = known if known is not None and fits else Evidence()
        self.position = None if before is None or self.another else before.position
        self.held = before.rows if before is not None else None
        self.held_rows = self._count_held()

    def _count_held(self) -> int:
        """Return how many rows are held, selected or not, as far as that is known."""
        if self.before is None:
            return 0
        stored = self.before.history.rows if self.before.history is not None else 0
        return max(stored, self.held.rows) if self.held is not None else stored

    @property
    def apart(self) -> bool:
        """Say whether what is held cannot be mixed: it is of another run, or another selection."""
        if not self.held_rows:
            return False
        under = self.held.selection if self.held is not None else EVERYTHING
        return self.another or under != self.selection

    @property
    def accepted_before(self) -> int:
        """Return how many lines are known never to come."""
        return self.position.short_by if self.position is not None else 0

    @property
    def reaches_last_step(self) -> bool:
        """Say whether the answer has a row at the step that is listed as the last, or beyond.

        Rows without a step count as being at step 0.
        """
        last = self.listing.last_step
        if last is None or last < self.answer.window.low:
            return True
        reached = self.received.last_step
        if reached is None and self.received.rows:
            reached = 0
        return reached is not None and reached >= last

    @property
    def lacking(self) -> int:
        """Return how many held rows did not come: all of them, if a run made again has none.

        Under another selection not every row can be told from others; then fewer rows are a sign.
        """
        comparison = self.answer.comparison
        if comparison is None:
            return 0 if self.received.rows else self.held_rows
        fewer = self.held_rows - self.received.rows if self.apart else 0
        return max(comparison.lacking, fewer)

    @property
    def missing(self) -> str:
        """Return a text that says which rows lack."""
        comparison = self.answer.comparison
        digest = comparison.missing if comparison is not None else ""
        return digest or f"{self.lacking} rows"

    @property
    def adds(self) -> bool:
        """Say whether rows came that are not held."""
        if self.answer.comparison is not None:
            return self.answer.comparison.adds > 0
        return self.received.rows > 0

    @property
    def has_witness(self) -> bool:
        """Say whether the listing speaks for the rows that lack being gone.

        Its count fell since they were stored, they lie beyond its last step, or it lists no step
        and none came.
        """
        if self.another:
            return True
        listed = self.held.listed.line_count if self.held is not None else self.held_rows
        if self.count is not None and listed is not None and self.count < listed:
            return True
        comparison = self.answer.comparison
        if self.listing.last_step is None:
            return self.received.last_step is None
        return comparison is not None and comparison.beyond

    @property
    def accounts(self) -> bool:
        """Say whether nothing that is listed is missing. A count that is unknown proves little."""
        if not self.reaches_last_step:
            return False
        if self.count is None:
            return not self.lacking
        return self.received.rows + self.accepted_before >= self.count

    def judge_whole(self) -> Verdict:
        """Judge an answer that is of the whole run."""
        if self.accounts and not self.lacking:
            return self._proven()
        # A copy of the run, such as a file, does not say what is gone from where the rows are from.
        if self.lacking and not self.same_source:
            return self._rejected(
                f"received {self.received.rows} rows where {self.held_rows} of another source are "
                "held: use another --name"
            )
        # The run was rewound, reset or logged once more; or a page is missing where it fits.
        if self.accounts and (self.adds or self.has_witness or self.waited_for):
            again = self.waited_for and later_by(SECOND_LOOK, self.evidence.since, self.now)
            return self._proven() if again else self._waiting()
        return self._short()

    def judge_tail(self) -> Verdict:
        """Judge an answer that begins at the last step that was proven."""
        position = self.position
        if position is None or self.answer.comparison is None or self.count is None:
            return ReadWhole(reason="there is nothing to continue from")
        # The run was rewound and logged again, or a page is missing.
        if self.lacking:
            return ReadWhole(reason=f"the rows from step {position.last_step} on are not all there")
        below = position.rows - position.boundary_rows
        now = self._received_as(position, below)
        rows = now.rows + position.short_by
        if self.reaches_last_step and rows >= self.count:
            return self._moved(Keep.RECEIVED_AND_BELOW, now)
        # Rows were logged below the last step, or are not there yet.
        if self.listing.terminal:
            return ReadWhole(reason=f"{self.count - rows} rows are missing in the tail")
        return self._behind(position, below, now)

    @property
    def waited_for(self) -> bool:
        """Say whether the run waits for a read that lacks just these rows."""
        known = self.evidence
        return known.standing == Standing.WAITING and known.missing == self.missing

    def _proven(self) -> Judged:
        short_by = max(0, (self.count or 0) - self.received.rows)
        return self._moved(Keep.RECEIVED, self._answer_as_held(short_by))

    def _moved(self, keep: Keep, position: HistoryPosition) -> Judged:
        """Let the position move to where all that is listed is held, but what is accepted."""
        standing = Standing.ACCEPTED if position.short_by else Standing.PROVEN
        known = self.before.evidence if self.before is not None else None
        if not self.answer.window.whole and known is not None:
            standing = known.standing if known.standing.stands else standing
        evidence = self._evidence(standing)
        if standing == Standing.ACCEPTED:
            evidence = self._with_difference(evidence, position.rows)
        return Judged(
            keep=keep,
            position=position,
            evidence=evidence,
            look=self._look(position),
        )

    def _waiting(self) -> Judged:
        kind = "rewritten" if self.adds else "shrunk" if self.received.rows else "emptied"
        again = self.waited_for
        comparison = self.answer.comparison
        fits = comparison is not None and not comparison.conflicts and not self.apart and self.adds
        evidence = replace(
            self._evidence(Standing.WAITING),
            kind=self.evidence.kind if again else kind,
            missing=self.missing,
            lacking=self.lacking,
            since=self.evidence.since if again else self.now,
        )
        return Judged(
            keep=Keep.BOTH if fits else Keep.HELD,
            position=self.position,
            held=self._united() if fits else self._still_held,
            evidence=evidence,
            look=self._look_before,
            reason=f"{self.lacking} rows that are held did not come ({kind}): "
            "they stay until a read ten minutes later lacks them too",
        )

    def _short(self) -> Verdict:
        evidence = self._answers_in_a_row()
        goes = evidence.answers >= SHORT_SYNCS and self._speaks_against_held(evidence)
        held: HistoryPosition | None
        # Held rows are missing in three answers, and there is a reason to believe these.
        waited = later_by(SECOND_LOOK, evidence.since, self.now)
        if goes and waited and (self.lacking or self.apart):
            held = self._answer_as_held(0)
            evidence = replace(self._with_difference(evidence, held.rows), reads=SHORT_SYNCS)
            return self._accepted(Keep.RECEIVED, held, evidence)
        if self.apart:
            keep, held, rows = Keep.HELD, self._still_held, self.received.rows
        elif not self.lacking:
            keep, held, rows = Keep.RECEIVED, self._answer_as_held(0), self.received.rows
        elif not self.adds:
            keep, held, rows = Keep.HELD, self._still_held, self.held_rows
        elif self._may_unite:
            held = self._united()
            keep, rows = Keep.BOTH, held.rows
        else:
            return self._rejected(
                f"received {self.received.rows} rows, and {self.lacking} others are held; "
                f"{self._listed}",
                evidence,
            )
        evidence = self._with_difference(evidence, rows)
        pending = not waited and (self.apart or (goes and self.lacking > 0))
        if evidence.reads >= SHORT_SYNCS and keep != Keep.BOTH and not pending:
            return self._accepted(keep, held, evidence)
        return Judged(
            keep=keep,
            position=self.position,
            held=held,
            evidence=evidence,
            look=self._look_before,
            reason=self._why_short(evidence),
        )

    def _speaks_against_held(self, evidence: Evidence) -> bool:
        """Say whether there is a reason to believe short answers, and not what is held.

        A witness, rows that were not held before the first of them, or as many as are listed. If
        the count is not known, such rows have to be at the steps of those that lack.
        """
        if self.count is None:
            comparison = self.answer.comparison
            conflicts = comparison is not None and comparison.conflicts
            return self.has_witness or (evidence.added and conflicts)
        return self.has_witness or evidence.added or self.received.rows >= self.count

    def _answers_in_a_row(self) -> Evidence:
        """Return what this short answer says together with the ones before it."""
        known, reached = self.evidence, self.reaches_last_step
        again = known.standing in (Standing.SHORT, Standing.FAILED, Standing.ACCEPTED)
        again = again and known.reads + known.answers > 0
        again = again and self.answer.begins_as_before and known.reached == reached
        answers = known.answers + 1 if again else 1
        return replace(
            self._evidence(Standing.SHORT),
            answer_rows=self.answer.rows,
            answer_digest=self.answer.digest,
            reached=reached,
            answers=answers if reached else 0,
            added=self.adds or (again and known.added),
            since=known.since if again and known.since else self.now,
        )

    def _accepted(self, keep: Keep, held: HistoryPosition | None, evidence: Evidence) -> Judged:
        """Let the position move as if there was a proof: three syncs changed nothing."""
        if self.apart:
            keep, held = Keep.RECEIVED, self._answer_as_held(0)
        rows = held or self.held or HistoryPosition(selection=self.selection, rows=self.held_rows)
        short_by = max(0, evidence.difference or 0)
        position = replace(rows, listed=self.listing.counts, short_by=short_by)
        evidence = replace(evidence, standing=Standing.ACCEPTED, answers=0, added=False)
        return Judged(
            keep=keep,
            position=position,
            evidence=evidence,
            look=self._look(position, confirmed=True),
            reason=f"accepted as short: {self._why_short(evidence)}",
        )

    def _behind(
        self, position: HistoryPosition, below: int, now: HistoryPosition
    ) -> Judged | ReadWhole:
        known = self.evidence
        target = known.target if known.standing == Standing.BEHIND else None
        counts, misses = self.listing.counts, known.misses + 1
        if target is None:
            target, misses = counts, 1
        elif target == counts:
            return ReadWhole(reason="behind a listing that has not moved")
        elif self._caught_up(target.line_count, target.last_step, now):
            rows = below + self.received.rows_below + self.received.rows_at
            position = replace(
                position,
                rows=rows,
                last_step=target.last_step,
                last_timestamp=None,
                boundary_rows=self.received.rows_at,
                listed=target,
            )
            target, misses = counts, 1
        if misses >= MISSED_SYNCS:
            return ReadWhole(reason=f"behind a listing of {target.line_count} lines for too long")
        evidence = replace(self._evidence(Standing.BEHIND), target=target, misses=misses)
        return Judged(
            keep=Keep.RECEIVED_AND_BELOW,
            position=position,
            held=now,
            evidence=evidence,
            look=self._look_before,
        )

    def _caught_up(self, lines: int | None, last_step: int | None, now: HistoryPosition) -> bool:
        """Say whether what is held now accounts for an earlier listing and reaches its step."""
        if lines is None or last_step is None or now.last_step is None:
            return False
        return now.rows + now.short_by >= lines and now.last_step >= last_step

    def _rejected(self, reason: str, evidence: Evidence | None = None) -> Rejected:
        known = evidence or self._evidence(Standing.FAILED)
        return Rejected(reason=reason, evidence=replace(known, standing=Standing.FAILED, reads=0))

    def _evidence(self, standing: Standing) -> Evidence:
        """Return evidence of this run and selection that says no more than a standing."""
        return Evidence(
            standing=standing, created_at=self.listing.created_at, selection=self.selection
        )

    def _with_difference(self, evidence: Evidence, rows: int) -> Evidence:
        """Return the evidence with how many lines more are listed than rows are held now."""
        difference = None if self.count is None else self.count - rows
        known = self.evidence
        again = known.reads and known.difference == difference
        if not evidence.standing.stands:
            again = again and self.answer.begins_as_before and known.reached == evidence.reached
        return replace(
            evidence,
            lacking=self.lacking,
            difference=difference,
            reads=min(SHORT_SYNCS, known.reads + 1) if again else 1,
        )

    def _look(self, position: HistoryPosition, *, confirmed: bool = False) -> Look | None:
        """Return what is seen of a difference between the listing and what is held by a proof."""
        difference = position.difference(self.listing.counts)
        if difference == NO_DIFFERENCE:
            return None
        look = self._look_before
        if look is None or look.difference != difference:
            at = self.now if confirmed else None
            return Look(difference=difference, since=self.now, confirmed_at=at)
        if not self.answer.window.whole:
            return look
        if look.confirmed_at is None:
            seen = confirmed or look.due(self.now)
            return replace(look, confirmed_at=self.now) if seen else look
        return replace(look, ended=look.ended or look.due(self.now))

    @property
    def _look_before(self) -> Look | None:
        return None if self.before is None or self.another else self.before.look

    @property
    def _still_held(self) -> HistoryPosition | None:
        """Return the description of held rows that stay, if the position is not theirs."""
        return None if self.before is None else self.before.held

    def _answer_as_held(self, short_by: int) -> HistoryPosition:
        return replace(
            self._received_as(HistoryPosition(selection=self.selection), 0), short_by=short_by
        )

    def _received_as(self, position: HistoryPosition, below: int) -> HistoryPosition:
        """Describe what came, and the rows below it."""
        received = self.received
        return replace(
            position,
            rows=below + received.rows,
            whole=True,
            last_step=received.last_step,
            last_timestamp=received.last_timestamp,
            boundary_rows=received.boundary_rows,
            listed=self.listing.counts,
        )

    @property
    def _may_unite(self) -> bool:
        """Say whether held and received rows may be those of one history, each with gaps."""
        comparison = self.answer.comparison
        if comparison is None or comparison.conflicts or self.selection != EVERYTHING:
            return False
        return self.count is None or self.received.rows + self.lacking <= self.count

    def _united(self) -> HistoryPosition:
        """Describe what came together with the held rows that lack in it."""
        came = self._answer_as_held(0)
        held = self.held or HistoryPosition()
        last = max(came, held, key=lambda rows: -1 if rows.last_step is None else rows.last_step)
        at_last = [rows.boundary_rows for rows in (came, held) if rows.last_step == last.last_step]
        return replace(
            last,
            selection=self.selection,
            rows=self.received.rows + self.lacking,
            boundary_rows=max(at_last),
            listed=self.listing.counts,
            short_by=0,
        )

    @property
    def _listed(self) -> str:
        if self.count is None:
            return "it is not said how many there are"
        return f"{self.count} are listed"

    def _why_short(self, evidence: Evidence) -> str:
        if evidence.difference is not None and evidence.difference > 0:
            return f"{evidence.difference} rows short of the {self.count} lines that are listed"
        if not self.reaches_last_step:
            last = self.received.last_step
            got = "no rows" if not self.received.rows else f"rows up to step {last}"
            return f"received {got}, but step {self.listing.last_step} is listed"
        return f"{evidence.lacking} rows that are held did not come"
