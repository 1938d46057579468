"""The hidden files of an export: signs of a sync at work, or leftovers of an interrupted one.

Nothing is locked, written or removed to find out.
"""

import os
from contextlib import suppress
from pathlib import Path

from dr_wandb.core.contract.export_files import MANIFEST_FILE, STATE_FILE, file_order
from dr_wandb.core.contract.failures import NoSyncYet
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.values import clean_text
from dr_wandb.shell.store.commit import RECORD_FILE, STAGING_FOLDER
from dr_wandb.shell.store.lock import read_holder
from dr_wandb.shell.store.staging import SEGMENT_SUFFIX, SyncNote, read_note


class Presence(Record, frozen=True, kw_only=True):
    """The process at work on an export, in words, and the leftovers of an interrupted sync.

    `commit`: a decided commit is not finished. `segments`: number of fetched histories for the
    next sync, `segment_bytes`: their size. While a sync is at work they are its own. `note`: which
    project they are of. `first`: no sync has completed yet.
    """

    holder: str | None = None
    commit: bool = False
    segments: int = 0
    segment_bytes: int = 0
    note: SyncNote | None = None
    first: bool = False

    @property
    def unfinished(self) -> bool:
        """Say whether a sync is at work or has left anything."""
        return self.holder is not None or self.commit or self.segments > 0


def look_beside(folder: Path) -> Presence:
    """Look at the hidden files of an export. A file that cannot be read counts as missing."""
    sizes = _segment_sizes(folder / STAGING_FOLDER)
    commit = os.path.lexists(folder / RECORD_FILE)
    return Presence(
        holder=_holder_at_work(folder),
        commit=commit,
        segments=len(sizes),
        segment_bytes=sum(sizes),
        note=read_note(folder / STAGING_FOLDER),
        first=not any(os.path.lexists(folder / name) for name in _decisive_files(commit)),
    )


def first_sync_of(name: str, folder: Path) -> NoSyncYet | None:
    """Return a failure if no sync has completed, and one is at work or was interrupted."""
    beside = look_beside(folder)
    if not (beside.first and beside.unfinished):
        return None
    note = beside.note
    return NoSyncYet(
        path=clean_text(str(folder)),
        name=name,
        project="" if note is None else f"{note.entity}/{note.project}",
        holder=beside.holder,
        commit=beside.commit,
        parts=beside.segments,
        bytes=beside.segment_bytes,
    )


def _decisive_files(commit: bool) -> tuple[str, ...]:
    """Return the files of which a folder has none before a sync has completed.

    The first commit puts the data files in place before manifest and state.
    """
    return (MANIFEST_FILE, STATE_FILE) if commit else file_order()


def _segment_sizes(staging: Path) -> list[int]:
    sizes: list[int] = []
    with suppress(OSError), os.scandir(staging) as entries:
        for entry in entries:
            if entry.name.endswith(SEGMENT_SUFFIX):
                with suppress(OSError):  # the sync at work has removed it
                    sizes.append(entry.stat().st_size)
    return sizes


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
