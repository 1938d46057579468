"""One process at a time for each folder: a sync for an export, a checkout for its target."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from dr_wandb.core.contract.failures import DrWandbError, Locked
from dr_wandb.core.contract.records import Record
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.guards import require_folder, require_own_file

LOCK_FILE = ".lock"
HOLDER_FILE = ".lock-holder.json"


class Holder(Record, frozen=True, kw_only=True):
    """The process that has the lock, as it describes itself."""

    pid: int
    host: str
    since: str

    @property
    def in_words(self) -> str:
        """Describe the process."""
        return f"process {self.pid} on {self.host} since {self.since}"


@contextmanager
def locked(folder: Path, instead: str = "--name") -> Iterator[None]:
    """Hold the lock of a folder, such as an export, creating it if necessary.

    instead: what to give to use another folder. Raises DrWandbError at once if another process has
    the lock, or if there cannot be such a folder. A process that died has no lock.
    """
    from filelock import FileLock, Timeout  # here, as commands that only read need none

    require_folder(folder)
    for name in (LOCK_FILE, HOLDER_FILE):
        require_own_file(folder / name)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in made:  # a power cut must not take the whole export
        with suppress(PermissionError):  # in a folder that may be written and not read
            disk.sync_folder(path.parent)
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        holder = read_holder(folder)
        words = "another process" if holder is None else holder.in_words
        raise DrWandbError(Locked(path=str(folder), holder=words, instead=instead)) from None
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        holder = Holder(pid=os.getpid(), host=os.uname().nodename, since=since)
        disk.write_file(folder / HOLDER_FILE, msgspec.json.encode(holder))
        yield
    finally:
        try:
            with suppress(OSError):  # the result or the error of the sync matters more
                disk.remove(folder / HOLDER_FILE)
                _remove_if_unused(made)
        finally:
            lock.release()


def read_holder(folder: Path) -> Holder | None:
    """Return the note that a sync left about itself, None if there is none or it does not read.

    The sync may have ended: a process that was killed leaves its note.
    """
    try:
        return msgspec.json.decode((folder / HOLDER_FILE).read_bytes(), type=Holder)
    except (OSError, ValueError, RecursionError):
        return None


def _remove_if_unused(made: list[Path]) -> None:
    """Remove folders that were created for a sync which then kept nothing in them."""
    for folder in made:
        if not {path.name for path in folder.iterdir()} <= {LOCK_FILE}:
            return
        (folder / LOCK_FILE).unlink(missing_ok=True)
        folder.rmdir()
