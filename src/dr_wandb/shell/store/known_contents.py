"""Which blob has the bytes of a listed file, so that the same bytes come once, over all runs.

Rules
- A listed file has the bytes of a blob if both have the same MD5 and the same size, and the MD5 was
  computed here, of these bytes, in this sync. That is what received bytes have to show too.
- So a blob of an earlier sync is read and hashed before it is used, once in a sync. A line of the
  export only says which blob to try.
- These lines are read once more bytes are to come than they have: it costs less than it may save.
- Memory does not grow with the number of blobs: an SQLite file, for this sync alone, has them.
"""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from dr_wandb.core.contract.records import RunFile
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.blobs import BlobStore
from dr_wandb.shell.store.database_errors import database_errors
from dr_wandb.shell.store.named_blobs import catalogues

INDEX_FILE = "contents.sqlite"

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE content (
    md5 TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL, proven INTEGER NOT NULL,
    PRIMARY KEY (md5, size)
) WITHOUT ROWID;
BEGIN;
"""
_KEEP = "INSERT OR IGNORE INTO content VALUES (?, ?, ?, 0)"
_PROVE = "INSERT OR REPLACE INTO content VALUES (?, ?, ?, 1)"
_FIND = "SELECT sha256, proven FROM content WHERE md5 = ? AND size = ?"


class Content(msgspec.Struct, frozen=True):
    """What is known of the bytes of a file: its MD5 in base64, and its size."""

    md5: str
    size: int


def content_of(row: RunFile) -> Content | None:
    """Return the content of a file by what is listed of it, None if that says too little.

    An empty file may be one whose bytes are still to be uploaded: asking for it costs little.
    """
    return None if row.md5 is None or not row.size else Content(row.md5, row.size)


class KnownContents:
    """The blobs of an export, and those that this sync has made, by content.

    Several threads may call it at once. folder: the export. scratch: for the index.
    """

    def __init__(self, folder: Path, scratch: Path, store: BlobStore) -> None:
        self._folder = folder
        self._path = scratch / INDEX_FILE
        self._store = store
        self._lock = threading.Lock()
        self._index: sqlite3.Connection | None = None
        self._to_come: int | None = 0
        self._closed = False

    def expect(self, size: int) -> None:
        """Note that files of this size in total are to come; the export may be looked through."""
        with self._lock, database_errors(self._path):
            if self._to_come is None or self._closed:
                return
            self._to_come += size
            paths = catalogues(self._folder)
            if self._to_come > sum(path.stat().st_size for path in paths):
                self._to_come = None
                self._opened().executemany(_KEEP, _contents_in(paths))

    def find(self, content: Content | None) -> str | None:
        """Return the SHA-256 of the blob with a content, None if there is none that is proven."""
        sha256, proven = self._look(content)
        if content is None or sha256 is None or not self._store.holds(sha256, content.size):
            return None
        if not proven:
            if not self._store.proves(sha256, content.md5):
                return None
            self.note(content, sha256)
        return sha256

    def has(self, content: Content | None) -> bool:
        """Say whether there seems to be a blob with a content; its bytes are not read."""
        sha256, _ = self._look(content)
        return (
            content is not None and sha256 is not None and self._store.holds(sha256, content.size)
        )

    def note(self, content: Content, sha256: str) -> None:
        """Note a blob whose digests were computed in this sync."""
        with self._lock, database_errors(self._path):
            if not self._closed:
                self._opened().execute(_PROVE, (content.md5, content.size, sha256))

    def _look(self, content: Content | None) -> tuple[str | None, bool]:
        with self._lock, database_errors(self._path):
            if content is None or self._index is None:
                return None, False
            found = self._index.execute(_FIND, (content.md5, content.size)).fetchone()
            return (None, False) if found is None else (str(found[0]), bool(found[1]))

    def _opened(self) -> sqlite3.Connection:
        if self._index is None:
            disk.remove(self._path)
            self._index = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
            self._index.executescript(_SCHEMA)
        return self._index

    def close(self) -> None:
        """Remove the index. Nothing is known then."""
        with self._lock:
            self._closed = True
            if self._index is not None:
                self._index.close()
                self._index = None
                disk.remove(self._path)


class _Line(msgspec.Struct):
    """The members of a line that say which blob has which content."""

    md5: str | None = None
    size: int | None = None
    sha256: str | None = None


def _contents_in(paths: Iterable[Path]) -> Iterator[tuple[str, int | None, str]]:
    """Give the contents that the lines of an export name; lines that do not read name none."""
    decode = msgspec.json.Decoder(_Line).decode
    for path in paths:
        with path.open("rb") as stream:
            for line in stream:
                try:
                    row = decode(line)
                except (ValueError, RecursionError):
                    continue
                if row.md5 is not None and row.sha256 is not None and _is_size(row.size):
                    yield row.md5, row.size, row.sha256


def _is_size(size: int | None) -> bool:
    """Say whether a number of a line may be a size; SQLite takes no larger one."""
    return size is not None and 0 <= size < 2**63
