"""Look at what syncs have changed."""

from collections.abc import Iterator
from pathlib import Path

from dr_wandb.core.sync.changes import SyncChanges
from dr_wandb.shell.store.store import ExportStore
from dr_wandb.shell.sync.changelog import read_changes


def iter_changes(name: str, data_root: Path) -> Iterator[SyncChanges]:
    """Load what each sync changed, one at a time, oldest first; syncs without a change are not in.

    Raises ExportNotFoundError if there is no export, DrWandbError for a line that does not read.
    """
    store = ExportStore(name=name, data_root=data_root)
    store.require_manifest()
    return read_changes(store.changes_path)
