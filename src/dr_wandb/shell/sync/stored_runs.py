"""The stored snapshots of an export, read one at a time while its project is listed."""

from collections.abc import Callable
from pathlib import Path
from typing import IO

from dr_wandb.core.contract.codec import decode_snapshot
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.records import WandbRun
from dr_wandb.shell.store import disk


class StoredRuns:
    """The runs in a stored `runs.jsonl`, which is opened once one is asked for.

    find_byte_range: returns the byte range of a run, by its id. Used as a context manager.
    """

    def __init__(self, path: Path, find_byte_range: Callable[[str], ByteRange | None]) -> None:
        self._path = path
        self._find_byte_range = find_byte_range
        self._file: IO[bytes] | None = None

    def get(self, run_id: str) -> WandbRun | None:
        """Return the stored run with this id, None if there is none."""
        byte_range = self._find_byte_range(run_id)
        if byte_range is None:
            return None
        if self._file is None:
            self._file = self._path.open("rb")
        line = b"".join(disk.read_range(self._file, byte_range.offset, byte_range.length))
        snapshot = decode_snapshot(line).value_or(None)
        return None if snapshot is None else snapshot.run

    def __enter__(self) -> "StoredRuns":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
