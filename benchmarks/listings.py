"""Listings of large runs and of many small ones, beside an earlier build.

Rules
- Each figure is a first export in metadata mode, so the listing is nearly all of the work.
- Memory is the peak of the command and the peak of wandb-core below it, added up.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import msgspec

from benchmarks.beside import BEFORE, Bench, Figure, alternate, line_of
from benchmarks.environments import THIS_TOOL
from benchmarks.goals import MEGABYTE
from benchmarks.server_process import ServerProcess
from benchmarks.workloads import METADATA, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

LARGE = Workload(runs=60, rows_per_run=10, mode=METADATA, config_bytes=2_000_000)
MANY = Workload(runs=20_000, rows_per_run=10, mode=METADATA)
MOST_MEGABYTES = 200
EARLIER = "the earlier build"


def measure_listings(bench: Bench, scale: float, rounds: int) -> list[Figure]:
    """Measure all figures. scale: of the size of a run, or of the number of runs."""
    size = round(LARGE.config_bytes * scale)
    large = msgspec.structs.replace(LARGE, config_bytes=size)
    many = MANY.scaled(scale)
    with ServerProcess(large) as server:
        bench.point_at(server)
        peaks: dict[str, list[float]] = {THIS_TOOL: [], BEFORE: []}
        work = f"{large.runs} runs with {size / MEGABYTE:g} MB of config each, metadata mode, cold"
        seconds = alternate(
            work, 1.0, EARLIER, _cold(bench, THIS_TOOL, peaks), _cold(bench, BEFORE, peaks), rounds
        )
        memory = msgspec.structs.replace(
            seconds,
            work=f"peak memory of the same, with wandb-core, {rounds + 1} rounds",
            goal=MOST_MEGABYTES,
            seconds=peaks[THIS_TOOL],
            others=peaks[BEFORE],
            unit="MB",
            most=True,
        )
        print(line_of(memory), flush=True)
    with ServerProcess(many) as server:
        bench.point_at(server)
        work = f"{many.runs:,} small runs, metadata mode, cold"
        one, other = _cold(bench, THIS_TOOL, {}), _cold(bench, BEFORE, {})
        listed = alternate(work, 1.1, EARLIER, one, other, rounds)
    return [seconds, memory, listed]


def _cold(bench: Bench, tool: str, peaks: dict[str, list[float]]) -> Callable[[], float]:
    """Return what exports into an empty folder, notes the peak in megabytes, returns seconds."""

    def run() -> float:
        folder = bench.new_folder()
        usage = bench.use(tool, folder, "--mode", METADATA)
        shutil.rmtree(folder)
        whole = usage.peak_bytes + (usage.core_peak_bytes or 0)
        peaks.setdefault(tool, []).append(whole / MEGABYTE)
        return usage.seconds

    return run
