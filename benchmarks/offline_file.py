"""Write the `.wandb` file of an offline run: `python -m benchmarks.offline_file WORKLOAD FOLDER`.

Rules
- Records are made with wandb's own protobuf classes and look as wandb-core 0.31 writes them:
  keys as `nested_key`, items in another order each time, values spelled as Go spells them.
- Numbers come from a generator with a fixed seed: the same file on every machine.
- The run ended in January 2025, and so did the writing of its file.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec
from wandb.proto import wandb_internal_pb2 as pb

from benchmarks.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

FILE_HEADER = b":W&B\xe1\xbe\x00"
BLOCK_BYTES = 32 * 1024
CHUNK_HEADER = struct.Struct("<IHB")
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4

PROJECT = "project"
RUN_ID = "run00000"
STARTED = datetime(2025, 1, 1, tzinfo=UTC)
SECONDS_PER_ROW = 0.1
SEED = 5


def framed(payloads: Iterable[bytes]) -> Iterator[bytes]:
    """Give the bytes of a file of records: chunks that never cross a block of 32 KiB.

    Fewer than seven bytes at the end of a block are zeros; with just seven, a first chunk
    without content stands there, as LevelDB and wandb-core write it.
    """
    yield FILE_HEADER
    room = BLOCK_BYTES - len(FILE_HEADER)
    for payload in payloads:
        rest, begun, ended = payload, False, False
        while not ended:
            if room < CHUNK_HEADER.size:
                yield bytes(room)
                room = BLOCK_BYTES
            piece = rest[: room - CHUNK_HEADER.size]
            rest = rest[len(piece) :]
            ended = not rest
            kind = (LAST if ended else MIDDLE) if begun else (FULL if ended else FIRST)
            yield CHUNK_HEADER.pack(crc32(piece, crc32(bytes([kind]))), len(piece), kind) + piece
            room -= CHUNK_HEADER.size + len(piece)
            begun = True


def records(workload: Workload) -> Iterator[pb.Record]:
    """Give the records of one run, in the order of its file."""
    yield pb.Record(header=pb.HeaderRecord(version_info=pb.VersionInfo(producer="0.31.0")))
    yield pb.Record(run=_run())
    random = Random(SEED)
    runtime = 0.0
    for step in range(workload.rows_per_run):
        runtime = SECONDS_PER_ROW * (step + random.random())
        row = _row(workload, step, runtime, random)
        if workload.summaries:
            yield from _summaries(row, runtime, random)
        items = [pb.HistoryItem(nested_key=[key], value_json=text) for key, text in row.items()]
        random.shuffle(items)
        yield pb.Record(history=pb.HistoryRecord(item=items, step=pb.HistoryStep(num=step)))
    yield pb.Record(exit=pb.RunExitRecord(exit_code=0, runtime=int(runtime)))


def _run() -> pb.RunRecord:
    config = {
        "_wandb": {},
        "seed": 0,
        "learning_rate": 0.1,
        "optimizer": {"name": "adamw", "betas": [0.9, 0.999], "weight_decay": 0.01},
    }
    updates = [
        pb.ConfigItem(key=key, value_json=json.dumps(value)) for key, value in config.items()
    ]
    run = pb.RunRecord(
        run_id=RUN_ID,
        project=PROJECT,
        config=pb.ConfigRecord(update=updates),
        display_name="sweep-of-seed-0",
        tags=["baseline"],
        host="machine",
    )
    run.start_time.FromDatetime(STARTED)
    return run


def _row(workload: Workload, step: int, runtime: float, random: Random) -> dict[str, str]:
    """Return a row as JSON by key."""
    metrics = {f"m/{index}": repr(random.random()) for index in range(workload.metrics)}
    return {
        **metrics,
        "_timestamp": spell_as_go(STARTED.timestamp() + runtime),
        "_runtime": f"{runtime:.9f}",
        "_step": str(step),
    }


def spell_as_go(epoch_seconds: float) -> str:
    """Spell a time as Go's shortest form does: with an exponent."""
    whole, _, fraction = repr(epoch_seconds).partition(".")
    digits = (whole + fraction).rstrip("0")
    return f"{digits[0]}.{digits[1:]}e+{len(whole) - 1:02d}"


def _summaries(row: Mapping[str, str], runtime: float, random: Random) -> Iterator[pb.Record]:
    """Give what the SDK writes before each row: the time so far, then the row's values."""
    seconds = str(int(runtime))
    times = [
        pb.SummaryItem(nested_key=["_wandb", "runtime"], value_json=seconds),
        pb.SummaryItem(key="_runtime", value_json=seconds),
    ]
    yield pb.Record(summary=pb.SummaryRecord(update=times))
    updates = [pb.SummaryItem(nested_key=[key], value_json=text) for key, text in row.items()]
    random.shuffle(updates)
    yield pb.Record(summary=pb.SummaryRecord(update=updates))


def write_run(workload: Workload, folder: Path) -> Path:
    """Write the file below a folder, as the SDK lays it out; return its path."""
    run_folder = folder / f"offline-run-{STARTED:%Y%m%d_%H%M%S}-{RUN_ID}"
    run_folder.mkdir(parents=True)
    path = run_folder / f"run-{RUN_ID}.wandb"
    with path.open("wb") as stream:
        for piece in framed(_numbered(records(workload))):
            stream.write(piece)
    ended = STARTED.timestamp() + SECONDS_PER_ROW * workload.rows_per_run
    os.utime(path, (ended, ended))
    return path


def _numbered(unnumbered: Iterable[pb.Record]) -> Iterator[bytes]:
    for number, record in enumerate(unnumbered, 1):
        record.num = number
        yield record.SerializeToString()


if __name__ == "__main__":
    print(write_run(msgspec.json.decode(sys.argv[1], type=Workload), Path(sys.argv[2])))
