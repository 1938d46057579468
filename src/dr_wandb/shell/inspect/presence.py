"""The hidden files of an export: signs of a sync at work, or leftovers of an interrupted one.

Nothing is locked, written or removed to find out.
"""

import os
from contextlib import suppress
from pathlib import Path

from dr_wandb.core.contract.records import Record
from dr_wandb.shell.store.commit import RECORD_FILE, STAGING_FOLDER
from dr_wandb.shell.store.lock import read_holder
from dr_wandb.shell.store.staging import SEGMENT_SUFFIX


class Presence(Record, frozen=True, kw_only=True):
    """The process at work on an export, in words, and the leftovers of an interrupted sync.

    `commit`: a decided commit is not finished. `segments`: number of fetched histories for the
    next sync. While a sync is at work both are its own.
    """

    holder: str | None = None
    commit: bool = False
    segments: int = 0


def look_beside(folder: Path) -> Presence:
    """Look at the hidden files of an export. A file that cannot be read counts as missing."""
    segments = 0
    with suppress(OSError):
        segments = sum(
            path.suffix == SEGMENT_SUFFIX for path in (folder / STAGING_FOLDER).iterdir()
        )
    return Presence(
        holder=_holder_at_work(folder),
        commit=os.path.lexists(folder / RECORD_FILE),
        segments=segments,
    )


def _holder_at_work(folder: Path) -> str | None:
    """Return the process that noted the lock, None if there is none or it has died here."""
    holder = read_holder(folder)
    if holder is None or holder.pid <= 0:
        return None
    if holder.host == os.uname().nodename and not _alive(holder.pid):
        return None
    return holder.in_words


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True
