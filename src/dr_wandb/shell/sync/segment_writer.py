"""Write the rows of one fetch as a segment.

Rules
- The same rows give the same bytes, in any order and any batches.
- Rows that rise from batch to batch are written as they come, those without a step if their times
  rise; others are sorted on disk first. No run has to fit into memory.
- Copies of one row are joined before the selection is made.
- An unfinished segment leaves nothing behind.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from heapq import merge
from itertools import chain, groupby
from math import inf
from operator import itemgetter
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from dr_wandb.core.contract.dataset import DATASETS
from dr_wandb.core.contract.encoded_rows import (
    EncodedRows,
    ReceivedRow,
    SelectedRows,
    received_row,
    select_line,
)
from dr_wandb.core.contract.row_forms import HISTORY_FORM, WHOLE, form_of
from dr_wandb.core.sync.copies import arrival_order, joined, last_of_each
from dr_wandb.core.sync.merge import Tally, steps_rise, times_rise
from dr_wandb.shell.sources import EncodableRows, FileBatch, HistoryBatch, HistoryFiles
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.rows_file import RowsFile
from dr_wandb.shell.store.sorting import ExternalSorter
from dr_wandb.shell.sync.segments import Segment, SegmentHeader, make_segment, segment_path


def write_segment(
    folder: Path,
    header: SegmentHeader,
    batches: Callable[[], Generator[FileBatch]],
) -> Segment:
    """Write the rows of some files as a segment. Raises SourceError if they do not read.

    batches: reads the files, each time it is called. Nearly all files hold rows that rise; then
    rows outside the selection are not encoded.
    """
    for rising in (True, False):
        with (
            suppress(RowsNotRisingError),
            closing(batches()) as found,
            SegmentWriter(folder, header, rising=rising) as writer,
        ):
            for batch in found:
                writer.add(batch)
            return writer.finish()
    raise AssertionError("a writer that takes rows in any order refused some")


def write_segment_of_files(folder: Path, header: SegmentHeader, files: HistoryFiles) -> Segment:
    """Write the rows of some files as a segment: the work given to another process."""
    return write_segment(folder, header, files.batches)


class RowsNotRisingError(Exception):
    """Rows came that may be copies of others, which the writer cannot handle in this mode."""


class SegmentWriter:
    """Takes the batches of one fetch, in any order, and writes them as a segment.

    Rows that rise from batch to batch, as nearly all do, are written to the file at once. The
    others are sorted separately and joined with them at the end, before the selection is made.

    rising: only rows that rise will come, from files. Then the selection is made batch by batch,
    and `add` raises RowsNotRisingError if another row comes.

    Used as a context manager: an unfinished segment leaves nothing behind.
    """

    def __init__(self, folder: Path, header: SegmentHeader, *, rising: bool = False) -> None:
        self._folder = folder
        self._header = header
        self._rising = rising
        self._stem = segment_path(folder, header).stem
        self._sorter: ExternalSorter[ReceivedRow] = ExternalSorter(
            folder, self._new_part().name, key=arrival_order, revive=ReceivedRow._make
        )
        self._files = [RowsFile(self._new_part())]
        self._tally = Tally(header.mark)
        self._last_step: int | None = None
        self._last_moment = -inf
        self._live_from: int | None = None
        self._exported: list[tuple[int, int]] = []
        self._in_order = True
        self._weigh = form_of(header.dataset).weigh

    def _new_part(self) -> Path:
        return self._folder / f"{self._stem}.{uuid4().hex}.part"

    def __enter__(self) -> "SegmentWriter":
        return self

    def __exit__(self, *_: object) -> None:
        with ExitStack() as stack:  # each of them, even if another one fails
            stack.callback(self._sorter.close)
            for file in self._files:
                stack.callback(file.discard)

    def add(self, batch: EncodableRows) -> None:
        """Add the rows of one batch, except those outside the window."""
        header = self._header
        if self._rising and not header.selection.admits_whole_rows:
            chosen = cast("FileBatch", batch).select(header.run.run_id, header.selection)
            self._require(self._follows(chosen, batch.live))
            self._append(chosen, chosen.admitted, batch)
            return
        encoded = self._encode(batch)
        if self._follows(encoded, batch.live):
            self._append(encoded, len(encoded.steps), batch)
        else:
            self._require(not self._rising)
            self._sort(encoded.rows(live=batch.live, file=batch.file))

    def _encode(self, batch: EncodableRows) -> EncodedRows:
        form, run_id = form_of(self._header.dataset), self._header.run.run_id
        if form is HISTORY_FORM:
            return batch.encode(run_id)
        return form.encode(cast("HistoryBatch", batch).rows, run_id)

    def _require(self, fits: bool) -> None:
        if not fits:
            raise RowsNotRisingError

    def _sort(self, rows: Iterable[ReceivedRow]) -> None:
        for row in rows:
            if self._header.window.has(row.step):
                self._in_order = False
                self._sorter.add(row, len(row.content))

    def _follows(self, rows: EncodedRows | SelectedRows, live: bool) -> bool:
        """Say whether rows can be appended to the file: exported ones first, then live ones."""
        steps = rows.steps
        if not steps:
            return True
        if (self._live_from is not None and not live) or not self._rise(rows):
            return False
        inside = self._header.window.has
        return inside(steps[0]) and inside(steps[-1])

    def _rise(self, rows: EncodedRows | SelectedRows) -> bool:
        """Say whether the rows come after all appended ones; those without a step come last."""
        if rows.steps[0] is not None:
            return self._last_moment == -inf and steps_rise(rows.steps, self._last_step)
        if isinstance(rows, SelectedRows) or any(step is not None for step in rows.steps):
            return False
        return times_rise(rows.timestamps, self._last_moment)

    def _append(self, rows: EncodedRows | SelectedRows, lines: int, batch: EncodableRows) -> None:
        if not rows.steps:
            return
        file = self._files[0]
        if batch.live and self._live_from is None:
            self._live_from = file.length
        elif not batch.live and (not self._exported or self._exported[-1][1] != batch.file):
            self._exported.append((file.length, batch.file))
        file.write(rows.lines, lines)
        self._tally.add_rising(rows)
        if rows.steps[-1] is not None:
            self._last_step = rows.steps[-1]
        elif isinstance(rows, EncodedRows):
            self._last_moment = float(rows.timestamps[-1] or inf)

    def finish(self) -> Segment:
        """Write the segment and give it its name."""
        selects = not self._rising and not self._header.selection.admits_whole_rows
        if selects or not self._in_order:
            self._merge()
        written = self._files[-1].finish(self._tally.received())
        return make_segment(written, self._folder, self._header)

    def _merge(self) -> None:
        """Merge the sorted rows and those that came in order into another file."""
        self._tally = Tally(self._header.mark)
        self._files.append(RowsFile(self._new_part()))
        join = last_of_each if DATASETS[self._header.dataset].identified else joined
        rows = join(merge(self._appended(), self._sorter, key=arrival_order))
        for chunk, count in disk.gathered(self._selected(rows)):
            self._files[-1].write(chunk, count)

    def _appended(self) -> Iterator[ReceivedRow]:
        at = 0
        files = deque([*self._exported, (self._files[0].length, 0)])
        for line in self._files[0].lines():
            while len(files) > 1 and files[1][0] <= at:
                files.popleft()
            live = self._live_from is not None and at >= self._live_from
            yield received_row(line, live=live, file=files[0][1])
            at += len(line)

    def _selected(self, rows: Iterable[ReceivedRow]) -> Iterator[bytes]:
        """Yield the selected lines of joined rows, in stored order."""
        if self._header.selection.admits_whole_rows:
            yield from filter(None, map(self._select, rows))
            return
        for _, group in groupby(rows, key=itemgetter(0)):
            yield from self._select_alike(group)

    def _select(self, row: ReceivedRow) -> bytes:
        weight = WHOLE if self._weigh is None else self._weigh(row.content)
        if not weight.stored:
            self._tally.leave_out()
            return b""
        self._tally.add(row)
        if weight.wanting:
            self._tally.note_wanting()
        return select_line(row.content, self._header.selection)

    def _select_alike(self, rows: Iterator[ReceivedRow]) -> Iterator[bytes]:
        """Yield the selected lines of rows with one key, which are ordered by their bytes."""
        first, second = next(rows), next(rows, None)
        if second is not None:
            return self._sorted_lines(chain((first, second), rows))
        line = self._select(first)
        return iter((line,) if line else ())

    def _sorted_lines(self, rows: Iterable[ReceivedRow]) -> Iterator[bytes]:
        """Yield the selected lines of rows with one key; runs without steps have only these."""
        lines: ExternalSorter[tuple[bytes]] = ExternalSorter(
            self._folder, self._new_part().name, key=itemgetter(0), revive=_as_line
        )
        with closing(lines):
            for row in rows:
                if line := self._select(row):
                    lines.add((line,), len(line))
            yield from (line for (line,) in lines)


def _as_line(plain: tuple[Any, ...]) -> tuple[bytes]:
    (line,) = plain
    return (line,)
