"""Sort the records of a part of a `.wandb` file by kind, without decoding them.

The first bytes of a record give its kind, if it is written as the SDKs write it.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from returns.result import Success

from dr_wandb.core.offline.decoding import decode_record
from dr_wandb.core.offline.framing import Bytes, Frames, Offsets
from dr_wandb.core.offline.header import Buffer
from dr_wandb.core.offline.records import HistoryRecord
from dr_wandb.core.offline.wire import HISTORY, ROOM, SUMMARY, Flags, find_kinds


class Bounds(NamedTuple):
    """Records of one kind in a part: the offsets of each, and of the content of its kind in it."""

    starts: Offsets
    ends: Offsets
    begins: Offsets
    stops: Offsets

    def some(self, which: slice | Flags) -> "Bounds":
        """Return some of them."""
        return Bounds(*(column[which] for column in self))


class Records(NamedTuple):
    """The records of a part, in order: rows, changes of the summary, and all others.

    If any record must be decoded to know its kind, all are in `others`, and `odd` are those of them
    that may be rows.
    """

    part: Bytes
    rows: Bounds
    summaries: Bounds
    others: Sequence[bytes]
    odd: Sequence[bytes]

    def row(self, index: int) -> Mapping[str, Any] | None:
        """Return the row at an index, None if it cannot be read."""
        return row_of(bytes(self.part[self.rows.starts[index] : self.rows.ends[index]]))

    def contents(self, bounds: Bounds) -> Iterator[bytes]:
        """Give the content of records."""
        for start, end in zip(bounds.starts.tolist(), bounds.ends.tolist(), strict=True):
            yield bytes(self.part[start:end])


def sort_records(data: Buffer, frames: Frames) -> Records:
    """Sort the records of a part by kind."""
    part, starts, ends = _in_one_array(np.frombuffer(data, np.uint8), frames)
    kinds = find_kinds(part, starts, ends)
    bounds = Bounds(starts, ends, kinds.begins, kinds.stops)
    rows, summaries = kinds.tags == HISTORY, kinds.tags == SUMMARY
    odd = ~kinds.certain
    if odd.any():  # each may be of any kind: decode all of them one by one, in order
        odd |= rows
        rows = summaries = np.zeros_like(odd)
    records = Records(part, bounds.some(rows), bounds.some(summaries), (), ())
    return records._replace(
        others=list(records.contents(bounds.some(~(rows | summaries)))),
        odd=list(records.contents(bounds.some(odd))),
    )


def _in_one_array(view: Bytes, frames: Frames) -> tuple[Bytes, Offsets, Offsets]:
    """Join the records of a part into one array, and return the offsets of each, in order."""
    first = int(frames.starts[0]) if len(frames.starts) else 0
    length = int(frames.ends[-1]) - first if len(frames.ends) else 0
    lengths = [len(joined.content) for joined in frames.joined]
    part = np.zeros(length + sum(lengths) + ROOM, np.uint8)
    part[:length] = view[first : first + length]
    part[length : len(part) - ROOM] = np.frombuffer(
        b"".join(joined.content for joined in frames.joined), np.uint8
    )
    behind = np.array([length, *lengths], np.int64).cumsum()
    offsets = np.array([joined.offset for joined in frames.joined], np.int64)
    order = np.argsort(np.concatenate([frames.starts, offsets]), kind="stable")
    starts = np.concatenate([frames.starts - first, behind[:-1]])[order]
    ends = np.concatenate([frames.ends - first, behind[1:]])[order]
    return part, starts, ends


def row_of(payload: bytes) -> Mapping[str, Any] | None:
    """Return the row in a record, None if it is not a row or cannot be read."""
    match decode_record(payload):
        case Success(HistoryRecord(row=row)):
            return row
        case _:
            return None
