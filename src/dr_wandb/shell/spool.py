"""Runs on their way from a listing into `runs.jsonl`: on disk, not in memory."""

from contextlib import suppress
from pathlib import Path
from types import TracebackType

import msgspec

from dr_wandb.core.records import WandbRun

_ENCODER = msgspec.json.Encoder(order="sorted")
_RUN = msgspec.json.Decoder(WandbRun)


class SnapshotSpool:
    """Runs as they were listed, to be fetched by id. Used as a context manager."""

    def __init__(self, path: Path) -> None:
        self._stream = path.open("w+b")
        self._places: dict[str, tuple[int, int]] = {}

    def put(self, run: WandbRun) -> None:
        """Keep a run; the last one of an id counts."""
        encoded = _ENCODER.encode(run)
        offset = self._stream.seek(0, 2)
        self._stream.write(encoded)
        self._places[run.run_id] = (offset, len(encoded))

    def get(self, run_id: str) -> WandbRun:
        """Return a run that was put."""
        offset, length = self._places[run_id]
        self._stream.seek(offset)
        return _RUN.decode(self._stream.read(length))

    def length(self, run_id: str) -> int:
        """Return how many bytes a run takes that was put."""
        return self._places[run_id][1]

    def __enter__(self) -> "SnapshotSpool":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with suppress(OSError):  # what it still holds back is of no use by now
            self._stream.close()
