"""Segments: what one fetch of one run brought, on disk until it is merged.

A segment begins with what the listing said of the run, the window, the selection, the source and
the shape of rows; after a crash it is used only if all of that is still so. It ends with what was
received, and with the digest of its rows, which a segment of an earlier sync must still have. It
has its final name only when it is whole.
"""

import hashlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.codec import digest
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.fetch_window import FetchWindow, Received
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import HistorySelection
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.shell.store import disk

_TRAILER_BYTES = 4096


class SegmentHeader(Record, frozen=True, kw_only=True):
    """What a segment answers: the same header means the same question, of one dataset.

    `mark` is a step whose rows are counted, and those below it. `again`: the question was asked
    once more in the same sync.
    """

    run: RunListing
    window: FetchWindow
    selection: HistorySelection
    source: str
    mark: int | None = None
    again: bool = False
    dataset: str = HISTORY
    row_shape: int = ROW_SHAPE


class _Trailer(Record, frozen=True, kw_only=True):
    received: Received
    rows: int
    length: int
    digest: str


class Segment(Record, frozen=True, kw_only=True):
    """A whole segment: `rows` selected lines in `length` bytes from `offset` of `path`.

    `digest` is that of the bytes, as state files hold it.
    """

    path: str
    offset: int
    length: int
    rows: int
    digest: str
    received: Received

    @property
    def byte_range(self) -> ByteRange:
        """Return where the selected lines lie in the file."""
        return ByteRange(offset=self.offset, length=self.length, rows=self.rows, digest=self.digest)

    def begins_with(self, rows: int, digest: str) -> bool:
        """Say whether its first rows are these. No rows are the first ones of any segment."""
        if not rows or rows > self.rows:
            return not rows
        if rows == self.rows:
            return digest == self.digest
        with closing(self.lines()) as lines:
            return _digest_of(islice(lines, rows)) == digest

    def lines(self) -> Generator[bytes]:
        """Read the selected lines, in order."""
        with Path(self.path).open("rb") as stream:
            yield from disk.read_lines(stream, self.offset, self.length)


def segment_path(folder: Path, header: SegmentHeader) -> Path:
    """Return where the segment that answers `header` lies. The name is a digest, never an id."""
    return folder / f"{digest(msgspec.json.encode(header))}.segment"


def find_segment(folder: Path, header: SegmentHeader) -> Segment | None:
    """Return the segment that an earlier sync has left, if it answers just this."""
    path = segment_path(folder, header)
    encoded = msgspec.json.encode(header) + b"\n"
    try:
        with path.open("rb") as stream:
            if stream.read(len(encoded)) != encoded:
                return None
            size = stream.seek(0, 2)
            stream.seek(max(len(encoded), size - _TRAILER_BYTES))
            last_line = stream.read().rstrip(b"\n").rsplit(b"\n", 1)[-1]
            trailer = msgspec.json.decode(last_line, type=_Trailer)
            if len(encoded) + trailer.length + len(last_line) + 1 != size:
                return None
            if _digest_of(disk.read_range(stream, len(encoded), trailer.length)) != trailer.digest:
                return None
    except (OSError, ValueError, RecursionError):
        return None
    return _segment(path, len(encoded), trailer)


def move_segment(segment: Segment, folder: Path) -> Segment:
    """Move a whole segment into a folder, where `find_segment` finds it."""
    path = folder / Path(segment.path).name
    disk.rename(Path(segment.path), path)
    return replace(segment, path=str(path))


def _digest_of(chunks: Iterable[bytes]) -> str:
    own = hashlib.blake2b(digest_size=16)
    for chunk in chunks:
        own.update(chunk)
    return own.hexdigest()


def _segment(path: Path, offset: int, trailer: _Trailer) -> Segment:
    return Segment(
        path=str(path),
        offset=offset,
        length=trailer.length,
        rows=trailer.rows,
        digest=trailer.digest,
        received=trailer.received,
    )


class SegmentFile:
    """A segment that is being written, under a name of its own until it is whole."""

    def __init__(self, path: Path, header: SegmentHeader) -> None:
        self.path = path
        self._stream = path.open("w+b")
        self._digest = hashlib.blake2b(digest_size=16)
        self._offset = self._stream.write(msgspec.json.encode(header) + b"\n")
        self._rows = 0
        self.length = 0

    def write(self, lines: bytes, rows: int) -> None:
        """Write whole lines."""
        self._stream.write(lines)
        self._digest.update(lines)
        self._rows += rows
        self.length += len(lines)

    def lines(self) -> Iterator[bytes]:
        """Read the lines that were written."""
        self._stream.flush()
        return disk.read_lines(self._stream, self._offset, self.length)

    def finish(self, path: Path, received: Received) -> Segment:
        """Say what was received, and give the file its name.

        It is not made durable: after a power cut, its digest tells whether it is whole.
        """
        trailer = _Trailer(
            received=received, rows=self._rows, length=self.length, digest=self._digest.hexdigest()
        )
        self._stream.write(msgspec.json.encode(trailer) + b"\n")
        self._stream.close()
        disk.rename(self.path, path)
        return _segment(path, self._offset, trailer)

    def discard(self) -> None:
        """Remove the file, if it did not become a segment."""
        try:
            with suppress(OSError):  # what it still holds back belongs to a file nobody will read
                self._stream.close()
        finally:
            disk.remove(self.path)
