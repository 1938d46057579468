"""The space for bytes that are still to come, before the first of them is written.

Rules
- A share is the announced size of one file. It falls with each byte that is written, so that no
  byte counts twice: once as to come, once as space that is no longer free.
- A share that does not fit is not taken: what was promised before stays as it was.
- Files that surely have the same bytes have one share.
"""

import threading
from collections.abc import Hashable, Iterable
from pathlib import Path

from dr_wandb.shell.store.disk_errors import require_space


class Share:
    """What is still to come of one file. Several threads may lower it at once."""

    def __init__(self, space: "SpaceToCome", size: int, content: Hashable | None) -> None:
        self._space = space
        self._content = content
        self.left = size

    def lower(self, written: int) -> None:
        """Note bytes that were written; there may be more than were announced."""
        self._space.lower(self, written)

    def close(self) -> None:
        """Note that nothing more comes."""
        self._space.close(self, self._content)


class SpaceToCome:
    """The shares of the files of one sync, on the disk of a folder. Several threads may use it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._left = 0
        self._contents: set[Hashable] = set()

    def share(self, files: Iterable[tuple[int, Hashable | None]]) -> list[Share]:
        """Take a share for each file. files: their sizes, and what says that two are the same.

        Raises DrWandbError if not all of them fit beside what is still to come.
        """
        with self._lock:
            shares, more = [], 0
            contents: set[Hashable] = set()
            for size, content in files:
                if content is not None and content in self._contents | contents:
                    shares.append(Share(self, 0, None))
                    continue
                more += size
                shares.append(Share(self, size, content))
                if content is not None:
                    contents.add(content)
            if more:
                require_space(self._folder, self._left + more)
            self._left += more
            self._contents |= contents
        return shares

    def lower(self, share: Share, written: int) -> None:
        """Lower a share by bytes that were written."""
        with self._lock:
            less = min(written, share.left)
            share.left -= less
            self._left -= less

    def close(self, share: Share, content: Hashable | None) -> None:
        """Give back what is left of a share."""
        with self._lock:
            self._left -= share.left
            share.left = 0
            self._contents.discard(content)
