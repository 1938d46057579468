"""Rows as they arrive from a source, joined and selected as a segment does it."""

from collections.abc import Iterable

from dr_wandb.core.contract.codec import RowKey, encode_line, run_and_key
from dr_wandb.core.contract.encoded_rows import ReceivedRow, received_row, select_line
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection
from dr_wandb.core.sync.copies import arrival_order, joined


def received(row: HistoryRow, *, live: bool = True, file: int = 0) -> ReceivedRow:
    """Return a row on its way into a segment."""
    return received_row(encode_line(row), live=live, file=file)


def joined_rows(rows: Iterable[ReceivedRow]) -> list[ReceivedRow]:
    """Return the rows that copies in any order make."""
    return list(joined(sorted(rows, key=arrival_order)))


def selected_lines(
    rows: Iterable[ReceivedRow], selection: HistorySelection = EVERYTHING
) -> list[bytes]:
    """Return what a selection admits of joined rows, in stored order."""
    lines = [(row.key, select_line(row.content, selection)) for row in rows]
    return [line for _, line in sorted(lines) if line]


def stored_order(line: bytes) -> tuple[RowKey, bytes]:
    """Return what the lines of one run are sorted by in an export."""
    return (run_and_key(line)[1], line)
