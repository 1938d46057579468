"""Write a new data file from lines and copied ranges, and compute its digests on the way."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import IO

from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.shell.store import disk

NOT_COMPUTED = "-"
"""Stands for a digest that nobody wants."""


class LineWriter:
    """Writes one data file in the staging folder. Durable when the `with` block ends."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb")
        self._sha256 = hashlib.sha256()
        self._offset = 0
        self._lines = 0

    def __enter__(self) -> "LineWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                disk.sync_file(self._stream)
        finally:
            with suppress(OSError):  # unwritten bytes belong to a file that nobody will read
                self._stream.close()

    def write(self, lines: Iterable[bytes]) -> ByteRange:
        """Write the lines of one run and return their byte range."""
        return self._count(self._put(disk.gathered(lines)))

    def copy(
        self, stream: IO[bytes], byte_range: ByteRange, then: Iterable[bytes] = ()
    ) -> ByteRange:
        """Copy lines of one run from another file, and then write more lines of it.

        The digest of `byte_range` is that of everything written, "" if it is not known.
        """
        chunks = disk.copy_range(stream, byte_range.offset, byte_range.length, self._stream)
        copied = ((chunk, 0) for chunk in chunks)
        more = self._put(disk.gathered(then))
        return self._count(chain([(b"", byte_range.rows)], copied, more), byte_range.digest)

    def copy_line(self, stream: IO[bytes], offset: int, length: int) -> None:
        """Copy one line, however long, from another file. What is in its buffer is not seen."""
        chunks = disk.copy_range(stream, offset, length, self._stream)
        self._count(chain([(b"", 1)], ((chunk, 0) for chunk in chunks)), NOT_COMPUTED)

    def write_line(self, parts: Iterable[bytes]) -> None:
        """Write one line, however long, that is given in parts."""
        self._count(self._put(chain([(b"", 1)], ((part, 0) for part in parts))), NOT_COMPUTED)

    def _put(self, chunks: Iterable[tuple[bytes, int]]) -> Iterator[tuple[bytes, int]]:
        for chunk, lines in chunks:
            self._stream.write(chunk)
            yield chunk, lines

    def _count(self, written: Iterable[tuple[bytes, int]], digest: str = "") -> ByteRange:
        """Count chunks of lines as they are written, each with its number of lines."""
        start, before = self._offset, self._lines
        own = hashlib.blake2b(digest_size=16)
        for chunk, lines in written:
            self._sha256.update(chunk)
            if not digest:
                own.update(chunk)
            self._offset += len(chunk)
            self._lines += lines
        return ByteRange(
            offset=start,
            length=self._offset - start,
            rows=self._lines - before,
            digest=digest or own.hexdigest(),
        )

    @property
    def written(self) -> DataFile:
        """Return the lines, bytes and digest of the file so far."""
        return DataFile(lines=self._lines, bytes=self._offset, sha256=self._sha256.hexdigest())
