"""Read an export, so that a sync can build on it.

Rules
- The byte ranges in the state are used only if the data files have the digests in the state. A
  file that was edited, copied back or written by dr-wandb 3.0.3 is read line by line into our
  form, and its ranges are computed again. Content that is known to be in our form is not decoded.
- If the lines of a dataset are missing, they are those that its table holds.
- A run whose stored rows do not match its position loses the position: it is read again.
- No visible file is written here.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from msgspec.structs import replace

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.export_files import (
    CHANGES_FILE,
    HISTORY_FILE,
    JSONL,
    PARQUET,
    RUNS_FILE,
    is_table,
    table_folder,
)
from dr_wandb.core.contract.known_runs import SNAPSHOTS
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.part import ByteRange, part_with_rows
from dr_wandb.core.contract.records import FIRST_OF_OURS, WITHOUT_PARQUET, Record
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.state import ExportState, RunTracking, with_part
from dr_wandb.core.sync.formats import formats_before
from dr_wandb.shell.store.byte_ranges import fill
from dr_wandb.shell.store.checked_files import digest_of, find_changed
from dr_wandb.shell.store.documents import check_identity, read_state
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.guards import require_visible_file
from dr_wandb.shell.store.parquet_lines import ParquetLines, parquet_lines
from dr_wandb.shell.store.rebuilding import rebuild_rows, rebuild_snapshots
from dr_wandb.shell.store.state_files import LostStore, ReadState
from dr_wandb.shell.store.tracked_store import TrackedRuns


class StoredExport(Record, frozen=True, kw_only=True):
    """The stored export that a sync builds on.

    The byte ranges in `state` point into `runs_path` and, by dataset, into `row_paths`: the visible
    files, or copies of them in our form in the staging folder (`copied`). `old_rows` are the runs
    whose history has rows of an earlier shape. `in_parquet`: the history is not in its file of
    lines, but in these Parquet files; its byte ranges are as if it were.
    """

    manifest: ExportManifest | None
    state: ExportState
    runs_path: Path
    row_paths: Mapping[str, Path]
    copied: bool = False
    in_parquet: ParquetLines | None = None
    old_rows: frozenset[str] = frozenset()
    notices: tuple[str, ...] = ()

    @property
    def has_no_lines(self) -> bool:
        """Say whether no row of the history is in a file of lines."""
        return self.in_parquet is not None or not self.row_paths[HISTORY].exists()


def read_export(store: ExportStore, request: ExportRequest, staging: Path) -> StoredExport:
    """Read an export, or an empty one if there is none.

    staging: the folder for copies in our form, if the files are not in it.

    Raises DrWandbError if it belongs to another project, is newer, or does not read.
    """
    wanted = (request.entity, request.project)
    before = None if request.moved_from is None else tuple(request.moved_from.split("/"))
    for path in (store.runs_path, *store.row_paths.values(), *store.record_paths.values()):
        require_visible_file(path)
    manifest = store.load_manifest()
    read = read_state(store.state_path)
    for path, known in (
        (store.manifest_path, manifest),
        (store.state_path, None if read is None else read.state),
    ):
        if known is not None and (known.entity, known.project) != before:
            check_identity(path, known.entity, known.project, *wanted)
    if read is None:
        address = wanted if manifest is None else (manifest.entity, manifest.project)
        read = ReadState(ExportState(name=store.name, entity=address[0], project=address[1]))
    state = replace(read.state, name=store.name, schema_version=WITHOUT_PARQUET)
    if read.lost:
        return _read_lost(store, staging, manifest, state, read.lost)
    in_parquet = _in_parquet(store, manifest, state)
    if _as_recorded(store, state, in_parquet):
        return StoredExport(
            manifest=manifest,
            state=state,
            runs_path=store.runs_path,
            row_paths=store.row_paths,
            in_parquet=in_parquet,
        )
    return _rebuild(store, staging, manifest, state)


def _read_lost(
    store: ExportStore,
    staging: Path,
    manifest: ExportManifest | None,
    state: ExportState,
    lost: LostStore,
) -> StoredExport:
    """Read an export without its tracking: only what state.json and the manifest say is known.

    lost: the reason.
    """
    log = manifest.files.get(CHANGES_FILE) if manifest is not None else None
    length = log.bytes if log is not None else state.changes_length
    state = replace(state, changes_length=length, listing_mark="")
    found = _rebuild(store, staging, manifest, state)
    marked = {
        run_id: replace(
            run,
            missing_since=manifest.missing_runs.get(run_id),
            out_of_scope_since=manifest.out_of_scope_runs.get(run_id),
        )
        if manifest is not None
        else run
        for run_id, run in found.state.runs.items()
    }
    notice = (
        f"{lost.path} {lost.problem}: the state of the runs is rebuilt, and their histories are "
        "read again"
    )
    return replace(found, state=replace(found.state, runs=marked), notices=(notice,))


def _in_parquet(
    store: ExportStore, manifest: ExportManifest | None, state: ExportState
) -> ParquetLines | None:
    """Return the Parquet files of the history if its lines are not held, or are missing."""
    formats = formats_before(manifest)
    if PARQUET not in formats or (JSONL in formats and store.history_path.exists()):
        return None
    return parquet_lines(store.export_dir, manifest, state.runs)


def _as_recorded(store: ExportStore, state: ExportState, in_parquet: ParquetLines | None) -> bool:
    """Say whether the data files match the state: their digests, and byte ranges without gaps."""
    if in_parquet is not None and in_parquet.find_lost():
        return False
    runs = state.runs
    named = runs.changed if isinstance(runs, TrackedRuns) else runs
    if any(run_id != tracking.run_id for run_id, tracking in named.items()):
        return False
    return all(
        digest_of(path) == state.files.get(path.name, "") and fill(_size_of(path), file, runs)
        for file, path in {SNAPSHOTS: store.runs_path, **store.row_paths}.items()
        if file != HISTORY or in_parquet is None
    )


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _rebuild(
    store: ExportStore, staging: Path, manifest: ExportManifest | None, state: ExportState
) -> StoredExport:
    paths = store.row_paths
    earlier = manifest.moved_from if manifest is not None else ()
    runs = rebuild_snapshots(store.runs_path, state, earlier, staging / "stored-runs.jsonl")
    row_paths = {dataset: staging / f"stored-{path.name}" for dataset, path in paths.items()}
    in_parquet = _in_parquet(store, manifest, replace(state, runs=runs))
    sources = {
        dataset: _lines_of(store.export_dir, manifest, dataset, path, staging)
        for dataset, path in paths.items()
    }
    rows = {
        dataset: rebuild_rows(sources[dataset], dataset, state, row_paths[dataset])
        for dataset, path in paths.items()
        if (in_parquet is None if dataset == HISTORY else _was_held(sources[dataset], path, state))
    }
    if in_parquet is not None:
        rows[HISTORY], same = in_parquet.write_all(row_paths[HISTORY])
        runs |= {
            run_id: with_part(runs[run_id], HISTORY, replace(part, stored=rows[HISTORY][run_id]))
            for run_id in same & runs.keys() & rows[HISTORY].keys()
            for part in (runs[run_id].part(HISTORY),)
        }
    tracked = {
        run_id: _with_rows(
            runs.get(run_id) or RunTracking(run_id=run_id),
            {dataset: found.get(run_id) for dataset, found in rows.items()},
        )
        for run_id in sorted({*runs}.union(*rows.values()))
    }
    return StoredExport(
        manifest=manifest,
        state=replace(state, runs=tracked),
        runs_path=staging / "stored-runs.jsonl",
        row_paths=row_paths,
        copied=True,
        notices=(
            *_notices(store, sources.values(), manifest, state, tracked),
            *_losses(store, state, tracked),
        ),
    )


def _lines_of(
    folder: Path, manifest: ExportManifest | None, dataset: str, path: Path, staging: Path
) -> Path:
    """Return the data file of a dataset. If it is missing, one is made of what its table holds."""
    if path.exists() or manifest is None:
        return path
    inside = f"{table_folder(dataset)}/"
    stated = {
        name: file.sha256
        for name, file in manifest.files.items()
        if is_table(name) and name.startswith(inside)
    }
    sound = sorted(stated.keys() - find_changed(folder, stated))
    if not sound:
        return path
    from dr_wandb.shell.store.tables import write_lines  # it needs pyarrow

    made = staging / f"from-table-{path.name}"
    write_lines(made, dataset, {folder / name: manifest.files[name] for name in sound})
    return made


def _was_held(source: Path, path: Path, state: ExportState) -> bool:
    """Say whether an export has a data file, or had one."""
    return source.exists() or path.name in state.files


def _notices(
    store: ExportStore,
    sources: Iterable[Path],
    manifest: ExportManifest | None,
    state: ExportState,
    tracked: Mapping[str, RunTracking],
) -> Iterator[str]:
    """Say why the files were read line by line, and what is read again."""
    expected = {*state.files, *(manifest.files if manifest is not None else ())}
    if manifest is not None:
        expected |= {RUNS_FILE, *({HISTORY_FILE} if manifest.history_path is not None else ())}
    files = (path for path in (store.runs_path, *sources) if path.name in expected)
    missing = next((path for path in files if not path.exists()), None)
    if missing is not None:
        yield f"{missing} is missing: what W&B still has of it is read again"
    elif manifest is not None and manifest.schema_version < FIRST_OF_OURS:
        yield "continuing an export of dr-wandb 3.0.3: each history is read again, once"
    elif tracked:
        lost = sum(
            part.position is not None
            and (now := tracked.get(run_id)) is not None
            and now.part(dataset).position is None
            for run_id, tracking in state.runs.items()
            for dataset, part in tracking.parts.items()
        )
        yield f"the export was changed outside of a sync; {lost} histories are read again"


def _losses(
    store: ExportStore, state: ExportState, tracked: Mapping[str, RunTracking]
) -> Iterator[str]:
    """Name the runs that are gone upstream and have less in the files than before."""
    for run_id, before in state.runs.items():
        if before.missing_since is None:
            continue
        now = tracked.get(run_id, RunTracking(run_id=run_id))
        if before.snapshot is not None and now.snapshot is None:
            yield (
                f"run {run_id!r} is missing in {store.runs_path} and gone upstream: restore the "
                "file from a copy"
            )
        for dataset, path in store.row_paths.items():
            parts = (before.part(dataset), now.part(dataset))
            had, has = (part.stored.rows if part.stored else 0 for part in parts)
            if has < had:
                yield (
                    f"{path} has {has} of {had} rows of run {run_id!r}, which is gone upstream: "
                    "restore the file from a copy"
                )


def _with_rows(tracking: RunTracking, stored: Mapping[str, ByteRange | None]) -> RunTracking:
    """Return the tracking of a run with the byte ranges of its rows. stored: by dataset."""
    for dataset, byte_range in stored.items():
        part = tracking.part(dataset)
        now = part_with_rows(part, byte_range)
        tracking = with_part(tracking, dataset, now)
        if dataset == HISTORY and now.position is None:
            tracking = replace(tracking, last_history_step=None)
    return tracking
