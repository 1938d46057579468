"""One sync at a time for each export."""

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from dr_wandb.core.failures import DrWandbError, Locked
from dr_wandb.shell import disk
from dr_wandb.shell.places import require_folder, require_own_file

LOCK_FILE = ".lock"
HOLDER_FILE = ".lock-holder.json"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of an export, making its folder if need be.

    Raises DrWandbError at once where another process has it, or where the folder cannot be one of
    an export. A process that died holds nothing.
    """
    require_folder(folder)
    for name in (LOCK_FILE, HOLDER_FILE):
        require_own_file(folder / name)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DrWandbError(Locked(path=str(folder), holder=_holder(folder))) from None
    try:
        holder = {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "since": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        }
        disk.write_file(folder / HOLDER_FILE, json.dumps(holder).encode())
        yield
    finally:
        try:
            with suppress(OSError):  # what the sync did, or why it ended, counts for more
                disk.remove(folder / HOLDER_FILE)
                _remove_if_unused(made)
        finally:
            lock.release()


def _holder(folder: Path) -> str:
    try:
        holder = json.loads((folder / HOLDER_FILE).read_text(encoding="utf-8"))
        return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def _remove_if_unused(made: list[Path]) -> None:
    """Remove folders that were made for a sync which then had nothing to keep in them."""
    for folder in made:
        if not {path.name for path in folder.iterdir()} <= {LOCK_FILE}:
            return
        (folder / LOCK_FILE).unlink(missing_ok=True)
        folder.rmdir()
