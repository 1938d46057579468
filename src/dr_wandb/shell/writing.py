"""Write a new data file: lines, copied ranges, and the digests of both as they pass."""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from types import TracebackType

from dr_wandb.core.manifest import DataFile
from dr_wandb.core.state import ByteRange
from dr_wandb.shell import disk


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
            with suppress(OSError):  # what it still holds back belongs to a file nobody will read
                self._stream.close()

    def write(self, lines: Iterable[bytes]) -> ByteRange:
        """Write the lines of one run and return where they lie."""
        return self._write(disk.gathered(lines))

    def copy(
        self,
        chunks: Iterable[bytes],
        *,
        rows: int,
        digest: str = "",
        then: Iterable[bytes] = (),
    ) -> ByteRange:
        """Write `rows` lines of one run that come as chunks, and then more lines of it.

        digest: that of all of it, where it is known.
        """
        copied = ((chunk, 0) for chunk in chunks)
        return self._write(chain([(b"", rows)], copied, disk.gathered(then)), digest)

    def _write(self, chunks: Iterable[tuple[bytes, int]], digest: str = "") -> ByteRange:
        """Write chunks of lines, each with a number of lines to count."""
        start, before = self._offset, self._lines
        own = hashlib.blake2b(digest_size=16)
        for chunk, lines in chunks:
            self._stream.write(chunk)
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
        """Return what the file holds so far."""
        return DataFile(lines=self._lines, bytes=self._offset, sha256=self._sha256.hexdigest())
