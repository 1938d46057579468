"""Check whether stored bytes are spelled as `docs/format.md` says.

Rules
- The answer does not depend on which fields this version knows: a line that an earlier or a later
  version of the same schema wrote counts as correctly spelled too.
- Lines that cannot have another spelling are recognized by a quick scan; only the others are
  checked value by value.
"""

import re
from typing import TypeVar

import msgspec
from returns.pipeline import is_successful
from returns.result import Result

from dr_wandb.core.contract.codec import (
    RowKey,
    canonical_row,
    canonical_snapshot,
    encode_line,
    has_shape,
)
from dr_wandb.core.contract.records import HistoryRow, RunSnapshot
from dr_wandb.core.contract.values import MAX_DEPTH, MAX_DIGITS, decode_json, spell_number

_ENCODER = msgspec.json.Encoder(order="sorted")
_LOOK_CLOSER = re.compile(rb"\.0[^0-9]|null|\\")
"""A number that may not need its point, a null that may not belong there, or an escape."""

_R = TypeVar("_R", HistoryRow, RunSnapshot)


def row_is_canonical(line: bytes, row: HistoryRow, key: RowKey, row_shape: int) -> bool:
    """Say whether a line that reads as `row`, whose sort key is `key`, has the one spelling.

    row_shape: the version of the shape that the row must have.
    """
    _, _, untimed, moment = key
    if row.timestamp is not None and not untimed and spell_number(moment) != row.timestamp:
        return False
    plain = (
        len(line) <= MAX_DIGITS
        and line.count(b"{") + line.count(b"[") <= MAX_DEPTH
        and not _LOOK_CLOSER.search(line)
        and (row_shape < 2 or has_shape(line))
    )
    if plain and encode_line(row) == line:
        return True
    return line_is_canonical(line) and _is_itself(row, canonical_row(line, row_shape))


def snapshot_is_canonical(line: bytes, snapshot: RunSnapshot) -> bool:
    """Say whether a line that reads as `snapshot` has the one spelling."""
    return line_is_canonical(line) and _is_itself(snapshot, canonical_snapshot(line))


def line_is_canonical(line: bytes) -> bool:
    """Say whether a line has sorted keys, no white space and no needless escapes."""
    try:
        return _ENCODER.encode(decode_json(line, "the line")) + b"\n" == line
    except (ValueError, TypeError, RecursionError):
        return False


def document_is_canonical(content: bytes) -> bool:
    """Say whether a manifest or a state is spelled as this tool writes it."""
    try:
        encoded = _ENCODER.encode(decode_json(content, "the document"))
    except (ValueError, TypeError, RecursionError):
        return False
    return msgspec.json.format(encoded, indent=2) + b"\n" == content


def _is_itself(record: _R, canonical: Result[_R, str]) -> bool:
    return is_successful(canonical) and encode_line(canonical.unwrap()) == encode_line(record)
