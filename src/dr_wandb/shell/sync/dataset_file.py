"""Write the new data file of a dataset: the runs in order, from the old file and the segments.

Rules
- A run is written as soon as it and all before it are decided, while others are still fetched.
- Bytes of runs that did not change are copied as they are, and so are the rows below a tail.
- If less than `AMPLE_BYTES` of extra space is free, nothing is written before all is decided.
"""

import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import chain, islice
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from dr_wandb.core.contract.dataset import DATASETS, HISTORY
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.sync.merge import measure_from, merge_lines, outside
from dr_wandb.core.sync.row_pairs import unite_rows
from dr_wandb.core.sync.verdict import Keep
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.reading import StoredExport
from dr_wandb.shell.store.writing import LineWriter
from dr_wandb.shell.sync.column_segments import ColumnSegment
from dr_wandb.shell.sync.fetch_job import Fetched
from dr_wandb.shell.sync.reshape import reshape_rows
from dr_wandb.shell.sync.segments import Segment
from dr_wandb.shell.sync.stored_parts import StoredParts

if TYPE_CHECKING:
    from dr_wandb.core.contract.fetch_window import Received

AMPLE_BYTES = 1 << 30
"""The space that must be free beyond the known need, to write before all runs are decided."""

MOST_TIMES_LARGER = 8
"""About how many times more bytes lines take than the Parquet files that they are in."""

HELD_FILE = "held.lines"
"""Stored lines of one run that come from Parquet."""


class _Rows(NamedTuple):
    """The rows of a decided run: in the old file, in a fetch, or in both."""

    stored: ByteRange | None
    fetched: Fetched | None

    @property
    def keep(self) -> Keep:
        """Return which rows are held from now on."""
        judged = self.fetched.judged if self.fetched is not None else None
        return Keep.HELD if judged is None else judged.keep

    @property
    def segment(self) -> Segment | None:
        """Return the rows that were fetched and are to be held."""
        return None if self.fetched is None or self.keep == Keep.HELD else self.fetched.segment

    @property
    def most(self) -> int | None:
        """Return the `max_records` of the selection that the fetched rows were read under."""
        return None if self.fetched is None else self.fetched.selection.bounds.max_records

    @property
    def length(self) -> int:
        """Return an upper bound of their length in bytes."""
        stored = self.stored.length if self.stored is not None else 0
        if self.segment is None:
            return stored
        return self.segment.length + (0 if self.keep == Keep.RECEIVED else stored)


class DatasetFile:
    """The new file of one dataset in the staging folder. Used as a context manager.

    `reshaped` describes the rows of runs that were rewritten from an earlier shape, by run id.
    changes_only: runs that did not change are not written, for an export without such a file.
    `written` are the byte ranges of those that are, by run id; `columns` has those that are held as
    they came in columns, and are not written either. `same` are runs whose rows were read from
    Parquet and are the stored ones. `kept` says of how many rows at the beginning of a run it is
    certain that they stay as they are, and `before` how many of these are not among the written
    lines.
    """

    def __init__(
        self, dataset: str, stored: StoredExport, folder: Path, *, changes_only: bool = False
    ) -> None:
        self.dataset = dataset
        self.changes_only = changes_only
        self.written: dict[str, ByteRange] = {}
        self.columns: dict[str, ColumnSegment] = {}
        self.same: set[str] = set()
        self.kept: dict[str, int] = {}
        self.before: dict[str, int] = {}
        self._in_parquet = stored.in_parquet if dataset == HISTORY else None
        self._path = folder / DATASETS[dataset].file
        self._stack = ExitStack()
        self.old: IO[bytes] | None = None
        if self._in_parquet is None:
            with suppress(FileNotFoundError):
                self.old = self._stack.enter_context(stored.row_paths[dataset].open("rb"))
        self._writer: LineWriter | None = None
        self._order: list[str] = []
        self._decided: dict[str, _Rows] = {}
        self._known_bytes = 0
        self._changes = False
        self._next = 0
        self._byte_ranges: dict[str, ByteRange | None] = {}
        self._old_rows = stored.old_rows if dataset == HISTORY else frozenset[str]()
        self._stored_parts = StoredParts(stored, folder)
        self.reshaped: dict[str, Received] = {}

    def __enter__(self) -> "DatasetFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    @property
    def is_new(self) -> bool:
        """Say whether the export has no rows of this dataset, in any format."""
        return self.old is None and self._in_parquet is None

    @property
    def is_missing(self) -> bool:
        """Say whether the file is to be made of Parquet files."""
        return self._in_parquet is not None and not self.changes_only

    @property
    def has_old_rows(self) -> bool:
        """Say whether stored rows of an earlier shape are to be rewritten."""
        return bool(self._old_rows)

    def begin(self, tracked: Mapping[str, RunTracking], waiting: Collection[str]) -> None:
        """Note the runs that the file will hold; those that wait for a fetch are not decided."""
        self._order = sorted(tracked)
        for run_id in self._order:
            if run_id not in waiting:
                self._take(run_id, _Rows(self._stored(tracked[run_id]), None))

    def decide(self, tracking: RunTracking, fetched: Fetched | None) -> None:
        """Note a run that was fetched, or failed; write the runs that can be written by now."""
        rows = _Rows(self._stored(tracking), fetched)
        self._take(tracking.run_id, rows)
        self._changes = self._changes or rows.segment is not None
        if self._changes and self._ample():
            self._write_decided()

    def _stored(self, tracking: RunTracking) -> ByteRange | None:
        return tracking.part(self.dataset).stored

    def _take(self, run_id: str, rows: _Rows) -> None:
        self._decided[run_id] = rows
        self._known_bytes += self._length(rows)

    def _length(self, rows: _Rows) -> int:
        """Return an upper bound of the bytes that are written of a run."""
        return 0 if self.changes_only and rows.segment is None else rows.length

    def _ample(self) -> bool:
        needed = AMPLE_BYTES + 2 * self._known_bytes
        return shutil.disk_usage(self._path.parent).free > needed

    def missing_bytes(
        self, tracked: Mapping[str, RunTracking], fetched: Mapping[str, Fetched]
    ) -> int:
        """Return an upper bound of the bytes still to be written."""
        known = sum(
            self._length(_Rows(self._stored(tracking), fetched.get(run_id)))
            for run_id, tracking in tracked.items()
            if run_id not in self._byte_ranges
        )
        if self._in_parquet is None or self.changes_only:
            return known
        return max(known, MOST_TIMES_LARGER * self._in_parquet.size)

    def write_rest(
        self, tracked: Mapping[str, RunTracking], fetched: Mapping[str, Fetched]
    ) -> tuple[dict[str, ByteRange | None], DataFile]:
        """Write the remaining runs. Returns the byte range of each run, None if it has no rows."""
        self._order = sorted(tracked)
        self._decided = {
            run_id: _Rows(self._stored(tracking), fetched.get(run_id))
            for run_id, tracking in tracked.items()
        }
        self._write_decided()
        assert self._writer is not None
        self._stack.close()
        return self._byte_ranges, self._writer.written

    def _write_decided(self) -> None:
        if self._writer is None:
            self._writer = self._stack.enter_context(LineWriter(self._path))
        while self._next < len(self._order):
            run_id = self._order[self._next]
            rows = self._decided.get(run_id)
            if rows is None:
                return
            self._byte_ranges[run_id] = self._write(self._writer, run_id, rows)
            self._next += 1

    def _write(self, writer: LineWriter, run_id: str, rows: _Rows) -> ByteRange | None:
        if rows.segment is not None:
            replaces = rows.stored is None or self.is_new or rows.keep == Keep.RECEIVED
            if self.changes_only and replaces and isinstance(rows.segment, ColumnSegment):
                self.columns[run_id] = rows.segment
                return rows.segment.byte_range
            byte_range = self._write_fetched(writer, run_id, rows, rows.segment)
            self.written[run_id] = byte_range
        elif rows.stored is None or self.is_new:
            return None
        elif self.changes_only:
            return rows.stored
        elif self._in_parquet is not None:
            byte_range = writer.write(self._in_parquet.checked_lines(run_id, rows.stored))
            self.same.add(run_id)
        elif self.old is None:
            return None
        elif run_id in self._old_rows:
            byte_range = self._reshape(writer, run_id, self.old, rows.stored)
        else:
            byte_range = writer.copy(self.old, rows.stored)
        return byte_range if byte_range.rows else None

    def _reshape(
        self, writer: LineWriter, run_id: str, old: IO[bytes], stored: ByteRange
    ) -> ByteRange:
        """Write stored rows of an earlier shape in the present one, and describe the result."""
        segment = reshape_rows(run_id, old, stored, self._path.parent)
        self.reshaped[run_id] = segment.received
        path = Path(segment.path)
        with path.open("rb") as stream:
            byte_range = writer.copy(stream, segment.byte_range)
        disk.remove(path)
        return byte_range

    def _write_fetched(
        self, writer: LineWriter, run_id: str, rows: _Rows, segment: Segment
    ) -> ByteRange:
        """Write the fetched rows of a run, and the stored ones that stay.

        Of all these, only the last `max_records` are kept.
        """
        last = rows.most
        if rows.stored is None or self.is_new or rows.keep == Keep.RECEIVED:
            if not segment.in_columns and (last is None or segment.rows <= last):
                with Path(segment.path).open("rb") as stream:
                    return writer.copy(stream, segment.byte_range)
            skip = 0 if last is None else max(0, segment.rows - last)
            return writer.write(islice(segment.lines(), skip, None))
        if rows.keep == Keep.BOTH:
            return self._write_both(writer, run_id, rows.stored, segment, last)
        assert rows.fetched is not None
        start = rows.fetched.window.low if self.changes_only and last is None else None
        with self._held(run_id, rows.stored, start) as (old, stored, before):
            written = self._write_tail(writer, run_id, rows, segment, old, stored)
        if not before:
            return written
        self.before[run_id] = before
        self.kept[run_id] += before
        return replace(written, rows=before + written.rows)

    @contextmanager
    def _held(
        self, run_id: str, stored: ByteRange, start: int | None
    ) -> Iterator[tuple[IO[bytes], ByteRange, int]]:
        """Yield a file with the stored lines of a run, and their byte range in it.

        start: a step; the first rows below it may be absent. Yields their number too.
        """
        if self._in_parquet is None:
            assert self.old is not None
            yield self.old, stored, 0
            return
        path = self._path.parent / HELD_FILE
        stored, before = self._in_parquet.write_run(run_id, stored, path, start)
        with path.open("rb") as stream:
            yield stream, stored, before
        disk.remove(path)

    def _write_tail(
        self,
        writer: LineWriter,
        run_id: str,
        rows: _Rows,
        segment: Segment,
        old: IO[bytes],
        stored: ByteRange,
    ) -> ByteRange:
        """Write the stored rows below and outside of a tail, and the fetched ones."""
        last = rows.most
        assert rows.fetched is not None
        start = rows.fetched.window.low
        offset, length = stored.offset, stored.length
        from_end = disk.read_lines_from_end(old, offset, length)
        at_end, rows_at_end = measure_from(start, from_end)
        border, below = length - at_end, stored.rows - rows_at_end
        window = rows.fetched.window

        def at_and_above() -> Iterator[bytes]:
            kept = outside(disk.read_lines(old, offset + border, at_end), window)
            return merge_lines(kept, segment.lines())

        if last is None:
            self.kept[run_id] = below
            before = ByteRange(offset=offset, length=border, rows=below, digest="")
            return writer.copy(old, before, then=at_and_above())
        lines = chain(disk.read_lines(old, offset, border), at_and_above())
        skip = max(0, below + sum(1 for _ in at_and_above()) - last)
        return writer.write(islice(lines, skip, None))

    def _write_both(
        self,
        writer: LineWriter,
        run_id: str,
        stored: ByteRange,
        segment: Segment,
        last: int | None,
    ) -> ByteRange:
        """Write the fetched rows, and the stored ones that did not come."""

        def united() -> Iterator[bytes]:
            with (
                self._stored_parts.lines(self.dataset, run_id, stored) as held,
                closing(segment.lines()) as received,
            ):
                yield from unite_rows(held, received)

        skip = 0 if last is None else max(0, sum(1 for _ in united()) - last)
        return writer.write(islice(united(), skip, None))
