"""Remove the bytes that no file of an export names any more."""

from pathlib import Path

from dr_wandb.core.contract.amounts import size_in_words
from dr_wandb.core.contract.wording import count
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.store.named_blobs import remove_unnamed


def remove_blobs(folder: Path, scratch: Path) -> None:
    """Remove the blobs that no line of a committed export names, and say how many they were."""
    removed, size = remove_unnamed(folder, scratch)
    if removed:
        blobs = count(removed, "blob")
        LOGGER.info("removed %s that no file names (%s)", blobs, size_in_words(size))
