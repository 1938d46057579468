"""The end of a sync: describe the new data files, and put them in place."""

from collections.abc import Collection, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from msgspec.structs import replace

from dr_wandb.core.contract.changes import SyncChanges
from dr_wandb.core.contract.codec import encode_document
from dr_wandb.core.contract.dataset import DATASETS, HISTORY, PROJECT_DATASETS, TABLES
from dr_wandb.core.contract.export_files import (
    CHANGES_FILE,
    HISTORY_FILE,
    JSONL,
    MANIFEST_FILE,
    PARQUET,
    PARQUET_RUNS,
    RUNS_FILE,
    STORE_FILE,
    is_parquet_history,
)
from dr_wandb.core.contract.known_runs import ChangedRuns, total
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.records import FIRST_WITH_CELLS, Record
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.sync.advance import advance_state
from dr_wandb.core.sync.changes import changes_between
from dr_wandb.core.sync.formats import formats_after, formats_before
from dr_wandb.core.sync.manifest import describe_export, keep_or_replace
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.checked_files import find_changed, remember_look
from dr_wandb.shell.store.commit import StagedFile, commit, describe_staged, stage_document
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.parquet_folder import ParquetFiles, find_parquet
from dr_wandb.shell.store.parquet_lines import ParquetLines
from dr_wandb.shell.store.reading import StoredExport
from dr_wandb.shell.store.state_files import stage_state
from dr_wandb.shell.sync.assemble import Assembled
from dr_wandb.shell.sync.cell_digests import changes_to_report, with_cell_digests
from dr_wandb.shell.sync.changelog import append_changes
from dr_wandb.shell.sync.dropping import files_of
from dr_wandb.shell.sync.parquet_runs import bring_runs
from dr_wandb.shell.sync.project_records import SyncedRecords, files_of_others


class Finished(Record, frozen=True, kw_only=True):
    """The manifest that is now visible, and the changes of the sync."""

    manifest: ExportManifest
    changes: SyncChanges


def finish(
    store: ExportStore,
    request: ExportRequest,
    stored: StoredExport,
    assembled: Assembled,
    exported_at: str,
    scratch: Path,
    records: Mapping[str, SyncedRecords],
    *,
    listing_mark: str,
    source: str,
    host: str,
) -> Finished:
    """Describe the new data files, and put those that differ from the visible ones in place.

    records: the datasets of the project that were requested. source, host: what was asked, see
    `Requested`.
    """
    formats = formats_after(request, stored.manifest)
    columns = _bring_columns(store, stored, assembled, scratch, formats)
    if JSONL not in formats:
        assembled = with_cell_digests(assembled, columns.digests)
    moved = changes_to_report(assembled, columns.digests)
    changes = replace(
        changes_between(moved, assembled.changed, exported_at),
        records={name: one.changes for name, one in records.items() if one.changes},
    )
    log = append_changes(store, stored, changes, scratch)
    data = _files_that_stay(assembled.files, formats) | files_of_others(
        store, stored, {*records, *request.drop_datasets}
    )
    data |= {PROJECT_DATASETS[name].file: one.file for name, one in records.items()}
    files = {**data, **({} if log is None else {CHANGES_FILE: log})}
    state = advance_state(
        request,
        stored.state,
        assembled.changes,
        exported_at=exported_at,
        files={name: file.sha256 for name, file in data.items()},
        changes_length=0 if log is None else log.bytes,
        listing_mark=listing_mark,
        records={name: one.part for name, one in records.items()},
    )
    described = describe_export(
        request,
        stored.manifest,
        assembled.changes,
        {**files, **columns.files},
        formats=formats,
        history_rows=_history_rows(assembled, formats),
        exported_at=exported_at,
        source=source,
        host=host,
    )
    manifest = keep_or_replace(stored.manifest, described)
    folder = store.export_dir
    state = replace(state, schema_version=manifest.schema_version)
    staged = _stage(folder, scratch, files)
    for name, path in columns.staged.items():
        staged[name] = describe_staged(folder, name, path, columns.files[name].sha256)
    if manifest != stored.manifest:
        staged[MANIFEST_FILE] = stage_document(folder, MANIFEST_FILE, encode_document(manifest))
    of_state, store_sha256 = stage_state(folder, state, assembled.runs)
    lines_go = JSONL in formats_before(stored.manifest) - formats
    gone = {HISTORY_FILE} if lines_go else set()
    gone |= files_of(request.drop_datasets)
    commit(folder, staged | of_state, columns.gone | _there(folder, gone))
    with suppress(OSError):  # all is in place; this only saves the next sync a read
        looks = {name: file.sha256 for name, file in columns.files.items()}
        remember_look(folder, {**state.files, **looks, STORE_FILE: store_sha256})
    return Finished(manifest=manifest, changes=changes)


def _there(folder: Path, names: Collection[str]) -> set[str]:
    return {name for name in names if (folder / name).exists()}


def _files_that_stay(
    files: Mapping[str, DataFile], formats: Collection[str]
) -> dict[str, DataFile]:
    """Return the files of lines that the export has: Parquet may be made of a file that goes."""
    return {name: file for name, file in files.items() if name != HISTORY_FILE or JSONL in formats}


def _history_rows(assembled: Assembled, formats: Collection[str]) -> int | None:
    """Return how many rows of history there are in any format, None if there is no history."""
    in_parquet_alone = bool(formats) and JSONL not in formats
    if not in_parquet_alone and HISTORY_FILE not in assembled.files:
        return None
    return total(assembled.changes, HISTORY).rows


def _bring_columns(
    store: ExportStore,
    stored: StoredExport,
    assembled: Assembled,
    scratch: Path,
    formats: Collection[str],
) -> ParquetFiles:
    """Write the Parquet files that differ, if the export has any, or say that they go."""
    folder, before = store.export_dir, formats_before(stored.manifest)
    if PARQUET not in formats:
        held = find_parquet(folder) if PARQUET in before else frozenset()
        return ParquetFiles({}, {}, held)
    named = {} if stored.manifest is None else stored.manifest.files
    history = _bring_history(
        store,
        stored,
        assembled,
        scratch,
        named,
        held=None if JSONL in formats else stored.in_parquet,
        unknown=PARQUET not in before or stored.copied or _of_lines(stored.manifest),
    )
    runs_file = scratch / RUNS_FILE if (scratch / RUNS_FILE).exists() else stored.runs_path
    runs = bring_runs(folder, named, runs_file, assembled.files[RUNS_FILE].sha256, scratch)
    staged = {} if runs.staged is None else {PARQUET_RUNS: runs.staged}
    from dr_wandb.shell.sync.parquet_tables import TableFiles  # it needs numpy

    tables = TableFiles(
        folder,
        named,
        _lines_of_tables(stored, assembled.files, scratch),
        assembled.runs,
        partial(_lines_moved, stored, assembled),
        scratch,
    ).write()
    return ParquetFiles(
        files={**history.files, PARQUET_RUNS: runs.file, **tables.files},
        staged={**history.staged, **staged, **tables.staged},
        gone=history.gone | tables.gone,
        digests=history.digests,
    )


def _lines_of_tables(
    stored: StoredExport, files: Mapping[str, DataFile], scratch: Path
) -> dict[str, Path]:
    """Return the files with the lines of datasets that have tables, if they have any lines."""
    named = {name: DATASETS[name].file for name in TABLES}
    new = {name: scratch / file for name, file in named.items() if file in files}
    return {
        name: path if path.exists() else stored.row_paths[name]
        for name, path in new.items()
        if files[path.name].lines
    }


def _of_lines(manifest: ExportManifest | None) -> bool:
    """Say whether the contents of packs are made of digests of lines, as once they were."""
    return manifest is not None and manifest.schema_version < FIRST_WITH_CELLS


def _bring_history(
    store: ExportStore,
    stored: StoredExport,
    assembled: Assembled,
    scratch: Path,
    named: Mapping[str, DataFile],
    *,
    held: ParquetLines | None,
    unknown: bool,
) -> ParquetFiles:
    """Write the Parquet files of the history that differ. named: the files before, by name.

    held: the rows before, if they are in Parquet alone. unknown: it is not known in which runs
    these files differ from what is held.
    """
    folder = store.export_dir
    files = {name: file for name, file in named.items() if is_parquet_history(name)}
    if not unknown and not _rows_moved(assembled.changes, HISTORY):
        there = frozenset(filter(is_parquet_history, find_parquet(folder)))
        if not find_changed(folder, {name: file.sha256 for name, file in files.items()}):
            return ParquetFiles(files, {}, there - files.keys())
    from dr_wandb.shell.sync.parquet_history import ParquetHistory  # these need pyarrow
    from dr_wandb.shell.sync.parquet_packs import NewRows

    lines = scratch / HISTORY_FILE
    if not lines.exists():
        lines = stored.row_paths[HISTORY]
    rows = NewRows(
        lines,
        at=assembled.history,
        columns=assembled.columns,
        held=held,
        kept=assembled.kept,
        same=assembled.same,
        before=assembled.before,
    )
    columns = ParquetHistory(folder, files, rows, scratch)
    return columns.write(assembled.changes, assembled.runs, everything=unknown)


def _lines_moved(stored: StoredExport, assembled: Assembled, dataset: str) -> bool:
    """Say whether the lines of a dataset differ from those that the manifest names.

    The runs before do not say it alone: lines that were edited outside of a sync are theirs too.
    """
    name = DATASETS[dataset].file
    named = None if stored.manifest is None else stored.manifest.files.get(name)
    if named is None or named.sha256 != assembled.files[name].sha256:
        return True
    return stored.copied or _rows_moved(assembled.changes, dataset)


def _rows_moved(changes: ChangedRuns, dataset: str) -> bool:
    """Say whether a run has other rows than before, or they belong into other files."""
    return any(
        _as_held(changes.before.get(run_id), dataset)
        != _as_held(changes.changed.get(run_id), dataset)
        for run_id in {*changes.changed, *changes.gone}
    )


def _as_held(run: RunTracking | None, dataset: str) -> tuple[str | None, str] | None:
    stored = None if run is None else run.part(dataset).stored
    return None if run is None or stored is None else (run.created_at, stored.digest)


def _stage(folder: Path, scratch: Path, files: dict[str, DataFile]) -> dict[str, StagedFile]:
    """Describe the data files that were written and differ from the visible ones."""
    return {
        name: describe_staged(folder, name, scratch / name, file.sha256)
        for name, file in files.items()
        if (scratch / name).exists() and disk.sha256_of(folder / name) != file.sha256
    }
