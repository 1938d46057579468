"""Merge the fetched lines of each run with the stored ones, as bytes.

Rules
- The fetch of a window replaces the stored rows of that run inside it; rows outside stay. A fetch
  from the beginning also replaces the rows without a step.
- Copies of a row within one answer are one row (see copies.py) before anything is selected.
- Rows with one step and different timestamps are both kept.
- Rows are ordered by step, then timestamp as numbers, those without one last, then by bytes.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from operator import lt

from dr_wandb.core.contract.codec import (
    RowKey,
    locate,
    run_and_key,
)
from dr_wandb.core.contract.encoded_rows import EncodedRows, ReceivedRow, SelectedRows
from dr_wandb.core.contract.fetch_window import FetchWindow, Received


def steps_rise(steps: Sequence[int | None], after: int | None) -> bool:
    """Say whether steps rise from row to row, beyond `after`: then no two rows are copies."""
    if not steps:
        return True
    if None in steps or (after is not None and steps[0] <= after):  # type: ignore[operator]
        return False
    return all(map(lt, steps, islice(steps, 1, None)))  # type: ignore[arg-type]


def times_rise(timestamps: Sequence[str | None], after: float) -> bool:
    """Say whether there are only times, and they rise from row to row, beyond `after`.

    Then no two of their rows are copies, also if they have no steps.
    """
    try:
        moments = list(map(float, timestamps))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return after < moments[0] and all(map(lt, moments, islice(moments, 1, None)))


class Tally:
    """Counts distinct rows as they pass, in order.

    mark: a step; the rows below it and at it are counted too.
    """

    def __init__(self, mark: int | None = None) -> None:
        self._mark = mark
        self._rows = 0
        self._step: int | None = None
        self._timestamp: str | None = None
        self._at_step = 0
        self._without_step = 0
        self._below = 0
        self._at_mark = 0
        self._left_out = 0
        self._wanting = 0

    def leave_out(self) -> None:
        """Count what was listed and is no row."""
        self._left_out += 1

    def note_wanting(self) -> None:
        """Note that part of the last row did not come."""
        self._wanting += 1

    def add(self, row: ReceivedRow) -> None:
        """Count one row. Rows must come in the order of their steps."""
        self._rows += 1
        step_missing, step, _, _ = row.key
        if step_missing:
            self._without_step += 1
            self._below += 1
            return
        if self._mark is not None:
            self._below += step < self._mark
            self._at_mark += step == self._mark
        self._at_step = self._at_step + 1 if step == self._step else 1
        self._step = step
        self._timestamp = row.timestamp

    def add_rising(self, rows: EncodedRows | SelectedRows) -> None:
        """Count rows whose steps rise from the last counted row, or that all have none."""
        if not rows.steps:
            return
        self._rows += len(rows.steps)
        if rows.steps[0] is None:
            self._without_step += len(rows.steps)
            self._below += len(rows.steps)
            return
        _, self._step, self._timestamp = locate(rows.last)
        self._at_step = 1
        if self._mark is not None:
            below = bisect_left(rows.steps, self._mark)  # type: ignore[type-var]
            self._below += below
            self._at_mark += below < len(rows.steps) and rows.steps[below] == self._mark

    def received(self) -> Received:
        """Return the counts so far."""
        marked = self._mark is not None
        return Received(
            rows=self._rows,
            last_step=self._step,
            last_timestamp=self._timestamp,
            boundary_rows=self._at_step,
            without_step=self._without_step,
            rows_below=self._below if marked else 0,
            rows_at=self._at_mark,
            left_out=self._left_out,
            wanting=self._wanting,
        )


def measure_from(start: int, lines_from_end: Iterable[bytes]) -> tuple[int, int]:
    """Return bytes and rows at the end of stored lines that a window from `start` may replace.

    All lines before them are below the window. Lines come last first, and no more are read than
    needed.
    """
    length = rows = 0
    for line in lines_from_end:
        _, (step_missing, step, _, _) = run_and_key(line)
        if not step_missing and step < start:
            break
        length += len(line)
        rows += 1
    return length, rows


def outside(lines: Iterable[bytes], window: FetchWindow) -> Iterator[bytes]:
    """Keep the stored lines of one run that a fetch of `window` does not replace."""
    if window.whole:
        return
    for line in lines:
        _, (step_missing, step, _, _) = run_and_key(line)
        below = window.start is not None and (step_missing or step < window.start)
        if below or (not step_missing and window.stop is not None and step >= window.stop):
            yield line


def merge_lines(kept: Iterable[bytes], fetched: Iterable[bytes]) -> Iterator[bytes]:
    """Merge the kept and the fetched lines of one run, both in order."""
    return merge(kept, fetched, key=_line_order)


def _line_order(line: bytes) -> tuple[RowKey, bytes]:
    return run_and_key(line)[1], line
