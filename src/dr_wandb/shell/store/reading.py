"""Read what an export holds, so that a sync can build on it.

Rules
- The byte ranges in the state are believed only if the data files are the ones they speak of. A
  file that was edited, copied back or written by dr-wandb 3.0.3 is read line by line into our
  form, and the ranges are made anew. What is known to be in our form is not read closer.
- A run whose stored rows are not the ones its position was reached with loses the position: it is
  read again.
- Nothing visible is written here.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.records import (
    FIRST_OF_OURS,
    FIRST_WITH_EVIDENCE,
    SCHEMA_VERSION,
    Record,
)
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.state import ByteRange, ExportState, RunTracking, with_evidence
from dr_wandb.core.sync.manifest import ExportManifest
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.rebuilding import rebuild_history, rebuild_snapshots
from dr_wandb.shell.store.store import ExportStore, check_identity, load_document

CHECKED_FILE = ".checked.json"
"""What the data files looked like when their digests were last right. Only saves time."""


_CHECKED = msgspec.json.Decoder(dict[str, tuple[list[int], str]])


class StoredExport(Record, frozen=True, kw_only=True):
    """What a sync builds on.

    The byte ranges in `state` point into `runs_path` and `history_path`: the visible files, or
    copies of them in our form in the staging folder (`copied`). `old_rows` are the runs whose rows
    have an earlier shape.
    """

    manifest: ExportManifest | None
    state: ExportState
    runs_path: Path
    history_path: Path
    copied: bool = False
    old_rows: frozenset[str] = frozenset()
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
    if state.schema_version < FIRST_WITH_EVIDENCE:
        runs = {run_id: with_evidence(run) for run_id, run in state.runs.items()}
        state = replace(state, runs=runs)
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
        _digest(path) == sha256 and _fill(path, places)
        for path, sha256, places in (
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
    look, sha256 = known.get(path.name, ([], ""))
    return sha256 if look == _look(path) else disk.sha256_of(path)


def _look(path: Path) -> list[int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def remember_look(store: ExportStore, state: ExportState) -> None:
    """Note what the data files look like, now that the state speaks of them."""
    files = ((store.runs_path, state.runs_file), (store.history_path, state.history_file))
    known = {path.name: (_look(path), sha256) for path, sha256 in files if sha256}
    path, content = store.export_dir / CHECKED_FILE, msgspec.json.encode(known)
    if not path.exists() or path.read_bytes() != content:
        disk.replace_file(path, content)


def _read_anew(
    store: ExportStore, staging: Path, manifest: ExportManifest | None, state: ExportState
) -> StoredExport:
    runs = rebuild_snapshots(store.runs_path, state, staging / "stored-runs.jsonl")
    history = rebuild_history(store.history_path, state, staging / "stored-history.jsonl")
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
    elif manifest is not None and manifest.schema_version < FIRST_OF_OURS:
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
            yield f"run {run_id!r} is missing in {store.runs_path} and gone upstream: restore it"
        had, has = (run.history.rows if run.history else 0 for run in (before, now))
        if has < had:
            yield (
                f"{store.history_path} has {has} of {had} rows of run {run_id!r}, which is gone "
                "upstream: restore it from a copy"
            )


def _with_history(tracking: RunTracking, stored: ByteRange | None) -> RunTracking:
    """Return the tracking with its rows; the position goes if they are not the ones it is of."""
    before = tracking.history
    same = (before.digest, before.rows) if before is not None and before.rows else None
    now = (stored.digest, stored.rows) if stored is not None else None
    if same == now:
        return replace(tracking, history=stored)
    return replace(
        tracking,
        history=stored,
        position=None,
        held=None,
        evidence=None,
        look=None,
        last_history_step=None,
    )
