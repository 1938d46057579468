"""Read what an export holds, so that a sync can build on it.

Rules
- The byte ranges in the state are believed only if the data files are the ones they speak of. A
  file that was edited, copied back or written by dr-wandb 3.0.3 is read line by line into our
  form, and the ranges are made anew.
- A run whose stored rows are not the ones its position was reached with loses the position: it is
  read again.
- Nothing visible is written here.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec.structs import replace

from dr_wandb.core.codec import (
    RowKey,
    canonical_row,
    canonical_snapshot,
    encode_line,
    fingerprint,
    row_key,
)
from dr_wandb.core.listing import list_run
from dr_wandb.core.manifest import ExportManifest
from dr_wandb.core.records import SCHEMA_VERSION, Record, RunSnapshot, snapshot_order
from dr_wandb.core.request import ExportRequest
from dr_wandb.core.state import ByteRange, ExportState, RunTracking
from dr_wandb.shell import disk
from dr_wandb.shell.sorting import ExternalSorter
from dr_wandb.shell.store import ExportStore, check_identity, decoded, load_document
from dr_wandb.shell.writing import LineWriter

CHECKED_FILE = ".checked.json"
"""What the data files looked like when their digests were last right. Only saves time."""


_CHECKED = msgspec.json.Decoder(dict[str, tuple[list[int], str]])


class StoredExport(Record, frozen=True, kw_only=True):
    """What a sync builds on.

    The byte ranges in `state` point into `runs_path` and `history_path`: the visible files, or
    copies of them in our form in the staging folder (`copied`).
    """

    manifest: ExportManifest | None
    state: ExportState
    runs_path: Path
    history_path: Path
    copied: bool = False
    notices: tuple[str, ...] = ()


def read_export(store: ExportStore, request: ExportRequest, staging: Path) -> StoredExport:
    """Read an export, or the empty one where there is none.

    staging: where copies in our form go, if the files are not in it.

    Raises DrWandbError where it belongs to another project, is newer, or does not read.
    """
    wanted = (request.entity, request.project)
    manifest = store.load_manifest()
    if manifest is not None:
        check_identity(store.manifest_path, manifest.entity, manifest.project, *wanted)
    state = load_document(store.state_path, ExportState)
    if state is not None:
        check_identity(store.state_path, state.entity, state.project, *wanted)
    else:
        state = ExportState(name=store.name, entity=wanted[0], project=wanted[1])
    state = replace(state, name=store.name, schema_version=SCHEMA_VERSION)
    if _as_recorded(store, state):
        return StoredExport(
            manifest=manifest,
            state=state,
            runs_path=store.runs_path,
            history_path=store.history_path,
        )
    return _read_anew(store, staging, manifest, state)


def _as_recorded(store: ExportStore, state: ExportState) -> bool:
    """Say whether the data files are the ones that the ranges in the state speak of, end to end."""
    if any(run_id != tracking.run_id for run_id, tracking in state.runs.items()):
        return False
    tracked = state.runs.values()
    return all(
        _digest(path) == digest and _fill(path, places)
        for path, digest, places in (
            (store.runs_path, state.runs_file, [run.snapshot for run in tracked]),
            (store.history_path, state.history_file, [run.history for run in tracked]),
        )
    )


def _fill(path: Path, places: Iterable[ByteRange | None]) -> bool:
    """Say whether ranges lie one behind the other, from the first byte of a file to its last."""
    end = 0
    for place in sorted((place for place in places if place), key=lambda place: place.offset):
        if place.offset != end or place.length <= 0:
            return False
        end = place.end
    return end == (path.stat().st_size if path.exists() else 0)


def _digest(path: Path) -> str:
    """Return the SHA-256 of a data file, without reading it where it is known."""
    if _look(path) is None:
        return ""
    try:
        known = _CHECKED.decode((path.parent / CHECKED_FILE).read_bytes())
    except (OSError, msgspec.DecodeError):
        known = {}
    look, digest = known.get(path.name, ([], ""))
    return digest if look == _look(path) else disk.sha256_of(path)


def _look(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def remember_look(store: ExportStore, state: ExportState) -> None:
    """Note what the data files look like, now that the state speaks of them."""
    files = ((store.runs_path, state.runs_file), (store.history_path, state.history_file))
    known = {path.name: (_look(path), digest) for path, digest in files if digest}
    disk.replace_file(store.export_dir / CHECKED_FILE, msgspec.json.encode(known))


def _read_anew(
    store: ExportStore, staging: Path, manifest: ExportManifest | None, state: ExportState
) -> StoredExport:
    runs = _read_snapshots(store, staging / "stored-runs.jsonl", state)
    history = _read_history(store, staging / "stored-history.jsonl")
    tracked = {
        run_id: _with_history(runs.get(run_id) or RunTracking(run_id=run_id), history.get(run_id))
        for run_id in sorted({*runs, *history})
    }
    return StoredExport(
        manifest=manifest,
        state=replace(state, runs=tracked),
        runs_path=staging / "stored-runs.jsonl",
        history_path=staging / "stored-history.jsonl",
        copied=True,
        notices=(*_notices(store, manifest, state, tracked), *_losses(store, state, tracked)),
    )


def _notices(
    store: ExportStore,
    manifest: ExportManifest | None,
    state: ExportState,
    tracked: Mapping[str, RunTracking],
) -> Iterator[str]:
    """Say why the files were read line by line, and what follows."""
    with_history = manifest is not None and manifest.history_path is not None
    if (state.runs_file or manifest is not None) and not store.runs_path.exists():
        yield f"{store.runs_path} is missing: what W&B still has of it is read again"
    elif (state.history_file or with_history) and not store.history_path.exists():
        yield f"{store.history_path} is missing: what W&B still has of it is read again"
    elif manifest is not None and manifest.schema_version < SCHEMA_VERSION:
        yield "continuing an export of dr-wandb 3.0.3: each history is read once again"
    elif tracked:
        lost = sum(
            tracking.position is not None
            and (now := tracked.get(run_id)) is not None
            and now.position is None
            for run_id, tracking in state.runs.items()
        )
        yield f"the export was changed by something else; {lost} histories are read again"


def _losses(
    store: ExportStore, state: ExportState, tracked: Mapping[str, RunTracking]
) -> Iterator[str]:
    """Name the runs that are gone upstream and of which less is in the files than there was."""
    for run_id, before in state.runs.items():
        if before.missing_since is None:
            continue
        now = tracked.get(run_id, RunTracking(run_id=run_id))
        if before.snapshot is not None and now.snapshot is None:
            yield f"{store.runs_path} lacks run {run_id!r}, which is gone upstream: restore it"
        had, has = (run.history.rows if run.history else 0 for run in (before, now))
        if has < had:
            yield (
                f"{store.history_path} has {has} of {had} rows of run {run_id!r}, which is gone "
                "upstream: restore it from a copy"
            )


def _read_snapshots(store: ExportStore, target: Path, state: ExportState) -> dict[str, RunTracking]:
    """Copy the stored snapshots in our form and return what they tell of each run."""
    places: dict[str, tuple[tuple[str, str], int, int, RunTracking]] = {}
    spool_path = target.with_suffix(".spool")
    with spool_path.open("w+b") as spool, LineWriter(target) as writer:
        for number, line in enumerate(_lines_of(store.runs_path), start=1):
            snapshot = decoded(canonical_snapshot(line), store.runs_path, number)
            run = snapshot.run
            check_identity(store.runs_path, run.entity, run.project, state.entity, state.project)
            order = snapshot_order(run.created_at, run.run_id)
            tracking = _track(state.runs.get(run.run_id), snapshot)
            encoded = encode_line(snapshot)
            places[run.run_id] = (order, spool.tell(), len(encoded), tracking)
            spool.write(encoded)
        tracked = {}
        for _, offset, length, tracking in sorted(
            places.values(), key=lambda place: place[0], reverse=True
        ):
            placed = writer.copy(disk.read_range(spool, offset, length), rows=1)
            tracked[tracking.run_id] = replace(tracking, snapshot=placed)
    disk.remove(spool_path)
    return tracked


def _track(known: RunTracking | None, snapshot: RunSnapshot) -> RunTracking:
    """Return the tracking of a run from its snapshot and what else is known of it."""
    run = snapshot.run
    tracking = known or RunTracking(run_id=run.run_id)
    mark = fingerprint(replace(run, metadata=None))
    return replace(
        tracking,
        created_at=run.created_at,
        run_state=run.state,
        seen=tracking.seen or list_run(run, mark),
        fingerprint=mark,
        metadata_included=run.metadata is not None or tracking.metadata_included,
    )


class _Stored(NamedTuple):
    run_id: str
    key: RowKey
    line: bytes


def _stored_order(row: _Stored) -> tuple[Any, ...]:
    return (row.run_id, row.key, -len(row.line), row.line)


def _read_history(store: ExportStore, target: Path) -> dict[str, ByteRange]:
    """Copy the stored rows in our form and order, each once, and return where each run's lie."""
    sorter: ExternalSorter[_Stored] = ExternalSorter(
        target.parent, target.name, key=_stored_order, revive=_Stored._make
    )
    try:
        for number, line in enumerate(_lines_of(store.history_path), start=1):
            row = decoded(canonical_row(line), store.history_path, number)
            encoded = encode_line(row)
            stored = _Stored(row.run_id, row_key(row.step, row.timestamp), encoded)
            sorter.add(stored, len(encoded))
        with LineWriter(target) as writer:
            return {
                run_id: writer.write(_once(rows))
                for run_id, rows in groupby(sorter, key=lambda row: row.run_id)
            }
    finally:
        sorter.close()


def _once(rows: Iterable[_Stored]) -> Iterator[bytes]:
    """Keep one of the copies of a row: 3.0.3 stored a row again when it had more nulls in it."""
    previous: object = None
    for row in rows:
        step_missing, _, timestamp_missing, _ = row.key
        identity = row.line if step_missing or timestamp_missing else row.key
        if identity != previous:
            yield row.line
        previous = identity


def _with_history(tracking: RunTracking, stored: ByteRange | None) -> RunTracking:
    """Return the tracking with its rows; the position goes if they are not the ones it is of."""
    before = tracking.history
    same = (before.digest, before.rows) if before is not None and before.rows else None
    now = (stored.digest, stored.rows) if stored is not None else None
    if same == now:
        return replace(tracking, history=stored)
    return replace(tracking, history=stored, position=None, last_history_step=None)


def _lines_of(path: Path) -> Iterator[bytes]:
    try:
        stream = path.open("rb")
    except FileNotFoundError:
        return
    with stream:
        yield from stream
