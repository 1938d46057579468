"""Segments that hold the Parquet files of a run as W&B exported them.

Rules
- There are no lines: cells and lines are made of the files each time that they are asked for.
- All values were read once before there is a segment, so a file that does not read fails its run.
- The rows rise from one to the next: so none is a copy of another one, and none has to move.
- Names do not end in `.parquet`: DuckDB and Polars read hidden folders too.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import uuid4

import msgspec

from dr_wandb.core.contract.encoded_rows import SelectedRows
from dr_wandb.core.contract.failures import DamagedFile, DrWandbError
from dr_wandb.core.contract.fetch_window import WHOLE_RUN
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.sync.merge import Tally
from dr_wandb.shell.sources import CellsBatch, HistoryFiles, SourceError
from dr_wandb.shell.store import disk
from dr_wandb.shell.sync.segments import (
    Segment,
    SegmentHeader,
    Trailer,
    complete,
    find_trailer,
    segment_path,
)

if TYPE_CHECKING:
    from dr_wandb.core.columnar.cells import CellBatch

READ_AT_ONCE = 8 << 20
"""A smaller file is read as a whole: Arrow would wait for Python at each piece of it."""

MOST_FILES = 100
"""Runs in more files become lines: the end of a segment names the length of each."""


class ColumnSegment(Segment, frozen=True, kw_only=True):
    """A complete segment with all rows of a run in columns. `digest` is that of their cells."""

    run_id: str
    files: tuple[int, ...]

    @property
    def in_columns(self) -> bool:
        """Say whether it has files of columns instead of lines."""
        return True

    @property
    def byte_range(self) -> ByteRange:
        """Return the rows as a byte range without lines."""
        return ByteRange(offset=0, length=0, rows=self.rows, digest=self.digest)

    def lines(self) -> Generator[bytes]:
        """Give the rows as lines, in order."""
        for batch in self._batches():
            yield from batch.encode(self.run_id).lines.splitlines(keepends=True)

    def cells(self) -> "Iterator[CellBatch]":
        """Give the rows as cells, in order. Raises DrWandbError if they no longer read."""
        try:
            yield from _cells_of(self._batches(), self.run_id)
        except SourceError as error:
            remedy = "sync again: the run is read again"
            failure = DamagedFile(path=self.path, reason=error.failure.reason, remedy=remedy)
            raise DrWandbError(failure) from error

    def is_sound(self) -> bool:
        """Say whether the files still have the rows that were found in them."""
        from dr_wandb.core.columnar.digest import cells_digest

        try:
            return cells_digest(_cells_of(self._batches(), self.run_id)) == self.digest
        except (SourceError, OSError):
            return False

    def _batches(self) -> Iterator[CellsBatch]:
        from dr_wandb.shell.sources.api.parquet import read_parquet
        from dr_wandb.shell.store.file_slice import FileSlice

        for number, (start, stop) in enumerate(pairwise(accumulate(self.files, initial=0))):
            with FileSlice(Path(self.path), start, stop - start) as file:
                content = file.read() if stop - start <= READ_AT_ONCE else None
                yield from read_parquet(content or file, WHOLE_RUN, number, wide=True)


def find_column_segment(folder: Path, header: SegmentHeader) -> ColumnSegment | None:
    """Return the segment that an earlier sync left, if it answers exactly this question."""
    path = _path(folder, header)
    trailer = find_trailer(path, header)
    if trailer is None or sum(trailer.files) != trailer.length:
        return None
    segment = _segment(path, header, trailer)
    return segment if segment.is_sound() else None


def write_column_segment(
    folder: Path, header: SegmentHeader, files: HistoryFiles
) -> ColumnSegment | None:
    """Make a segment of Parquet files, which are taken away; None if their rows have to be lines.

    Raises SourceError if they do not read.
    """
    from dr_wandb.core.columnar.digest import cells_digest

    paths = files.in_order()
    if len(paths) > MOST_FILES:
        return None
    tally = Tally(header.mark)
    with closing(files.wide_batches()) as found:
        rising = _rising(cast("Iterator[CellsBatch]", found), header.run.run_id, tally)
        try:
            digest = cells_digest(_cells_of(rising, header.run.run_id))
        except _NotRisingError:
            return None
    received = tally.received()
    if not received.rows:
        return None
    unfinished = folder / f"{_path(folder, header).stem}.{uuid4().hex}.part"
    try:
        lengths = _join(paths, unfinished)
        trailer = Trailer(
            received=received,
            rows=received.rows,
            length=sum(lengths),
            digest=digest,
            files=lengths,
        )
        path = _path(folder, header)
        complete(unfinished, path, header, trailer)
    finally:
        disk.remove(unfinished)
    return _segment(path, header, trailer)


class _NotRisingError(Exception):
    """A row may be a copy of another one, or belong between others."""


def _rising(batches: Iterator[CellsBatch], run_id: str, tally: Tally) -> Iterator[CellsBatch]:
    """Pass batches on and count their rows. Raises _NotRisingError if they do not rise."""
    last: int | None = None
    for batch in batches:
        steps = batch.rising_steps(last)
        if steps is None:
            raise _NotRisingError
        if steps:
            line = batch.last_line(run_id)
            tally.add_rising(SelectedRows(b"", len(steps), steps, b"", line))
            last = steps[-1]
            yield batch


def _cells_of(batches: Iterator[CellsBatch], run_id: str) -> "Iterator[CellBatch]":
    first = 0
    for batch in batches:
        cells = batch.cells(run_id, first)
        first += cells.row_count
        yield cells


def _join(paths: Sequence[Path], target: Path) -> tuple[int, ...]:
    """Put files one after another; the first one moves. Returns their lengths."""
    first, *others = paths
    disk.rename(first, target)
    with target.open("r+b") as stream:
        lengths = [stream.seek(0, 2)]
        for path in others:
            with path.open("rb") as source:
                lengths.append(source.seek(0, 2))
                for _ in disk.copy_range(source, 0, lengths[-1], stream):
                    pass
    return tuple(lengths)


def _path(folder: Path, header: SegmentHeader) -> Path:
    path = segment_path(folder, header)
    return path.with_stem(f"{path.stem}-columns")


def _segment(path: Path, header: SegmentHeader, trailer: Trailer) -> ColumnSegment:
    fields = msgspec.structs.asdict(trailer)
    return ColumnSegment(path=str(path), run_id=header.run.run_id, **fields)
