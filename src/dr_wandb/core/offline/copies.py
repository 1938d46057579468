"""Say whether a `.wandb` file is a copy of another one, perhaps cut off or damaged.

Rules
- A file is a copy if it is byte for byte the beginning of the other one, or if every record that
  can be read in it is there at the same offset: it holds nothing of its own.
- Anything else is a file of its own, also if both were begun in the same second: SDKs before 0.13
  name their start in whole seconds, and two machines may begin one run at once.
- The bytes are compared, a piece at a time, so memory does not grow with the files.
"""

from collections.abc import Callable, Iterator

from dr_wandb.core.offline.framing import Frames, read_parts
from dr_wandb.core.offline.header import HEADER, Buffer

PIECE_BYTES = 1 << 20
"""How much of two files is compared in one go."""


def is_copy(part: Buffer, whole: Buffer, after_piece: Callable[[], None] = lambda: None) -> bool:
    """Say whether `part` holds nothing but what `whole` holds too.

    after_piece: called when a piece of both files is not needed any more. A file without any byte
    behind its header is no copy: it may become anything.
    """
    if len(part) <= len(HEADER):
        return False
    if begins_with(whole, part, after_piece):
        return True
    return _has_all_records(part, whole, after_piece)


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


def _readable(frames: Frames, begin: int) -> Iterator[tuple[int, int]]:
    """Give the byte ranges of a part of a file in which records were found, in order."""
    at = begin
    for loss in sorted(frames.lost, key=lambda loss: loss.offset):
        if loss.offset > at:
            yield at, loss.offset
        at = max(at, loss.offset + loss.length)
    if frames.end > at:
        yield at, frames.end


def _same(
    part: Buffer, whole: Buffer, begin: int, end: int, after_piece: Callable[[], None]
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
