"""Fold old lines of `changes.jsonl` into one, as a commit of its own.

Rules
- It is done under the lock of the export, after a commit that was interrupted is finished.
- If fewer than two lines are old, nothing is written.
- What an interrupted sync left for the next one stays.
"""

from datetime import datetime
from pathlib import Path

from msgspec.structs import replace

from dr_wandb.core.contract.changes import Compaction
from dr_wandb.core.contract.codec import encode_document
from dr_wandb.core.contract.export_files import CHANGES_FILE, MANIFEST_FILE
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.shell.store.commit import RECORD_FILE, commit, describe_staged, stage_document
from dr_wandb.shell.store.disk_errors import disk_refusals, require_space
from dr_wandb.shell.store.documents import read_state
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.lock import locked
from dr_wandb.shell.store.staging import finish_interrupted, staging
from dr_wandb.shell.store.state_files import stage_changes_length
from dr_wandb.shell.sync.changelog import (
    count_lines,
    find_old_lines,
    warn_if_cut_short,
    write_folded,
)


def compact_changes(name: str, data_root: Path, before: datetime) -> Compaction:
    """Fold the lines of syncs before a moment into one, and say what that did.

    Raises ExportNotFoundError if there is no export, DrWandbError if another process is at work
    on it, or if it does not read.
    """
    store = ExportStore(name=name, data_root=data_root)
    folder = store.export_dir
    if not (folder / RECORD_FILE).exists():
        store.require_manifest()  # the lock would make a folder
    with disk_refusals(folder, exactly=True), locked(folder):
        finish_interrupted(folder)
        with staging(folder, keep_segments=True) as scratch:
            return _compact(store, before, scratch)


def _compact(store: ExportStore, before: datetime, scratch: Path) -> Compaction:
    manifest, read = store.require_manifest(), read_state(store.state_path)
    old = find_old_lines(store.changes_path, before)
    lines, length = count_lines(store.changes_path, 0, old.whole), old.whole
    if old.lines < 2:
        return Compaction(
            folded=0,
            lines_before=lines,
            bytes_before=length,
            lines_after=lines,
            bytes_after=length,
        )
    if read is not None:
        warn_if_cut_short(store.changes_path, read.state.changes_length)
    require_space(store.export_dir, length)
    file = write_folded(store.changes_path, old, scratch)
    _commit_folded(store.export_dir, manifest, file, scratch)
    return Compaction(
        folded=old.lines,
        lines_before=lines,
        bytes_before=length,
        lines_after=file.lines,
        bytes_after=file.bytes,
    )


def _commit_folded(folder: Path, manifest: ExportManifest, file: DataFile, scratch: Path) -> None:
    """Commit the new file, and what the manifest and the state say of it."""
    log = describe_staged(folder, CHANGES_FILE, scratch / CHANGES_FILE, file.sha256)
    manifest = replace(manifest, files={**manifest.files, CHANGES_FILE: file})
    described = stage_document(folder, MANIFEST_FILE, encode_document(manifest))
    of_state = stage_changes_length(folder, file.bytes)
    commit(folder, {CHANGES_FILE: log, MANIFEST_FILE: described, **of_state})
