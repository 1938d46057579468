"""Put new files in place, all or none, whatever happens in between.

Rules
- New files are whole and durable in the staging folder before anything is touched.
- The commit record, durable too, says what they are; from then on the commit is decided, and a
  start that finds the record rolls it forward.
- Files are renamed in the order of `ORDER`, the state last. A file that would not change is left
  alone. Then the record goes.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from dr_wandb.core.failures import DamagedFile, DrWandbError
from dr_wandb.core.manifest import HISTORY_FILE, MANIFEST_FILE, RUNS_FILE, STATE_FILE
from dr_wandb.core.records import Record
from dr_wandb.shell import disk

STAGING_FOLDER = ".staging"
"""Segments and new files. It survives a crash and goes when a sync has ended well."""

RECORD_FILE = ".commit.json"

ORDER = (HISTORY_FILE, RUNS_FILE, "changes.jsonl", MANIFEST_FILE, STATE_FILE)


class StagedFile(Record, frozen=True, kw_only=True):
    """A new file in the staging folder: where it goes, and what it must be."""

    name: str
    staged: str
    bytes: int
    sha256: str


class CommitRecord(Record, frozen=True, kw_only=True):
    """The files of one commit, in the order of their renames."""

    files: tuple[StagedFile, ...]


def stage_document(folder: Path, name: str, content: bytes) -> StagedFile:
    """Write a small new file into the staging folder."""
    staged = folder / STAGING_FOLDER / name
    disk.write_file(staged, content)
    return describe_staged(folder, name, staged)


def describe_staged(folder: Path, name: str, staged: Path, sha256: str = "") -> StagedFile:
    """Describe a file that lies in the staging folder and is to become `name`."""
    return StagedFile(
        name=name,
        staged=str(staged.relative_to(folder)),
        bytes=staged.stat().st_size,
        sha256=sha256 or disk.sha256_of(staged),
    )


def commit(folder: Path, staged: Mapping[str, StagedFile]) -> None:
    """Put the staged files in place. An empty commit does nothing."""
    if not staged:
        return
    record = CommitRecord(files=tuple(staged[name] for name in ORDER if name in staged))
    disk.sync_folder(folder / STAGING_FOLDER)
    disk.replace_file(folder / RECORD_FILE, msgspec.json.encode(record) + b"\n")
    _apply(folder, record)


def roll_forward(folder: Path) -> bool:
    """Finish the commit that a crash interrupted. Returns whether there was one."""
    path = folder / RECORD_FILE
    try:
        record = msgspec.json.decode(path.read_bytes(), type=CommitRecord)
    except FileNotFoundError:
        return False
    except msgspec.DecodeError as error:
        raise _damaged(path, str(error)) from None
    _apply(folder, record)
    return True


def _apply(folder: Path, record: CommitRecord) -> None:
    for entry in record.files:
        if entry.name not in ORDER:
            raise _damaged(folder / RECORD_FILE, f"it names {entry.name!r}")
        staged, target = folder / STAGING_FOLDER / Path(entry.staged).name, folder / entry.name
        if staged.exists() and staged.stat().st_size == entry.bytes:
            disk.rename(staged, target)
        elif disk.sha256_of(target) != entry.sha256:
            raise _damaged(target, "a commit was interrupted, and its new content is gone")
    disk.sync_folder(folder)
    disk.remove(folder / RECORD_FILE)
    disk.sync_folder(folder)


def _damaged(path: Path, reason: str) -> DrWandbError:
    remedy = f"remove {RECORD_FILE} beside it and sync again: what differs is read anew"
    return DrWandbError(DamagedFile(path=str(path), reason=reason, remedy=remedy))
