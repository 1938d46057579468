"""Listed runs that may become lines of `runs.jsonl`, kept on disk instead of in memory."""

from contextlib import suppress
from pathlib import Path
from typing import IO

import msgspec

from dr_wandb.core.contract.records import WandbRun
from dr_wandb.shell.store import disk

_RUN = msgspec.json.Decoder(WandbRun)


class ListedRunsFile:
    """Runs as they were listed, which can be read by id, in a file of their own in `folder`.

    Used as a context manager.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "listed-runs.spool"
        self._written = self._path.open("wb", buffering=disk.CHUNK)
        self._read: IO[bytes] | None = None
        self._byte_ranges: dict[str, tuple[int, int]] = {}
        self._end = 0
        self._flushed = 0

    def put(self, run_id: str, encoded: bytes) -> None:
        """Store a run as encoded by `encode_run`; the last one of an id counts."""
        self._written.write(encoded)
        self._byte_ranges[run_id] = (self._end, len(encoded))
        self._end += len(encoded)

    def encoded(self, run_id: str) -> bytes:
        """Return the encoded form of a stored run."""
        offset, length = self._byte_ranges[run_id]
        if offset + length > self._flushed:
            self._written.flush()
            self._flushed = self._end
        if self._read is None:
            self._read = self._path.open("rb")
        self._read.seek(offset)
        return self._read.read(length)

    def get(self, run_id: str) -> WandbRun:
        """Return a stored run."""
        return _RUN.decode(self.encoded(run_id))

    def length(self, run_id: str) -> int:
        """Return the encoded size of a stored run in bytes."""
        return self._byte_ranges[run_id][1]

    def __enter__(self) -> "ListedRunsFile":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # unwritten bytes are no longer needed
            self._written.close()
        if self._read is not None:
            self._read.close()
