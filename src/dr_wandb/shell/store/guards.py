"""Check what is at the paths of an export before any of them is read or changed.

Rules
- An export is inside its data root. A name that is a link out of it is refused, so that nothing is
  written to an unexpected folder; a data root that is a link itself is allowed.
- A link that has a hidden name of ours is removed, never followed.
- Only a file is read or replaced as a file, and only a folder is emptied as a folder. Anything
  else at such a path is an error that names it.
- A visible file that is a link is read through it, and a commit puts a file in its place. A link
  whose target is missing does not count as a missing file.
"""

import errno
import os
import stat
from pathlib import Path

from dr_wandb.core.contract.failures import DamagedFile, DrWandbError, InTheWay, LeadsOutside

DANGLING = "it is a link to a file that is missing"
RESTORE_TARGET = (
    "restore that file; or remove the link and sync again, which reads what W&B still has"
)


def require_folder(folder: Path) -> None:
    """Refuse the path of an export if it is not a folder, or is a link out of its data root."""
    there = (path for path in (folder, *folder.parents) if os.path.lexists(path))
    nearest = next(there, None)
    if nearest is not None and not nearest.is_dir():
        found = "a file" if nearest.exists() else "a link whose target is missing"
        raise DrWandbError(InTheWay(path=str(nearest), found=found, wanted="a folder"))
    if folder.is_symlink() and folder.parent.resolve() not in folder.resolve().parents:
        raise DrWandbError(LeadsOutside(path=str(folder), target=str(folder.resolve())))


def require_own_file(path: Path) -> None:
    """Make sure that a hidden file of ours can be read, replaced and removed."""
    mode = _mode_of(path, through_links=False)
    if mode is not None and stat.S_ISLNK(mode):
        path.unlink(missing_ok=True)
    elif mode is not None:
        _require_file(path, mode)


def require_own_folder(path: Path) -> None:
    """Make sure that a hidden folder of ours can be emptied and removed."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    if path.exists() and not path.is_dir():
        raise DrWandbError(InTheWay(path=str(path), found="a file", wanted="a folder"))


def require_visible_folder(path: Path) -> None:
    """Make sure that files can be put into a visible folder of an export, or that it can be made.

    A link is refused: files are exchanged with those of the export as a whole, and removed.
    """
    mode = _mode_of(path, through_links=False)
    if mode is not None and not stat.S_ISDIR(mode):
        found = "a link" if stat.S_ISLNK(mode) else "a file"
        raise DrWandbError(InTheWay(path=str(path), found=found, wanted="a folder"))


def require_visible_file(path: Path) -> None:
    """Make sure that a visible file, if there is one, can be read and replaced."""
    mode = _mode_of(path, through_links=True)
    if mode is not None:
        _require_file(path, mode)
    elif path.is_symlink():
        raise DrWandbError(DamagedFile(path=str(path), reason=DANGLING, remedy=RESTORE_TARGET))


def _mode_of(path: Path, *, through_links: bool) -> int | None:
    """Return what is at a path, None for nothing: one look, since a sync has many such paths."""
    try:
        return path.stat(follow_symlinks=through_links).st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise


def _require_file(path: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        found = "a folder" if stat.S_ISDIR(mode) else "not a regular file"
        raise DrWandbError(InTheWay(path=str(path), found=found, wanted="a file"))
