"""Read files of an export as they were at one moment, although a sync may replace them.

Rules
- If a file is not as the manifest describes it, the manifest is read again: a sync may be at work.
- A commit puts the manifest in place after the data. If one was interrupted before that, each file
  is described by the next manifest if it is the new one, else by the manifest that is there.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from dr_wandb.core.contract.export_files import HISTORY_FILE, is_parquet_history
from dr_wandb.core.contract.failures import DamagedFile, DrWandbError
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.commit import next_manifest
from dr_wandb.shell.store.documents import load_document

if TYPE_CHECKING:
    from dr_wandb.shell.store.export_store import ExportStore

T = TypeVar("T")


def at_one_moment(store: "ExportStore", read: Callable[[ExportManifest], T]) -> T:
    """Return what a function reads of the files that a manifest describes.

    It is called again, with another manifest, if a file is not as described. Raises
    ExportNotFoundError without an export, and what the function raises.
    """
    tried: list[ExportManifest] = []
    manifest = store.require_manifest()
    while True:
        try:
            return read(manifest)
        except DrWandbError as error:
            if not isinstance(error.failure, DamagedFile):
                raise
            tried.append(manifest)
            manifest = store.require_manifest()
            if manifest in tried:
                manifest = manifest_of_files(store.export_dir, manifest)
            if manifest in tried:
                raise


def manifest_of_files(folder: Path, manifest: ExportManifest) -> ExportManifest:
    """Return a manifest of the files that are in place; the given one if no commit is unfinished.

    The Parquet files of the history are described as those of one moment. What it says of rows is
    that of the lines, if they are held.
    """
    path = next_manifest(folder)
    staged = None if path is None else load_document(path, ExportManifest)
    if staged is None:
        return manifest
    new = {
        name: file
        for name, file in staged.files.items()
        if disk.sha256_of(folder / name) == file.sha256
    }
    whole = all(name in new for name in staged.files if is_parquet_history(name))
    columns = staged if whole else manifest
    lines = staged if HISTORY_FILE in new else manifest
    files = {name: file for name, file in columns.files.items() if is_parquet_history(name)}
    for described in (manifest.files, new):
        files |= {name: one for name, one in described.items() if not is_parquet_history(name)}
    return replace(columns if manifest.history_path is None else lines, files=files)
