"""A file for libraries that write to a stream, digested on the way."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import IO

from dr_wandb.shell.store import disk


class HashedStream:
    """A new file that is written from its beginning, and the SHA-256 of its bytes."""

    def __init__(self, path: Path) -> None:
        self._stream: IO[bytes] = path.open("wb")
        self._sha256 = hashlib.sha256()
        self.length = 0
        self.closed = False

    def write(self, content: bytes) -> int:
        """Append bytes."""
        self._sha256.update(content)
        self.length += len(content)
        return self._stream.write(content)

    def tell(self) -> int:
        """Return the position, which is the length."""
        return self.length

    def close(self) -> None:
        """Do nothing: pyarrow closes a stream that is still to be made durable."""

    def make_durable(self) -> None:
        """Make what was written survive a power cut."""
        disk.sync_file(self._stream)

    def end(self) -> None:
        """Close the file."""
        with suppress(OSError):  # unwritten bytes belong to a file that nobody will read
            self._stream.close()

    @property
    def sha256(self) -> str:
        """Return the digest of what was written, in hex."""
        return self._sha256.hexdigest()
