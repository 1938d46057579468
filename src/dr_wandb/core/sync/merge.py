"""Merging, per run, as bytes: what was fetched with what is stored.

Rules
- The fetch of a window replaces the stored rows of that run inside it; rows outside stay. A fetch
  from the beginning also replaces the rows without a step.
- Two rows of a run are the same row if they have the same step and timestamp or, where either is
  missing, the same content. The exported copy wins over the live one. Rows with one step and
  different timestamps are both kept.
- The result does not depend on the order in which rows arrive.
- Rows are ordered by step, then timestamp as numbers, those that lack one last, then by bytes.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice
from operator import lt
from typing import Any, NamedTuple

from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.request import HistorySelection
from dr_wandb.core.contract.select import select_row
from dr_wandb.core.sync.accept import FetchWindow, Received
from dr_wandb.core.sync.codec import RowKey, encode_line, encode_lines, locate, place_of, row_key


class ReceivedRow(NamedTuple):
    """One row on its way into a segment.

    `content` is the whole row as a line; it says which row it is. `line` is the part of it that
    the selection admits, b"" where it admits nothing. `timestamp` is the text of `key`'s number.
    """

    key: RowKey
    live: bool
    content: bytes
    line: bytes
    timestamp: str | None

    @property
    def step(self) -> int | None:
        """Return the step, None where the row has none."""
        step_missing, step, _, _ = self.key
        return None if step_missing else step


class EncodedRows(NamedTuple):
    """Whole rows of one run as lines, each with its newline, and where each row belongs."""

    lines: bytes
    steps: Sequence[int | None]
    timestamps: Sequence[str | None]

    def rise_from(self, step: int | None) -> bool:
        """Say whether steps rise from row to row, beyond `step`: then no row is another's copy."""
        if not self.steps:
            return True
        if None in self.steps or (step is not None and self.steps[0] <= step):  # type: ignore[operator]
            return False
        return all(map(lt, self.steps, islice(self.steps, 1, None)))  # type: ignore[arg-type]

    def rows(self, *, live: bool) -> Iterator[ReceivedRow]:
        """Give the rows one by one."""
        lines = self.lines.splitlines(keepends=True)
        for line, step, timestamp in zip(lines, self.steps, self.timestamps, strict=True):
            yield ReceivedRow(row_key(step, timestamp), live, line, line, timestamp)


def received_row(line: bytes, *, live: bool) -> ReceivedRow:
    """Return a whole row that is a line already."""
    _, step, timestamp = locate(line)
    return ReceivedRow(row_key(step, timestamp), live, line, line, timestamp)


def encode_rows(rows: Sequence[HistoryRow]) -> EncodedRows:
    """Encode rows as they came from the source."""
    steps, timestamps = [row.step for row in rows], [row.timestamp for row in rows]
    return EncodedRows(encode_lines(rows), steps, timestamps)


def receive(row: HistoryRow, selection: HistorySelection, *, live: bool) -> ReceivedRow:
    """Encode a row as it came from the source, and the part of it that is wanted."""
    content = encode_line(row)
    selected = select_row(row, selection)
    line = content if selected is row else b"" if selected is None else encode_line(selected)
    return ReceivedRow(row_key(row.step, row.timestamp), live, content, line, row.timestamp)


def arrival_order(row: ReceivedRow) -> tuple[Any, ...]:
    """Sort key that puts copies of one row side by side, the one that wins first."""
    if _has_identity(row.key):
        return (*row.key, row.live, -len(row.content), row.content)
    return (*row.key, row.line, row.content, row.live)


def distinct(rows: Iterable[ReceivedRow]) -> Iterator[ReceivedRow]:
    """Drop the copies from rows in `arrival_order`."""
    previous: object = None
    for row in rows:
        identity = row.key if _has_identity(row.key) else row.content
        if identity != previous:
            yield row
        previous = identity


def _has_identity(key: RowKey) -> bool:
    step_missing, _, timestamp_missing, _ = key
    return not step_missing and not timestamp_missing


class Tally:
    """Counts distinct rows as they pass, in order, and digests the first and the last step."""

    def __init__(self, window: FetchWindow) -> None:
        self._start = window.start
        self._rows = 0
        self._step: int | None = None
        self._timestamp: str | None = None
        self._at_step = _StepDigest()
        self._at_start = _StepDigest()

    def add(self, row: ReceivedRow) -> None:
        """Count one row. Rows must come in the order of their steps."""
        self._rows += 1
        step_missing, step, _, _ = row.key
        if step_missing:
            return
        if step != self._step:
            self._step = step
            self._at_step = _StepDigest()
        self._timestamp = row.timestamp
        self._at_step.add(row.content)
        if step == self._start:
            self._at_start.add(row.content)

    def add_rising(self, encoded: EncodedRows) -> None:
        """Count rows that rise from the last one that was counted."""
        if not encoded.steps:
            return
        lines = encoded.lines
        self._rows += len(encoded.steps)
        self._step, self._timestamp = encoded.steps[-1], encoded.timestamps[-1]
        self._at_step = _StepDigest()
        self._at_step.add(lines[lines.rfind(b"\n", 0, -1) + 1 :])
        if encoded.steps[0] == self._start:
            self._at_start.add(lines[: lines.find(b"\n") + 1])

    def received(self) -> Received:
        """Return what has passed so far."""
        return Received(
            rows=self._rows,
            last_step=self._step,
            last_timestamp=self._timestamp,
            boundary=self._at_step.text,
            boundary_rows=self._at_step.rows,
            start_boundary=self._at_start.text,
            start_rows=self._at_start.rows,
        )


class _StepDigest:
    """Digest of the distinct rows of one step, in any order; no text where there are none."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0
        self._last = b""

    def add(self, content: bytes) -> None:
        if self.rows:
            self._sum = self._with_last()
        self.rows += 1
        self._last = content  # digested when it is known that the step has more rows, or asked for

    @property
    def text(self) -> str:
        return f"{self._with_last():032x}" if self.rows else ""

    def _with_last(self) -> int:
        row = hashlib.blake2b(self._last, digest_size=16).digest()
        return (self._sum + int.from_bytes(row)) % 2**128


def measure_from(start: int, lines_from_end: Iterable[bytes]) -> tuple[int, int]:
    """Return bytes and rows at the end of stored lines that a window from `start` may replace.

    What lies before them is below the window. Lines come last first, and no more are read.
    """
    length = rows = 0
    for line in lines_from_end:
        _, (step_missing, step, _, _) = place_of(line)
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
        _, (step_missing, step, _, _) = place_of(line)
        below = bool(window.start) and (step_missing or step < (window.start or 0))
        if below or (not step_missing and window.stop is not None and step >= window.stop):
            yield line


def merge_lines(kept: Iterable[bytes], fetched: Iterable[bytes]) -> Iterator[bytes]:
    """Merge the lines of one run that were kept with those that were fetched, both in order."""
    return merge(kept, fetched, key=_line_order)


def _line_order(line: bytes) -> tuple[RowKey, bytes]:
    return place_of(line)[1], line
