"""Segments: what one fetch of one run brought, on disk until it is merged.

A segment begins with what the listing said of the run, the window, the selection and the source;
after a crash it is used only if all of that is still so. It ends with what was received, and with
the digest of its rows, which a segment of an earlier sync must still have. It has its final name
only when it is whole.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from heapq import merge
from pathlib import Path
from types import TracebackType
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import HistorySelection
from dr_wandb.core.contract.state import ByteRange
from dr_wandb.core.sync.accept import FetchWindow, Received
from dr_wandb.core.sync.codec import digest
from dr_wandb.core.sync.merge import (
    EncodedRows,
    ReceivedRow,
    Tally,
    arrival_order,
    distinct,
    receive,
    received_row,
)
from dr_wandb.shell.sources import HistoryBatch, HistoryFiles
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.sorting import ExternalSorter

_TRAILER_BYTES = 4096


class SegmentHeader(Record, frozen=True, kw_only=True):
    """What a segment answers: the same header means the same question."""

    run: RunListing
    window: FetchWindow
    selection: HistorySelection
    source: str


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
    def place(self) -> ByteRange:
        """Return where the selected lines lie in the file."""
        return ByteRange(offset=self.offset, length=self.length, rows=self.rows, digest=self.digest)

    def lines(self) -> Iterator[bytes]:
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


def write_segment(folder: Path, header: SegmentHeader, files: HistoryFiles) -> Segment:
    """Write the rows of some files as a segment. Raises SourceError where they do not read."""
    with SegmentWriter(folder, header) as writer:
        for batch in files.batches():
            writer.add(batch)
        return writer.finish()


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


class _SegmentFile:
    """A segment in the making, under a name of its own until it is whole."""

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


class SegmentWriter:
    """Takes the batches of one fetch, in any order, and writes them as a segment.

    Rows that rise from batch to batch, as nearly all do, go straight into the file. The others are
    sorted apart and merged with them at the end, and so are all where a selection is to be made.

    Used as a context manager: what is not finished leaves nothing behind.
    """

    def __init__(self, folder: Path, header: SegmentHeader) -> None:
        self._folder = folder
        self._header = header
        self._path = segment_path(folder, header)
        self._sorter: ExternalSorter[ReceivedRow] = ExternalSorter(
            folder, self._new_part().name, key=arrival_order, revive=ReceivedRow._make
        )
        self._files = [_SegmentFile(self._new_part(), header)]
        self._tally = Tally(header.window)
        self._last_step: int | None = None
        self._live_from: int | None = None
        self._in_order = True

    def _new_part(self) -> Path:
        return self._folder / f"{self._path.stem}.{uuid4().hex}.part"

    def __enter__(self) -> "SegmentWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with ExitStack() as stack:  # each of them, whatever becomes of the others
            stack.callback(self._sorter.close)
            for file in self._files:
                stack.callback(file.discard)

    def add(self, batch: HistoryBatch) -> int:
        """Take the rows of one batch but those outside the window; return how many there were."""
        header = self._header
        if not header.selection.admits_all:
            rows = [normalize_row(raw_row, header.run.run_id) for raw_row in batch.rows]
            self._sort(receive(row, header.selection, live=batch.live) for row in rows)
            return len(rows)
        encoded = batch.encode(header.run.run_id)
        if self._follows(encoded, batch.live):
            self._append(encoded, batch.live)
        else:
            self._sort(encoded.rows(live=batch.live))
        return len(encoded.steps)

    def _sort(self, rows: Iterable[ReceivedRow]) -> None:
        for row in rows:
            if self._header.window.has(row.step):
                self._in_order = False
                self._sorter.add(row, len(row.content) + len(row.line))

    def _follows(self, encoded: EncodedRows, live: bool) -> bool:
        """Say whether rows can be written behind those that were: exported ones, then live ones."""
        if not encoded.steps or (self._live_from is not None and not live):
            return False
        inside = self._header.window.has
        return (
            encoded.rise_from(self._last_step)
            and inside(encoded.steps[0])
            and inside(encoded.steps[-1])
        )

    def _append(self, encoded: EncodedRows, live: bool) -> None:
        file = self._files[0]
        if live and self._live_from is None:
            self._live_from = file.length
        file.write(encoded.lines, len(encoded.steps))
        self._tally.add_rising(encoded)
        self._last_step = encoded.steps[-1]

    def finish(self) -> Segment:
        """Write the segment and give it its name."""
        if not self._in_order:
            self._merge()
        return self._files[-1].finish(self._path, self._tally.received())

    def _merge(self) -> None:
        """Write what was sorted, and what was in order, into another file."""
        self._tally = Tally(self._header.window)
        self._files.append(_SegmentFile(self._new_part(), self._header))
        merged = merge(self._appended(), self._sorter, key=arrival_order)
        for chunk, rows in disk.gathered(_selected(distinct(merged), self._tally)):
            self._files[-1].write(chunk, rows)

    def _appended(self) -> Iterator[ReceivedRow]:
        at = 0
        for line in self._files[0].lines():
            yield received_row(line, live=self._live_from is not None and at >= self._live_from)
            at += len(line)


def _selected(rows: Iterable[ReceivedRow], tally: Tally) -> Iterator[bytes]:
    for row in rows:
        tally.add(row)
        if row.line:
            yield row.line
