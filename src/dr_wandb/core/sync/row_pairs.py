"""Pair held rows with received rows: the same ones, and those without a partner.

Rules
- The same row is the same step and timestamp or, if either is missing, the same content.
- Times of one step that are less than a microsecond apart are the same too, paired in order after
  the rows whose times are equal. Of steps with very many rows only equal times are paired.
- Each row is paired once: of two rows with the same step and timestamp both have to come.
- A received row without a member that is held is another row: one answer removes no value. A
  numbered row is the same whatever it holds: it may be written again. So is one known by a name.
- Rows that are known by names never conflict: each stands for itself. One that holds something else
  than before is new.
- Lines of both sides come in stored order. No more than the rows of one step are in memory.
"""

import hashlib
from collections.abc import Iterable, Iterator
from itertools import chain, groupby, islice, zip_longest
from typing import NamedTuple

from dr_wandb.core.contract.codec import RowKey, decode_row, run_and_key
from dr_wandb.core.contract.encoded_rows import select_line
from dr_wandb.core.contract.evidence import nearly_equal
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.selection import HistorySelection

MOST_AT_A_STEP = 256
"""At most this many rows of one step are paired by nearly equal times."""


class Comparison(Record, frozen=True, kw_only=True):
    """How the rows of an answer differ from the held ones.

    `missing_rows`: held rows that did not come; `missing_digest` is their digest,
    `missing_without_step` of them have no step. `adds`: rows that came and are not held.
    `conflicts`: at some step each side has a row that the other does not have. `beyond`: the steps
    of all missing rows are above the last listed one.
    """

    missing_rows: int = 0
    missing_without_step: int = 0
    missing_digest: str = ""
    adds: int = 0
    conflicts: bool = False
    beyond: bool = True


class _Row(NamedTuple):
    key: RowKey
    line: bytes

    @property
    def identity(self) -> tuple[RowKey, bytes]:
        """Return a value that is equal for the same row on both sides, in stored order."""
        step_missing, _, timestamp_missing, moment = self.key
        named = type(moment) is str
        return self.key, self.line if not named and (step_missing or timestamp_missing) else b""


_Rows = tuple[_Row | None, _Row | None]

Pair = tuple[bytes | None, bytes | None]
"""The same row as a line, held and received; None on the side that does not have it."""


def pair_rows(held: Iterable[bytes], received: Iterable[bytes]) -> Iterator[Pair]:
    """Pair the lines of one run, in stored order by the received line, else by the held one."""
    ours, theirs = iter(held), iter(received)
    for our_line, their_line in zip_longest(ours, theirs):
        if our_line != their_line:
            yield from _pair_unlike(_with_first(our_line, ours), _with_first(their_line, theirs))
            return
        yield our_line, their_line


def is_named(line: bytes) -> bool:
    """Say whether a row is known by its name, so that what it holds may change."""
    return type(run_and_key(line)[1][3]) is str


def holds_members(line: bytes, other: bytes) -> bool:
    """Say whether a row has every member that another copy of it has, whatever their values."""
    row, copy = decode_row(line).unwrap(), decode_row(other).unwrap()
    parts = ((row.metrics, copy.metrics), (row.extra, copy.extra))
    own = (row.wandb_metadata, copy.wandb_metadata)
    has_runtime = copy.runtime is None or row.runtime is not None
    return has_runtime and all(theirs.keys() <= ours.keys() for ours, theirs in (*parts, own))


def admitted_rows(
    held: Iterable[bytes], before: HistorySelection, now: HistorySelection
) -> Iterator[bytes]:
    """Give the part of held lines, stored under another selection, that a selection admits.

    Rows that only their content identifies are skipped if that content may differ now.
    """
    alike = before.keys is None or (now.keys is not None and {*now.keys} <= {*before.keys})
    for line in held:
        _, (step_missing, _, timestamp_missing, _) = run_and_key(line)
        if (alike or not (step_missing or timestamp_missing)) and (kept := select_line(line, now)):
            yield kept


def compare_rows(
    held: Iterable[bytes],
    received: Iterable[bytes],
    *,
    last_step: int | None = None,
    most_held: int | None = None,
) -> Comparison:
    """Compare the lines of one run under one selection.

    last_step: the last listed step. most_held: if as many rows are held, older received rows are
    not new: they were dropped by this limit.
    """
    digest = hashlib.blake2b(digest_size=16)
    missing_rows = missing_without_step = adds = count = early = 0
    conflicts, beyond = False, True
    unpaired: tuple[int | None, bool, bool] = (None, False, False)
    for ours, theirs in pair_rows(held, received):
        count += ours is not None
        if ours is not None and theirs is not None:
            if ours == theirs:
                continue
            if is_named(theirs):
                adds += 1  # it takes the place of the held one
                continue
            if holds_members(theirs, ours):
                continue
            conflicts = True  # the same row without a held value
        line = ours if ours is not None else theirs
        assert line is not None
        step_missing, step, _, _ = run_and_key(line)[1]
        if ours is not None:
            missing_rows += 1
            missing_without_step += step_missing and theirs is None
            digest.update(ours)
            beyond = beyond and not step_missing and last_step is not None and step > last_step
        if theirs is not None:
            adds += 1
            early += count == 0
        if not step_missing:
            at, we, they = unpaired if unpaired[0] == step else (step, False, False)
            unpaired = (at, we or ours is not None, they or theirs is not None)
            conflicts = conflicts or unpaired[1:] == (True, True)
    if most_held is not None and count >= most_held:
        adds -= early
    return Comparison(
        missing_rows=missing_rows,
        missing_without_step=missing_without_step,
        missing_digest=digest.hexdigest() if missing_rows else "",
        adds=adds,
        conflicts=conflicts,
        beyond=beyond,
    )


def unite_rows(held: Iterable[bytes], received: Iterable[bytes]) -> Iterator[bytes]:
    """Give the received lines, and the held lines that did not come, in stored order."""
    for ours, theirs in pair_rows(held, received):
        line = theirs or ours
        assert line
        yield line


def _with_first(first: bytes | None, rest: Iterator[bytes]) -> Iterable[bytes]:
    return () if first is None else chain((first,), rest)


def _pair_unlike(held: Iterable[bytes], received: Iterable[bytes]) -> Iterator[Pair]:
    ours, theirs = _steps(held), _steps(received)
    our, their = next(ours, None), next(theirs, None)
    while our is not None or their is not None:
        if their is None or (our is not None and our[0] < their[0]):
            assert our is not None
            yield from ((row.line, None) for row in our[1])
            our = next(ours, None)
        elif our is None or their[0] < our[0]:
            yield from ((None, row.line) for row in their[1])
            their = next(theirs, None)
        else:
            yield from _pair_step(our[1], their[1])
            our, their = next(ours, None), next(theirs, None)


def _steps(lines: Iterable[bytes]) -> Iterator[tuple[tuple[bool, int], Iterator[_Row]]]:
    rows = (_Row(run_and_key(line)[1], line) for line in lines)
    return groupby(rows, key=lambda row: row.key[:2])


def _pair_step(held: Iterator[_Row], received: Iterator[_Row]) -> Iterator[Pair]:
    ours, theirs = (list(islice(rows, MOST_AT_A_STEP)) for rows in (held, received))
    if len(ours) == MOST_AT_A_STEP or len(theirs) == MOST_AT_A_STEP:
        yield from map(_lines_of, _equal(chain(ours, held), chain(theirs, received)))
        return
    same, ours, theirs = _take_same(ours, theirs)
    equal = list(_equal(iter(ours), iter(theirs)))
    near = _near_rows(
        [our for our, their in equal if our and not their],
        [their for our, their in equal if their and not our],
    )
    pairs = [*same, *((our, their) for our, their in equal if our and their)]
    yield from map(_lines_of, sorted([*pairs, *near], key=_order_of))


def _take_same(
    held: list[_Row], received: list[_Row]
) -> tuple[list[_Rows], list[_Row], list[_Row]]:
    """Pair rows that are the same in every byte. Returns the pairs, then both sides' other rows."""
    waiting: dict[bytes, list[_Row]] = {}
    for their in received:
        waiting.setdefault(their.line, []).append(their)
    pairs: list[_Rows] = []
    left: list[_Row] = []
    for our in held:
        if found := waiting.get(our.line):
            pairs.append((our, found.pop()))
        else:
            left.append(our)
    rest = sorted((row for rows in waiting.values() for row in rows), key=_row_order)
    return pairs, left, rest


def _row_order(row: _Row) -> tuple[RowKey, bytes]:
    return row.key, row.line


def _lines_of(rows: _Rows) -> Pair:
    our, their = rows
    return our.line if our else None, their.line if their else None


def _order_of(rows: _Rows) -> tuple[RowKey, bytes]:
    row = rows[1] or rows[0]
    assert row
    return row.key, row.line


def _equal(held: Iterator[_Row], received: Iterator[_Row]) -> Iterator[_Rows]:
    """Pair the rows that are the same, ignoring times that are nearly equal."""
    our, their = next(held, None), next(received, None)
    while our is not None or their is not None:
        if their is None or (our is not None and our.identity < their.identity):
            yield our, None
            our = next(held, None)
        elif our is None or their.identity < our.identity:
            yield None, their
            their = next(received, None)
        else:
            yield our, their
            our, their = next(held, None), next(received, None)


def _near_rows(held: list[_Row], received: list[_Row]) -> Iterator[_Rows]:
    """Pair the rows of one step whose times are nearly the same, in order."""
    waiting = list(reversed(received))
    for our in held:
        while waiting and not _near(our, waiting[-1]) and waiting[-1].identity < our.identity:
            yield None, waiting.pop()
        yield our, waiting.pop() if waiting and _near(our, waiting[-1]) else None
    yield from ((None, row) for row in reversed(waiting))


def _near(our: _Row, their: _Row) -> bool:
    step_missing, _, our_time_missing, our_time = our.key
    _, _, their_time_missing, their_time = their.key
    if step_missing or our_time_missing or their_time_missing:
        return False
    return nearly_equal(our_time, their_time)
