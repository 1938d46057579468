"""Sort more items than fit into memory.

Items that arrive in order cost one pass; others are sorted in parts that are then merged. Memory
is bounded by `limit_bytes`, whatever the number of items.
"""

import marshal
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import islice
from pathlib import Path
from typing import IO, Any, Generic, TypeVar

Item = TypeVar("Item", bound=tuple[Any, ...])

BUFFER_BYTES = 4 << 20
"""How many bytes one sorter holds in memory. Sixteen runs are fetched at once."""

RECORD_BYTES = 64 << 10
"""How many bytes of each spill file are read at a time while they are merged."""


class ExternalSorter(Generic[Item]):
    """Takes tuples in any order and gives them back in the order of `key`.

    Items hold only values that `marshal` writes: None, numbers, bytes, text, and tuples of those;
    `revive` turns such a tuple back into an item. Spill files are in `folder` under names that
    begin with `stem`, and are removed by `close`.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        *,
        key: Callable[[Item], Any],
        revive: Callable[[tuple[Any, ...]], Item],
        limit_bytes: int = BUFFER_BYTES,
    ) -> None:
        self._folder = folder
        self._stem = stem
        self._key = key
        self._revive = revive
        self._limit = limit_bytes
        self._buffer: list[Item] = []
        self._buffered = 0
        self._spills: list[Path] = []
        self._streams: list[IO[bytes]] = []
        self._last_spilled: Any = None

    def add(self, item: Item, size: int) -> None:
        """Add one item of about `size` bytes."""
        self._buffer.append(item)
        self._buffered += size + 200
        if self._buffered >= self._limit:
            self._spill()

    def __iter__(self) -> Iterator[Item]:
        """Yield all items in order. Nothing may be added after that."""
        self._buffer.sort(key=self._key)
        if not self._spills:
            return iter(self._buffer)
        parts: list[Iterable[Item]] = [self._read(path) for path in self._spills]
        return merge(*parts, self._buffer, key=self._key)

    def close(self) -> None:
        """Remove the spill files."""
        for stream in self._streams:
            stream.close()
        for path in self._spills:
            path.unlink(missing_ok=True)
        self._buffer = []

    def _spill(self) -> None:
        """Write the buffer to disk: after the last spill if it continues that one's order."""
        self._buffer.sort(key=self._key)
        first, last = self._key(self._buffer[0]), self._key(self._buffer[-1])
        if not self._spills or first < self._last_spilled:
            self._spills.append(self._folder / f"{self._stem}.{len(self._spills)}.spill")
        with self._spills[-1].open("ab") as stream:
            items = iter(self._buffer)
            fitting = max(1, RECORD_BYTES * len(self._buffer) // self._buffered)
            while record := [tuple(item) for item in islice(items, fitting)]:
                marshal.dump(record, stream)
        self._last_spilled = last
        self._buffer = []
        self._buffered = 0

    def _read(self, path: Path) -> Iterator[Item]:
        stream = path.open("rb")
        self._streams.append(stream)
        while True:
            try:
                record = marshal.load(stream)
            except EOFError:
                return
            for plain in record:
                yield self._revive(plain)
