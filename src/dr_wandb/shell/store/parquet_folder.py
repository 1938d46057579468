"""The folder of the Parquet files of the history: exchanged as a whole, made and removed.

Rules
- The new folder has hard links of the files that stay, and nothing of it is copied. Until the
  exchange no staged file is moved, so it can be done again after a crash.
- The new folder is complete only for the moment of the exchange: DuckDB and Polars read files named
  `.parquet` in hidden folders too.
- A file that is not ours stays in the folder.
"""

import errno
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from dr_wandb.core.contract.export_files import (
    PARQUET_FOLDERS,
    PARQUET_HISTORY,
    is_parquet,
    is_parquet_history,
)
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.shell.store import disk

NEW_FOLDER = "new-parquet"
"""The folder in the staging folder that is exchanged with the visible one."""

_CANNOT_LINK = frozenset({errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP, errno.ENOSYS})


class ParquetFiles(NamedTuple):
    """The Parquet files of an export, each by its path there.

    `files` are all of them, `staged` the new ones in the staging folder, `gone` those that go.
    `digests` are those of the cells of the runs that were looked at.
    """

    files: dict[str, DataFile]
    staged: dict[str, Path]
    gone: frozenset[str]
    digests: Mapping[str, str] = {}


def find_parquet(folder: Path) -> frozenset[str]:
    """Return the Parquet files in an export, whether or not its manifest has them.

    Files with other names are not ours.
    """
    paths = (path for name in PARQUET_FOLDERS for path in _inside(folder / name))
    return frozenset(filter(is_parquet, (path.relative_to(folder).as_posix() for path in paths)))


def _inside(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.exists() else iter(())


def make_folders(folder: Path, names: Iterable[str]) -> None:
    """Make the folders that files with these names need. They last before a file is moved there."""
    needed = tuple(filter(is_parquet, names))
    for parent in PARQUET_FOLDERS:
        path = folder / parent
        if any(name.startswith(f"{parent}/") for name in needed) and not path.exists():
            disk.make_folder(path)
            disk.sync_folder(path.parent)


def exchange_folder(
    folder: Path, staged: Mapping[str, Path], gone: Iterable[str], staging: Path
) -> frozenset[str]:
    """Put all Parquet files of the history in place at once; return their names.

    staged: the new files, by name. gone: the names of files that go. Returns nothing, and nothing
    has changed, if there is a single change, which needs no exchange, or if the system cannot.
    """
    coming = {name: path for name, path in staged.items() if is_parquet_history(name)}
    going = {name for name in gone if is_parquet_history(name)}
    if not coming or len(coming) + len(going) == 1:
        return frozenset()
    live, new = folder / PARQUET_HISTORY, staging / NEW_FOLDER
    disk.remove_folder(new)
    disk.make_folder(new)
    files = {f"{PARQUET_HISTORY}/{path.name}": path for path in live.iterdir()}
    files = {name: path for name, path in files.items() if name not in going} | coming
    if not _link(files, new):
        return frozenset()
    disk.sync_folder(new)
    exchanged = disk.exchange(new, live)
    if exchanged:  # it lasts before files that only the old folder has are removed
        disk.sync_folder(live.parent)
        disk.sync_folder(staging)
    disk.remove_folder(new)
    return frozenset(coming) if exchanged else frozenset()


def _link(files: Mapping[str, Path], new: Path) -> bool:
    """Link files into a new folder; say whether the file system can do that."""
    for path in files.values():
        if path.is_dir():
            return False
    for name, path in files.items():
        try:
            disk.link(path, new / Path(name).name)
        except OSError as error:
            if error.errno in _CANNOT_LINK:
                disk.remove_folder(new)
                return False
            raise
    return True


def remove_empty_folders(folder: Path) -> None:
    """Remove the folders of Parquet files that are empty: an export without any has none."""
    for name in reversed(PARQUET_FOLDERS):
        disk.remove_empty_folder(folder / name)


def sync_folders(folder: Path) -> None:
    """Make the names in an export survive a power cut."""
    for name in reversed(PARQUET_FOLDERS):
        if (folder / name).exists():
            disk.sync_folder(folder / name)
    disk.sync_folder(folder)
