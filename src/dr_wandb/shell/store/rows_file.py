"""Lines of rows in a file of their own, with their counts and digest.

Rules
- An unfinished file leaves nothing behind once it is discarded.
- It is not made durable: a later reader checks its digest after a power cut.
- Rows that another process wrote count only while the file exists with its full length.
"""

import hashlib
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dr_wandb.core.contract.fetch_window import Received
from dr_wandb.core.contract.records import Record
from dr_wandb.shell.store import disk


class WrittenRows(Record, frozen=True, kw_only=True):
    """Rows of one run: `rows` lines in the first `length` bytes of the file at `path`.

    digest: of these bytes, as state files hold it. received: the rows before any selection.
    """

    path: str
    length: int
    rows: int
    digest: str
    received: Received


def is_there(written: WrittenRows) -> bool:
    """Say whether a file still holds these rows and nothing else.

    It does not once they became a segment or a sync removed them, or if the process that wrote
    them uses another disk.
    """
    try:
        found = Path(written.path).lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == written.length


class RowsFile:
    """A file of rows that is being written, under a name of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stream = path.open("w+b")
        self._digest = hashlib.blake2b(digest_size=16)
        self._rows = 0
        self.length = 0

    def write(self, lines: bytes, rows: int) -> None:
        """Write whole lines."""
        self._stream.write(lines)
        self._digest.update(lines)
        self._rows += rows
        self.length += len(lines)

    def lines(self) -> Iterator[bytes]:
        """Read the lines that were written."""
        self._stream.flush()
        return disk.read_lines(self._stream, 0, self.length)

    def finish(self, received: Received) -> WrittenRows:
        """Close the file and return what it holds."""
        self._stream.close()
        return WrittenRows(
            path=str(self.path),
            length=self.length,
            rows=self._rows,
            digest=self._digest.hexdigest(),
            received=received,
        )

    def discard(self) -> None:
        """Remove the file, if it still has its own name."""
        try:
            with suppress(OSError):  # unwritten bytes belong to a file that nobody will read
                self._stream.close()
        finally:
            disk.remove(self.path)
