"""Say whether a `.wandb` file is a copy of another one, perhaps cut off or damaged.

Rules
- A file is a copy if it is byte for byte the beginning of the other one, or if every readable
  record in it is in the other file at the same offset: it holds nothing of its own.
- Two copies may each be damaged in different records. Then most of the bytes that can be read in
  both are the same, and none differ. Each repairs the records that are damaged in the other.
- Anything else is a file of its own, even if both were started in the same second: SDKs before 0.13
  name their start in whole seconds, and two machines may start one run at once.
- The bytes are compared a piece at a time, so memory does not grow with the files.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from dr_wandb.core.offline.framing import BLOCK, PART_BYTES, Frames, read_parts
from dr_wandb.core.offline.header import HEADER, Buffer

PIECE_BYTES = 1 << 20
"""The bytes of two files that are compared at a time."""

Range = tuple[int, int]
"""The offset of the first byte of a part of a file, and the offset after its last byte."""


def is_copy(part: Buffer, whole: Buffer, after_piece: Callable[[], None] = lambda: None) -> bool:
    """Say whether everything in `part` is in `whole` too.

    after_piece: called when a piece of both files is no longer needed. A file without any byte
    after its header is not a copy: it may become anything.
    """
    if len(part) <= len(HEADER):
        return False
    if begins_with(whole, part, after_piece):
        return True
    return _has_all_records(part, whole, after_piece)


def repairs(
    part: Buffer, whole: Buffer, after_piece: Callable[[], None] = lambda: None
) -> tuple[Range, ...]:
    """Return the byte ranges that can be read in a damaged copy of a file, but not in the file.

    () if `part` is not a copy: if a byte differs that can be read in both, or if less than half of
    the bytes that can be read in one of them can be read in both.
    """
    heads = [list(islice(_all_readable(file, after_piece, BLOCK), 1)) for file in (part, whole)]
    if not all(_same(part, whole, begin, end) for begin, end in _intersect(*heads)):
        return ()  # parts of a run that were started at the same moment
    readable, others = (list(_all_readable(file, after_piece)) for file in (part, whole))
    both = list(_intersect(readable, others))
    if 2 * _length(both) <= min(_length(readable), _length(others)):
        return ()
    if not all(_same(part, whole, begin, end, after_piece) for begin, end in both):
        return ()
    damaged = list(_between(others, len(whole)))
    return tuple(
        (begin, end)
        for begin, end in _intersect(damaged, readable)
        if not _same(part, whole, begin, end, after_piece)
    )


def _all_readable(
    file: Buffer, after_piece: Callable[[], None], size: int = PART_BYTES
) -> Iterator[Range]:
    begin = len(HEADER)
    for frames in read_parts(file, begin, size):
        yield from _readable(frames, begin)
        begin = frames.end
        after_piece()


def _intersect(some: Sequence[Range], others: Sequence[Range]) -> Iterator[Range]:
    """Give the ranges that are in both lists, which are in order and do not overlap."""
    one = other = 0
    while one < len(some) and other < len(others):
        begin = max(some[one][0], others[other][0])
        end = min(some[one][1], others[other][1])
        if begin < end:
            yield begin, end
        if some[one][1] < others[other][1]:
            one += 1
        else:
            other += 1


def _between(ranges: Sequence[Range], size: int) -> Iterator[Range]:
    at = len(HEADER)
    for begin, end in (*ranges, (size, size)):
        if begin > at:
            yield at, begin
        at = end


def _length(ranges: Sequence[Range]) -> int:
    return sum(end - begin for begin, end in ranges)


def begins_with(
    whole: Buffer, part: Buffer, after_piece: Callable[[], None] = lambda: None
) -> bool:
    """Say whether one file is byte for byte the beginning of another one."""
    return _same(part, whole, 0, len(part), after_piece)


def _has_all_records(part: Buffer, whole: Buffer, after_piece: Callable[[], None]) -> bool:
    compared = False
    begin = len(HEADER)
    for frames in read_parts(part, begin):
        for at, stop in _readable(frames, begin):
            if not _same(part, whole, at, stop, after_piece):
                return False
            compared = True
        begin = frames.end
    return compared


def _readable(frames: Frames, begin: int) -> Iterator[Range]:
    """Give the byte ranges of a part of a file in which records were found, in order."""
    at = begin
    for loss in sorted(frames.lost, key=lambda loss: loss.offset):
        if loss.offset > at:
            yield at, loss.offset
        at = max(at, loss.offset + loss.length)
    if frames.end > at:
        yield at, frames.end


def _same(
    part: Buffer,
    whole: Buffer,
    begin: int,
    end: int,
    after_piece: Callable[[], None] = lambda: None,
) -> bool:
    """Say whether two files have the same bytes between two offsets."""
    if end > len(whole):
        return False
    for at in range(begin, end, PIECE_BYTES):
        stop = min(at + PIECE_BYTES, end)
        if bytes(part[at:stop]) != bytes(whole[at:stop]):
            return False
        after_piece()
    return True
