"""Find the `.wandb` files below a folder: one for each time that a run was begun or resumed.

`wandb/` holds `run-<time>-<id>` and `offline-run-<time>-<id>`, each with `run-<id>.wandb`, and a
link `latest-run` to one of them (wandb 0.12 to 0.31). Links to folders are not followed.
"""

import mmap
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from dr_wandb.core.contract.failures import DrWandbError, InvalidRequest
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.values import clean_text

SUFFIX = ".wandb"
METADATA_FILE = "wandb-metadata.json"


_BEGUN = re.compile(r"(?<=run-)\d{8}_\d{6}(?=-)")


class RunFile(Record, frozen=True, kw_only=True):
    """One file as it is on the disk. `name` is its path below the folder that was searched."""

    name: str
    path: Path
    size: int
    modified_ns: int

    @property
    def run_id(self) -> str:
        """Return the id that the name of the file tells."""
        told = self.path.name.removesuffix(SUFFIX).removeprefix("run-")
        return clean_text(told or self.path.parent.name)

    @property
    def begun(self) -> str | None:
        """Return the time that the name of its folder tells, None where it tells none."""
        told = _BEGUN.search(self.path.parent.name)
        return told[0] if told is not None else None

    @property
    def shown(self) -> str:
        """Return the path as text that can be told and kept."""
        return clean_text(str(self.path))

    @property
    def metadata_path(self) -> Path:
        """Return where W&B's own `wandb-metadata.json` of this file lies, if there is one."""
        return self.path.parent / "files" / METADATA_FILE


def find_run_files(folder: Path, on_error: Callable[[OSError], None]) -> list[RunFile]:
    """Find the files below a folder, in the order of their names, each one once.

    on_error: told of what cannot be looked into. Raises DrWandbError where there is no folder.
    """
    try:
        folder.stat()
    except OSError as error:
        problem = f"there is no folder {clean_text(str(folder))} with offline runs"
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            problem = f"{clean_text(str(folder))} cannot be read: {error.strerror}"
        raise DrWandbError(InvalidRequest(problems=(problem,))) from error
    found: dict[tuple[int, int], RunFile] = {}
    for path in sorted(_paths(folder, on_error)):
        try:
            status = path.stat()
        except OSError as error:
            on_error(error)
            continue
        if not stat.S_ISREG(status.st_mode):
            continue
        found.setdefault(
            (status.st_dev, status.st_ino),
            RunFile(
                name=clean_text(str(path.relative_to(folder) if path != folder else path.name)),
                path=path,
                size=status.st_size,
                modified_ns=status.st_mtime_ns,
            ),
        )
    return list(found.values())


def _keep() -> None:
    """Do nothing: the system takes such memory back by itself when it needs some."""


_CAN_RELEASE = hasattr(mmap, "MADV_DONTNEED")


def _paths(folder: Path, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    if folder.is_file():
        yield folder
        return
    for inside, _, names in os.walk(folder, onerror=on_error):
        for name in names:
            path = Path(inside, name)
            if name.endswith(SUFFIX):
                yield path


class MappedFile(NamedTuple):
    """The content of a file. `release` gives back the memory of what was read of it so far."""

    data: memoryview
    release: Callable[[], None]


@contextmanager
def mapped(file: RunFile) -> Iterator[MappedFile]:
    """Give the content of a file as long as it was when it was found, without reading it at once.

    Raises OSError where it cannot be read, or has become shorter.
    """
    if not file.size:
        yield MappedFile(memoryview(b""), _keep)
        return
    with file.path.open("rb") as stream:
        try:
            content = mmap.mmap(stream.fileno(), file.size, access=mmap.ACCESS_READ)
        except ValueError as error:
            raise OSError(f"the file {file.path} became shorter while it was read") from error
    view = memoryview(content)
    release = partial(content.madvise, mmap.MADV_DONTNEED) if _CAN_RELEASE else _keep
    try:
        yield MappedFile(view, release)
    finally:
        with suppress(BufferError):  # the traceback of an error still holds parts of it
            view.release()
            content.close()
