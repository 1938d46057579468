"""Errors of the disk: a failed operation, or too little free space for new files.

Either becomes a failure that names the path, and of a full disk says what is needed and free.
"""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from dr_wandb.core.contract.failures import DiskRefused, DrWandbError

RESERVE_BYTES = 1 << 20
"""For the small files of a commit, beside the data files."""

TOO_SMALL = "there is too little space for the new files"


class SpaceNeed(NamedTuple):
    """How much free space is needed to go on, None if it is not known, and what is kept if not.

    removed: bytes of unfinished files, which will be free when the sync has ended.
    """

    bytes: int | None
    estimated: bool = False
    removed: int = 0
    parts: int = 0
    part_bytes: int = 0


@contextmanager
def disk_refusals(path: Path, *, exactly: bool = False, again: str = "sync") -> Iterator[None]:
    """Turn an OSError into a DrWandbError that names a path.

    exactly: name the path in the error, if it has one. again: what to do once that is fixed.
    """
    try:
        yield
    except DrWandbError:
        raise  # some of them are an OSError as well
    except OSError as error:
        named = str((exactly and error.filename) or path)
        refusal = _refusal(named, path, error, SpaceNeed(None))
        raise DrWandbError(replace(refusal, again=again)) from error


@contextmanager
def full_disk_needs(folder: Path, need: Callable[[], SpaceNeed]) -> Iterator[None]:
    """Turn the error of a full disk into a DrWandbError that says what is needed.

    need: called if the disk is full. Other errors are raised as they are.
    """
    try:
        yield
    except DrWandbError:
        raise
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        named = str(error.filename or folder)
        raise DrWandbError(_refusal(named, folder, error, need())) from error


def _refusal(named: str, folder: Path, error: OSError, need: SpaceNeed) -> DiskRefused:
    free = free_bytes(folder) if error.errno == errno.ENOSPC else None
    return DiskRefused(
        path=named,
        reason=error.strerror or str(error),
        needed_bytes=need.bytes,
        free_bytes=None if free is None else free + need.removed,
        estimated=need.estimated,
        parts=need.parts,
        part_bytes=need.part_bytes,
    )


def free_bytes(folder: Path) -> int | None:
    """Return the free space of the disk of a folder, which need not exist; None if not known."""
    for path in (folder, *folder.parents):
        try:
            return shutil.disk_usage(path).free
        except FileNotFoundError:
            continue
        except OSError:
            break
    return None


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raise DrWandbError if new files of `needed_bytes` will not fit."""
    if not needed_bytes:
        return
    needed, free = needed_bytes + RESERVE_BYTES, shutil.disk_usage(folder).free
    if needed > free:
        path = str(folder.parent)
        raise DrWandbError(
            DiskRefused(path=path, reason=TOO_SMALL, needed_bytes=needed, free_bytes=free)
        )
