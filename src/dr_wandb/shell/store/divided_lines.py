"""Lines of a data file whose large member stays on disk.

Rules
- A line of at most `PIECE` bytes is read whole. Of a longer one only the frame is in memory, see
  core/contract/large_member.py; its content is read in pieces, when it is needed.
- A longer line that cannot be divided is read whole. So is one that is long for another reason.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any, NamedTuple

from dr_wandb.core.contract.large_member import (
    Borders,
    borders_of,
    decode_content,
    divide,
    find_content,
)
from dr_wandb.core.contract.project_record import ProjectRecord
from dr_wandb.shell.store import disk

PIECE = 1 << 18


class FileRange(NamedTuple):
    """Bytes of an open file, which other readers may use as well."""

    stream: IO[bytes]
    offset: int
    length: int

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes in pieces. Raises OSError if the file is too short."""
        offset, end = self.offset, self.offset + self.length
        while offset < end:
            chunk = b"".join(disk.read_range(self.stream, offset, min(PIECE, end - offset)))
            offset += len(chunk)
            yield chunk

    @property
    def whole(self) -> bytes:
        """Return the bytes."""
        return b"".join(self.chunks())


class DividedLine(NamedTuple):
    """One line: its frame, its byte range, that of its content if it has one, and its digest.

    text: the line, None if it was not read whole.
    """

    frame: bytes
    line: FileRange
    content: FileRange | None
    digest: str
    text: bytes | None

    @property
    def whole(self) -> bytes:
        """Return the line, which is read again if it is long."""
        return self.line.whole if self.text is None else self.text


def read_divided(
    stream: IO[bytes],
    kind: type[ProjectRecord],
    arrived: Callable[[bytes], object] = lambda piece: None,
) -> Iterator[DividedLine]:
    """Read all lines of a file. Between two of them others may read from the stream.

    arrived: called with all bytes, in order.
    """
    offset = 0
    while (line := _read(stream, offset, kind, arrived)) is not None:
        yield line
        offset += line.line.length


def _read(
    stream: IO[bytes],
    offset: int,
    kind: type[ProjectRecord],
    arrived: Callable[[bytes], object],
) -> DividedLine | None:
    stream.seek(offset)
    pieces = _Pieces(stream, arrived)
    first = next(pieces, b"")
    borders = borders_of(kind)
    if not first:
        return None
    if len(first) < PIECE or first.endswith(b"\n") or borders is None:
        whole = b"".join([first, *pieces])
        at = FileRange(stream, offset, pieces.length)
        before, inside, after = divide(whole, kind) or (whole, b"", b"")
        content = FileRange(stream, offset + len(before), len(inside)) if after else None
        return DividedLine(before + after, at, content, pieces.digest, whole)
    frame, start, length = _divide(first, pieces, borders)
    at = FileRange(stream, offset, pieces.length)
    if length is None:
        whole = at.whole if frame is None else frame
        return DividedLine(whole, at, None, pieces.digest, whole)
    assert frame is not None
    return DividedLine(frame, at, FileRange(stream, offset + start, length), pieces.digest, None)


class _Pieces(Iterator[bytes]):
    """The bytes of one line."""

    def __init__(self, stream: IO[bytes], arrived: Callable[[bytes], object]) -> None:
        self._stream = stream
        self._arrived = arrived
        self._hashed = hashlib.blake2b(digest_size=16)
        self._ended = False
        self.length = 0

    def __next__(self) -> bytes:
        piece = b"" if self._ended else self._stream.readline(PIECE)
        if not piece:
            raise StopIteration
        self._ended = piece.endswith(b"\n")
        self._hashed.update(piece)
        self._arrived(piece)
        self.length += len(piece)
        return piece

    @property
    def digest(self) -> str:
        return self._hashed.hexdigest()


def _divide(
    head: bytes, pieces: Iterator[bytes], borders: Borders
) -> tuple[bytes | None, int, int | None]:
    """Return the frame of a long line, and the offset and length of its content.

    Without a content the frame is the line. It is None if the content has no end.
    """
    while (start := find_content(head, borders)) < 0:
        piece = next(pieces, b"")
        if not piece:
            return head, 0, None
        head += piece
    before, rest, skipped = head[:start], head[start:], 0
    while (end := rest.find(borders.closing)) < 0:
        skip = max(0, len(rest) - len(borders.closing) + 1)
        skipped, rest = skipped + skip, rest[skip:]
        piece = next(pieces, b"")
        if not piece:
            return None, 0, None
        rest += piece
    return before + b"".join([rest[end:], *pieces]), start, skipped + end


def records_in(content: FileRange | None, kind: type[ProjectRecord]) -> Iterator[Sequence[Any]]:
    """Yield the records of a content, some at a time. Raises ValueError if it does not read."""
    if content is not None:
        for piece in decode_content(content.chunks(), kind):
            yield piece.records


def digest_of(parts: Iterable[bytes]) -> str:
    """Return the digest of a line that is given in parts, as `codec.digest` has it."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        hashed.update(part)
    return hashed.hexdigest()
