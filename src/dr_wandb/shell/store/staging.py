"""The hidden folder in which a sync prepares the files of its commit.

It survives a crash: the next sync uses the complete segments in it if they still answer its
questions, and the lines of files that say so by their suffix. A note beside the segments says which
project they are of. Everything else in it is written again. A sync that ends well removes it, with
the exception of notes that a later sync may need. Cleaning up never hides why a sync ended.
"""

import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from dr_wandb.core.contract.export_files import (
    CHANGES_OF_STORE_FILE,
    PARQUET_FOLDERS,
    STORE_FILE,
    file_order,
)
from dr_wandb.core.contract.records import Record
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.blobs import blobs_folder
from dr_wandb.shell.store.checked_files import CHECKED_FILE
from dr_wandb.shell.store.commit import RECORD_FILE, STAGING_FOLDER, roll_forward
from dr_wandb.shell.store.guards import (
    require_own_file,
    require_own_folder,
    require_visible_file,
    require_visible_folder,
)

SEGMENT_SUFFIX = ".segment"

KEPT_SUFFIX = ".kept"
"""Files of lines, each of which a later sync may use by itself."""

LASTING_SUFFIX = ".notes"
"""Files of lines that also stay when a sync ends well, until whoever wrote them removes them."""

_STAY = (SEGMENT_SUFFIX, KEPT_SUFFIX, LASTING_SUFFIX)

NOTE_FILE = "sync.json"


class SyncNote(Record, frozen=True, kw_only=True):
    """The project of the segments beside it, and when the first of the syncs began that left them.

    Only people read it: no sync depends on it.
    """

    entity: str
    project: str
    since: str


def write_note(staging: Path, note: SyncNote) -> None:
    """Write the note of a sync, unless an earlier one of the same project left segments.

    It is neither durable nor needed: a disk that refuses it does not end a sync.
    """
    earlier = read_note(staging)
    if earlier is None or (earlier.entity, earlier.project) != (note.entity, note.project):
        with suppress(OSError):
            (staging / NOTE_FILE).write_bytes(msgspec.json.encode(note) + b"\n")


def read_note(staging: Path) -> SyncNote | None:
    """Read the note of a sync, None if there is none or it does not read."""
    try:
        return msgspec.json.decode((staging / NOTE_FILE).read_bytes(), type=SyncNote)
    except (OSError, ValueError, RecursionError):
        return None


def finish_interrupted(folder: Path) -> None:
    """Finish the commit that a crash interrupted, if there is one.

    Raises DrWandbError if something else is at a path that this export needs.
    """
    for name in (RECORD_FILE, CHECKED_FILE, STORE_FILE, CHANGES_OF_STORE_FILE):
        require_own_file(folder / name)
        require_own_file(disk.part_of(folder / name))
    require_own_folder(folder / STAGING_FOLDER)
    for name in file_order():
        require_visible_file(folder / name)
    for name in PARQUET_FOLDERS:
        require_visible_folder(folder / name)
    blobs_folder(folder)
    if roll_forward(folder):
        LOGGER.info("finished the commit of an interrupted sync")


@contextmanager
def staging(folder: Path, *, keep_segments: bool = False) -> Iterator[Path]:
    """Yield the staging folder of an export, holding only complete segments of earlier syncs.

    It is removed when the sync succeeds, unless it has lasting notes. If the sync does not succeed,
    its complete segments stay. keep_segments: they stay in any case, for the next sync.
    """
    path = folder / STAGING_FOLDER
    path.mkdir(exist_ok=True)
    _clear(path)
    try:
        yield path
    except BaseException:
        with suppress(OSError):
            if not (folder / RECORD_FILE).exists():  # a decided commit still needs its files
                _remove_all_but_segments(path)
        raise
    if keep_segments:
        with suppress(OSError):
            _remove_all_but_segments(path)
    elif any(path.glob(f"*{LASTING_SUFFIX}")):
        with suppress(OSError):
            _clear(path, (LASTING_SUFFIX,))
    else:
        shutil.rmtree(path, ignore_errors=True)


def unfinished_bytes(staging: Path) -> int:
    """Return the size of everything in the folder that does not stay if the sync ends now."""
    size = 0
    for folder, _, names in os.walk(staging):
        for name in names:
            path = Path(folder, name)
            if path.parent != staging or path.suffix not in _STAY:
                with suppress(OSError):  # another thread has removed it
                    size += path.lstat().st_size
    return size


def _remove_all_but_segments(staging: Path) -> None:
    _clear(staging)
    if not any(staging.iterdir()):
        staging.rmdir()


def _clear(staging: Path, stay: Collection[str] = _STAY) -> None:
    """Remove everything except files with these suffixes, and the note if there are segments."""
    note: Path | None = None
    segments = False
    for path in staging.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif not path.is_symlink() and path.suffix in stay:
            segments = segments or path.suffix == SEGMENT_SUFFIX
        elif path.name == NOTE_FILE and not path.is_symlink():
            note = path
        else:
            path.unlink(missing_ok=True)
    if note is not None and not segments:
        note.unlink(missing_ok=True)
