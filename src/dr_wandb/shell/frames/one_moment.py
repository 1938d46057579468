"""Read files of an export as they were at one moment, although a sync may replace them."""

from collections.abc import Callable
from typing import TypeVar

from dr_wandb.core.contract.failures import DamagedFile, DrWandbError
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.shell.store.export_store import ExportStore

T = TypeVar("T")


def at_one_moment(store: ExportStore, read: Callable[[ExportManifest], T]) -> T:
    """Return what a function reads of the files that a manifest describes.

    It is called again if a file is not as described because a sync has replaced it meanwhile.
    Raises ExportNotFoundError without an export, and what the function raises.
    """
    manifest = store.require_manifest()
    while True:
        try:
            return read(manifest)
        except DrWandbError as error:
            before, manifest = manifest, store.require_manifest()
            if manifest == before or not isinstance(error.failure, DamagedFile):
                raise
