"""The files in the folder of a run, as its client left them for W&B.

Rules
- The files of a run are those below the folder beside its `.wandb` file. Of several folders of one
  run the last one that has a name counts, as on a server.
  Only the `.wandb` files of the run itself, and the marks of W&B's client beside them, are none.
- A link counts as the file that it leads to, if that is in the same folder or in one that the user
  has admitted. Any other is named, and not read. Neither is anything that is no file, such as a
  pipe: opening it could wait for ever.
- A link to a folder is not followed. It is no file if that folder is in the folder of the run, as
  the files in it are listed anyway. Any other is named like a link out of the folder.
- A file that the client named for an upload, and that is not there, is listed like the others: it
  has no bytes.
- A file is known by its size and its time. Its bytes are read only when they are fetched.
- A folder that cannot be read fails the listing: files that are not seen are not gone.
"""

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

from dr_wandb.core.contract.codec import digest
from dr_wandb.core.contract.dataset import FILES_PER_ANSWER
from dr_wandb.core.contract.file_names import name_spelled, spell_name
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.contract.run_files import Absence
from dr_wandb.core.contract.values import clean_text
from dr_wandb.core.offline.host import time_of
from dr_wandb.core.offline.missing_files import missing_files
from dr_wandb.shell.sources import RawRow, RowBatch, SourceError
from dr_wandb.shell.sources.contents import FileGoneError, LinkOutsideError, Save, T
from dr_wandb.shell.sources.offline.forms import WandbFile
from dr_wandb.shell.sources.offline.found import FoundRun
from dr_wandb.shell.sources.offline.index import MissingFiles
from dr_wandb.shell.sources.offline.other_rows import readable, wandb_parts
from dr_wandb.shell.store import disk

_MARK_OF_CLIENT = ".synced"
"""Ends the name of the empty file that W&B's client puts beside a `.wandb` file it has sent."""

_SECOND = 1_000_000_000


class _Found(NamedTuple):
    """A file in a folder. `size` and `modified_ns` are None if it is not to be read."""

    path: str
    size: int | None = None
    modified_ns: int | None = None


class FolderFiles:
    """The files of one run. admitted: folders that links may lead to.

    missing: what is known of the missing files of runs, by their ids; more is added to it.
    """

    def __init__(
        self, run: FoundRun, admitted: Sequence[Path], missing: dict[str, MissingFiles]
    ) -> None:
        self._run = run
        self._missing = missing
        files = [one.file for one in run.files]
        roots = dict.fromkeys(str(one.metadata_path.parent) for one in files)
        self._roots = [os.path.realpath(root) for root in roots]
        self._admitted = [*self._roots, *map(os.path.realpath, admitted)]
        own = [os.path.realpath(one.location) for one in files if isinstance(one, WandbFile)]
        self._own = {*own, *(f"{path}{_MARK_OF_CLIENT}" for path in own)}

    def _all(self) -> Mapping[str, _Found]:
        """Find the files by their names, and name those that are missing.

        Raises SourceError if a folder, or a file of the run itself, cannot be read.
        """
        found = self._in_folder()
        mark = f"{self._run.mark} {_digest_of(found)}"
        known = self._missing.get(self._run.run_id)
        if known is None or known.mark != mark:
            named = set[str]()
            for part in wandb_parts(self._run):
                with readable(part.file) as (data, _):
                    named |= part.file.decoder.named_files(data, part.reading)
            known = MissingFiles(mark=mark, names=tuple(missing_files(named, found)))
            self._missing[self._run.run_id] = known
        return dict(sorted({**found, **{name: _Found("") for name in known.names}}.items()))

    def _in_folder(self) -> dict[str, _Found]:
        found: dict[str, _Found] = {}
        for root in self._roots:
            for folder, names, files in os.walk(root, onerror=_require_gone):
                folders = [str(Path(folder, name)) for name in names]
                paths = [str(Path(folder, name)) for name in files]
                for path in (*paths, *filter(self._leads_out, folders)):
                    if path not in self._own:
                        found[spell_name(os.path.relpath(path, root))] = self._look(path)
        return found

    def _look(self, path: str) -> _Found:
        if not self._leads_out(path):
            with suppress(OSError):
                status = Path(path).stat()
                if stat.S_ISREG(status.st_mode):
                    return _Found(path, status.st_size, status.st_mtime_ns)
        return _Found(path)

    def _leads_out(self, path: str) -> bool:
        """Say whether something in a folder of the run is a link that must not be followed."""
        return _kind(path, follow=False) == stat.S_IFLNK and not self._is_inside(path)

    def _is_inside(self, path: str) -> bool:
        """Say whether a path leads to a folder of the run, or to a file that may be read."""
        target = os.path.realpath(path)
        within = self._roots if _kind(target) == stat.S_IFDIR else self._admitted
        return any(Path(target).is_relative_to(folder) for folder in within)

    @property
    def count_and_mark(self) -> tuple[int | None, str]:
        """Return how many files there are, and a text that changes if one of them does.

        The number is None if a folder cannot be read: to list the files fails then, too.
        """
        try:
            found = self._all()
        except SourceError as error:
            return None, str(error)
        return len(found), _digest_of(found)

    def rows(self) -> Iterator[RawRow]:
        """Give the files as W&B would list them."""
        return (self._row(name, found) for name, found in self._all().items())

    def find(self, name: str) -> RawRow | None:
        """Return the row of one file, None if there is none."""
        found = self._all().get(name)
        return None if found is None else self._row(name, found)

    def _row(self, name: str, found: _Found) -> dict[str, Any]:
        at = found.modified_ns
        row = {
            "name": name,
            "sizeBytes": found.size,
            "updatedAt": None if at is None else time_of(at // _SECOND, at % _SECOND),
        }
        if at is not None or not found.path or self._is_inside(found.path):
            return row
        return {**row, "absent": Absence.LINK_OUTSIDE.value}

    def fetch(self, name: str, save: Save[T]) -> T:
        """Let `save` take the bytes of a file."""
        path = next((path for path in self._paths(name) if os.path.lexists(path)), None)
        if path is None:
            raise FileGoneError("it is not in the folder of its run")
        if not self._is_inside(path):
            raise LinkOutsideError("it is a link out of the folder of its run, or to a folder")
        try:
            stream = _open_file(os.path.realpath(path))
        except FileNotFoundError:
            raise FileGoneError("it is a link to a file that is missing") from None
        except OSError as error:
            raise _unreadable(error) from error
        if stream is None:
            raise FileGoneError("it is not a file")
        with stream:
            return save(_chunks(stream))

    def _paths(self, name: str) -> Iterator[str]:
        """Give the paths that a name may have, if it leads to no other folder by itself."""
        path = Path(name_spelled(name))
        if path.parts and not path.is_absolute() and ".." not in path.parts:
            yield from (str(Path(root, path)) for root in reversed(self._roots))


class FolderContents:
    """The files of all runs, and their bytes. find_run: gives what was found of a listed run."""

    def __init__(
        self, find_run: Callable[[RunListing], FoundRun], admitted: Sequence[Path]
    ) -> None:
        self._find_run = find_run
        self._admitted = admitted
        self.missing: dict[str, MissingFiles] = {}

    def of(self, run: FoundRun) -> FolderFiles:
        """Return the files of a run."""
        return FolderFiles(run, self._admitted, self.missing)

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


def _digest_of(found: Mapping[str, _Found]) -> str:
    return digest(repr(sorted(found.items())).encode("utf-8", "backslashreplace"))


def _kind(path: str, *, follow: bool = True) -> int:
    """Return the kind of what is at a path, as `stat` numbers kinds; 0 if it cannot be seen."""
    with suppress(OSError):
        return stat.S_IFMT(Path(path).stat(follow_symlinks=follow).st_mode)
    return 0


def _require_gone(error: OSError) -> None:
    """Raise SourceError for a folder that is there and cannot be read."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise _unreadable(error, str(error.filename)) from error


def _open_file(path: str) -> IO[bytes] | None:
    """Open a file; None if there is anything else. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return os.fdopen(descriptor, "rb")


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    try:
        while chunk := stream.read(disk.CHUNK):
            yield chunk
    except OSError as error:
        raise _unreadable(error) from error


def _unreadable(error: OSError, path: str = "it") -> SourceError:
    reason = clean_text(f"{path} cannot be read: {error.strerror or error}")
    return SourceError(reason, RunFailureKind.UNREADABLE, retryable=False)
