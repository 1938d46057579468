"""A range of a file as a file of its own, for libraries that read from the end of a stream."""

from pathlib import Path
from types import TracebackType


class FileSlice:
    """Reads `length` bytes from `offset` on. Used as a context manager."""

    def __init__(self, path: Path, offset: int, length: int) -> None:
        self._stream = path.open("rb")
        self._offset = offset
        self._length = length
        self._at = 0

    def __enter__(self) -> "FileSlice":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Say whether the file is closed."""
        return self._stream.closed

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seek(self, position: int, whence: int = 0) -> int:
        """Go to a position. whence: as of `io.IOBase.seek`."""
        self._at = position + (0, self._at, self._length)[whence]
        return self._at

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """Read at most `size` bytes, all that are left for a negative number."""
        left = max(0, self._length - self._at)
        self._stream.seek(self._offset + self._at)
        found = self._stream.read(left if size < 0 else min(size, left))
        self._at += len(found)
        return found
