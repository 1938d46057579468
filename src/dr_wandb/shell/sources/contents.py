"""The bytes of the files of runs: what a source does that has them.

Rules
- A source lists files as rows of a dataset (datasets.py); if it has their bytes too, it has an
  attribute `contents`, a `Contents`. Others give the rows alone.
- Names are spelled by `core.contract.file_names`, also in the rows.
- Bytes are given as they come. The caller checks them, since a source has what anybody may write.
"""

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.shell.sources import RawRow, Source, SourceError

T = TypeVar("T")

Save = Callable[[Iterator[bytes]], T]
"""Takes the bytes of a file as they come. It is called again if an earlier call got too few."""


class FileGoneError(SourceError):
    """A file is listed, and its bytes are not there."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, RunFailureKind.NOT_FOUND, retryable=False, answered=True)


class LinkOutsideError(SourceError):
    """A file is a link that leads out of the folder of its run."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, RunFailureKind.REFUSED, retryable=False)


class Contents(Protocol):
    """Gives the bytes of files. Several threads may call it at once."""

    def find(self, run: RunListing, name: str) -> RawRow | None:
        """Return the row of one file as it is listed now, None if it is not."""
        ...

    def fetch(self, run: RunListing, name: str, save: Save[T]) -> T:
        """Let `save` take the bytes of a file, and return its result. Raises SourceError."""
        ...


def contents_of(source: Source) -> Contents | None:
    """Return what gives the bytes of files, None if the source has none."""
    found: Contents | None = getattr(source, "contents", None)
    return found
