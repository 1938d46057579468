"""Read data files that do not match the state into our form.

Rules
- The result is in our form and order, each record once, whatever the content of the file.
- A snapshot that is, byte for byte, one in the state is kept as it is. One that differs from the
  state is marked, so that it is written again when the run is listed.
- If the rows of a run are together and, byte for byte, those in the state, they are in our form
  already: the bytes are kept, and only the first row is decoded, for the run id.
- All others are decoded in the order of the file, so that the error names the first line that does
  not read.
- Memory is bounded: a byte range for each run, and the buffer of the sorter.
"""

from collections.abc import Collection, Iterable, Iterator
from heapq import merge
from io import SEEK_END, BytesIO
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, Any, NamedTuple

from msgspec.structs import replace

from dr_wandb.core.contract.codec import (
    RowKey,
    canonical_snapshot,
    decode_snapshot,
    digest,
    encode_line,
    locate,
)
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.records import snapshot_order
from dr_wandb.core.contract.row_forms import RowForm, StoredRow, form_of
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.core.sync.snapshots import track_snapshot
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.byte_ranges import holds
from dr_wandb.shell.store.decoding import decoded
from dr_wandb.shell.store.documents import check_identity
from dr_wandb.shell.store.sorting import ExternalSorter
from dr_wandb.shell.store.writing import LineWriter


def rebuild_snapshots(
    path: Path, state: ExportState, moved_from: Collection[str], target: Path
) -> dict[str, RunTracking]:
    """Copy the snapshots of a file, if there is one, and return the tracking of each run.

    moved_from: earlier addresses of the project. Raises DrWandbError if a line does not read,
    naming it, or if one is of another project.
    """
    spooled: dict[str, tuple[tuple[str, str], int, int, RunTracking]] = {}
    written = {run.snapshot.digest for run in state.runs.values() if run.snapshot is not None}
    spool_path = target.with_suffix(".spool")
    with spool_path.open("w+b") as spool, LineWriter(target) as writer, _opened(path) as stream:
        for number, line in enumerate(stream, start=1):
            ours = digest(line) in written  # then it is in our form already
            found = decode_snapshot(line) if ours else canonical_snapshot(line)
            snapshot = decoded(found, path, number)
            run = snapshot.run
            if f"{run.entity}/{run.project}" not in moved_from:
                check_identity(path, run.entity, run.project, state.entity, state.project)
            order = snapshot_order(run.created_at, run.run_id)
            encoded = line if ours else encode_line(snapshot)
            tracking = track_snapshot(state.runs.get(run.run_id), snapshot, encoded)
            spooled[run.run_id] = (order, spool.tell(), len(encoded), tracking)
            spool.write(encoded)
        tracked = {}
        for _, offset, length, tracking in sorted(
            spooled.values(), key=lambda found: found[0], reverse=True
        ):
            byte_range = ByteRange(offset=offset, length=length, rows=1, digest="")
            copied = writer.copy(spool, byte_range)
            tracked[tracking.run_id] = replace(tracking, snapshot=copied)
    disk.remove(spool_path)
    return tracked


class _Stored(NamedTuple):
    run_id: str
    key: RowKey
    line: bytes


class _Kept(NamedTuple):
    """The rows of a run in the old file that match the state."""

    offset: int
    lines_before: int
    known: ByteRange


def rebuild_rows(
    path: Path, dataset: str, state: ExportState, target: Path
) -> dict[str, ByteRange]:
    """Copy the rows of a dataset's file, if there is one, and return the byte range of each run.

    Raises DrWandbError if a line does not read, naming it.
    """
    parts = ((run.run_id, run.part(dataset).stored) for run in state.runs.values())
    known = {run_id: stored for run_id, stored in parts if stored is not None}
    sorter: ExternalSorter[_Stored] = ExternalSorter(
        target.parent, target.name, key=_stored_order, revive=_Stored._make
    )
    try:
        with LineWriter(target) as writer, _opened(path) as stream:
            kept = _sort_in(stream, path, known, sorter, form_of(dataset))
            return dict(_written(writer, stream, kept, sorter))
    finally:
        sorter.close()


def _opened(path: Path) -> IO[bytes]:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return BytesIO()


def _sort_in(
    stream: IO[bytes],
    path: Path,
    known: dict[str, ByteRange],
    sorter: ExternalSorter[_Stored],
    form: RowForm,
) -> dict[str, _Kept]:
    """Put the rows that do not match the state into the sorter; return the other runs."""
    kept: dict[str, _Kept] = {}
    scattered: set[str] = set()
    size, offset, number = stream.seek(0, SEEK_END), stream.seek(0), 0
    while line := stream.readline():
        run_id = _run_id_of(line) if known else ""
        byte_range = known.pop(run_id, None)  # only the first row of a run can begin all of them
        if byte_range is not None and holds(stream, size, replace(byte_range, offset=offset)):
            kept[run_id] = _Kept(offset, number, byte_range)
            offset, number = offset + byte_range.length, number + byte_range.rows
        else:
            row = decoded(form.canonical(line, ROW_SHAPE), path, number + 1)
            _add(sorter, row, form)
            scattered.add(row.run_id)
            offset, number = offset + len(line), number + 1
            stream.seek(offset)
    for run_id in sorted(scattered & kept.keys()):
        again = kept.pop(run_id)
        lines = disk.read_lines(stream, again.offset, again.known.length)
        for at, line in enumerate(lines, start=again.lines_before + 1):
            _add(sorter, decoded(form.canonical(line, ROW_SHAPE), path, at), form)
    return kept


def _run_id_of(line: bytes) -> str:
    """Return the run id of a line without decoding the rest, "" if the line does not read."""
    try:
        return locate(line)[0]
    except (ValueError, RecursionError):
        return ""


def _add(sorter: ExternalSorter[_Stored], row: StoredRow, form: RowForm) -> None:
    line = encode_line(row)
    sorter.add(_Stored(row.run_id, form.key(row), line), len(line))


def _stored_order(row: _Stored) -> tuple[Any, ...]:
    return (row.run_id, row.key, -len(row.line), row.line)


def _written(
    writer: LineWriter,
    stream: IO[bytes],
    kept: dict[str, _Kept],
    sorter: ExternalSorter[_Stored],
) -> Iterator[tuple[str, ByteRange]]:
    """Write all runs in their order, and yield the byte range of each."""
    sorted_runs = groupby(sorter, key=itemgetter(0))
    kept_runs = ((run_id, None) for run_id in sorted(kept))
    for run_id, rows in merge(sorted_runs, kept_runs, key=itemgetter(0)):
        if rows is not None:
            yield run_id, writer.write(_once(rows))
            continue
        offset, _, known = kept[run_id]
        yield run_id, writer.copy(stream, replace(known, offset=offset))


def _once(rows: Iterable[_Stored]) -> Iterator[bytes]:
    """Keep one of the copies of a row: 3.0.3 stored a row again if the copy had more nulls."""
    previous: object = None
    for row in rows:
        step_missing, _, timestamp_missing, _ = row.key
        identity = row.line if step_missing or timestamp_missing else row.key
        if identity != previous:
            yield row.line
        previous = identity
