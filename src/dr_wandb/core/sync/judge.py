"""The judge: decide what to do with the rows that a read brought.

Theory
    W&B says three things of a history from afar: how many lines it has, the largest step, and the
    time in the summary. Each is stored by itself and arrives by itself, seconds late. The count is
    of stored lines. It was the number of rows in all 15 real runs that could be looked at; yet it
    falls to 0 when a run is reset, it may include rows of a parent that a fork does not give, and
    nobody promises that it is right.

    An answer is made up of pages and files. One of them may be missing, truncated or old, and
    nothing in the answer says so. So an answer proves that the rows in it exist. It never proves
    by itself that a row does not exist.

    A proof: if an answer brings every held row, reaches the last listed step, and has at least as
    many rows as are listed, then nothing that W&B knows of is missing. Everything else waits for
    a proof.

    Removing rows: held rows that do not come are either gone or were not given. If a run was
    rewound or reset, its count or its last step shows it, or it has other rows instead; that is a
    witness. A second read at least ten minutes later is another one. Without both, no row is
    removed.

    Without a proof: the count is too high, or the server is broken. All received rows that add to
    the held ones are held from then on, and the run is *short*. After three syncs that change
    nothing about that it is accepted as short: its rows are used like proven ones, and it stays
    named as short.

    docs/sync.md lists, numbered, the cases that no rule can see. A count that is too low by b
    hides up to b rows.

Of the samples of a machine, W&B gives a selection of its own until it has exported them. They are
*sampled*: no selection takes a row of another one away, nothing is short, and all rows replace
them once they come.

Of a console, W&B keeps a bounded number of lines. An answer of just as many is *capped*: what is
missing is accepted at once, and lines that W&B drops later stay held.

A run that is alive is never quite complete. So its tail is read from the last proven step, and if
that brings fewer rows than are listed, it is *behind*: one listing becomes its target, and when the
held rows have caught up with that, the proof moves on.
"""

from msgspec.structs import replace

from dr_wandb.core.contract.evidence import SECOND_LOOK, Evidence, Standing, later_by
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.part import Position
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.contract.unproven_runs import BEGINS_LATER
from dr_wandb.core.contract.wording import count
from dr_wandb.core.sync.case import Answer, Case
from dr_wandb.core.sync.next_evidence import (
    SHORT_ANSWERS,
    SHORT_SYNCS,
    evidence_of,
    next_look,
    sample_look,
    short_evidence,
    waiting_evidence,
    why_short,
    with_difference,
)
from dr_wandb.core.sync.plan_kinds import FetchKind
from dr_wandb.core.sync.verdict import Judged, Keep, ReadWhole, Rejected, Verdict

MISSED_SYNCS = 3
"""A run that stays behind one listing for this many syncs in a row is read whole."""


def judge(
    listing: RunListing,
    answer: Answer,
    before: RunTracking | None,
    *,
    selection: HistorySelection,
    source: str,
    now: str,
) -> Verdict:
    """Decide what to do with the rows of an answer.

    listing: the listing from before they were read. before: what was known of the run. source: the
    kind of source that answered. now: the time of this sync, ISO 8601.
    """
    case = Case(listing, answer, before, selection, source, now)
    return _judge_tail(case) if answer.tail else _judge_whole(case)


def _judge_whole(case: Case) -> Verdict:
    """Judge an answer to a whole read."""
    if case.is_sample:
        return _sampled(case)
    if case.accounts and (not case.missing_rows or case.replaces_sample):
        return _proven(case)
    # A copy of the run, such as a file, does not show which rows are gone from their own source.
    if case.missing_rows and not case.same_source:
        return _rejected(
            case,
            RunFailureKind.OTHER_SOURCE,
            f"received {case.received.rows:,} rows, but {case.held_rows:,} from another source are "
            "held; use another --name",
        )
    if case.is_capped:
        return _capped(case)
    # The run was rewound, reset or logged again; or a page is missing and its count still fits.
    if case.accounts and (case.adds or case.has_witness or case.waited_for):
        again = case.waited_for and later_by(SECOND_LOOK, case.evidence.since, case.now)
        return _proven(case) if again else _waiting(case)
    return _short(case)


def _judge_tail(case: Case) -> Verdict:
    """Judge an answer that begins at the last proven step."""
    position = case.position
    if position is None or case.answer.comparison is None or case.count is None:
        return _read_whole(FetchKind.NO_POSITION, "there is nothing to continue from")
    # The run was rewound and logged again, or a page is missing.
    if case.missing_rows:
        rewritten = f"some held rows from step {position.last_step} on did not come"
        return _read_whole(FetchKind.TAIL_REWRITTEN, rewritten)
    below = case.rows_below
    now = case.received_as(position, below)
    rows = now.rows + position.short_by
    if case.reaches_last_step and rows >= case.count:
        short_by = max(0, case.count - now.rows)
        return _moved(case, Keep.RECEIVED_AND_BELOW, replace(now, short_by=short_by))
    # Rows were logged below the last step, or have not arrived yet.
    if case.listing.terminal:
        reason = f"{case.count - rows} rows are missing in the tail"
        return _read_whole(FetchKind.TAIL_SHORT, reason)
    return _behind(case, position, below, now)


def _proven(case: Case) -> Judged:
    short_by = max(0, (case.count or 0) - case.received.rows)
    return _moved(case, case.keep_received, case.answer_as_held(short_by))


def _moved(case: Case, keep: Keep, position: Position) -> Judged:
    """Move the position: everything listed is held, except for accepted lines."""
    standing = Standing.ACCEPTED if position.short_by else Standing.PROVEN
    evidence = evidence_of(case, standing)
    if standing == Standing.ACCEPTED:
        evidence = replace(with_difference(case, evidence, position.rows), reads=0)
    return Judged(
        keep=keep,
        position=position,
        evidence=evidence,
        look=next_look(case, position),
    )


def _sampled(case: Case) -> Judged:
    """Hold the rows of a sample together with those of earlier ones."""
    united = case.missing_rows > 0
    position = case.united() if united else case.answer_as_held()
    keep = Keep.BOTH if united else case.keep_received
    if position.rows >= (case.count or 0):
        return _moved(case, keep, position)
    return Judged(
        keep=keep,
        position=position,
        evidence=evidence_of(case, Standing.SAMPLED),
        look=sample_look(case, position),
    )


def _capped(case: Case) -> Judged:
    """Hold what W&B keeps of rows of which it does not keep all, and what it has dropped since."""
    united = case.missing_rows > 0
    position = case.united() if united else case.answer_as_held()
    position = replace(position, short_by=max(0, (case.count or 0) - position.rows))
    judged = _moved(case, Keep.BOTH if united else case.keep_received, position)
    reason = f"W&B gives {case.received.rows:,} lines of {case.count or 0:,}: it keeps no more"
    return replace(judged, reason=f"accepted as short: {reason}" if position.short_by else "")


def _waiting(case: Case) -> Judged:
    kind = "rewritten" if case.adds else "shrunk" if case.received.rows else "emptied"
    kind = BEGINS_LATER if case.begins_later else kind
    comparison = case.answer.comparison
    fits = comparison is not None and not comparison.conflicts and not case.apart and case.adds
    return Judged(
        keep=Keep.BOTH if fits else Keep.HELD,
        position=case.position,
        held=case.united() if fits else case.still_held,
        evidence=waiting_evidence(case, kind),
        look=case.look_before,
        reason=f"{count(case.missing_rows, 'held row')} did not come ({kind}); "
        "kept until a read ten minutes later does not bring them either",
    )


def _short(case: Case) -> Verdict:
    evidence = short_evidence(case)
    goes = evidence.answers >= SHORT_ANSWERS and case.contradicts_held(evidence)
    held: Position | None
    # Held rows are missing in three answers, and there is a reason to believe the answers.
    waited = later_by(SECOND_LOOK, evidence.since, case.now)
    if goes and waited and (case.missing_rows or case.apart):
        held = case.answer_as_held()
        evidence = replace(with_difference(case, evidence, held.rows), reads=SHORT_SYNCS)
        return _accepted(case, case.keep_received, held, evidence)
    if case.apart:
        keep, held, rows = Keep.HELD, case.still_held, case.received.rows
    elif not case.missing_rows:
        keep, held, rows = case.keep_received, case.answer_as_held(), case.received.rows
    elif not case.adds:
        keep, held, rows = Keep.HELD, case.still_held, case.held_rows
    elif case.may_unite:
        held = case.united()
        keep, rows = Keep.BOTH, held.rows
    else:
        return _rejected(
            case,
            RunFailureKind.CONFLICT,
            f"received {case.received.rows:,} rows without {case.missing_rows:,} of the held ones; "
            f"{case.listed}",
            evidence,
        )
    evidence = with_difference(case, evidence, rows)
    pending = not waited and (case.apart or (goes and case.missing_rows > 0))
    if case.apart and case.missing_rows and not case.another and not goes:
        pending = True  # nothing shows that these rows are gone
    if evidence.reads >= SHORT_SYNCS and keep != Keep.BOTH and not pending:
        return _accepted(case, keep, held, evidence)
    kind, reason = why_short(case, evidence)
    return Judged(
        keep=keep,
        position=case.position,
        held=held,
        evidence=evidence,
        look=case.look_before,
        short=kind,
        reason=reason,
    )


def _accepted(case: Case, keep: Keep, held: Position | None, evidence: Evidence) -> Judged:
    """Move the position as if there was a proof: three syncs changed nothing."""
    if case.apart:
        keep, held = case.keep_received, case.answer_as_held()
    rows = held or case.held or Position(selection=case.selection, rows=case.held_rows)
    short_by = max(0, evidence.difference or 0)
    position = replace(rows, listed=case.counts, short_by=short_by)
    evidence = replace(evidence, standing=Standing.ACCEPTED, answers=0, added=False)
    return Judged(
        keep=keep,
        position=position,
        evidence=evidence,
        look=next_look(case, position, confirmed=True),
        reason=f"accepted as short: {why_short(case, evidence)[1]}",
    )


def _behind(case: Case, position: Position, below: int, now: Position) -> Judged | ReadWhole:
    known = case.evidence
    target = known.target if known.standing == Standing.BEHIND else None
    counts, misses = case.counts, known.misses + 1
    if target is None:
        target, misses = counts, 1
    elif target == counts:
        return _read_whole(FetchKind.STALLED, "behind a listing that has not moved")
    elif _caught_up(case, target.line_count, target.last_step, now):
        rows = below + case.received.rows_below + case.received.rows_at
        position = replace(
            position,
            rows=rows,
            last_step=target.last_step,
            last_timestamp=None,
            boundary_rows=case.received.rows_at,
            listed=target,
        )
        target, misses = counts, 1
    if misses >= MISSED_SYNCS:
        reason = f"behind a listing of {count(target.line_count or 0, 'line')} for too long"
        return _read_whole(FetchKind.STALLED, reason)
    evidence = replace(evidence_of(case, Standing.BEHIND), target=target, misses=misses)
    return Judged(
        keep=Keep.RECEIVED_AND_BELOW,
        position=position,
        held=now,
        evidence=evidence,
        look=case.look_before,
    )


def _caught_up(case: Case, lines: int | None, last_step: int | None, now: Position) -> bool:
    """Say whether the rows held now account for an earlier listing and reach its step."""
    if lines is None or last_step is None or now.last_step is None:
        return False
    return now.rows + now.short_by >= lines and now.last_step >= last_step


def _read_whole(kind: FetchKind, reason: str) -> ReadWhole:
    return ReadWhole(kind=kind, reason=reason)


def _rejected(
    case: Case, kind: RunFailureKind, reason: str, evidence: Evidence | None = None
) -> Rejected:
    known = evidence or evidence_of(case, Standing.FAILED)
    return Rejected(
        failure=RunFailure(kind=kind, reason=reason),
        evidence=replace(known, standing=Standing.FAILED, reads=0),
    )
