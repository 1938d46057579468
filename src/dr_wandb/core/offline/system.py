"""The samples of the machine in a `.wandb` file, as W&B's clients send them.

Rules
- wandb-core sends times as doubles (0.31.0); the clients written in Python sent whole seconds.
- The runtime counts from the start that the record of the run names, and is absent without it.
"""

from collections.abc import Iterator
from typing import Any

from dr_wandb.core.offline.header import Buffer
from dr_wandb.core.offline.records import HeaderRecord, RunRecord, SystemSample
from dr_wandb.core.offline.timeline import records_until_exit

SAMPLES_AT_ONCE = 1000


def samples_of(data: Buffer, end: int) -> Iterator[list[dict[str, Any]]]:
    """Give the samples of one file as rows of a source, some at a time, in order.

    end: the offset at which reading stops.
    """
    of_core, started_at = False, None
    rows: list[dict[str, Any]] = []
    for record in records_until_exit(data, end):
        match record:
            case HeaderRecord(producer=producer):
                of_core = bool(producer)
            case RunRecord(started_at=(_, _) as start):
                started_at = started_at or start
            case SystemSample():
                rows.append({**record.values, **_times(record, started_at, of_core=of_core)})
                if len(rows) == SAMPLES_AT_ONCE:
                    yield rows
                    rows = []
            case _:
                pass
    yield rows


def _times(
    sample: SystemSample, started_at: tuple[int, int] | None, *, of_core: bool
) -> dict[str, Any]:
    if sample.timestamp is None or sample.seconds is None:
        return {}
    if not of_core:
        times = {"_timestamp": sample.seconds}
        return times if started_at is None else times | {"_runtime": sample.seconds - started_at[0]}
    if started_at is None:
        return {"_timestamp": sample.timestamp}
    start = started_at[0] + started_at[1] / 1e9
    return {"_timestamp": sample.timestamp, "_runtime": sample.timestamp - start}
