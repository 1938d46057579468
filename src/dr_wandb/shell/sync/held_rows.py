"""The rows that an export holds, read while others are fetched, to be compared with what came."""

from collections.abc import Iterator
from contextlib import closing
from typing import IO

from dr_wandb.core.contract.request import HistorySelection
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.state import ByteRange
from dr_wandb.core.sync.codec import canonical_row, encode_line
from dr_wandb.core.sync.merge import measure_from
from dr_wandb.core.sync.row_pairs import Comparison, admitted_rows, compare_rows
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.reading import StoredExport
from dr_wandb.shell.sync.segments import Segment


class HeldRows:
    """The stored rows of an export. Several threads may ask at once."""

    def __init__(self, stored: StoredExport) -> None:
        self._path = stored.history_path
        self._old_rows = stored.old_rows

    def compare(
        self,
        run_id: str,
        place: ByteRange,
        segment: Segment,
        *,
        under: HistorySelection,
        selection: HistorySelection,
        start: int | None,
        last_step: int | None,
    ) -> Comparison:
        """Compare the rows of one run that lie at `place` with a segment of its rows.

        under: the selection that they were stored under. selection: that of the segment. start: the
        step from which on they are compared, None for all of them. last_step: the last that is
        listed.
        """
        same = under == selection
        if same and start is None and (segment.digest, segment.rows) == (place.digest, place.rows):
            return Comparison()
        old = run_id in self._old_rows
        with self._path.open("rb") as stream, closing(segment.lines()) as received:
            held = self._read(stream, place, start)
            held = map(in_shape, held) if old else held
            return compare_rows(
                held if same else admitted_rows(held, under, selection),
                received,
                last_step=last_step,
                most_held=selection.bounds.max_records if same else None,
                once=old,
            )

    def _read(self, stream: IO[bytes], place: ByteRange, start: int | None) -> Iterator[bytes]:
        if start is None:
            return disk.read_lines(stream, place.offset, place.length)
        from_end = disk.read_lines_from_end(stream, place.offset, place.length)
        length, _ = measure_from(start, from_end)
        return disk.read_lines(stream, place.end - length, length)


def in_shape(line: bytes) -> bytes:
    """Return a stored line in the present shape, in which what came is."""
    return canonical_row(line, ROW_SHAPE).map(encode_line).value_or(line)
