"""Remove the bytes that no file of an export names any more.

Rules
- Bytes may be the only copies that are left. So nothing is removed if the lines that name them were
  not those of the last commit when the sync began: lines that were lost name nothing.
- Nor if there were no such lines at all, unless the files are dropped.
"""

from collections.abc import Mapping
from pathlib import Path

from dr_wandb.core.contract.amounts import size_in_words
from dr_wandb.core.contract.dataset import DATASETS
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.wording import count
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.store.blobs import find_blobs
from dr_wandb.shell.store.checked_files import digest_of
from dr_wandb.shell.store.named_blobs import remove_unnamed

NOTHING_PRUNED = "--prune removed no blob: %s"

MISSING = (
    "{} was missing, or was changed outside of a sync, so it may have named more; restore it from "
    "a copy, as the next --prune removes what no file names"
)
NEVER_NAMED = "no {} named any when the sync began; --drop {} --prune removes them all"


def why_not_to_prune(
    folder: Path, manifest: ExportManifest | None, request: ExportRequest
) -> str | None:
    """Say why the blobs of an export have to stay in the sync that begins, None if nothing does.

    manifest: that of the last commit.
    """
    if not request.prune or next(find_blobs(folder), None) is None:
        return None
    files = {} if manifest is None else manifest.files
    left = [name for name, one in DATASETS.items() if one.has_content]
    reasons = (_reason(folder, files, name) for name in left if name not in request.drop_datasets)
    return next(filter(None, reasons), None)


def _reason(folder: Path, files: Mapping[str, DataFile], dataset: str) -> str | None:
    path = folder / DATASETS[dataset].file
    named = files.get(path.name)
    if named is None and not path.exists():
        return NEVER_NAMED.format(path.name, dataset)
    if named is None or digest_of(path) != named.sha256:
        return MISSING.format(path.name)
    return None


def remove_blobs(folder: Path, scratch: Path, why_not: str | None) -> None:
    """Remove the blobs that no line of a committed export names, and say how many they were.

    why_not: what `why_not_to_prune` said when the sync began.
    """
    if why_not is not None:
        LOGGER.warning(NOTHING_PRUNED, why_not)
        return
    removed, size = remove_unnamed(folder, scratch)
    if removed:
        blobs = count(removed, "blob")
        LOGGER.info("removed %s that no file names (%s)", blobs, size_in_words(size))
