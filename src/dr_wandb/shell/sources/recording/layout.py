"""The temporary files of a recording, and how it replaces its target folder."""

import shutil
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.shell.sources.recording.format import HEAD_FILE, RECORDING_NAMES
from dr_wandb.shell.store.disk_errors import disk_refusals


class Span(NamedTuple):
    """A byte range of a Spool."""

    offset: int
    length: int


class RowsPart:
    """A file that rows are being written to."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self.rows = 0
        self._file = path.open("wb")
        self._target = target

    def write(self, lines: Iterable[bytes]) -> None:
        """Append lines, one for each row."""
        with disk_refusals(self._target):
            for line in lines:
                self._file.write(line)
                self.rows += 1

    def flush(self) -> None:
        """Pass all written bytes to the system. Raises OSError."""
        self._file.flush()

    def close(self) -> None:
        """Close the file; bytes that were not flushed may be lost."""
        with suppress(OSError):
            self._file.close()


class Spool:
    """A file that pieces are appended to, and read back by their byte range."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("w+b")
        self._end = 0
        self._lock = threading.Lock()

    def append(self, piece: bytes) -> Span:
        """Write a piece and return its byte range."""
        with self._lock:
            self._file.write(piece)
            span = Span(self._end, len(piece))
            self._end += len(piece)
            return span

    def read(self, span: Span) -> bytes:
        """Return the piece in a byte range."""
        with self._lock:
            self._file.seek(span.offset)
            piece = self._file.read(span.length)
            self._file.seek(0, 2)
            return piece

    def close(self) -> None:
        """Close the file, which nobody reads any more."""
        with suppress(OSError):
            self._file.close()


def require_replaceable(folder: Path) -> None:
    """Refuse a folder that is neither empty nor a recording."""
    with disk_refusals(folder):
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        foreign = bool(names - RECORDING_NAMES) or (folder.exists() and not folder.is_dir())
    if foreign or (names and HEAD_FILE not in names):
        problem = f"{folder} is neither empty nor a recording; name a new or empty folder"
        raise InvalidRequestError([problem])


def move_into_place(staging: Path, target: Path) -> None:
    """Rename a finished recording to its target; the folder that it replaces is then deleted."""
    if not target.exists():
        staging.rename(target)
        return
    replaced = staging.with_name(staging.name + ".replaced")
    target.rename(replaced)
    try:
        staging.rename(target)
    except OSError:
        replaced.rename(target)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
