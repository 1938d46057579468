"""Segments: what one fetch of one run brought, on disk until it is merged.

A segment begins with what the listing said of the run, the window, the selection and the source;
after a crash it is used only if all of that is still so. It ends with what was received, and with
the digest of its rows, which a segment of an earlier sync must still have. It has its final name
only when it is whole.
"""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from uuid import uuid4

import msgspec

from dr_wandb.core.accept import FetchWindow, Received
from dr_wandb.core.codec import digest
from dr_wandb.core.listing import RunListing
from dr_wandb.core.merge import ReceivedRow, Tally, arrival_order, distinct, receive
from dr_wandb.core.normalize import normalize_row
from dr_wandb.core.records import Record
from dr_wandb.core.request import HistorySelection
from dr_wandb.shell import disk
from dr_wandb.shell.sorting import ExternalSorter
from dr_wandb.shell.sources import RowBatch

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
    """A whole segment: `rows` selected lines in `length` bytes from `offset` of `path`."""

    path: str
    offset: int
    length: int
    rows: int
    received: Received

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
        received=trailer.received,
    )


class SegmentWriter:
    """Takes the batches of one fetch, in any order, and writes them as a segment.

    Used as a context manager: what is not finished leaves nothing behind.
    """

    def __init__(self, folder: Path, header: SegmentHeader) -> None:
        self._path = segment_path(folder, header)
        self._part = folder / f"{self._path.stem}.{uuid4().hex}.part"
        self._header = header
        self._sorter: ExternalSorter[ReceivedRow] = ExternalSorter(
            folder, self._part.name, key=arrival_order, revive=ReceivedRow._make
        )

    def __enter__(self) -> "SegmentWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._sorter.close()
        disk.remove(self._part)

    def add(self, batch: RowBatch) -> None:
        """Take the rows of one batch; rows outside the window are left out."""
        window, selection = self._header.window, self._header.selection
        run_id = self._header.run.run_id
        for raw_row in batch.rows:
            row = normalize_row(raw_row, run_id)
            place = row.step or 0
            if window.start and place < window.start:
                continue
            if window.stop is not None and place >= window.stop:
                continue
            received = receive(row, selection, live=batch.live)
            self._sorter.add(received, len(received.content) + len(received.line))

    def finish(self) -> Segment:
        """Write the segment and give it its name."""
        encoded = msgspec.json.encode(self._header) + b"\n"
        tally = Tally(self._header.window)
        rows = length = 0
        own = hashlib.blake2b(digest_size=16)
        with self._part.open("wb") as stream:
            stream.write(encoded)
            for line in _selected(distinct(self._sorter), tally):
                stream.write(line)
                own.update(line)
                rows += 1
                length += len(line)
            trailer = _Trailer(
                received=tally.received(), rows=rows, length=length, digest=own.hexdigest()
            )
            stream.write(msgspec.json.encode(trailer) + b"\n")
            disk.sync_file(stream)
        disk.rename(self._part, self._path)
        return _segment(self._path, len(encoded), trailer)


def _selected(rows: Iterable[ReceivedRow], tally: Tally) -> Iterator[bytes]:
    for row in rows:
        tally.add(row)
        if row.line:
            yield row.line
