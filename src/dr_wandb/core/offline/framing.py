"""Read the frames of a `.wandb` file: which bytes are records, and which are lost.

Rules
- A file is a header of seven bytes and then blocks of 32 KiB; the header is part of the first
  block. A block is a row of pieces: checksum (4 bytes, CRC-32 of type and content), length (2),
  type (1), content. Numbers are little-endian. Fewer than seven bytes at the end of a block are
  padding.
- A record is one piece, or a first, some middle and a last one (LevelDB's log format; wandb 0.12 to
  0.31).
- Every piece that is used has the right checksum. After a wrong one, the rest of its block is
  skipped, and so is a record that misses a piece. Skipped bytes are reported.
- Reading may stop at the end of any record and continue there: the frames are the same.
"""

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from dr_wandb.core.offline.header import Buffer
from dr_wandb.core.offline.lost_bytes import LostBytes

BLOCK = 1 << 15
PIECE_HEAD, TYPE_AT = 7, 6
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4

_HEAD = Struct("<IHB")

PART_BYTES = 1 << 22
"""The bytes of a file that are read at a time."""

Bytes = NDArray[np.uint8]
Offsets = NDArray[np.int64]


class Payload(NamedTuple):
    """The bytes of one record that was joined from pieces, and its offset."""

    offset: int
    content: bytes


class Frames(NamedTuple):
    """The records of a part of a file.

    `starts` and `ends` bound the content of records of one piece, in order; `joined` are the
    others. Reading continues at `end`: every record before it is here or lost.
    """

    starts: Offsets
    ends: Offsets
    joined: Sequence[Payload]
    lost: Sequence[LostBytes]
    end: int


def read_frames(data: Buffer, begin: int, end: int) -> Frames:
    """Read the records that begin at `begin` or later and end at `end` or before.

    data: the whole file. begin: the end of its header, or of an earlier part. end: the border of a
    block, or the end of the file. A record that continues beyond `end` is left to the next part.
    """
    return _Reader(data, begin, end).read()


def read_parts(data: Buffer, begin: int, size: int = PART_BYTES) -> Iterator[Frames]:
    """Read all records from `begin` on, a part of about `size` bytes at a time."""
    wanted = size
    while begin < len(data):
        end = min(len(data), begin - begin % BLOCK + wanted)
        frames = read_frames(data, begin, end)
        if frames.end > begin or end == len(data):
            yield frames
            wanted = size
        else:
            wanted *= 2  # one record is longer than the part
        if end == len(data):
            return
        begin = frames.end


class _Reader:
    """Reads the pieces between two offsets."""

    def __init__(self, data: Buffer, begin: int, end: int) -> None:
        self._data = memoryview(data)
        self._at = begin
        self._end = end
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._joined: list[Payload] = []
        self._lost: list[LostBytes] = []
        self._record_begin = begin
        self._parts: list[bytes] = []

    def read(self) -> Frames:
        """Read all pieces."""
        while self._at < self._end:
            border = min(self._at - self._at % BLOCK + BLOCK, self._end)
            if not self._parts:
                self._take_whole_records(border)
            if border - self._at < PIECE_HEAD:
                self._end_of_block(border)
            else:
                self._take_piece(border)
        return self._frames()

    def _take_whole_records(self, border: int) -> None:
        """Read records of one intact piece each, as most are."""
        data, at, head_at = self._data, self._at, _HEAD.unpack_from
        begins, stops = self._starts.append, self._ends.append
        while border - at >= PIECE_HEAD:
            checksum, length, kind = head_at(data, at)
            stop = at + PIECE_HEAD + length
            if kind != FULL or stop > border or crc32(data[at + TYPE_AT : stop]) != checksum:
                break
            begins(at + PIECE_HEAD)
            stops(stop)
            at = stop
        self._at = at

    def _take_piece(self, border: int) -> None:
        """Read a piece of any kind."""
        checksum, length, kind = _HEAD.unpack_from(self._data, self._at)
        stop = self._at + PIECE_HEAD + length
        if stop > border or not FULL <= kind <= LAST:
            self._no_piece(length, kind, border)
        elif crc32(self._data[self._at + TYPE_AT : stop]) != checksum:
            self._wrong_checksum(border)
        else:
            self._part(kind, stop)

    def _frames(self) -> Frames:
        continues_at = self._record_begin if self._parts else self._end
        if self._parts and self._end == len(self._data):
            self._cut_off(self._record_begin)
        torn = [loss.offset for loss in self._lost if loss.torn]
        return Frames(
            starts=np.array(self._starts, np.int64),
            ends=np.array(self._ends, np.int64),
            joined=self._joined,
            lost=self._lost,
            end=min([continues_at, *torn]),
        )

    def _part(self, kind: int, stop: int) -> None:
        """Read a piece that is only part of a record, or that interrupts one."""
        begins = kind in (FULL, FIRST)
        if begins and self._parts:
            self._give_up()
        if kind == FULL:
            return  # it is read again, as a record
        if begins:
            self._record_begin = self._at
        elif not self._parts:
            reason = "the beginning of this record is missing"
            self._lose(stop, reason, records=0, final=True)
            return
        self._parts.append(bytes(self._data[self._at + PIECE_HEAD : stop]))
        self._at = stop
        if kind == LAST:
            self._joined.append(Payload(self._record_begin, b"".join(self._parts)))
            self._parts = []

    def _end_of_block(self, border: int) -> None:
        """Skip padding; at the end of the file fewer bytes than a piece's head are torn."""
        if self._at < border and self._is_unfinished(border):
            self._cut_off(self._record_begin if self._parts else self._at)
        self._at = border

    def _no_piece(self, length: int, kind: int, border: int) -> None:
        """Skip zeros, a piece that is cut off, or garbage."""
        fits_a_block = self._at % BLOCK + PIECE_HEAD + length <= BLOCK
        if not any(self._data[self._at : border]):
            self._lose(border, "zeros instead of records", records=0)
        elif self._is_unfinished(border) and FULL <= kind <= LAST and fits_a_block:
            self._cut_off(self._record_begin if self._parts else self._at)
            self._at = border
        else:
            self._lose(border, "no record begins here", records=int(not self._parts))

    def _wrong_checksum(self, border: int) -> None:
        """Skip the rest of a block, counting the records that seem to begin in it."""
        at, records = self._at, 0
        while border - at >= PIECE_HEAD:
            _, length, kind = _HEAD.unpack_from(self._data, at)
            if at + PIECE_HEAD + length > border or not FULL <= kind <= LAST:
                break
            records += kind in (FULL, FIRST)
            at += PIECE_HEAD + length
        self._lose(border, "the checksum is wrong", records=records or int(not self._parts))

    def _is_unfinished(self, border: int) -> bool:
        """Say whether a block is the last one, and may become longer."""
        return border == len(self._data) and border % BLOCK > 0

    def _lose(self, stop: int, reason: str, records: int, final: bool = False) -> None:
        """Skip unreadable bytes; the last block is read again once it is longer."""
        torn = self._is_unfinished(stop) and not final
        begin = self._at
        if torn and self._parts:
            begin, records, self._parts = self._record_begin, records + 1, []
        self._give_up()
        loss = LostBytes(
            offset=begin, length=stop - begin, reason=reason, records=records, torn=torn
        )
        self._lost.append(loss)
        self._at = stop

    def _give_up(self) -> None:
        """Skip a record that misses a piece."""
        if self._parts:
            reason = "the rest of this record is missing"
            loss = LostBytes(
                offset=self._record_begin, length=self._at - self._record_begin, reason=reason
            )
            self._lost.append(loss)
            self._parts = []

    def _cut_off(self, offset: int) -> None:
        reason = "the last record is cut off"
        length = len(self._data) - offset
        self._lost.append(LostBytes(offset=offset, length=length, reason=reason, torn=True))
        self._parts = []
