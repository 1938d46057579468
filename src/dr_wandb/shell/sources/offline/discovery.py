"""Find the run files below a folder: one for each time that a run was begun or resumed.

`wandb/` holds `run-<time>-<id>` and `offline-run-<time>-<id>`, each with `run-<id>.wandb`, and a
link `latest-run` to one of them (wandb 0.12 to 0.31).

Rules
- Links to folders are not followed. A file with several names is one file.
- What is called like a run file and cannot be read as one is found too, with the reason.
- Nothing is opened: a pipe would block, and a link is only asked for its target.
"""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from dr_wandb.core.contract.failures import DrWandbError, InvalidRequest
from dr_wandb.core.contract.values import clean_text
from dr_wandb.core.offline.pointers import STAND_INS, dead_link
from dr_wandb.shell.sources.offline.files import SUFFIX, RunFile, run_id_of

_RUN_FOLDER = re.compile(r"(?:offline-)?run-\d{8}_\d{6}-(.+)", re.DOTALL)


class OutOfReach(NamedTuple):
    """A file, or a folder, that should hold runs and cannot be read.

    name: its path below the folder that was searched. shown: the whole path, as text. run_id: of
    the run, None if no name tells it. reason: what follows the path in a sentence.
    """

    name: str
    shown: str
    run_id: str | None
    reason: str


class Discovery(NamedTuple):
    """What lies below a folder, in the order of the names."""

    files: list[RunFile]
    out_of_reach: list[OutOfReach]


def discover(folder: Path) -> Discovery:
    """Find all run files. Raises DrWandbError if there is no folder."""
    try:
        folder.stat()
    except OSError as error:
        problem = f"there is no folder {clean_text(str(folder))} with offline runs"
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            problem = f"{clean_text(str(folder))} cannot be read: {error.strerror}"
        raise DrWandbError(InvalidRequest(problems=(problem,))) from error
    found: dict[tuple[int, int], RunFile] = {}
    out_of_reach = []
    for place in sorted(_places(folder), key=lambda place: place.parts):
        if isinstance(place.status, str):
            out_of_reach.append(
                OutOfReach(place.name, clean_text(place.path), place.run_id, place.status)
            )
        else:
            status = place.status
            file = RunFile(
                name=place.name,
                location=place.path,
                size=status.st_size,
                modified_ns=status.st_mtime_ns,
            )
            found.setdefault((status.st_dev, status.st_ino), file)
    return Discovery(list(found.values()), out_of_reach)


class _Place(NamedTuple):
    """A path that is a run file, or why it is none that can be read."""

    path: str
    name: str
    status: os.stat_result | str
    run_id: str | None = None

    @property
    def parts(self) -> list[str]:
        """Return the names of the path, by which places are ordered."""
        return self.path.split("/")


def _places(folder: Path) -> Iterator[_Place]:
    top = str(folder)
    if folder.is_file():
        yield _Place(top, clean_text(folder.name), folder.stat())
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
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif entry.name.endswith(SUFFIX) and (place := _look_at(entry, below)) is not None:
                yield place
        yield from _stand_ins(entries, below)


def _look_at(entry: os.DirEntry[str], below: str) -> _Place | None:
    """Say what an entry is that is called like a run file, None for a link to a folder."""
    name = _join(below, entry.name)
    try:
        status = entry.stat()
    except OSError as error:
        return _Place(entry.path, name, _why(entry.path, error), run_id_of(entry.path))
    if stat.S_ISREG(status.st_mode):
        return _Place(entry.path, name, status)
    if stat.S_ISDIR(status.st_mode):
        return None
    kind = _KINDS.get(stat.S_IFMT(status.st_mode), "thing of another kind")
    return _Place(entry.path, name, f"is no file but a {kind}", run_id_of(entry.path))


def _join(below: str, name: str) -> str:
    return clean_text(f"{below}/{name}" if below else name)


def _stand_ins(entries: Iterable[os.DirEntry[str]], below: str) -> Iterator[_Place]:
    """Give the files that stand for a `.wandb` file which is not there."""
    named = [entry for entry in entries if f"{SUFFIX}." in entry.name]
    if not named:
        return
    there = {entry.name for entry in entries}
    for entry in named:
        instead, _, suffix = entry.name.rpartition(".")
        what = STAND_INS.get(suffix)
        if instead.endswith(SUFFIX) and what is not None and instead not in there:
            run_id = run_id_of(entry.path.removesuffix(f".{suffix}"))
            yield _Place(entry.path, _join(below, instead), f"is {what}", run_id)


def _closed_folder(path: str, below: str, error: OSError) -> _Place:
    told = _RUN_FOLDER.fullmatch(path.rpartition("/")[2])
    run_id = None if told is None else clean_text(told[1])
    return _Place(path, clean_text(below), why(error), run_id)


def why(error: OSError) -> str:
    """Say why something cannot be read, and what to do about it."""
    text = f"cannot be read: {error.strerror or error}"
    return f"{text}; let this user read it" if isinstance(error, PermissionError) else text


def _why(path: str, error: OSError) -> str:
    try:
        target = str(Path(path).readlink())
    except OSError:
        return why(error)
    if isinstance(error, FileNotFoundError):
        return clean_text(dead_link(target))
    return clean_text(f"is a link to {target}, which {why(error)}")


_KINDS = {
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}
