"""Errors of an SQLite file, reported like those of any other file of an export."""

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dr_wandb.core.contract.failures import DamagedFile, DrWandbError

_ERRORS_OF_DISK = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_IOERR: errno.EIO,
    sqlite3.SQLITE_CANTOPEN: errno.EIO,
    sqlite3.SQLITE_PERM: errno.EACCES,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_NOMEM: errno.ENOMEM,
}


@contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Raise SQLite's errors about the disk as OSError, and all others as damage of the file."""
    try:
        yield
    except sqlite3.Error as error:
        code = _ERRORS_OF_DISK.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
        if code is not None:
            raise OSError(code, str(error), str(path)) from error
        raise _damaged(path, error) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> DrWandbError:
    remedy = "remove the file and sync again"
    return DrWandbError(DamagedFile(path=str(path), reason=str(error), remedy=remedy))
