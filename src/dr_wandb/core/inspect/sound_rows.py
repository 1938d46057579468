"""Prove many rows of a data file sound at once, from their bytes.

Rules
- What is proven here is what `row_rules.py` checks row by row, so that a sound file takes a
  fraction of the time. Of anything unusual nothing is proven: its rows are checked one by one.
- Each line is decoded. Nothing is taken from the state or the manifest.

Why this is a proof
- Encoding the decoded rows gives the same bytes. So each line is one row, its keys are sorted, and
  its text and numbers have the one spelling that the encoder has for them.
- The encoder keeps two things that our form does not have: an integral double (`5.0`), and a null
  inside a value. No number ends in `.0`, and the only nulls are fields of the rows themselves.
- The rows have four objects each, so there is no other one.
- A time is spelled as a number is: the times, as a list of numbers, are encoded again too.
- Steps rise from row to row, from the row before on, or else steps and times together. So no row is
  there twice, and bytes do not decide the order.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, islice
from operator import attrgetter, lt
from typing import NamedTuple, TypeVar

import msgspec

from dr_wandb.core.contract.codec import RowKey, decode_many_rows, encode_lines, has_shape, row_key
from dr_wandb.core.contract.encoded_rows import EncodedRows
from dr_wandb.core.contract.records import ConsoleLine, HistoryRow, SystemSample
from dr_wandb.core.contract.select import select_row
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection
from dr_wandb.core.contract.values import MAX_DEPTH
from dr_wandb.core.inspect.row_rules import PlacedRow, RowRules
from dr_wandb.core.sync.merge import steps_rise

OWN_OBJECTS = 4
"""The objects that a row is made of: itself, and three of its fields."""

LEAST_HALVED_BYTES = 4_000
"""Fewer bytes are not halved, which takes as long as checking a few rows one by one."""

INTEGRAL = re.compile(rb"\.0[],}]")
_NULL = re.compile(rb"null")
"""Patterns that begin with plain bytes are found faster than bytes are."""

_DECODER, _ENCODER = msgspec.json.Decoder(), msgspec.json.Encoder()
_LAST: RowKey = (True, 0, True, 0)
_run_id = attrgetter("run_id")

R = TypeVar("R", HistoryRow, SystemSample, ConsoleLine)


class ProvenRows(NamedTuple):
    """Rows of one run that are sound. `rising`: their steps rise, from the row before on."""

    run_id: str
    rows: EncodedRows
    rising: bool


def prove_rows(
    lines: bytes, previous: PlacedRow | None, rules: RowRules
) -> list[ProvenRows] | None:
    """Return the rows of each run in some whole lines, None if not all are proven to be sound.

    previous: the row before them, None if it is not known.
    """
    if not rules.present_form or not has_shape(lines):
        return None
    if INTEGRAL.search(lines) or not _flat_enough(lines):
        return None
    rows = decode_many_rows(lines)
    if not rows or encode_lines(rows) != lines or not _times_spelled(lines, rows):
        return None
    proven = []
    for run_id, of_run, encoded in by_run(lines, rows, _encoded):
        before: RowKey | None = None
        if previous is not None:
            before = previous[1] if run_id == previous[0] else None
            if run_id < previous[0]:
                return None
        rising = numbers_rise(encoded, before)
        if not (rising or _keys_rise(encoded, before)):
            return None
        if not _selected(of_run, rules.selection_of(run_id)):
            return None
        proven.append(ProvenRows(run_id, encoded, rising))
        previous = (run_id, _LAST, b"")  # the rows of the next run in these lines are of another
    return proven


def halves(lines: bytes, rules: RowRules) -> tuple[bytes, bytes] | None:
    """Return lines in two parts if only some of them may be unusual, because of an object.

    Whether a line has one is seen without decoding it.
    """
    if len(lines) < LEAST_HALVED_BYTES or not rules.present_form or has_shape(lines):
        return None
    middle = lines.find(b"\n", len(lines) // 2) + 1
    if middle in (0, len(lines)):
        middle = lines.rfind(b"\n", 0, len(lines) // 2) + 1
    return (lines[:middle], lines[middle:]) if middle else None


def numbers_rise(rows: EncodedRows, before: RowKey | None) -> bool:
    """Say whether the steps of rows rise, from the row with the key `before` on."""
    if before is None:
        return steps_rise(rows.steps, None)
    step_missing, step, _, _ = before
    return not step_missing and steps_rise(rows.steps, step)


def _keys_rise(rows: EncodedRows, before: RowKey | None) -> bool:
    keys = list(map(row_key, rows.steps, rows.timestamps))
    first = before is None or before < keys[0]
    return first and all(map(lt, keys, islice(keys, 1, None)))


def _flat_enough(lines: bytes) -> bool:
    """Say whether no list is nested so deeply that its inner ones have to be text."""
    most = MAX_DEPTH - OWN_OBJECTS
    return b"[" not in lines or all(line.count(b"[") <= most for line in lines.split(b"\n"))


def _times_spelled(lines: bytes, rows: Sequence[HistoryRow]) -> bool:
    """Say whether every time is spelled as a number, and whether no value has a null inside."""
    times = [row.timestamp for row in rows if row.timestamp is not None]
    if _NULL.search(lines):
        own = len(rows) - len(times) + sum((row.runtime, row.step).count(None) for row in rows)
        if lines.count(b"null") != own:
            return False
    return times_spelled(times)


def times_spelled(times: Sequence[str]) -> bool:
    """Say whether every time is spelled as a number is."""
    text = f"[{','.join(times)}]".encode()
    try:
        numbers = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return False
    return (
        len(numbers) == len(times)
        and {*map(type, numbers)} <= {int, float}
        and not INTEGRAL.search(text)
        and _ENCODER.encode(numbers) == text
    )


def by_run(
    lines: bytes, rows: Sequence[R], encoded: Callable[[bytes, Sequence[R]], EncodedRows]
) -> Iterator[tuple[str, Sequence[R], EncodedRows]]:
    """Yield the rows of each run, decoded and as lines.

    encoded: makes the latter of lines and the rows in them.
    """
    run_id = rows[0].run_id
    if {row.run_id for row in rows} == {run_id}:
        yield run_id, rows, encoded(lines, rows)
        return
    whole, start = lines.splitlines(keepends=True), 0
    for run_id, group in groupby(rows, key=_run_id):
        of_run = list(group)
        end = start + len(of_run)
        yield run_id, of_run, encoded(b"".join(whole[start:end]), of_run)
        start = end


def _encoded(lines: bytes, rows: Sequence[HistoryRow]) -> EncodedRows:
    return EncodedRows(lines, [row.step for row in rows], [row.timestamp for row in rows])


def _selected(rows: Sequence[HistoryRow], selection: HistorySelection) -> bool:
    """Say whether a selection keeps rows as they are. They are in order, and no value is an object.

    Then what it keeps of a row depends on the names of its metrics, if it has any, and on its step.
    Rows without a step, which counts as 0, are the last ones.
    """
    if selection == EVERYTHING:
        return True
    kinds = {tuple(row.metrics): row for row in rows}
    each = () in kinds or rows[-1].step is None
    chosen = rows if each else [*kinds.values(), rows[0], rows[-1]]
    return all(select_row(row, selection) == row for row in chosen)
