"""A file on disk, and its content."""

import mmap
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.values import clean_text

SUFFIX = ".wandb"

SMALL_BYTES = 1 << 16
"""A file of at most this size is read; a larger one is mapped, which costs more for a small one."""


_FOLDER_TIME = re.compile(r"(?<=run-)\d{8}_\d{6}(?=-)")


def run_id_of(path: str) -> str:
    """Return the run id in the name of a file."""
    folder, _, name = path.rpartition("/")
    named = name.removesuffix(SUFFIX).removeprefix("run-")
    return clean_text(named or folder.rpartition("/")[2])


def folder_name(path: str) -> str:
    """Return the name of a folder, also if it is given as `.`."""
    name = path.rpartition("/")[2]
    return clean_text(Path(path).resolve().name if name in ("", ".", "..") else name)


class Repair(Record, frozen=True, kw_only=True):
    """Byte ranges that are read from a copy of a file, since the file itself is damaged there.

    copy: identifies the copy, and changes if that does.
    """

    location: str
    copy: str
    ranges: tuple[tuple[int, int], ...]


class FileOnDisk(Record, frozen=True, kw_only=True):
    """A file on disk. `name` is its path below the searched folder.

    inode, changed_ns: they change if the file is replaced, or written to with its times reset.
    repairs: the byte ranges that are read from copies instead.
    """

    name: str
    location: str
    size: int
    modified_ns: int
    inode: int = 0
    changed_ns: int = 0
    repairs: tuple[Repair, ...] = ()

    @property
    def folder(self) -> str:
        """Return the path of its folder."""
        return self.location.rpartition("/")[0]

    @property
    def named_time(self) -> str | None:
        """Return the time in the name of its folder, None if there is none."""
        found = _FOLDER_TIME.search(self.folder.rpartition("/")[2])
        return found[0] if found is not None else None

    @property
    def shown(self) -> str:
        """Return the path as text that can be printed and stored."""
        return clean_text(self.location)


def _keep() -> None:
    """Do nothing: the system reclaims such memory by itself."""


_CAN_RELEASE = hasattr(mmap, "MADV_DONTNEED")


class MappedFile(NamedTuple):
    """The content of a file. `release` gives back the memory of the parts read so far."""

    data: memoryview
    release: Callable[[], None]


@contextmanager
def mapped(file: FileOnDisk) -> Iterator[MappedFile]:
    """Yield the content of a file, up to the length that it had when it was found.

    A large file is not read at once. Raises OSError if it cannot be read, or has become shorter.
    """
    if not file.size:
        yield MappedFile(memoryview(b""), _keep)
        return
    if file.repairs:
        with _repaired(file) as view:
            yield MappedFile(view, _keep)  # releasing memory would undo the repairs
        return
    descriptor = os.open(file.location, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if file.size <= SMALL_BYTES:
            view, content = memoryview(_read_all(descriptor, file)), None
        else:
            content = _map(descriptor, file)
            view = memoryview(content)
    finally:
        os.close(descriptor)
    if content is None:
        yield MappedFile(view, _keep)
        return
    release = partial(content.madvise, mmap.MADV_DONTNEED) if _CAN_RELEASE else _keep
    try:
        yield MappedFile(view, release)
    finally:
        with suppress(BufferError):  # the traceback of an error may still refer to it
            view.release()
            content.close()


@contextmanager
def _repaired(file: FileOnDisk) -> Iterator[memoryview]:
    """Yield a private copy of a file with the repairs written into it."""
    with Path(file.location).open("rb") as stream:
        content = _map(stream.fileno(), file, mmap.ACCESS_COPY)
    for repair in file.repairs:
        with Path(repair.location).open("rb") as stream:
            for begin, end in repair.ranges:
                stream.seek(begin)
                part = stream.read(end - begin)
                content[begin : begin + len(part)] = part
    view = memoryview(content).toreadonly()
    try:
        yield view
    finally:
        with suppress(BufferError):
            view.release()
            content.close()


def read_beside(path: Path, most_bytes: int) -> bytes:
    """Read a small file beside a run file.

    Raises OSError if it cannot be read, is not a file (a pipe would block), or is larger than
    `most_bytes`.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"{path} is not a file")
    if status.st_size > most_bytes:
        raise OSError(f"{path} is larger than {most_bytes >> 20} MiB")
    with path.open("rb") as stream:
        return stream.read(most_bytes)


def _read_all(descriptor: int, file: FileOnDisk) -> bytes:
    content = os.read(descriptor, file.size)
    while len(content) < file.size:
        more = os.read(descriptor, file.size - len(content))
        if not more:
            raise _shorter(file)
        content += more
    return content


def _map(descriptor: int, file: FileOnDisk, access: int = mmap.ACCESS_READ) -> mmap.mmap:
    try:
        return mmap.mmap(descriptor, file.size, access=access)
    except ValueError as error:
        raise _shorter(file) from error


def _shorter(file: FileOnDisk) -> OSError:
    return OSError(f"the file {file.location} became shorter while it was read")
