"""Put new files in place, all or none, even if the process is killed in between.

Rules
- New files are complete and durable in the staging folder before any visible file changes.
- The commit record, durable too, lists them. From then on the commit is decided: a later start
  that finds the record finishes it, if every new file still matches the record.
- Files are renamed in the order of `in_commit_order`, the state last. A file that would not change
  is not touched. Files that go are removed after that. Then the record is removed.
- The names of data files last before the manifest gets its name, and all names before anything is
  removed. So a power cut leaves a manifest whose files are there, on any file system.
- If several Parquet files of the history differ, their folder is exchanged as a whole, so that a
  reader of the folder sees each run once (parquet_folder.py). If the system cannot do that,
  those that go are removed first, and the others renamed one by one, packs before own files of
  runs: rows are absent for a moment, which the manifest shows, rather than there twice.
- Files of tables that go are removed first too, if others come: a run may have moved.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from dr_wandb.core.contract.export_files import (
    MANIFEST_FILE,
    in_commit_order,
    is_committed,
    is_parquet_history,
    is_table,
)
from dr_wandb.core.contract.failures import DamagedFile, DrWandbError, Unfinished
from dr_wandb.core.contract.records import Record
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.parquet_folder import (
    exchange_folder,
    make_folders,
    remove_empty_folders,
    sync_folders,
)

STAGING_FOLDER = ".staging"
"""Segments and new files. It survives a crash and is removed when a sync succeeds."""

RECORD_FILE = ".commit.json"


class StagedFile(Record, frozen=True, kw_only=True):
    """A new file in the staging folder: its final name, size and digest."""

    name: str
    staged: str
    bytes: int
    sha256: str


class CommitRecord(Record, frozen=True, kw_only=True):
    """The files of one commit, in the order of their renames, and the names of those that go."""

    files: tuple[StagedFile, ...]
    gone: tuple[str, ...] = ()


def stage_document(folder: Path, name: str, content: bytes) -> StagedFile:
    """Write a small new file into the staging folder."""
    staged = folder / STAGING_FOLDER / name
    disk.write_file(staged, content)
    return describe_staged(folder, name, staged, hashlib.sha256(content).hexdigest())


def describe_staged(folder: Path, name: str, staged: Path, sha256: str) -> StagedFile:
    """Describe a file in the staging folder that is to become `name`."""
    return StagedFile(
        name=name,
        staged=str(staged.relative_to(folder)),
        bytes=staged.stat().st_size,
        sha256=sha256,
    )


def commit(folder: Path, staged: Mapping[str, StagedFile], gone: Iterable[str] = ()) -> None:
    """Put the staged files in place. A commit without any does nothing.

    gone: names of files that are removed then.
    """
    if not staged:
        return
    files = tuple(staged[name] for name in in_commit_order(staged))
    record = CommitRecord(files=files, gone=tuple(sorted(gone)))
    for one in (folder / STAGING_FOLDER, folder):  # the record must not last without these
        disk.sync_folder(one)
    disk.replace_file(folder / RECORD_FILE, msgspec.json.encode(record) + b"\n")
    _apply(folder, record.files, record.gone)


def roll_forward(folder: Path) -> bool:
    """Finish the commit that a crash interrupted. Returns whether there was one.

    Raises DrWandbError if it cannot be finished; then nothing was renamed.
    """
    path = folder / RECORD_FILE
    try:
        record = msgspec.json.decode(path.read_bytes(), type=CommitRecord)
    except FileNotFoundError:
        return False
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    _apply(folder, tuple(_pending(folder, record)), record.gone)
    return True


def next_manifest(folder: Path) -> Path | None:
    """Return the staged manifest of a commit that is decided and not finished, None without one."""
    try:
        record = msgspec.json.decode((folder / RECORD_FILE).read_bytes(), type=CommitRecord)
    except (OSError, ValueError, RecursionError):
        return None
    staged = (_paths_of(folder, one)[0] for one in record.files if one.name == MANIFEST_FILE)
    return next(staged, None)


def _pending(folder: Path, record: CommitRecord) -> Iterator[StagedFile]:
    """Yield the files that are not in place yet; raise DrWandbError if one is incomplete."""
    for name in (*(entry.name for entry in record.files), *record.gone):
        if not is_committed(name):
            raise _damaged(folder / RECORD_FILE, f"it names {name!r}")
    for entry in record.files:
        staged, target = _paths_of(folder, entry)
        if _is_staged(staged, entry) and disk.sha256_of(staged) == entry.sha256:
            yield entry
        elif disk.sha256_of(target) != entry.sha256:
            raise _damaged(target, "a commit was interrupted, and the new file is missing")


def _paths_of(folder: Path, entry: StagedFile) -> tuple[Path, Path]:
    return folder / STAGING_FOLDER / Path(entry.staged).name, folder / entry.name


def _is_staged(staged: Path, entry: StagedFile) -> bool:
    return staged.is_file() and not staged.is_symlink() and staged.stat().st_size == entry.bytes


def _apply(folder: Path, files: Sequence[StagedFile], gone: Sequence[str]) -> None:
    paths = {entry.name: _paths_of(folder, entry) for entry in files}
    try:
        make_folders(folder, paths)
        staged = {name: of_staged for name, (of_staged, _) in paths.items()}
        exchanged = exchange_folder(folder, staged, gone, folder / STAGING_FOLDER)
        for is_kind in (is_parquet_history, is_table):
            if any(map(is_kind, paths.keys() - exchanged)):
                _remove(folder, filter(is_kind, gone))
        for name, (of_staged, target) in paths.items():
            if name == MANIFEST_FILE:
                sync_folders(folder)
            if name not in exchanged:
                disk.rename(of_staged, target)
        if gone:
            sync_folders(folder)
        _remove(folder, gone)
        remove_empty_folders(folder)
        sync_folders(folder)
        disk.remove(folder / RECORD_FILE)
        disk.sync_folder(folder)
    except OSError as error:
        path, reason = str(error.filename2 or error.filename or folder), error.strerror
        raise DrWandbError(Unfinished(path=path, reason=reason or str(error))) from error


def _remove(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        disk.remove(folder / name)


def _damaged(path: Path, reason: str) -> DrWandbError:
    remedy = f"remove {RECORD_FILE} beside it and sync again: what differs is read again"
    return DrWandbError(DamagedFile(path=str(path), reason=reason, remedy=remedy))
