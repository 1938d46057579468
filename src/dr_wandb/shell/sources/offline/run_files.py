"""A file as it is on the disk, and its content."""

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
    """Return the id that the name of a file tells."""
    folder, _, name = path.rpartition("/")
    named = name.removesuffix(SUFFIX).removeprefix("run-")
    return clean_text(named or folder.rpartition("/")[2])


def folder_name(path: str) -> str:
    """Return the name of a folder, also of one that is given as `.`."""
    name = path.rpartition("/")[2]
    return clean_text(Path(path).resolve().name if name in ("", ".", "..") else name)


class Repair(Record, frozen=True, kw_only=True):
    """Byte ranges that are to be read from a copy of a file, where the file itself is damaged.

    copy: says which copy it is, and changes when that does.
    """

    location: str
    copy: str
    ranges: tuple[tuple[int, int], ...]


class FileOnDisk(Record, frozen=True, kw_only=True):
    """A file as it is on the disk. `name` is its path below the folder that was searched.

    inode, changed_ns: what the file system gives another value when the file is replaced, or
    written to whatever its times say. repairs: what is to be read of copies of it instead.
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
        """Return the path of the folder that it lies in."""
        return self.location.rpartition("/")[0]

    @property
    def named_time(self) -> str | None:
        """Return the time that the name of its folder tells, None if it tells none."""
        found = _FOLDER_TIME.search(self.folder.rpartition("/")[2])
        return found[0] if found is not None else None

    @property
    def shown(self) -> str:
        """Return the path as text that can be told and kept."""
        return clean_text(self.location)


def _keep() -> None:
    """Do nothing: the system takes such memory back by itself when it needs some."""


_CAN_RELEASE = hasattr(mmap, "MADV_DONTNEED")


class MappedFile(NamedTuple):
    """The content of a file. `release` gives back the memory of what was read of it so far."""

    data: memoryview
    release: Callable[[], None]


@contextmanager
def mapped(file: FileOnDisk) -> Iterator[MappedFile]:
    """Give the content of a file as long as it was when it was found.

    A large file is not read at once. Raises OSError if it cannot be read, or has become shorter.
    """
    if not file.size:
        yield MappedFile(memoryview(b""), _keep)
        return
    if file.repairs:
        with _repaired(file) as view:
            yield MappedFile(view, _keep)  # to release memory would undo the repairs
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
        with suppress(BufferError):  # the traceback of an error still holds parts of it
            view.release()
            content.close()


@contextmanager
def _repaired(file: FileOnDisk) -> Iterator[memoryview]:
    """Give a private copy of a file, into which the repairs are written."""
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
    """Read a small file that lies beside a run file.

    Raises OSError if it cannot be read, is no file (a pipe would block), or is larger than that.
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
