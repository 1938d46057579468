"""Check the Parquet files that a manifest names before and while they are read.

Rules
- A name from the manifest is used only if it has the form of such a file; no link is followed.
- A file is read only if it has the SHA-256 in the manifest: a damaged one could crash its reader.
- Errors of Arrow about the contents are damage, and name the file.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from dr_wandb.core.contract.export_files import (
    MANIFEST_FILE,
    PARQUET_HISTORY,
    is_parquet_history,
)
from dr_wandb.core.contract.failures import DamagedFile, DrWandbError, InTheWay
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.disk_errors import disk_refusals

REMEDY = "restore it from a copy, or sync again: it is made again, from what is held or from W&B"

_OWN = re.compile(r".*-run-(?P<digest>[0-9a-f]{32})-(?P<number>[0-9]+)\.parquet")


class DescribedFile(NamedTuple):
    """A Parquet file, as the manifest describes it.

    number: of the part, if it is a run's own file; `digest` is that of the run id then, else "".
    """

    path: Path
    described: DataFile
    digest: str = ""
    number: int = 0

    @property
    def first_digit(self) -> str:
        """Return the digit that the digests of all runs of a pack begin with."""
        return self.path.stem[-1]


def history_files(folder: Path, manifest: ExportManifest) -> list[DescribedFile]:
    """Return the Parquet files of the history that a manifest names, by name.

    Raises DrWandbError if it names a file that cannot be one of them.
    """
    return [
        history_file(folder, name, described)
        for name, described in sorted(manifest.files.items())
        if name.startswith(f"{PARQUET_HISTORY}/")
    ]


def history_file(folder: Path, name: str, described: DataFile) -> DescribedFile:
    """Return a Parquet file of the history by its name in a manifest.

    Raises DrWandbError if that cannot be the name of one.
    """
    if not is_parquet_history(name):
        reason = f"it names {name!r}, which cannot be a file of an export"
        raise damaged(folder / MANIFEST_FILE, reason)
    own = _OWN.fullmatch(name)
    digest, number = ("", 0) if own is None else (own["digest"], int(own["number"]))
    return DescribedFile(folder / name, described, digest, number)


@contextmanager
def reading(file: DescribedFile) -> Iterator[None]:
    """Check a file, and report what is wrong with it as damage that names it."""
    path = file.path
    try:
        with disk_refusals(path):
            _require_as_described(file)
            try:
                yield
            except OSError as error:
                if error.errno is None:  # Arrow's errors about the contents
                    raise ValueError(str(error)) from None
                raise
    except DrWandbError:
        raise
    except (pa.ArrowException, ValueError, LookupError, TypeError, OverflowError) as error:
        raise damaged(path, str(error)) from None


def _require_as_described(file: DescribedFile) -> None:
    """Raise DrWandbError if a file is not there, or is not the one that the manifest describes."""
    path = file.path
    for part in (path.parent.parent, path.parent, path):
        if part.is_symlink():
            wanted = "a file" if part == path else "a folder"
            raise DrWandbError(InTheWay(path=str(part), found="a link", wanted=wanted))
    if not path.exists():
        raise damaged(path, "the file is missing")
    status = path.stat()
    look = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)
    if _sha256_once(path, *look) != file.described.sha256:
        reason = f"it is not the file that {MANIFEST_FILE} describes"
        raise damaged(path, reason)


@lru_cache(maxsize=1024)
def _sha256_once(path: Path, *_look: int) -> str:
    return disk.sha256_of(path)


def damaged(path: Path, reason: str) -> DrWandbError:
    """Return the error for a file that cannot be used."""
    return DrWandbError(DamagedFile(path=str(path), reason=reason, remedy=REMEDY))
