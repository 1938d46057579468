"""Errors of the disk: a failed operation, or too little free space for new files.

Either becomes a failure that names the path.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dr_wandb.core.contract.failures import DiskRefused, DrWandbError
from dr_wandb.core.contract.wording import size_in_words

RESERVE_BYTES = 1 << 20
"""For the small files of a commit, beside the data files."""


@contextmanager
def disk_refusals(path: Path, *, exactly: bool = False) -> Iterator[None]:
    """Turn an OSError into a DrWandbError that names a path.

    exactly: name the path in the error, if it has one.
    """
    try:
        yield
    except DrWandbError:
        raise  # some of them are an OSError as well
    except OSError as error:
        named = str((exactly and error.filename) or path)
        reason = error.strerror or str(error)
        raise DrWandbError(DiskRefused(path=named, reason=reason)) from error


def require_space(folder: Path, needed_bytes: int) -> None:
    """Raise DrWandbError if new files of `needed_bytes` will not fit."""
    if not needed_bytes:
        return
    needed = needed_bytes + RESERVE_BYTES
    missing = needed - shutil.disk_usage(folder).free
    if missing > 0:
        more = f"{size_in_words(missing)} more than is free"
        reason = f"the new files need {size_in_words(needed)}, {more}"
        raise DrWandbError(DiskRefused(path=str(folder.parent), reason=reason))
