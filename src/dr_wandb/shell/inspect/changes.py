"""Read the changes that syncs made."""

from collections.abc import Iterator
from pathlib import Path

from dr_wandb.core.contract.changes import SyncChanges
from dr_wandb.shell.store.disk_errors import disk_refusals
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.guards import require_visible_file
from dr_wandb.shell.sync.changelog import read_changes


def iter_changes(name: str, data_root: Path) -> Iterator[SyncChanges]:
    """Load the changes of each sync, one at a time, oldest first; syncs without any are skipped.

    Raises ExportNotFoundError if there is no export, DrWandbError for a line that does not read.
    """
    store = ExportStore(name=name, data_root=data_root)
    store.require_manifest()
    return _read(store.changes_path)


def _read(path: Path) -> Iterator[SyncChanges]:
    with disk_refusals(path):
        require_visible_file(path)
        yield from read_changes(path)
