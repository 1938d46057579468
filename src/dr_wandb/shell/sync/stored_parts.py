"""The stored rows of an export, for comparison with fetched ones while others are fetched."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dr_wandb.core.contract.codec import run_and_key
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.encoded_rows import received_row
from dr_wandb.core.contract.part import ByteRange, Position
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection
from dr_wandb.core.sync.merge import Tally, measure_from
from dr_wandb.core.sync.row_pairs import Comparison, admitted_rows, compare_rows
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.reading import StoredExport
from dr_wandb.shell.sync.reshape import reshape_rows
from dr_wandb.shell.sync.segments import Segment


class StoredParts:
    """The rows in the stored data files. Several threads may call it at once.

    folder: for rows of an earlier shape, which are rewritten there while they are compared.
    """

    def __init__(self, stored: StoredExport, folder: Path) -> None:
        self._paths = stored.row_paths
        self._in_parquet = stored.in_parquet
        self._old_rows = stored.old_rows
        self._folder = folder

    def compare(
        self,
        dataset: str,
        run_id: str,
        byte_range: ByteRange,
        segment: Segment,
        *,
        digest: str,
        under: HistorySelection,
        selection: HistorySelection,
        start: int | None,
        last_step: int | None,
    ) -> Comparison:
        """Compare the rows of one run at `byte_range` with a segment of its rows.

        digest: of the segment. under: the selection that they were stored under. selection: that of
        the segment. start: the first step that is compared, None for all rows. last_step: the last
        listed step.
        """
        same = under == selection
        if (
            same
            and start is None
            and (digest, segment.rows) == (byte_range.digest, byte_range.rows)
        ):
            return Comparison()
        with (
            self.lines(dataset, run_id, byte_range, start) as held,
            closing(segment.lines()) as received,
        ):
            return compare_rows(
                held if same else admitted_rows(held, under, selection),
                received,
                last_step=last_step,
                most_held=selection.bounds.max_records if same else None,
            )

    def describe(self, dataset: str, run_id: str, byte_range: ByteRange) -> Position:
        """Describe rows of which the state has only the byte range."""
        tally = Tally()
        with self.lines(dataset, run_id, byte_range) as held:
            for line in held:
                tally.add(received_row(line, live=False))
        received = tally.received()
        return Position(
            selection=EVERYTHING,
            rows=received.rows,
            last_step=received.last_step,
            last_timestamp=received.last_timestamp,
            boundary_rows=received.boundary_rows,
            without_step=received.without_step,
        )

    @contextmanager
    def lines(
        self, dataset: str, run_id: str, byte_range: ByteRange, start: int | None = None
    ) -> Iterator[Iterator[bytes]]:
        """Yield an iterator of one run's lines in the present shape, from a step on."""
        if dataset == HISTORY and self._in_parquet is not None:
            with closing(self._in_parquet.lines_of(run_id, start)) as held:
                yield held if start is None else _from_step(held, start)
            return
        with self._paths[dataset].open("rb") as stream:
            if dataset == HISTORY and run_id in self._old_rows:
                segment = reshape_rows(run_id, stream, byte_range, self._folder)
                try:
                    with closing(segment.lines()) as shaped:
                        yield shaped if start is None else _from_step(shaped, start)
                finally:
                    disk.remove(Path(segment.path))
            elif start is None:
                yield disk.read_lines(stream, byte_range.offset, byte_range.length)
            else:
                from_end = disk.read_lines_from_end(stream, byte_range.offset, byte_range.length)
                length, _ = measure_from(start, from_end)
                at_end = disk.read_lines(stream, byte_range.end - length, length)
                yield _from_step(at_end, start)


def _from_step(lines: Iterator[bytes], start: int) -> Iterator[bytes]:
    """Yield the lines from a step on: without rows below it, and rows without a step."""
    for line in lines:
        _, (step_missing, step, _, _) = run_and_key(line)
        if not step_missing and step >= start:
            yield line
