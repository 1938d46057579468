"""Notes of the files whose bytes have come, so that no later sync fetches them again.

Rules
- A note is made after the bytes have their name. It names the file as it was listed, and holds for
  a file that is listed exactly so.
- Blobs of an earlier sync are read and hashed before they are used; those of this one are not.
- A note that does not read is no note: then the file is fetched.
- A note stays until lines of the export name its blob. So it survives an interrupt, a run that
  cannot be read to its end, and syncs that were asked for something else.
- In memory are the notes of the runs that are being read, and eight bytes for each earlier one.
"""

import threading
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from dr_wandb.core.contract.records import RunFile
from dr_wandb.core.contract.row_forms import decode_run_file
from dr_wandb.core.contract.run_files import same_bytes
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.blobs import BlobStore
from dr_wandb.shell.store.staging import LASTING_SUFFIX

NOTES_FILE = f"files{LASTING_SUFFIX}"


class FetchedBlobs:
    """The files that this sync, and earlier ones whose notes stayed, have fetched.

    Several threads may call it at once. use_earlier: whether notes of earlier syncs are used.
    """

    def __init__(self, staging: Path, store: BlobStore, *, use_earlier: bool) -> None:
        self._path = staging / NOTES_FILE
        self._store = store
        self._lock = threading.Lock()
        self._stream: IO[bytes] | None = None
        self._closed = False
        self._offsets = self._find_earlier() if use_earlier else {}
        self._earlier: dict[str, dict[str, RunFile]] = {}
        self._proven: dict[str, dict[str, RunFile]] = {}

    def _find_earlier(self) -> dict[str, "array[int]"]:
        """Return the offset at which the notes of each run begin."""
        offsets: dict[str, array[int]] = {}
        at = 0
        for line, row in _notes(self._path):
            if row is not None:
                offsets.setdefault(row.run_id, array("Q")).append(at)
            at += len(line)
        return offsets

    def _earlier_of(self, run_id: str) -> dict[str, RunFile]:
        """Return the notes of a run that an earlier sync made, by path."""
        known = self._earlier.get(run_id)
        if known is None:
            known = self._earlier[run_id] = {}
            offsets = self._offsets.get(run_id, ())
            with suppress(OSError):
                if offsets:
                    with self._path.open("rb") as stream:
                        for offset in offsets:
                            stream.seek(offset)
                            row = decode_run_file(stream.readline()).unwrap()
                            known[row.path] = row
        return known

    def find(self, listed: RunFile) -> RunFile | None:
        """Return the row of a file that was fetched as it is listed now, None if it was not."""
        with self._lock:
            proven = self._proven.get(listed.run_id, {}).get(listed.path)
            earlier = self._earlier_of(listed.run_id).get(listed.path)
        if proven is not None:
            return proven if same_bytes(listed, proven) else None
        if earlier is None or not same_bytes(listed, earlier):
            return None
        if not self._store.proves(earlier.sha256 or "", listed.md5):
            return None
        with self._lock:
            self._proven.setdefault(listed.run_id, {})[listed.path] = earlier
        return earlier

    def has(self, listed: RunFile) -> bool:
        """Say whether a file was noted as it is listed now, with a blob of its size there."""
        with self._lock:
            noted = self._proven.get(listed.run_id, {}).get(listed.path)
            noted = noted or self._earlier_of(listed.run_id).get(listed.path)
        if noted is None or not same_bytes(listed, noted):
            return False
        return self._store.holds(noted.sha256 or "", noted.size)

    def note(self, row: RunFile) -> None:
        """Note a file whose bytes have their name."""
        with self._lock:
            self._proven.setdefault(row.run_id, {})[row.path] = row
            if self._closed:
                return
            if self._stream is None:
                self._stream = self._path.open("ab")
                self._stream.write(b"\n")  # the last note of an interrupted sync may be torn
            self._stream.write(msgspec.json.encode(row) + b"\n")
            self._stream.flush()

    def forget(self, run_id: str) -> None:
        """Free the memory for a run that has been read; its notes stay in the file."""
        with self._lock:
            self._proven.pop(run_id, None)
            self._earlier.pop(run_id, None)

    def close(self) -> None:
        """Close the file of the notes."""
        with self._lock:
            self._closed = True
            if self._stream is not None:
                self._stream.close()
                self._stream = None


def noted_files(staging: Path) -> Iterator[RunFile]:
    """Give the files whose bytes are noted in a staging folder."""
    return (row for _, row in _notes(staging / NOTES_FILE) if row is not None)


def trim_notes(staging: Path, stays: Callable[[RunFile], bool]) -> None:
    """Remove the notes that are not to stay, and the file of the notes if none does."""
    path = staging / NOTES_FILE
    if not path.exists():
        return
    part, some = path.with_suffix(".part"), False
    with part.open("xb") as stream:
        for line, row in _notes(path):
            if row is not None and stays(row):
                stream.write(line)
                some = True
    if some:
        disk.rename(part, path)
    else:
        disk.remove(part)
        disk.remove(path)


def _notes(path: Path) -> Iterator[tuple[bytes, RunFile | None]]:
    """Give each line of a file of notes, with its row if it is one."""
    with suppress(OSError), path.open("rb") as stream:
        for line in stream:
            row = decode_run_file(line).value_or(None) if line.endswith(b"\n") else None
            yield line, row if row is not None and row.sha256 is not None else None
