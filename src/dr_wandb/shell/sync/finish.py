"""The end of a sync: describe the new data files, and put them in place."""

from contextlib import suppress
from pathlib import Path

from dr_wandb.core.contract.changes import SyncChanges
from dr_wandb.core.contract.codec import encode_document
from dr_wandb.core.contract.export_files import CHANGES_FILE, MANIFEST_FILE, STORE_FILE
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.sync.advance import advance_state
from dr_wandb.core.sync.changes import changes_between
from dr_wandb.core.sync.manifest import describe_export, keep_or_replace
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.checked_files import remember_look
from dr_wandb.shell.store.commit import StagedFile, commit, describe_staged, stage_document
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.reading import StoredExport
from dr_wandb.shell.store.state_files import stage_state
from dr_wandb.shell.sync.assemble import Assembled
from dr_wandb.shell.sync.changelog import append_changes


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
    *,
    listing_mark: str,
    source: str,
    host: str,
) -> Finished:
    """Describe the new data files, and put those that differ from the visible ones in place.

    source, host: what was asked, see `Requested`.
    """
    changes = changes_between(assembled.changes, assembled.changed, exported_at)
    log = append_changes(store, stored, changes, scratch)
    files = {**assembled.files, **({} if log is None else {CHANGES_FILE: log})}
    state = advance_state(
        request,
        stored.state,
        assembled.changes,
        exported_at=exported_at,
        files={name: file.sha256 for name, file in assembled.files.items()},
        changes_length=0 if log is None else log.bytes,
        listing_mark=listing_mark,
    )
    described = describe_export(
        request,
        stored.manifest,
        assembled.changes,
        files,
        exported_at=exported_at,
        source=source,
        host=host,
    )
    manifest = keep_or_replace(stored.manifest, described)
    folder = store.export_dir
    staged = _stage(folder, scratch, files)
    if manifest != stored.manifest:
        staged[MANIFEST_FILE] = stage_document(folder, MANIFEST_FILE, encode_document(manifest))
    of_state, store_sha256 = stage_state(folder, state, assembled.runs)
    commit(folder, staged | of_state)
    with suppress(OSError):  # all is in place; this only saves the next sync a read
        remember_look(folder, {**state.files, STORE_FILE: store_sha256})
    return Finished(manifest=manifest, changes=changes)


def _stage(folder: Path, scratch: Path, files: dict[str, DataFile]) -> dict[str, StagedFile]:
    """Describe the data files that were written and differ from the visible ones."""
    return {
        name: describe_staged(folder, name, scratch / name, file.sha256)
        for name, file in files.items()
        if (scratch / name).exists() and disk.sha256_of(folder / name) != file.sha256
    }
