"""Find the run files below a folder: one for each time that a run was started or resumed.

`wandb/` holds `run-<time>-<id>` and `offline-run-<time>-<id>`, each with `run-<id>.wandb`, and a
link `latest-run` to one of them (wandb 0.10 to 0.31); `core/offline/old_folder.py` describes what
SDKs before that wrote. A folder that holds a `.wandb` file is not such an old folder.

Rules
- Links to folders are not followed. A file with several names is one file, except the history of
  an old folder: only the name of the folder says whose history it is.
- A file with the name of a run file that cannot be read as one is found too, with the reason.
- In a run folder with a `.wandb` file, the SDK's own folders are not searched.
- Nothing is opened: a pipe would block. Of a link only the target is read.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.values import clean_text
from dr_wandb.core.offline.old_folder import BESIDE, HISTORY, name_run
from dr_wandb.core.offline.pointers import STAND_INS, dead_link
from dr_wandb.shell.sources.offline.forms import OldFolder, RunFile, WandbFile
from dr_wandb.shell.sources.offline.run_files import SUFFIX, folder_name, run_id_of

_RUN_FOLDER = re.compile(r"(?:offline-|dry)?run-\d{8}_\d{6}-(.+)", re.DOTALL)
_OLD_FILES = BESIDE | {HISTORY}

_OWN_FOLDERS = frozenset({"files", "logs", "tmp"})
"""Folders that the SDK creates beside the run file. They may hold many files."""


class OutOfReach(NamedTuple):
    """A file, or a folder, that should hold runs and cannot be read.

    name: its path below the searched folder. shown: the full path, as text. run_id: of the run,
    None if no name contains it. reason: continues a sentence that begins with the path.
    """

    name: str
    shown: str
    run_id: str | None
    reason: str


class Discovery(NamedTuple):
    """The run files below a folder, in the order of their names.

    hollow: the names of run folders that hold no run file.
    """

    files: list[RunFile]
    out_of_reach: list[OutOfReach]
    hollow: list[str]


def discover(folder: Path) -> Discovery:
    """Find all run files below a folder. Raises InvalidRequestError if there is no folder."""
    try:
        mode = folder.stat().st_mode
        if stat.S_ISDIR(mode):
            os.scandir(folder).close()
        elif not stat.S_ISREG(mode):
            raise _no_folder(folder, f": it {_no_file(mode)}")
    except (FileNotFoundError, NotADirectoryError) as error:
        link = f": it {_why(str(folder), error)}" if folder.is_symlink() else ""
        raise _no_folder(folder, link) from error
    except OSError as error:
        raise InvalidRequestError([f"{clean_text(str(folder))} {why(error)}"]) from error
    files: dict[tuple[int, int, str], RunFile] = {}
    out_of_reach, hollow = [], []
    for candidate in sorted(_candidates(folder), key=_by_names):
        if candidate.reason is not None:
            shown = clean_text(candidate.path)
            out_of_reach.append(
                OutOfReach(candidate.name, shown, candidate.run_id, candidate.reason)
            )
        elif candidate.file is None:
            hollow.append(candidate.name)
        else:
            called = candidate.file.called if isinstance(candidate.file, OldFolder) else ""
            files.setdefault((*candidate.inode, called), candidate.file)
    return Discovery(list(files.values()), out_of_reach, hollow)


def _no_folder(folder: Path, reason: str) -> InvalidRequestError:
    problem = f"there is no folder {clean_text(str(folder))} with offline runs{reason}"
    return InvalidRequestError([problem])


def links_in(folder: Path) -> list[str]:
    """Return the names of the links to folders in a folder, which are not followed."""
    with os.scandir(folder) as listed:
        links = [entry.name for entry in listed if _links_to_folder(entry)]
    return sorted(map(clean_text, links))


def _links_to_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:  # the link points to itself
        return False


class _Candidate(NamedTuple):
    """A path with a run file, with none (`file` is None), or with one that cannot be read."""

    path: str
    name: str
    file: RunFile | None = None
    inode: tuple[int, int] = (0, 0)
    reason: str | None = None
    run_id: str | None = None


def _by_names(candidate: _Candidate) -> str:
    """Order candidates by the names of their paths: no name has a sign before this one."""
    return candidate.path.replace("/", "\0")


def _candidates(folder: Path) -> Iterator[_Candidate]:
    top = str(folder)
    if folder.is_file():
        yield from _one_file(folder)
        return
    waiting = [top]
    while waiting:
        inside = waiting.pop()
        below = inside[len(top) :].lstrip("/")
        try:
            with os.scandir(inside) as listed:
                entries = list(listed)
        except OSError as error:
            yield _closed_folder(inside, below, error)
            continue
        old: list[os.DirEntry[str]] = []
        inner: list[os.DirEntry[str]] = []
        found = False
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                inner.append(entry)
            elif entry.name.endswith(SUFFIX):
                candidate = _look_at(entry, below)
                if candidate is not None:
                    found = True
                    yield candidate
            elif entry.name in _OLD_FILES:
                old.append(entry)
            elif f"{SUFFIX}." in entry.name and _stands_in(entry.name, entries):
                found = True
                yield _stand_in(entry.path, below)
        is_run = found and _RUN_FOLDER.fullmatch(inside.rpartition("/")[2])
        waiting += [entry.path for entry in inner if not is_run or entry.name not in _OWN_FOLDERS]
        if not found:
            yield from _old_or_hollow(inside, below, old)


def _one_file(path: Path) -> Iterator[_Candidate]:
    if path.name == HISTORY:
        with os.scandir(path.parent) as listed:
            entries = [entry for entry in listed if entry.name in _OLD_FILES]
        yield _look_at_old(str(path.parent), "", entries)
        return
    instead, _, suffix = path.name.rpartition(".")
    if instead.endswith(SUFFIX) and suffix in STAND_INS:
        yield _stand_in(str(path), "")
        return
    status = path.stat()
    yield _wandb_file(str(path), clean_text(path.name), status)


def _wandb_file(path: str, name: str, status: os.stat_result) -> _Candidate:
    file = WandbFile(
        name=name,
        location=path,
        size=status.st_size,
        modified_ns=status.st_mtime_ns,
        inode=status.st_ino,
        changed_ns=status.st_ctime_ns,
    )
    return _Candidate(path, name, file, (status.st_dev, status.st_ino))


def _look_at(entry: os.DirEntry[str], below: str) -> _Candidate | None:
    """Look at an entry with the name of a run file; None for a link to a folder."""
    name = _join(below, entry.name)
    try:
        status = entry.stat()
    except OSError as error:
        why_not = _why(entry.path, error)
        return _Candidate(entry.path, name, reason=why_not, run_id=run_id_of(entry.path))
    if stat.S_ISREG(status.st_mode):
        return _wandb_file(entry.path, name, status)
    if stat.S_ISDIR(status.st_mode):
        return None
    return _Candidate(
        entry.path, name, reason=_no_file(status.st_mode), run_id=run_id_of(entry.path)
    )


def _old_or_hollow(path: str, below: str, old: Sequence[os.DirEntry[str]]) -> Iterator[_Candidate]:
    """Yield a folder without a `.wandb` file if an old SDK wrote it, or if it is hollow."""
    called = _RUN_FOLDER.fullmatch(folder_name(path))
    if old and (called is not None or any(entry.name == HISTORY for entry in old)):
        yield _look_at_old(path, below, old)
    elif called is not None:
        yield _Candidate(path, clean_text(below))


def _look_at_old(path: str, below: str, entries: Sequence[os.DirEntry[str]]) -> _Candidate:
    """Look at a folder of an old SDK, by the sizes and times of its files."""
    location, name = f"{path}/{HISTORY}", _join(below, HISTORY)
    run_id = name_run(folder_name(path), None).run_id
    history: os.stat_result | None = None
    beside, written_ns = [], 0
    for entry in sorted(entries, key=lambda entry: entry.name):
        try:
            status = entry.stat()
        except OSError as error:
            if entry.name == HISTORY:
                return _Candidate(location, name, reason=_why(location, error), run_id=run_id)
            continue
        written_ns = max(written_ns, status.st_mtime_ns)
        if entry.name != HISTORY:
            beside.append(
                f"{entry.name} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
            )
        elif stat.S_ISREG(status.st_mode):
            history = status
        else:
            return _Candidate(location, name, reason=_no_file(status.st_mode), run_id=run_id)
    at = history if history is not None else Path(path).stat()
    file = OldFolder(
        name=name,
        location=location,
        size=0 if history is None else history.st_size,
        modified_ns=0 if history is None else history.st_mtime_ns,
        inode=at.st_ino,
        changed_ns=0 if history is None else history.st_ctime_ns,
        beside="\n".join(beside),
        written_ns=written_ns,
    )
    return _Candidate(location, name, file, (at.st_dev, at.st_ino))


def _stands_in(name: str, entries: Sequence[os.DirEntry[str]]) -> bool:
    """Say whether a file, by its name, stands for a `.wandb` file that is missing."""
    instead, _, suffix = name.rpartition(".")
    if not instead.endswith(SUFFIX) or suffix not in STAND_INS:
        return False
    return all(entry.name != instead for entry in entries)


def _stand_in(path: str, below: str) -> _Candidate:
    instead, _, suffix = path.rpartition(".")
    name = _join(below, instead.rpartition("/")[2])
    return _Candidate(path, name, reason=f"is {STAND_INS[suffix]}", run_id=run_id_of(instead))


def _no_file(mode: int) -> str:
    kind = _KINDS.get(stat.S_IFMT(mode), "thing of another kind")
    return f"is a {kind}, not a file: {RESTORE_OR_DELETE}"


RESTORE_OR_DELETE = "restore the file, or delete this"


def _join(below: str, name: str) -> str:
    return clean_text(f"{below}/{name}" if below else name)


def _closed_folder(path: str, below: str, error: OSError) -> _Candidate:
    named = _RUN_FOLDER.fullmatch(path.rpartition("/")[2])
    run_id = None if named is None else clean_text(named[1])
    return _Candidate(path, clean_text(below), reason=why(error), run_id=run_id)


def why(error: OSError) -> str:
    """Return why something cannot be read, and what to do about it."""
    text = f"cannot be read: {error.strerror or error}"
    return f"{text}; let this user read it" if isinstance(error, PermissionError) else text


def _why(path: str, error: OSError) -> str:
    try:
        target = str(Path(path).readlink())
    except OSError:
        return why(error)
    if isinstance(error, FileNotFoundError):
        return clean_text(dead_link(target))
    to_do = "" if isinstance(error, PermissionError) else f"; {RESTORE_OR_DELETE}"
    return clean_text(f"is a link to {target}, which {why(error)}{to_do}")


_KINDS = {
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}
