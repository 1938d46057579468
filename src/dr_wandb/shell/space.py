"""Whether a disk has room for what is about to be written."""

import shutil
from pathlib import Path

from dr_wandb.core.failures import DiskRefused, DrWandbError

RESERVE_BYTES = 1 << 20
"""For the small files of a commit, beside the data files."""

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raise DrWandbError where new files of so many bytes will not fit. Nothing needs nothing."""
    if not needed_bytes:
        return
    needed = needed_bytes + RESERVE_BYTES
    lacking = needed - shutil.disk_usage(folder).free
    if lacking > 0:
        more = f"{spell_bytes(lacking)} more than is free"
        reason = f"the new files need {spell_bytes(needed)}, {more}"
        raise DrWandbError(DiskRefused(path=str(folder.parent), reason=reason))


def spell_bytes(count: int) -> str:
    """Return a size for people, in decimal units."""
    size, unit = float(count), 0
    while size >= 1000 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return (
        f"{size:.0f} {_UNITS[unit]}" if unit == 0 or size >= 100 else f"{size:.1f} {_UNITS[unit]}"
    )
