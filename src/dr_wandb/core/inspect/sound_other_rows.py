"""Prove many rows in a form of their own sound at once, from their bytes: samples, console lines.

Rules
- What is proven here is what `row_rules.py` checks row by row; of anything unusual nothing is.
- Each line is decoded. Nothing is taken from the state or the manifest.

Why this is a proof
- Encoding the decoded rows gives the same bytes. So each line is one row with all of its members,
  its keys are sorted, and its text and numbers have the one spelling that the encoder has for them.
- A line of a console has no other value that could be spelled in two ways than its time. Times are
  in UTC, with no needless digit; text that is no time would be kept as it is.
- The values of a sample are neither null, nor lists or objects, nor integral doubles (`5.0`), and
  no name begins with an underscore. So nothing in it would be dropped, renamed or moved. Its time
  is spelled as a number is.
- Numbers of lines, or times of samples, rise from row to row, from the row before on. So no row is
  there twice, and bytes do not decide the order.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any

from dr_wandb.core.contract.codec import NO_TIME, RowKey, encode_lines
from dr_wandb.core.contract.dataset import CONSOLE, SYSTEM
from dr_wandb.core.contract.encoded_rows import EncodedRows
from dr_wandb.core.contract.records import ConsoleLine, SystemSample
from dr_wandb.core.inspect.row_rules import PlacedRow, RowRules
from dr_wandb.core.inspect.sound_rows import (
    INTEGRAL,
    ProvenRows,
    by_run,
    numbers_rise,
    times_spelled,
)
from dr_wandb.core.sync.merge import times_rise

OWN_OBJECTS = 2
"""The objects that a sample is made of: itself, and its metrics."""

_TIMES = re.compile(r"(?:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d*[1-9])?Z\n)*", re.ASCII)
_LAST: RowKey = (True, 0, True, 0)


def prove_other_rows(
    lines: bytes, previous: PlacedRow | None, rules: RowRules
) -> list[ProvenRows] | None:
    """Return the rows of each run in some whole lines, None if not all are proven to be sound.

    previous: the row before them, None if it is not known.
    """
    kind = _KINDS.get(rules.dataset)
    if kind is None or not rules.strict:
        return None
    look, encoded_of, rise = kind
    rows = rules.form.decode_many(lines)
    if not rows or not look(lines, rows) or encode_lines(rows) != lines:
        return None
    proven = []
    for run_id, _, encoded in by_run(lines, rows, encoded_of):
        before: RowKey | None = None
        if previous is not None:
            before = previous[1] if run_id == previous[0] else None
            if run_id < previous[0]:
                return None
        if not rise(encoded, before):
            return None
        proven.append(ProvenRows(run_id, encoded, True))
        previous = (run_id, _LAST, b"")  # the rows of the next run in these lines are of another
    return proven


def _console_looks_sound(lines: bytes, rows: Sequence[ConsoleLine]) -> bool:
    times = [row.timestamp for row in rows if row.timestamp is not None]
    return _TIMES.fullmatch("\n".join((*times, ""))) is not None


def _samples_look_sound(lines: bytes, rows: Sequence[SystemSample]) -> bool:
    if lines.count(b"{") != OWN_OBJECTS * len(rows) or b"[" in lines or b'"_' in lines:
        return False
    if INTEGRAL.search(lines) or lines.count(b"null") != sum(row.runtime is None for row in rows):
        return False
    times = [row.timestamp for row in rows if row.timestamp is not None]
    return len(times) == len(rows) and times_spelled(times)


def _encoded_lines(lines: bytes, rows: Sequence[ConsoleLine]) -> EncodedRows:
    return EncodedRows(lines, [row.number for row in rows], [NO_TIME] * len(rows))


def _encoded_samples(lines: bytes, rows: Sequence[SystemSample]) -> EncodedRows:
    return EncodedRows(lines, [None] * len(rows), [row.timestamp for row in rows])


def _moments_rise(rows: EncodedRows, before: RowKey | None) -> bool:
    if before is None:
        return times_rise(rows.timestamps, float("-inf"))
    _, _, time_missing, moment = before
    return not time_missing and times_rise(rows.timestamps, moment)


_Kind = tuple[
    Callable[[bytes, Sequence[Any]], bool],
    Callable[[bytes, Sequence[Any]], EncodedRows],
    Callable[[EncodedRows, RowKey | None], bool],
]

_KINDS: dict[str, _Kind] = {
    CONSOLE: (_console_looks_sound, _encoded_lines, numbers_rise),
    SYSTEM: (_samples_look_sound, _encoded_samples, _moments_rise),
}
"""For each dataset: whether rows may be sound, their steps and times, and whether they rise."""
