"""Many run folders, beside an earlier build: exported, scanned, and looked at again.

Rules
- The rows of all runs are the same; a run has an id, a name and a beginning of its own.
- Every file was written to an hour ago, and its run has ended.
"""

from __future__ import annotations

import os
import shutil
import time
from datetime import timedelta
from typing import TYPE_CHECKING

from benchmarks.beside import BEFORE, HISTORY, NAME, Bench, Figure, alternate
from benchmarks.environments import THIS_TOOL
from benchmarks.offline_file import STARTED, framed, records
from benchmarks.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from wandb.proto import wandb_internal_pb2 as pb

LARGE = Workload(runs=200, rows_per_run=5_000)
SMALL = Workload(runs=1_300, rows_per_run=20)
STILL = Workload(runs=2_000, rows_per_run=20)
HOUR = 3600.0
EARLIER = "the earlier build"


def write_folders(workload: Workload, folder: Path) -> None:
    """Write a folder for each run, as the SDK lays them out."""
    payloads = [(record, record.SerializeToString()) for record in records(workload)]
    written = time.time() - HOUR
    for number in range(workload.runs):
        run_id = f"run{number:05}"
        begun = STARTED + timedelta(minutes=number)
        inside = folder / f"offline-run-{begun:%Y%m%d_%H%M%S}-{run_id}"
        inside.mkdir(parents=True)
        path = inside / f"run-{run_id}.wandb"
        named = (_named(one, run_id, number) or payload for one, payload in payloads)
        path.write_bytes(b"".join(framed(named)))
        os.utime(path, (written, written))


def _named(record: pb.Record, run_id: str, number: int) -> bytes | None:
    """Return the record that names the run, None for all others."""
    if not record.HasField("run"):
        return None
    own = type(record)()
    own.CopyFrom(record)
    own.run.run_id, own.run.display_name = run_id, f"sweep-of-seed-{number}"
    own.run.start_time.seconds += 60 * number
    content: bytes = own.SerializeToString()
    return content


def measure_folders(bench: Bench, scale: float, rounds: int) -> list[Figure]:
    """Measure all figures. scale: of the number of runs."""
    return [
        _measure_cold(bench, LARGE.scaled(scale), rounds),
        _measure_scan(bench, SMALL.scaled(scale), rounds),
        _measure_still(bench, STILL.scaled(scale), rounds),
    ]


def _measure_cold(bench: Bench, workload: Workload, rounds: int) -> Figure:
    runs = bench.new_folder()
    write_folders(workload, runs)

    def export(tool: str) -> Callable[[], float]:
        return lambda: bench.cold(tool, "--source", f"offline:{runs}")

    work = f"{workload.runs} run folders of {workload.rows_per_run:,} rows, first export"
    figure = alternate(work, 0.6, EARLIER, export(THIS_TOOL), export(BEFORE), rounds)
    shutil.rmtree(runs)
    return figure


def _measure_scan(bench: Bench, workload: Workload, rounds: int) -> Figure:
    runs = bench.new_folder()
    write_folders(workload, runs)

    def scan(tool: str) -> Callable[[], float]:
        return lambda: bench.run(tool, "scan", str(runs)).seconds

    work = f"{workload.runs:,} folders of {workload.rows_per_run} rows, `scan`"
    figure = alternate(work, 0.7, EARLIER, scan(THIS_TOOL), scan(BEFORE), rounds)
    shutil.rmtree(runs)
    return figure


def _measure_still(bench: Bench, workload: Workload, rounds: int) -> Figure:
    """Measure a sync that finds nothing new; each build continues an export of its own."""
    runs = bench.new_folder()
    write_folders(workload, runs)
    source = ("--source", f"offline:{runs}")
    exports = {tool: bench.new_folder() for tool in (THIS_TOOL, BEFORE)}
    for tool, folder in exports.items():
        bench.sync(tool, folder, *HISTORY, *source)

    def again(tool: str) -> Callable[[], float]:
        def run() -> float:
            path = exports[tool] / NAME / "history.jsonl"
            before = path.stat().st_mtime_ns
            seconds = bench.sync(tool, exports[tool], *HISTORY, *source)
            if path.stat().st_mtime_ns != before:
                raise RuntimeError(f"{tool}: wrote {path}")
            return seconds

        return run

    work = f"{workload.runs:,} folders of {workload.rows_per_run} rows, nothing new"
    figure = alternate(work, 0.5, EARLIER, again(THIS_TOOL), again(BEFORE), rounds)
    shutil.rmtree(runs)
    return figure
