"""Rows of one run as lines, and the part of them that a selection admits."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dr_wandb.core.contract.codec import (
    RowKey,
    decode_row,
    encode_line,
    encode_lines,
    locate,
    row_key,
)
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.select import select_row
from dr_wandb.core.contract.selection import HistorySelection


class ReceivedRow(NamedTuple):
    """One whole row on its way into a segment.

    `content` is the row as a line. `timestamp` is the text of the number in `key`. `file` numbers
    the exported file that the row is from; it means nothing for a live row.
    """

    key: RowKey
    live: bool
    file: int
    content: bytes
    timestamp: str | None

    @property
    def step(self) -> int | None:
        """Return the step, None if the row has none."""
        step_missing, step, _, _ = self.key
        return None if step_missing else step


class EncodedRows(NamedTuple):
    """Whole rows of one run as lines, each with its newline, and the sort key of each row."""

    lines: bytes
    steps: Sequence[int | None]
    timestamps: Sequence[str | None]

    @property
    def first(self) -> bytes:
        """Return the first line; there must be one."""
        return self.lines[: self.lines.find(b"\n") + 1]

    @property
    def last(self) -> bytes:
        """Return the last line; there must be one."""
        return self.lines[self.lines.rfind(b"\n", 0, -1) + 1 :]

    def rows(self, *, live: bool, file: int = 0) -> Iterator[ReceivedRow]:
        """Give the rows one by one."""
        lines = self.lines.splitlines(keepends=True)
        for line, step, timestamp in zip(lines, self.steps, self.timestamps, strict=True):
            yield ReceivedRow(row_key(step, timestamp), live, file, line, timestamp)

    def select(self, selection: HistorySelection) -> "SelectedRows":
        """Return the part of the rows that a selection admits."""
        whole = self.lines.splitlines(keepends=True)
        lines = [select_line(line, selection) for line in whole]
        admitted = sum(map(bool, lines))
        return SelectedRows(b"".join(lines), admitted, self.steps, self.first, self.last)


class SelectedRows(NamedTuple):
    """The part of some rows that a selection admits: `admitted` lines.

    `steps` are those of all rows. `first` and `last` are lines of the whole rows, with all members.
    """

    lines: bytes
    admitted: int
    steps: Sequence[int | None]
    first: bytes
    last: bytes


def received_row(line: bytes, *, live: bool, file: int = 0) -> ReceivedRow:
    """Return a whole row that is encoded already."""
    _, step, timestamp = locate(line)
    return ReceivedRow(row_key(step, timestamp), live, file, line, timestamp)


def encode_rows(rows: Sequence[HistoryRow]) -> EncodedRows:
    """Encode rows as they came from the source."""
    steps, timestamps = [row.step for row in rows], [row.timestamp for row in rows]
    return EncodedRows(encode_lines(rows), steps, timestamps)


def select_line(line: bytes, selection: HistorySelection) -> bytes:
    """Return the selected part of a whole row as a line; b"" if nothing of it is selected."""
    if selection.admits_whole_rows:
        return line
    row = decode_row(line).unwrap()
    selected = select_row(row, selection)
    return line if selected is row else b"" if selected is None else encode_line(selected)
