"""What a sync of many runs costs that finds nothing new, or one changed run.

Rules
- Time is beyond the start of the SDK, which both builds need: a bare `wandb.Api()` is measured in
  each round.
- What a sync writes of what it remembers are the files of the state that it replaced.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import msgspec

from benchmarks.beside import BEFORE, NAME, Bench, Figure, alternate, line_of
from benchmarks.environments import THIS_TOOL
from benchmarks.goals import MEGABYTE
from benchmarks.server_process import ServerProcess
from benchmarks.workloads import METADATA, Workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RUNS = 50_000
MANY = Workload(
    runs=RUNS, rows_per_run=10, mode=METADATA, live_runs=1 / RUNS, gained_rows=1, live_rows=0.1
)
FEWER = Workload(runs=5_000, rows_per_run=10, mode=METADATA)
FAR = Workload(runs=200, rows_per_run=50, latency_seconds=0.05)
EARLIER = "the earlier build"
STATE = ("state.json", ".tracked.sqlite", ".tracked.json")


def measure_many_runs(bench: Bench, scale: float, rounds: int) -> list[Figure]:
    """Measure all figures. scale: of the number of runs."""
    figures = []
    many = MANY.scaled(scale)
    with ServerProcess(many) as server:
        bench.point_at(server)
        folders = {tool: bench.new_folder() for tool in (THIS_TOOL, BEFORE)}
        for tool, folder in folders.items():
            bench.sync(tool, folder, "--mode", METADATA)
            bench.sync(tool, folder, "--mode", METADATA)
        figures += _measure_idle(bench, folders, many, rounds)
        server.grow()
        written = {tool: _written(bench, tool, folder) for tool, folder in folders.items()}
        figures.append(
            Figure(
                work=f"1 of {many.runs:,} runs changed: what is written of the state",
                goal=0.02,
                compared_with=EARLIER,
                seconds=[written[THIS_TOOL]],
                others=[written[BEFORE]],
                unit="kB",
            )
        )
        print(line_of(figures[-1]), flush=True)
    for workload, work, flags in (
        (FEWER.scaled(scale), "{runs:,} runs, metadata mode, cold", METADATA),
        (FAR.scaled(scale), "{runs:,} runs at 50 ms latency, cold", "history"),
    ):
        with ServerProcess(workload) as server:
            bench.point_at(server)
            one, other = (_cold(bench, tool, flags) for tool in (THIS_TOOL, BEFORE))
            described = work.format(runs=workload.runs)
            figures.append(alternate(described, 1.05, EARLIER, one, other, rounds))
    return figures


def _measure_idle(
    bench: Bench, folders: dict[str, Path], many: Workload, rounds: int
) -> list[Figure]:
    peaks: dict[str, list[float]] = {tool: [] for tool in folders}
    starts: list[float] = []

    def sync(tool: str) -> Callable[[], float]:
        def run() -> float:
            if len(starts) <= len(peaks[tool]):
                starts.append(bench.start_sdk(tool))
            usage = bench.use(tool, folders[tool], "--mode", METADATA)
            peaks[tool].append(usage.peak_bytes / MEGABYTE)
            return usage.seconds - starts[len(peaks[tool]) - 1]

        return run

    work = f"{many.runs:,} runs, metadata mode, nothing new"
    seconds = alternate(
        f"{work}: beyond the start of the SDK", 0.5, EARLIER, sync(THIS_TOOL), sync(BEFORE), rounds
    )
    memory = msgspec.structs.replace(
        seconds,
        work=f"{work}: peak memory",
        goal=0.4,
        seconds=peaks[THIS_TOOL][1:],
        others=peaks[BEFORE][1:],
        unit="MB",
    )
    print(line_of(memory), flush=True)
    return [seconds, memory]


def _written(bench: Bench, tool: str, folder: Path) -> float:
    """Sync, and return how many kilobytes of the state were written."""
    export = folder / NAME
    before = {name: (export / name).stat().st_ino for name in STATE if (export / name).exists()}
    bench.sync(tool, folder, "--mode", METADATA)
    after = {name: (export / name).stat() for name in STATE if (export / name).exists()}
    changed = [look.st_size for name, look in after.items() if look.st_ino != before.get(name)]
    return sum(changed) / 1000


def _cold(bench: Bench, tool: str, mode: str) -> Callable[[], float]:
    def run() -> float:
        folder = bench.new_folder()
        seconds = bench.sync(tool, folder, "--mode", mode)
        shutil.rmtree(folder)
        return seconds

    return run
