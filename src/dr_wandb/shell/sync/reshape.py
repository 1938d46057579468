"""Convert stored records of an earlier shape to the present one, before a sync builds on them.

Rules
- Rows and snapshots are rewritten from their own bytes alone, in every mode: no request is sent and
  nothing is logged as a change. Bytes that have the shape already are copied, not decoded.
- Boundaries of positions are computed again, from the rewritten rows.
- Data that the bytes do not contain is read once more, if its source still has it: the rows of each
  run, and the fields that a snapshot was made without.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import IO

from msgspec.structs import replace

from dr_wandb.core.contract.codec import (
    decode_snapshot,
    encode_line,
    fingerprint,
    has_shape,
    missing_fields,
)
from dr_wandb.core.contract.columns import StoredRows
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.fetch_window import FetchWindow, Received
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.part import ByteRange, Position
from dr_wandb.core.contract.records import SNAPSHOT_FIELDS
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.selection import EVERYTHING
from dr_wandb.core.contract.state import RunTracking, with_fields_to_read, with_part
from dr_wandb.core.contract.wording import count
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.reading import StoredExport
from dr_wandb.shell.store.writing import LineWriter
from dr_wandb.shell.sync.segment_writer import SegmentWriter
from dr_wandb.shell.sync.segments import Segment, SegmentHeader

SNAPSHOTS_FILE = "reshaped-runs.jsonl"


def bring_into_shape(stored: StoredExport, scratch: Path) -> StoredExport:
    """Return an export with snapshots of the present shape, and the runs with rows of another.

    Those rows are rewritten with the new history file, unless they are read again before that.
    scratch: the folder for a copy of the snapshots, if they need one.
    """
    state = stored.state
    runs: Mapping[str, RunTracking] = state.runs
    runs_path = stored.runs_path
    if state.snapshot_fields != SNAPSHOT_FIELDS and runs:
        target = scratch / SNAPSHOTS_FILE
        if (shaped := _reshape_snapshots(runs, runs_path, target)) is not None:
            runs, runs_path = shaped, target
    old_rows = frozenset[str]()
    if state.row_shape < ROW_SHAPE:
        old_rows = frozenset(_find_old_rows(runs, stored.row_paths[HISTORY]))
    return replace(
        stored,
        state=replace(state, runs=runs, row_shape=ROW_SHAPE, snapshot_fields=SNAPSHOT_FIELDS),
        runs_path=runs_path,
        copied=stored.copied or runs_path != stored.runs_path,
        old_rows=old_rows,
        notices=(*stored.notices, *_notices(stored, runs)),
    )


def _notices(stored: StoredExport, runs: Mapping[str, RunTracking]) -> Iterator[str]:
    """Report that histories are read once more, unless it was reported already."""
    if stored.state.row_shape == ROW_SHAPE or stored.notices:
        return
    incomplete = sum(
        run.part(HISTORY).rows_incomplete and run.missing_since is None for run in runs.values()
    )
    if incomplete:
        yield (
            "the export has rows of an earlier shape: they are rewritten, and the next history "
            f"sync reads the history of {count(incomplete, 'run')} again"
        )


def _reshape_snapshots(
    runs: Mapping[str, RunTracking], path: Path, target: Path
) -> dict[str, RunTracking] | None:
    """Write the snapshots with all present fields; None if they have all of them."""
    held = [(run.snapshot.offset, run) for run in runs.values() if run.snapshot is not None]
    if not held:
        return None
    shaped = dict(runs)
    changes = False
    with path.open("rb") as stream, LineWriter(target) as writer:
        for offset, run in sorted(held, key=itemgetter(0)):
            stream.seek(offset)
            line = stream.readline()
            if missing := missing_fields(line):
                changes = True
                snapshot = decode_snapshot(line).unwrap()
                mark = fingerprint(replace(snapshot.run, metadata=None))
                run = with_fields_to_read(run, missing, mark)
                line = encode_line(snapshot)
            shaped[run.run_id] = replace(run, snapshot=writer.write([line]))
    return shaped if changes else None


def _find_old_rows(runs: Mapping[str, RunTracking], path: Path) -> Iterator[str]:
    """Yield the runs whose stored rows may have an earlier shape."""
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(path.open("rb"))
        except FileNotFoundError:
            return
        for run in runs.values():
            byte_range = run.part(HISTORY).stored
            if byte_range is not None and not all(map(has_shape, _chunks(stream, byte_range))):
                yield run.run_id


def _chunks(stream: IO[bytes], byte_range: ByteRange) -> Iterator[bytes]:
    for lines, _ in disk.gathered(disk.read_lines(stream, byte_range.offset, byte_range.length)):
        yield lines


def reshape_rows(run_id: str, stream: IO[bytes], byte_range: ByteRange, folder: Path) -> Segment:
    """Write the stored rows of a run in their present shape, as a segment in a folder."""
    header = SegmentHeader(
        run=RunListing(run_id=run_id), window=FetchWindow(), selection=EVERYTHING, source="stored"
    )
    with SegmentWriter(folder, header) as rows:
        for lines in _chunks(stream, byte_range):
            rows.add(StoredRows(lines))
        return rows.finish()


def with_reshaped_rows(run: RunTracking, before: ByteRange | None, now: Received) -> RunTracking:
    """Return the tracking of a run whose rows were rewritten, with the position of these."""
    part = run.part(HISTORY)
    if part.position is None or before is None:
        return run
    position = _of_rewritten(part.position, before, now)
    rewritten = with_part(run, HISTORY, replace(part, position=position))
    return replace(rewritten, last_history_step=position.last_step)


def _of_rewritten(position: Position, stored: ByteRange, received: Received) -> Position:
    """Return the position of the rewritten rows; if it is not known, one without a tail."""
    if not position.whole or not position.selection.admits_all or stored.rows != position.rows:
        return replace(position, boundary_rows=0)
    return replace(
        position,
        rows=received.rows,
        last_step=received.last_step,
        boundary_rows=received.boundary_rows,
        without_step=received.without_step,
        last_timestamp=received.last_timestamp,
    )
