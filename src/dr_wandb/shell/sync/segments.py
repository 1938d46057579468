"""Segments: the rows of one fetch of one run, on disk until they are merged.

A segment begins with its rows. Its header comes next: the run's listing, the window, the selection,
the source and the shape of rows; after a crash it is used only if all of these are the same. It
ends with the counts of the received rows, and the digest of its rows, which is checked if a later
sync uses it. It gets its final name only when it is complete.
"""

import hashlib
from collections.abc import Generator, Iterable
from contextlib import closing
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
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.rows_file import WrittenRows

_TRAILER_BYTES = 4096


class SegmentHeader(Record, frozen=True, kw_only=True):
    """The question that a segment answers: equal headers mean the same question.

    `mark` is a step: rows up to it are counted. `again`: the question was asked once more in the
    same sync.
    """

    run: RunListing
    window: FetchWindow
    selection: HistorySelection
    source: str
    mark: int | None = None
    again: bool = False
    dataset: str = HISTORY
    row_shape: int = ROW_SHAPE

    def is_answered_by(self, window: FetchWindow) -> bool:
        """Say whether the unselected rows of a window, in order, answer this question."""
        return self.window == window and self.selection.admits_whole_rows and self.mark is None


class _Trailer(Record, frozen=True, kw_only=True):
    received: Received
    rows: int
    length: int
    digest: str


class Segment(WrittenRows, frozen=True, kw_only=True):
    """A complete segment, which holds the selected rows."""

    @property
    def byte_range(self) -> ByteRange:
        """Return the byte range of the selected lines in the file."""
        return ByteRange(offset=0, length=self.length, rows=self.rows, digest=self.digest)

    def begins_with(self, rows: int, digest: str) -> bool:
        """Say whether its first `rows` rows have this digest; True for 0 rows."""
        if not rows or rows > self.rows:
            return not rows
        if rows == self.rows:
            return digest == self.digest
        with closing(self.lines()) as lines:
            return _digest_of(islice(lines, rows)) == digest

    def lines(self) -> Generator[bytes]:
        """Read the selected lines, in order."""
        with Path(self.path).open("rb") as stream:
            yield from disk.read_lines(stream, 0, self.length)


def segment_path(folder: Path, header: SegmentHeader) -> Path:
    """Return the path of the segment that answers `header`. The name is a digest, never an id."""
    return folder / f"{digest(msgspec.json.encode(header))}.segment"


def find_segment(folder: Path, header: SegmentHeader) -> Segment | None:
    """Return the segment that an earlier sync left, if it answers exactly this question."""
    path = segment_path(folder, header)
    encoded = msgspec.json.encode(header) + b"\n"
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - _TRAILER_BYTES))
            last_line = stream.read().rstrip(b"\n").rsplit(b"\n", 1)[-1]
            trailer = msgspec.json.decode(last_line, type=_Trailer)
            if trailer.length + len(encoded) + len(last_line) + 1 != size:
                return None
            stream.seek(trailer.length)
            if stream.read(len(encoded)) != encoded:
                return None
            if _digest_of(disk.read_range(stream, 0, trailer.length)) != trailer.digest:
                return None
    except (OSError, ValueError, RecursionError):
        return None
    return Segment(path=str(path), **msgspec.structs.asdict(trailer))


def make_segment(written: WrittenRows, folder: Path, header: SegmentHeader) -> Segment:
    """Make a segment of the rows that answer `header`: append header and trailer, and name it."""
    path = segment_path(folder, header)
    trailer = _Trailer(
        received=written.received, rows=written.rows, length=written.length, digest=written.digest
    )
    with Path(written.path).open("r+b") as stream:
        stream.seek(written.length)
        stream.write(msgspec.json.encode(header) + b"\n" + msgspec.json.encode(trailer) + b"\n")
    disk.rename(Path(written.path), path)
    return Segment(path=str(path), **msgspec.structs.asdict(trailer))


def move_segment(segment: Segment, folder: Path) -> Segment:
    """Move a complete segment into a folder, so that `find_segment` finds it there."""
    path = folder / Path(segment.path).name
    disk.rename(Path(segment.path), path)
    return replace(segment, path=str(path))


def _digest_of(chunks: Iterable[bytes]) -> str:
    own = hashlib.blake2b(digest_size=16)
    for chunk in chunks:
        own.update(chunk)
    return own.hexdigest()
