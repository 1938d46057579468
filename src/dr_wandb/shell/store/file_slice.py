"""A range of a file as a file of its own, for libraries that read from the end of a stream."""

from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class FileSlice(RawIOBase):
    """Reads `length` bytes of a file from `offset` on."""

    def __init__(self, path: Path, offset: int, length: int) -> None:
        self._stream = path.open("rb", buffering=0)
        self._offset = offset
        self._length = length
        self._at = 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def seekable(self) -> bool:
        """Say that it has positions."""
        return True

    def seek(self, position: int, whence: int = 0, /) -> int:
        """Go to a position."""
        self._at = position + (0, self._at, self._length)[whence]
        return self._at

    def readinto(self, buffer: "WriteableBuffer", /) -> int:
        """Read as many bytes as are left and fit."""
        left = max(0, self._length - self._at)
        self._stream.seek(self._offset + self._at)
        found = self._stream.readinto(memoryview(buffer).cast("B")[:left])
        self._at += found
        return found

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()
