"""Bring stored records of an earlier shape into the present one, before a sync builds on them.

Rules
- Rows and snapshots are rewritten from their own bytes alone, in every mode: no request is sent and
  nothing is logged as a change. Bytes that have the shape already are copied, not decoded.
- Boundaries of positions are computed again, from the rewritten rows.
- What the bytes cannot give back is read once more, if its source still has it: the rows of each
  run, and the fields that a snapshot was made without.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from typing import IO

from msgspec.structs import replace

from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.records import SNAPSHOT_FIELDS
from dr_wandb.core.contract.request import EVERYTHING
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.state import (
    ByteRange,
    HistoryPosition,
    RunTracking,
    with_fields_to_read,
)
from dr_wandb.core.contract.words import count
from dr_wandb.core.sync.accept import FetchWindow, Received
from dr_wandb.core.sync.codec import (
    decode_snapshot,
    encode_line,
    fingerprint,
    has_shape,
    missing_fields,
)
from dr_wandb.core.sync.columns import StoredRows
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.reading import StoredExport
from dr_wandb.shell.store.writing import LineWriter
from dr_wandb.shell.sync.segments import Segment, SegmentHeader, SegmentWriter

ROWS_FILE = "reshaped-history.jsonl"
SNAPSHOTS_FILE = "reshaped-runs.jsonl"


def bring_into_shape(stored: StoredExport, scratch: Path) -> StoredExport:
    """Return an export whose records have the present shape; its files are copies if any had not.

    scratch: where the copies go.
    """
    state = stored.state
    runs: Mapping[str, RunTracking] = state.runs
    runs_path, history_path = stored.runs_path, stored.history_path
    if state.snapshot_fields != SNAPSHOT_FIELDS and runs:
        target = scratch / SNAPSHOTS_FILE
        if (shaped := _reshape_snapshots(runs, runs_path, target)) is not None:
            runs, runs_path = shaped, target
    if state.row_shape < ROW_SHAPE and runs:
        target = scratch / ROWS_FILE
        if (shaped := _reshape_history(runs, history_path, target)) is not None:
            runs, history_path = shaped, target
    return replace(
        stored,
        state=replace(state, runs=dict(runs), row_shape=ROW_SHAPE, snapshot_fields=SNAPSHOT_FIELDS),
        runs_path=runs_path,
        history_path=history_path,
        copied=stored.copied
        or (runs_path, history_path) != (stored.runs_path, stored.history_path),
        notices=(*stored.notices, *_notices(stored, runs)),
    )


def _notices(stored: StoredExport, runs: Mapping[str, RunTracking]) -> Iterator[str]:
    """Say that histories are read once more, unless it was said already."""
    lacking = sum(run.lacks_rows and run.missing_since is None for run in runs.values())
    if lacking and stored.state.row_shape < ROW_SHAPE and not stored.notices:
        yield (
            "the export was written with rows of an earlier shape: they are rewritten, and the "
            f"history of {count(lacking, 'run')} is read once more by a history sync"
        )


def _reshape_snapshots(
    runs: Mapping[str, RunTracking], path: Path, target: Path
) -> dict[str, RunTracking] | None:
    """Write the snapshots with all present fields; None if they have them."""
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


def _reshape_history(
    runs: Mapping[str, RunTracking], path: Path, target: Path
) -> dict[str, RunTracking] | None:
    """Write the rows in their present shape, run by run; None if all have it."""
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(path.open("rb"))
        except FileNotFoundError:
            return None
        changed = {
            run.run_id
            for run in runs.values()
            if run.history is not None and not _all_shaped(stream, run.history)
        }
        if not changed:
            return None
        writer = stack.enter_context(LineWriter(target))
        return {
            run_id: _reshape_run(runs[run_id], stream, writer, run_id in changed)
            for run_id in sorted(runs)
        }


def _all_shaped(stream: IO[bytes], place: ByteRange) -> bool:
    return all(has_shape(lines) for lines in _chunks(stream, place))


def _chunks(stream: IO[bytes], place: ByteRange) -> Iterator[bytes]:
    for lines, _ in disk.gathered(disk.read_lines(stream, place.offset, place.length)):
        yield lines


def _reshape_run(
    run: RunTracking, stream: IO[bytes], writer: LineWriter, changes: bool
) -> RunTracking:
    if run.history is None:
        return run
    if not changes:
        return replace(run, history=writer.copy(stream, run.history))
    header = SegmentHeader(
        run=RunListing(run_id=run.run_id),
        window=FetchWindow(),
        selection=EVERYTHING,
        source="stored",
    )
    with SegmentWriter(Path(writer.folder), header) as rows:
        for lines in _chunks(stream, run.history):
            rows.add(StoredRows(lines))
        segment = rows.finish()
    place = _copy(segment, writer)
    position = run.position and _with_boundary(run.position, run.history, segment.received)
    return replace(
        run,
        history=place if place.rows else None,
        position=position,
        last_history_step=position.last_step if position else run.last_history_step,
    )


def _copy(segment: Segment, writer: LineWriter) -> ByteRange:
    path = Path(segment.path)
    with path.open("rb") as rows:
        place = writer.copy(rows, segment.place)
    disk.remove(path)
    return place


def _with_boundary(
    position: HistoryPosition, stored: ByteRange, received: Received
) -> HistoryPosition:
    """Return a position with the digest that its last rows have now, none if it is not known."""
    if not position.whole or not position.selection.admits_all or stored.rows != position.rows:
        return replace(position, boundary="", boundary_rows=0)
    return replace(
        position,
        rows=received.rows,
        last_step=received.last_step,
        short_by=position.short_by + position.rows - received.rows,
        boundary=received.boundary,
        boundary_rows=received.boundary_rows,
        last_timestamp=received.last_timestamp,
    )
