"""The files in the folder of a run, as its client left them for W&B.

Rules
- The files of a run are those below the folder beside its `.wandb` file. Of several folders of one
  run the last one that has a name counts, as on a server.
- A link counts as the file that it leads to, if that is in the same folder or in one that the user
  has admitted. Any other is named, and not read. Neither is anything that is no file, such as a
  pipe: opening it could wait for ever.
- A file is known by its size and its time. Its bytes are read only when they are fetched.
"""

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dr_wandb.core.contract.codec import digest
from dr_wandb.core.contract.dataset import FILES_PER_ANSWER
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.contract.values import clean_text
from dr_wandb.core.offline.host import time_of
from dr_wandb.shell.sources import RawRow, RowBatch, SourceError
from dr_wandb.shell.sources.contents import FileGoneError, LinkOutsideError, Save, T
from dr_wandb.shell.sources.offline.found import FoundRun
from dr_wandb.shell.store import disk

_OWN_SUFFIXES = (".wandb", ".synced")

_SECOND = 1_000_000_000


class _Found(NamedTuple):
    """A file in a folder. `size` and `modified_ns` are None if it is not to be read."""

    path: str
    size: int | None = None
    modified_ns: int | None = None


class FolderFiles:
    """The files of one run. admitted: folders that links may lead to."""

    def __init__(self, run: FoundRun, admitted: Sequence[Path]) -> None:
        roots = dict.fromkeys(str(file.file.metadata_path.parent) for file in run.files)
        self._roots = [os.path.realpath(root) for root in roots]
        self._admitted = [*self._roots, *map(os.path.realpath, admitted)]

    def _all(self) -> Mapping[str, _Found]:
        found: dict[str, _Found] = {}
        for root in self._roots:
            for folder, names, files in os.walk(root):
                links = [name for name in names if Path(folder, name).is_symlink()]
                for name in (*files, *links):
                    path = str(Path(folder, name))
                    if not name.endswith(_OWN_SUFFIXES):
                        found[os.path.relpath(path, root)] = self._look(path)
        return dict(sorted(found.items()))

    def _look(self, path: str) -> _Found:
        if self._is_inside(path):
            with suppress(OSError):
                status = Path(path).stat()
                if stat.S_ISREG(status.st_mode):
                    return _Found(path, status.st_size, status.st_mtime_ns)
        return _Found(path)

    def _is_inside(self, path: str) -> bool:
        target = os.path.realpath(path)
        return any(target.startswith(f"{folder}{os.sep}") for folder in self._admitted)

    @property
    def count_and_mark(self) -> tuple[int, str]:
        """Return how many files there are, and a text that changes if one of them does."""
        found = self._all()
        return len(found), digest(repr(list(found.items())).encode("utf-8", "backslashreplace"))

    def rows(self) -> Iterator[RawRow]:
        """Give the files as W&B would list them."""
        return (_row(name, found) for name, found in self._all().items())

    def find(self, name: str) -> RawRow | None:
        """Return the row of one file, None if there is none."""
        found = self._all().get(name)
        return None if found is None else _row(name, found)

    def fetch(self, name: str, save: Save[T]) -> T:
        """Let `save` take the bytes of a file."""
        path = next((path for path in self._paths(name) if os.path.lexists(path)), None)
        if path is None:
            raise FileGoneError("it is not in the folder of its run")
        if not self._is_inside(path):
            raise LinkOutsideError("it is a link out of the folder of its run")
        try:
            descriptor = os.open(os.path.realpath(path), os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            raise FileGoneError("it is a link to a file that is missing") from None
        except OSError as error:
            raise _unreadable(error) from error
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise FileGoneError("it is not a file")
            return save(_chunks(stream))

    def _paths(self, name: str) -> Iterator[str]:
        """Give the paths that a name may have, if it leads to no other folder by itself."""
        parts = Path(name).parts
        if parts and not Path(name).is_absolute() and ".." not in parts:
            yield from (str(Path(root, name)) for root in reversed(self._roots))


class FolderContents:
    """The files of all runs, and their bytes. find_run: gives what was found of a listed run."""

    def __init__(
        self, find_run: Callable[[RunListing], FoundRun], admitted: Sequence[Path]
    ) -> None:
        self._find_run = find_run
        self._admitted = admitted

    def of(self, run: FoundRun) -> FolderFiles:
        """Return the files of a run."""
        return FolderFiles(run, self._admitted)

    def read(self, run: RunListing) -> Iterator[RowBatch]:
        """List the files of a run."""
        rows = self.of(self._find_run(run)).rows()
        while some := list(islice(rows, FILES_PER_ANSWER)):
            yield RowBatch(rows=some)

    def find(self, run: RunListing, name: str) -> RawRow | None:
        """Return the row of one file as it is now."""
        return self.of(self._find_run(run)).find(name)

    def fetch(self, run: RunListing, name: str, save: Save[T]) -> T:
        """Let `save` take the bytes of a file."""
        return self.of(self._find_run(run)).fetch(name, save)


def _row(name: str, found: _Found) -> dict[str, Any]:
    at = found.modified_ns
    return {
        "name": name,
        "sizeBytes": found.size,
        "updatedAt": None if at is None else time_of(at // _SECOND, at % _SECOND),
    }


def _chunks(stream: Any) -> Iterator[bytes]:
    try:
        while chunk := stream.read(disk.CHUNK):
            yield chunk
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError) -> SourceError:
    reason = clean_text(f"it cannot be read: {error.strerror or error}")
    return SourceError(reason, RunFailureKind.UNREADABLE, retryable=False)
