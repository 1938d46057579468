"""Write a new data file: lines, copied ranges, and the digests of both as they pass."""

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from dr_wandb.core.manifest import DataFile
from dr_wandb.core.state import ByteRange
from dr_wandb.shell import disk


class LineWriter:
    """Writes one data file in the staging folder. Durable when the `with` block ends."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("wb", buffering=disk.CHUNK)
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
        start, rows = self._offset, 0
        own = hashlib.blake2b(digest_size=16)
        for line in lines:
            self._stream.write(line)
            self._sha256.update(line)
            own.update(line)
            self._offset += len(line)
            rows += 1
        self._lines += rows
        return ByteRange(
            offset=start, length=self._offset - start, rows=rows, digest=own.hexdigest()
        )

    def copy(self, chunks: Iterable[bytes], *, rows: int, digest: str = "") -> ByteRange:
        """Write `rows` lines that come as chunks; `digest` is theirs, where it is known."""
        start = self._offset
        own = None if digest else hashlib.blake2b(digest_size=16)
        for chunk in chunks:
            self._stream.write(chunk)
            self._sha256.update(chunk)
            if own is not None:
                own.update(chunk)
            self._offset += len(chunk)
        self._lines += rows
        return ByteRange(
            offset=start,
            length=self._offset - start,
            rows=rows,
            digest=digest if own is None else own.hexdigest(),
        )

    @property
    def written(self) -> DataFile:
        """Return what the file holds so far."""
        return DataFile(lines=self._lines, bytes=self._offset, sha256=self._sha256.hexdigest())
