"""Blobs: the bytes of files, each once, under a name made of their SHA-256.

Rules
- A blob is written under a hidden name in the staging folder, made durable, and then renamed: under
  its name there are the right bytes or none. It may only be read, and never changes.
- The same bytes are one blob, whoever has them. One that is written again replaces the first, which
  repairs it if it was damaged.
- A link is never followed: one in place of a blob is replaced. One in place of a folder is refused,
  by whoever reads, writes or removes a blob: it may lead into another export.
- Names that are new, or that an interrupted sync left, are durable once `settle` returns, which is
  before a commit.
"""

import base64
import hashlib
import os
import re
import stat
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from uuid import uuid4

from dr_wandb.core.contract.export_files import BLOBS_FOLDER
from dr_wandb.shell.background import DaemonThreads, result_of
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.guards import require_visible_folder

if TYPE_CHECKING:
    from concurrent.futures import Future

BLOB_MODE = 0o444
"""Blobs may have other names in a checkout, so nobody writes to one by accident."""

LARGE_BYTES = 4 << 20
"""A thread is started for a file of this size: for a small one it would cost more than it saves."""

FETCH_AGAIN = "sync again with --sync-mode detect_changes: missing bytes are fetched again"

_SHA256 = re.compile(r"[0-9a-f]{64}")
_FOLDER = re.compile(r"[0-9a-f]{2}")
_REST = re.compile(r"[0-9a-f]{62}")


class NewBlob(NamedTuple):
    """Bytes that were received, under a hidden name. `md5` is in base64, as W&B lists it."""

    path: Path
    sha256: str
    md5: str
    size: int


class FoundBlob(NamedTuple):
    """A file in the folder of blobs that has the name of one."""

    sha256: str
    path: Path
    size: int


def is_sha256(text: str) -> bool:
    """Say whether a text is a SHA-256 in hex, so that it may name a blob."""
    return _SHA256.fullmatch(text) is not None


def blob_path(folder: Path, sha256: str) -> Path:
    """Return the path of a blob in an export. Raises DrWandbError if a link is on the way to it."""
    if not is_sha256(sha256):
        raise ValueError(f"not a SHA-256: {sha256!r}")
    below = blobs_folder(folder) / sha256[:2]
    require_visible_folder(below)
    return below / sha256[2:]


def blobs_folder(folder: Path) -> Path:
    """Return the folder of the blobs of an export. Raises DrWandbError if it is not really there.

    It need not be there at all.
    """
    below = folder / BLOBS_FOLDER
    require_visible_folder(below.parent)
    require_visible_folder(below)
    return below


def size_of(path: Path) -> int | None:
    """Return the size of a regular file, None if there is none; a link is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def find_blobs(folder: Path) -> Iterator[FoundBlob]:
    """Find the blobs of an export, one folder at a time; nothing else in these folders."""
    below = blobs_folder(folder)
    for name in sorted(_names_in(below)):
        if not _FOLDER.fullmatch(name):
            continue
        require_visible_folder(below / name)
        for rest in sorted(_names_in(below / name)):
            path = below / name / rest
            size = size_of(path)
            if _REST.fullmatch(rest) and size is not None:
                yield FoundBlob(name + rest, path, size)


def _names_in(folder: Path) -> list[str]:
    with suppress(FileNotFoundError, NotADirectoryError):
        return [entry.name for entry in folder.iterdir()]
    return []


def hash_file(path: Path) -> tuple[str, str, int]:
    """Return the SHA-256 in hex, the MD5 in base64, and the size of a file."""
    sha256, md5, size = hashlib.sha256(), _md5(), 0
    with path.open("rb") as stream:
        while chunk := stream.read(disk.CHUNK):
            sha256.update(chunk)
            md5.update(chunk)
            size += len(chunk)
    return sha256.hexdigest(), _base64(md5.digest()), size


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _md5() -> "hashlib._Hash":
    return hashlib.md5(usedforsecurity=False)


class _Digests:
    """The digests of bytes that are received.

    The MD5 of a large file is made on a thread of its own: it takes as long as all the rest.
    """

    def __init__(self) -> None:
        self.size = 0
        self._sha256, self._md5 = hashlib.sha256(), _md5()
        self._thread: DaemonThreads | None = None
        self._last: Future[None] | None = None

    def add(self, chunk: bytes) -> None:
        """Add bytes; those before them are digested when this returns."""
        self.size += len(chunk)
        if self.size < LARGE_BYTES:
            self._md5.update(chunk)
        else:
            self._wait()
            self._thread = self._thread or DaemonThreads(1)
            self._last = self._thread.submit(self._md5.update, chunk)
        self._sha256.update(chunk)

    def _wait(self) -> None:
        if self._last is not None:
            result_of(self._last)

    def finish(self) -> tuple[str, str]:
        """Return the SHA-256 in hex and the MD5 in base64 of all bytes."""
        self._wait()
        return self._sha256.hexdigest(), _base64(self._md5.digest())

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.shutdown(wait=False)


class BlobStore:
    """The blobs of an export. Several threads may call it at once.

    folder: the export. staging: for bytes that are still received, on the same disk.
    """

    def __init__(self, folder: Path, staging: Path) -> None:
        self._folder = folder
        self._staging = staging
        self._lock = threading.Lock()
        self._made: set[Path] = set()
        self._touched: set[Path] = set()

    def receive(self, chunks: Iterable[bytes]) -> NewBlob:
        """Write bytes under a hidden name, durable; nothing is left if they end with an error."""
        path = self._staging / f"{uuid4().hex}.blob"
        try:
            with closing(_Digests()) as digests, path.open("xb") as stream:
                for chunk in chunks:
                    digests.add(chunk)
                    stream.write(chunk)
                sha256, md5 = digests.finish()
                os.fchmod(stream.fileno(), BLOB_MODE)
                disk.sync_file(stream)
        except BaseException:
            disk.remove(path)
            raise
        return NewBlob(path, sha256, md5, digests.size)

    def keep(self, blob: NewBlob) -> None:
        """Give received bytes their name."""
        target = blob_path(self._folder, blob.sha256)
        self._make_folder(target.parent)
        disk.rename(blob.path, target)
        with self._lock:
            self._touched.add(target.parent)

    def discard(self, blob: NewBlob) -> None:
        """Remove received bytes."""
        disk.remove(blob.path)

    def holds(self, sha256: str, size: int | None = None) -> bool:
        """Say whether a blob is there, with this size; its bytes are not read."""
        if not is_sha256(sha256):
            return False
        found = size_of(blob_path(self._folder, sha256))
        return found is not None and size in (None, found)

    def proves(self, sha256: str, md5: str | None = None) -> bool:
        """Read a blob, and say whether it has its bytes; md5: and also this other digest.

        It may be used then, so `settle` makes its name durable too: a sync that was interrupted
        may not have come so far.
        """
        if not self.holds(sha256):
            return False
        path = blob_path(self._folder, sha256)
        try:
            found, other, _ = hash_file(path)
        except OSError:
            return False
        right = found == sha256 and md5 in (None, other)
        if right:
            with self._lock:
                self._touched.update(path.parents[:4])
        return right

    def settle(self) -> None:
        """Make the names of all blobs that are new, or were proven, survive a power cut."""
        with self._lock:
            touched, self._touched = self._touched, set()
            made, self._made = self._made, set()
        if touched:
            for folder in sorted({*touched, *(one.parent for one in made)}):
                disk.sync_folder(folder)

    def _make_folder(self, folder: Path) -> None:
        with self._lock:
            if folder in self._made or folder in self._touched:
                return
            for one in (folder.parent.parent, folder.parent, folder):
                if not one.exists():
                    disk.make_folder(one)
                    self._made.add(one)
