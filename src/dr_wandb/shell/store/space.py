"""Whether a disk has room for what is about to be written."""

import shutil
from pathlib import Path

from dr_wandb.core.contract.failures import DiskRefused, DrWandbError
from dr_wandb.core.contract.words import size_in_words

RESERVE_BYTES = 1 << 20
"""For the small files of a commit, beside the data files."""


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raise DrWandbError where new files of so many bytes will not fit. Nothing needs nothing."""
    if not needed_bytes:
        return
    needed = needed_bytes + RESERVE_BYTES
    missing = needed - shutil.disk_usage(folder).free
    if missing > 0:
        more = f"{size_in_words(missing)} more than is free"
        reason = f"the new files need {size_in_words(needed)}, {more}"
        raise DrWandbError(DiskRefused(path=str(folder.parent), reason=reason))
