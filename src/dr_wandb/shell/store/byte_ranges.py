"""Whether the byte ranges in the state are those of a data file."""

import hashlib
from collections.abc import Mapping
from typing import IO

from dr_wandb.core.contract.known_runs import byte_range_in
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.tracked_store import TrackedRuns


def fill(size: int, file: str, runs: Mapping[str, RunTracking]) -> bool:
    """Say whether the records of runs fill a file without gaps, from the first byte to the last.

    size: that of the file. file: a dataset, or `SNAPSHOTS`. The records of a store have no gaps:
    their offsets follow from their lengths.
    """
    if isinstance(runs, TrackedRuns):
        return runs.total(file).bytes == size
    end = 0
    byte_ranges = [
        byte_range for run in runs.values() if (byte_range := byte_range_in(run, file)) is not None
    ]
    for byte_range in sorted(byte_ranges, key=lambda byte_range: byte_range.offset):
        if byte_range.offset != end or byte_range.length <= 0:
            return False
        end = byte_range.end
    return end == size


def holds(stream: IO[bytes], size: int, byte_range: ByteRange) -> bool:
    """Say whether a file has the bytes of a range. If so, the stream is at their end.

    size: that of the file.
    """
    if not 0 < byte_range.length <= size - byte_range.offset:
        return False
    own = hashlib.blake2b(digest_size=16)
    rows = 0
    for chunk in disk.read_range(stream, byte_range.offset, byte_range.length):
        own.update(chunk)
        rows += chunk.count(b"\n")
    return (own.hexdigest(), rows) == (byte_range.digest, byte_range.rows)
