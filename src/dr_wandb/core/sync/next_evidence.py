"""What a sync knows of a run after an answer, given what was known before it.

Rules
- Short answers in a row agree if each begins with the one before, and all or none reach the last
  step. One that does not agree starts a new row, with its own time.
- Reads in a row agree if they leave the same difference between listed lines and held rows; short
  ones have to agree as answers too.
- A run waits since the first read without exactly these rows.
- A look is about one difference that a proof leaves: a later whole read confirms it, and one a day
  after that ends it. Another difference is another look.
"""

from datetime import timedelta

from msgspec.structs import replace

from dr_wandb.core.contract.evidence import (
    NO_DIFFERENCE,
    Evidence,
    Look,
    Standing,
    earlier_of,
    later_by,
)
from dr_wandb.core.contract.part import Position
from dr_wandb.core.contract.unproven_runs import ShortKind, without_content
from dr_wandb.core.contract.wording import count
from dr_wandb.core.sync.case import Case

SAMPLED_FOR = timedelta(days=14)
"""All rows of an ended run may still be exported within this time; W&B took days (seen in 2026)."""

SHORT_SYNCS = 3
"""Syncs in a row that have to leave the same difference before the run is accepted as short."""

SHORT_ANSWERS = 3
"""Short answers in a row that have to agree before rows that they do not bring may go."""


def evidence_of(case: Case, standing: Standing) -> Evidence:
    """Return evidence of this run and selection with nothing but a standing."""
    return Evidence(standing=standing, created_at=case.listing.created_at, selection=case.selection)


def waiting_evidence(case: Case, kind: str) -> Evidence:
    """Return evidence that the run waits, since the first read without exactly these rows."""
    known, again = case.evidence, case.waited_for
    return replace(
        evidence_of(case, Standing.WAITING),
        kind=known.kind if again else kind,
        missing_digest=case.missing_digest,
        missing_rows=case.missing_rows,
        since=earlier_of(known.since, case.now) if again else case.now,
    )


def short_evidence(case: Case) -> Evidence:
    """Return the evidence of this short answer together with the ones before it."""
    known, reached = case.evidence, case.reaches_last_step
    again = known.standing in (Standing.SHORT, Standing.FAILED, Standing.ACCEPTED)
    again = again and known.reads + known.answers > 0
    again = again and case.answer.begins_as_before and known.reached == reached
    answers = known.answers + 1 if again else 1
    return replace(
        evidence_of(case, Standing.SHORT),
        answer_rows=case.answer.rows,
        answer_digest=case.answer.digest,
        reached=reached,
        answers=answers if reached else 0,
        added=case.adds or (again and known.added),
        since=earlier_of(known.since, case.now) if again else case.now,
    )


def with_difference(case: Case, evidence: Evidence, rows: int) -> Evidence:
    """Return the evidence with the number of listed lines beyond the rows held now."""
    difference = None if case.count is None else case.count - rows
    known = case.evidence
    again = known.reads and known.difference == difference
    if not evidence.standing.stands:
        again = again and case.answer.begins_as_before and known.reached == evidence.reached
    return replace(
        evidence,
        missing_rows=case.missing_rows,
        difference=difference,
        reads=min(SHORT_SYNCS, known.reads + 1) if again else 1,
    )


def next_look(case: Case, position: Position, *, confirmed: bool = False) -> Look | None:
    """Return the look at a difference between the listing and the proven rows."""
    difference = position.difference(case.counts)
    if difference == NO_DIFFERENCE:
        return None
    look = case.look_before
    if look is None or look.difference != difference:
        at = case.now if confirmed else None
        return Look(difference=difference, since=case.now, confirmed_at=at)
    if not case.answer.window.whole:
        return replace(look, since=case.now)
    if look.confirmed_at is None:
        seen = confirmed or look.due(case.now)
        return replace(look, confirmed_at=case.now) if seen else look
    return replace(look, ended=look.ended or look.due(case.now))


def sample_look(case: Case, position: Position) -> Look:
    """Return the look at a sample: one a day, until the run has ended long ago."""
    at, last = case.now, case.listing.heartbeat_at or case.listing.created_at
    return Look(
        difference=position.difference(case.counts),
        since=at,
        confirmed_at=at,
        ended=case.listing.terminal and later_by(SAMPLED_FOR, last, at),
    )


def why_short(case: Case, evidence: Evidence) -> tuple[ShortKind, str]:
    """Say why a run is short: the kind, and the reason for people."""
    if case.received.wanting and evidence.difference == case.received.wanting:
        return ShortKind.WITHOUT_CONTENT, without_content(case.received.wanting)
    if evidence.difference is not None and evidence.difference > 0:
        short_by = count(evidence.difference, "row")
        reason = f"{short_by} short of the {case.count or 0:,} listed lines"
        return ShortKind.FEWER_ROWS, reason
    if not case.reaches_last_step:
        last = case.received.last_step
        got = "no rows" if not case.received.rows else f"rows up to step {last}"
        listed = "no step" if case.counts.last_step is None else f"step {case.counts.last_step}"
        return ShortKind.LAST_STEP, f"received {got}, but {listed} is listed"
    missing = count(evidence.missing_rows, "exported row")
    return ShortKind.HELD_ROWS, f"{missing} did not come again"
