"""Make any operation of a sync on its files fail, or look at the disk at that moment.

An operation is what reaches the system: opening a file to read or to write, writing a piece to it,
making it durable, renaming, making and removing files and folders. `fsync` itself is left out.
"""

import hashlib
import io
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.shell.store import disk

MAKES = frozenset({"open", "write", "mkdir", "hardlink_to"})
"""What takes room on the disk."""

CHANGES = MAKES | {
    "replace",
    "rename",
    "unlink",
    "rmdir",
    "rmtree",
    "exchange",
    "sync_file",
    "sync_folder",
}

SMALL_CHUNK = 1024
"""Small enough for the exports of these tests to be copied by the system, in several pieces."""


@dataclass
class Operation:
    """One operation that is about to happen.

    `tear` does the first half of a write, and returns what takes that back.
    """

    kind: str
    path: Path
    tear: Callable[[], Callable[[], None]] = lambda: _nothing

    def __str__(self) -> str:
        return f"{self.kind} {self.path.name}"


def _nothing() -> None:
    """Take nothing back."""


Before = Callable[[Operation], None]

Around = Callable[[Operation], AbstractContextManager[None]]
"""Entered ahead of an operation and left after it."""


class _Watched(io.FileIO):
    """A file each of whose writes is told before it happens."""

    def __init__(self, path: str, mode: str, around: Around) -> None:
        super().__init__(path, mode)
        self._around = around

    def write(self, content: Any) -> int:
        piece = bytes(content)
        path = Path(os.fsdecode(self.name))
        with self._around(Operation("write", path, lambda: self._tear(piece[: len(piece) // 2]))):
            return super().write(piece)

    def _tear(self, piece: bytes) -> Callable[[], None]:
        place, size = self.tell(), self.seek(0, os.SEEK_END)
        self.seek(place)
        super().write(piece)

        def take_back() -> None:
            self.truncate(size)
            self.seek(place)

        return take_back


@contextmanager
def observed(before: Before) -> Iterator[None]:
    """Call `before` ahead of each operation of this process below any folder.

    Threads do their operations one after another: none happens while `before` looks at the disk.
    """
    one_at_a_time = threading.RLock()

    @contextmanager
    def around(operation: Operation) -> Iterator[None]:
        with one_at_a_time:
            before(operation)
            yield

    with pytest.MonkeyPatch.context() as patch:
        for kind in ("sync_file", "sync_folder", "exchange"):
            patch.setattr(disk, kind, _told(getattr(disk, kind), kind, around))
        for kind in ("replace", "rename", "unlink", "mkdir", "rmdir", "hardlink_to"):
            patch.setattr(Path, kind, _told(getattr(Path, kind), kind, around))
        patch.setattr(shutil, "rmtree", _told(shutil.rmtree, "rmtree", around))
        patch.setattr(Path, "open", _opener(Path.open, around))
        patch.setattr(disk, "CHUNK", SMALL_CHUNK)
        patch.setattr(disk, "copy_by_system", _copier(disk.copy_by_system, around))
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


def _told(function: Any, kind: str, around: Around) -> Any:
    def tell(first: Any, *arguments: Any, **options: Any) -> Any:
        with around(Operation(kind, Path(first.name if kind == "sync_file" else first))):
            return function(first, *arguments, **options)

    return tell


def _opener(open_file: Any, around: Around) -> Any:
    def open_and_tell(path: Path, mode: str = "r", buffering: int = -1, **options: Any) -> Any:
        writes = bool(set(mode) & set("wax+"))
        with around(Operation("open" if writes else "look", path)):
            if not writes or "b" not in mode:
                return open_file(path, mode, buffering, **options)
            raw = _Watched(str(path), mode, around)
        size = io.DEFAULT_BUFFER_SIZE if buffering < 0 else buffering
        return io.BufferedRandom(raw, size) if "+" in mode else io.BufferedWriter(raw, size)

    return open_and_tell


def _copier(copy: Any, around: Around) -> Any:
    def tell_and_copy(source: Any, offset: int, length: int, target: Any) -> Any:
        target.flush()

        def tear() -> Callable[[], None]:
            size = os.fstat(target.fileno()).st_size
            copy(source, offset, length // 2, target)

            def take_back() -> None:
                os.ftruncate(target.fileno(), size)
                os.lseek(target.fileno(), size, os.SEEK_SET)

            return take_back

        with around(Operation("write", Path(target.name), tear)):
            return copy(source, offset, length, target)

    return tell_and_copy


def digest_of(folder: Path) -> str:
    """Return a digest of all names and contents below a folder."""
    total = hashlib.sha256()
    for place, folders, files in os.walk(folder):
        folders.sort()
        total.update(f"{os.path.relpath(place, folder)}\0{sorted(files)}\0{folders}\0".encode())
        for name in sorted(files):
            path = Path(place, name)
            content = path.read_bytes() if path.is_file() else b"a link to nothing"
            total.update(f"{len(content)}\0".encode() + content)
    return total.hexdigest()


class Contents:
    """What folders hold, each content once: a sync of equal folders does the same again."""

    def __init__(self) -> None:
        self._digests: set[str] = set()

    def are_new(self, folder: Path) -> bool:
        """Say whether no folder before this one had the same names and contents below it."""
        digest = digest_of(folder)
        is_new = digest not in self._digests
        self._digests.add(digest)
        return is_new


@dataclass
class Images:
    """What a kill would leave at each of `operations` moments; each content is there once."""

    operations: int = 0
    found: dict[str, tuple[str, Path]] = field(default_factory=dict)


def images_of(work: Callable[[], Any], data_root: Path, target: Path) -> Images:
    """Do the work, and copy `data_root` before each operation: what a kill would leave then.

    A write, and a file that is about to become durable, give a second image with half of it.
    """
    images = Images()
    at_work = False

    def copy(label: str) -> Path | None:
        digest = digest_of(data_root)
        if digest in images.found:
            return None
        image = target / f"{len(images.found):03d}"
        if data_root.exists():
            shutil.copytree(data_root, image)
        images.found[digest] = (label, image)
        return image

    def torn(path: Path, label: str) -> None:
        size = path.stat().st_size
        content = path.read_bytes()
        os.truncate(path, size // 2)
        copy(label)
        path.write_bytes(content)

    def before(operation: Operation) -> None:
        nonlocal at_work
        if at_work:
            return
        at_work = True
        images.operations += 1
        copy(str(operation))
        if operation.kind == "write":
            images.operations += 1
            take_back = operation.tear()
            copy(f"torn {operation}")
            take_back()
        elif operation.kind == "sync_file":
            images.operations += 1
            torn(operation.path, f"torn {operation}")
        at_work = False

    with observed(before):
        work()
    copy("done")
    return images


class Stopped(BaseException):
    """Ends a sync like an interrupt: no handler of ordinary errors catches it."""


@contextmanager
def stopped_at(number: int, fault: "Fault") -> Iterator[list[str]]:
    """Raise at the operation of this number; gives the list of operations so far.

    The threads of a sync that was stopped have ended when this returns, so no file changes later.
    """
    done: list[str] = []
    threads = {*threading.enumerate()}

    def before(operation: Operation) -> None:
        done.append(str(operation))
        if len(done) == number + 1:
            if fault.tears:
                operation.tear()
            raise fault.error(operation)
        if len(done) > number + 1 and operation.kind in fault.lasts_for:
            raise fault.error(operation)

    with observed(before):
        yield done
    for thread in {*threading.enumerate()} - threads:
        thread.join()


@dataclass(frozen=True)
class Fault:
    """A way to fail: the number of the system's error, None for an interrupt.

    lasts_for: the kinds of operations that go on failing. tears: half of a write was done.
    """

    number: int | None
    lasts_for: frozenset[str] = frozenset()
    tears: bool = False

    def error(self, operation: Operation) -> BaseException:
        if self.number is None:
            return Stopped(str(operation))
        return OSError(self.number, os.strerror(self.number), str(operation.path))
