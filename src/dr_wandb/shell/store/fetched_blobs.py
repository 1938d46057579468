"""Which files a sync has fetched, noted beside its segments, so that none is fetched twice.

Rules
- A note is made after the bytes have their name. It names the file as it was listed, and holds for
  a file that is listed exactly so.
- Blobs of an interrupted sync are read and hashed before they are used; those of this one are not.
- A note that does not read is no note: then the file is fetched.
"""

import threading
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from dr_wandb.core.contract.records import RunFile
from dr_wandb.core.contract.row_forms import decode_run_file
from dr_wandb.core.contract.run_files import same_bytes
from dr_wandb.shell.store.blobs import BlobStore
from dr_wandb.shell.store.staging import KEPT_SUFFIX

NOTES_FILE = f"files{KEPT_SUFFIX}"

_Key = tuple[str, str]


class FetchedBlobs:
    """The files that this sync, and an interrupted one before it, have fetched.

    Several threads may call it at once. Memory is some hundred bytes for each of these files.
    """

    def __init__(self, staging: Path, store: BlobStore, *, use_earlier: bool) -> None:
        self._path = staging / NOTES_FILE
        self._store = store
        self._lock = threading.Lock()
        self._stream: IO[bytes] | None = None
        self._closed = False
        self._earlier = self._read() if use_earlier else {}
        self._now: dict[_Key, RunFile] = {}

    def _read(self) -> dict[_Key, RunFile]:
        found: dict[_Key, RunFile] = {}
        with suppress(OSError), self._path.open("rb") as stream:
            for line in stream:
                row = decode_run_file(line).value_or(None)
                if row is not None and line.endswith(b"\n"):
                    found[row.run_id, row.path] = row
        return found

    def find(self, listed: RunFile) -> RunFile | None:
        """Return the row of a file that was fetched as it is listed now, None if it was not."""
        key = (listed.run_id, listed.path)
        with self._lock:
            now, earlier = self._now.get(key), self._earlier.pop(key, None)
        if now is not None:
            return now if same_bytes(listed, now) else None
        if earlier is None or earlier.sha256 is None or not same_bytes(listed, earlier):
            return None
        if not self._store.proves(earlier.sha256, listed.md5):
            return None
        with self._lock:
            self._now[key] = earlier
        return earlier

    def has(self, listed: RunFile) -> bool:
        """Say whether a file was noted as it is listed now, with a blob of its size there."""
        key = (listed.run_id, listed.path)
        with self._lock:
            noted = self._now.get(key) or self._earlier.get(key)
        if noted is None or noted.sha256 is None or not same_bytes(listed, noted):
            return False
        return self._store.holds(noted.sha256, noted.size)

    def note(self, row: RunFile) -> None:
        """Note a file whose bytes have their name."""
        with self._lock:
            self._now[row.run_id, row.path] = row
            if self._closed:
                return
            if self._stream is None:
                self._stream = self._path.open("ab")
                self._stream.write(b"\n")  # the last note of an interrupted sync may be torn
            self._stream.write(msgspec.json.encode(row) + b"\n")
            self._stream.flush()

    def close(self) -> None:
        """Close the notes. They stay with the segments of a sync that ends early."""
        with self._lock:
            self._closed = True
            if self._stream is not None:
                self._stream.close()
                self._stream = None
