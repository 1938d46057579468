"""Find the exports on disk, and report the status of each without asking W&B.

Rules
- Nothing is written, and no data file is read: only manifest, state, file sizes and hidden files.
- Of runs that rest nothing is read: there is nothing to say of them.
- An export that does not read never hides another one.
"""

import os
import stat
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from dr_wandb.core.contract.amounts import kept_in_words
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.export_files import (
    MANIFEST_FILE,
    PARQUET_FOLDER,
    PARQUET_FOLDERS,
    PARQUET_RUNS,
    STATE_FILE,
    commit_order,
    file_order,
)
from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.known_runs import notable
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.problems import name_problems
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.core.contract.values import clean_text
from dr_wandb.core.inspect.status import ExportProblem, ExportStatus, sum_up
from dr_wandb.shell.store.disk_errors import disk_refusals
from dr_wandb.shell.store.documents import load_document, load_state
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.presence import Presence, look_beside


def find_exports(data_root: Path | str, *, unfinished: bool = False) -> list[ExportStore]:
    """Return the exports below a data root, by name; none if there is no such folder.

    unfinished: also those of which no sync has completed yet. Hidden folders and links out of the
    data root are ignored. Raises DrWandbError if the data root cannot be read.
    """
    data_root = Path(data_root)
    with disk_refusals(data_root):
        try:
            paths = sorted(data_root.iterdir())
            root = data_root.resolve()
        except FileNotFoundError:
            return []
    return [
        ExportStore(name=path.name, data_root=data_root)
        for path in paths
        if not path.name.startswith(".")
        and not name_problems("name", path.name)
        and (os.path.lexists(path / MANIFEST_FILE) or (unfinished and _is_first(path)))
        and root in path.resolve().parents
    ]


def _is_first(folder: Path) -> bool:
    beside = look_beside(folder)
    return beside.first and beside.unfinished


def read_status(store: ExportStore, now: datetime | None = None) -> ExportStatus:
    """Return the status of an export. now: with a zone, the present by default.

    An export of which no sync has completed yet has a status as well, with `first_sync`. Raises
    ExportNotFoundError if there is none at all. If it does not read, the status has the problem.
    """
    folder = store.export_dir
    beside = look_beside(folder)
    if beside.first and beside.unfinished:
        return _status_of_first(store, beside)
    if not any(os.path.lexists(folder / name) for name in file_order()):
        raise store.not_found()
    manifest, manifest_problem = _load_manifest(store)
    state, state_problem = _load_state(store, manifest)
    status = sum_up(
        store.name,
        clean_text(str(folder)),
        manifest,
        state,
        file_bytes=_sizes(folder),
        now=now or datetime.now(UTC),
        sync=_sync_in_words(beside),
        problem=manifest_problem or state_problem,
    )
    return _with_fetched(status, beside)


def _status_of_first(store: ExportStore, beside: Presence) -> ExportStatus:
    note = beside.note
    status = ExportStatus(
        name=store.name,
        folder=clean_text(str(store.export_dir)),
        entity=note.entity if note is not None else None,
        project=note.project if note is not None else None,
        file_bytes=(sizes := _sizes(store.export_dir)),
        bytes=sum(sizes.values()),
        sync=_sync_in_words(beside),
        first_sync=True,
    )
    return _with_fetched(status, beside)


def _with_fetched(status: ExportStatus, beside: Presence) -> ExportStatus:
    if not beside.unfinished:
        return status
    return replace(
        status,
        fetched_parts=beside.segments,
        fetched_bytes=beside.segment_bytes,
        fetching_since=beside.note.since if beside.note is not None else None,
    )


def _load_manifest(store: ExportStore) -> tuple[ExportManifest | None, ExportProblem | None]:
    try:
        manifest = load_document(store.manifest_path, ExportManifest)
    except DrWandbError as error:
        return None, _problem_of(error)
    return manifest, _missing(MANIFEST_FILE) if manifest is None else None


def _load_state(
    store: ExportStore, manifest: ExportManifest | None
) -> tuple[ExportState | None, ExportProblem | None]:
    """Load the state with the runs of which there may be something to say; all without manifest."""
    try:
        read = load_state(store.state_path, lambda runs: _notable(runs, manifest))
    except DrWandbError as error:
        return None, _problem_of(error)
    if read is None:
        return None, _missing(STATE_FILE)
    if read.lost is not None:
        kind = "damaged_file" if read.lost.damaged else "missing"
        reason = f"{read.lost.path.name} {read.lost.problem}"
        return replace(read.state, runs={}), ExportProblem(kind=kind, reason=reason)
    return read.state, None


def _notable(
    runs: Mapping[str, RunTracking], manifest: ExportManifest | None
) -> Iterable[tuple[str, RunTracking]]:
    if manifest is None:
        return runs.items()
    return notable(runs, {HISTORY} if manifest.mode == ExportMode.HISTORY else ())


def _problem_of(error: DrWandbError) -> ExportProblem:
    kind = str(error.failure.__struct_config__.tag)
    return ExportProblem(kind=kind, reason=clean_text(str(error)))


def _missing(name: str) -> ExportProblem:
    return ExportProblem(kind="missing", reason=f"{name} is missing")


def _sizes(folder: Path) -> dict[str, int]:
    """Return the size of each file; that of all Parquet files is one."""
    names = (name for name in commit_order() if name != PARQUET_RUNS)
    sizes = {name: size for name in names if (size := _size(folder / name)) is not None}
    columns = (path for name in PARQUET_FOLDERS for path in (folder / name).glob("*"))
    found = [size for path in columns if (size := _size(path)) is not None]
    return {**sizes, PARQUET_FOLDER: sum(found)} if found else sizes


def _size(path: Path) -> int | None:
    """Return the size of a file, None if there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _sync_in_words(beside: Presence) -> str | None:
    fetched = kept_in_words(beside.segments, beside.segment_bytes)
    if beside.holder is not None:
        return f"at work: {beside.holder}; fetched so far: {fetched}"
    if beside.commit:
        return "interrupted: the next sync finishes its commit first"
    if beside.segments and beside.first:
        return "interrupted: run its command again, which uses what is kept if still current"
    if beside.segments:
        return f"interrupted: the next sync uses what is kept if still current: {fetched}"
    return None
