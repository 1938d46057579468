"""Segments: the rows of one fetch of one run, on disk until they are merged.

The rows are lines or, see column_segments.py, files that hold them in columns.

A segment begins with its rows. Its header comes next: the run's listing, the window, the selection,
the source and the shape of rows; after a crash it is used only if all of these are the same. It
ends with the counts of the received rows, and the digest of its rows, which is checked if a later
sync uses it. It gets its final name only when it is complete.
"""

import hashlib
from collections.abc import Generator, Iterable
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.codec import digest
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.fetch_window import FetchWindow, Received
from dr_wandb.core.contract.file_choice import FileChoice
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.part import ByteRange, is_of_cells
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.rows_file import WrittenRows

_TRAILER_BYTES = 4096


class SegmentHeader(Record, frozen=True, kw_only=True):
    """The question that a segment answers: equal headers mean the same question.

    `mark` is a step: rows up to it are counted. `again`: the question was asked once more in the
    same sync. `contents`: the bytes that are wanted beside the rows, if there are any.
    """

    run: RunListing
    window: FetchWindow
    selection: HistorySelection
    source: str
    mark: int | None = None
    again: bool = False
    dataset: str = HISTORY
    row_shape: int = ROW_SHAPE
    contents: FileChoice | msgspec.UnsetType = msgspec.UNSET

    def is_answered_by(self, window: FetchWindow) -> bool:
        """Say whether the unselected rows of a window, in order, answer this question."""
        return self.window == window and self.selection.admits_whole_rows and self.mark is None


class Trailer(Record, omit_defaults=True, frozen=True, kw_only=True):
    """The end of a segment: what was received, and the rows that it holds.

    files: the lengths of the files that it begins with, if it has no lines.
    """

    received: Received
    rows: int
    length: int
    digest: str
    files: tuple[int, ...] = ()


class Segment(WrittenRows, frozen=True, kw_only=True):
    """A complete segment, which holds the selected rows."""

    @property
    def in_columns(self) -> bool:
        """Say whether it has files of columns instead of lines."""
        return False

    @property
    def byte_range(self) -> ByteRange:
        """Return the byte range of the selected lines in the file."""
        return ByteRange(offset=0, length=self.length, rows=self.rows, digest=self.digest)

    def holds(self, stored: ByteRange) -> bool:
        """Say whether it has exactly the rows of a byte range."""
        return self.rows == stored.rows and self.begins_with(stored.rows, stored.digest)

    def begins_with(self, rows: int, digest: str) -> bool:
        """Say whether its first `rows` rows have this digest; True for 0 rows."""
        if not rows or rows > self.rows:
            return not rows
        of_cells = is_of_cells(digest)
        if rows == self.rows and of_cells == is_of_cells(self.digest):
            return digest == self.digest
        with closing(self.lines()) as lines:
            first = islice(lines, rows)
            return (_digest_as_cells(first) if of_cells else digest_of(first)) == digest

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
    trailer = find_trailer(path, header)
    if trailer is None or trailer.files:
        return None
    with suppress(OSError), path.open("rb") as stream:
        if digest_of(disk.read_range(stream, 0, trailer.length)) == trailer.digest:
            return Segment(path=str(path), **_written(trailer))
    return None


def find_trailer(path: Path, header: SegmentHeader) -> Trailer | None:
    """Return the end of a segment, None if it is not complete or answers another question."""
    encoded = msgspec.json.encode(header) + b"\n"
    try:
        with path.open("rb") as stream:
            size = stream.seek(0, 2)
            stream.seek(max(0, size - _TRAILER_BYTES))
            last_line = stream.read().rstrip(b"\n").rsplit(b"\n", 1)[-1]
            trailer = msgspec.json.decode(last_line, type=Trailer)
            if trailer.length + len(encoded) + len(last_line) + 1 != size:
                return None
            stream.seek(trailer.length)
            if stream.read(len(encoded)) != encoded:
                return None
    except (OSError, ValueError, RecursionError):
        return None
    return trailer


def make_segment(written: WrittenRows, folder: Path, header: SegmentHeader) -> Segment:
    """Make a segment of the rows that answer `header`: append header and trailer, and name it."""
    path = segment_path(folder, header)
    trailer = Trailer(
        received=written.received, rows=written.rows, length=written.length, digest=written.digest
    )
    complete(Path(written.path), path, header, trailer)
    return Segment(path=str(path), **_written(trailer))


def complete(content: Path, path: Path, header: SegmentHeader, trailer: Trailer) -> None:
    """Append header and trailer to a file of rows, and give it its name as a segment."""
    with content.open("r+b") as stream:
        stream.seek(trailer.length)
        stream.write(msgspec.json.encode(header) + b"\n" + msgspec.json.encode(trailer) + b"\n")
    disk.rename(content, path)


def move_segment(segment: Segment, folder: Path) -> Segment:
    """Move a complete segment into a folder, so that `find_segment` finds it there."""
    path = folder / Path(segment.path).name
    disk.rename(Path(segment.path), path)
    return replace(segment, path=str(path))


def _written(trailer: Trailer) -> dict[str, Any]:
    """Return the end of a segment as the fields of one with lines."""
    fields = msgspec.structs.asdict(trailer)
    return {name: fields[name] for name in ("received", "rows", "length", "digest")}


def _digest_as_cells(lines: Iterable[bytes]) -> str:
    from dr_wandb.core.columnar.digest import cells_digest_of_lines  # this needs NumPy

    return cells_digest_of_lines(chunk for chunk, _ in disk.gathered(lines))


def digest_of(chunks: Iterable[bytes]) -> str:
    """Return the digest of lines, as the state has it."""
    own = hashlib.blake2b(digest_size=16)
    for chunk in chunks:
        own.update(chunk)
    return own.hexdigest()
