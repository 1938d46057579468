"""What system metrics and consoles cost beside the history alone.

Rules
- All are whole commands of this build, in turn, against one server that answers 50 ms late.
- The goal of a first export allows for the further requests, ten at a time.
- The requests for each dataset are counted by the server. A sync that finds nothing new may send
  none beyond those of the listing: otherwise the benchmark stops.
- Memory is the peak of this tool's own processes; wandb-core is not in it.
"""

from __future__ import annotations

import shutil
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from benchmarks.beside import HISTORY, NAME, Bench, Figure, alternate, line_of
from benchmarks.environments import THIS_TOOL
from benchmarks.goals import MEGABYTE
from benchmarks.server_process import ServerProcess
from benchmarks.workloads import Workload

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.measuring import Usage
    from benchmarks.server_process import Asked

MACHINE = Workload(runs=500, rows_per_run=100, samples=300, lines=500, latency_seconds=0.05)
"""Runs with the samples of some hours, and what a program prints meanwhile."""

MANY_LINES = Workload(runs=50, rows_per_run=10, lines=20_000)
"""Each console has two pages of 10,000 lines, and eight of them with four times as many lines."""

FLAGS = (*HISTORY, "--with", "system", "--with", "console")
BOTH = "with both"
ALONE = "history alone"
AT_ONCE = 10
"""How many further requests are under way at a time, by the goal."""


def measure_datasets(bench: Bench, scale: float, rounds: int) -> list[Figure]:
    """Measure all figures. scale: of the number of runs, or of lines."""
    many = msgspec.structs.replace(MANY_LINES, lines=max(50, round(MANY_LINES.lines * scale)))
    return [
        *measure_speed(bench, MACHINE.scaled(scale), rounds),
        *measure_memory(bench, many, rounds),
    ]


def measure_speed(bench: Bench, work: Workload, rounds: int) -> list[Figure]:
    """Measure first exports, and syncs that find nothing new."""
    used: dict[str, list[tuple[Usage, Asked]]] = {BOTH: [], ALONE: []}
    idle: dict[str, list[tuple[Usage, Asked]]] = {BOTH: [], ALONE: []}
    with ServerProcess(work) as server:
        bench.point_at(server)

        def sync(kind: str, folder: Path) -> tuple[Usage, Asked]:
            server.begin()
            usage = bench.use(THIS_TOOL, folder, *(FLAGS if kind == BOTH else HISTORY))
            return usage, server.asked()

        def cold_then_idle(kind: str) -> float:
            folder = bench.new_folder()
            used[kind].append(sync(kind, folder))
            sync(kind, folder)
            idle[kind].append(sync(kind, folder))
            if kind == BOTH:
                _require_rows(folder, work)
            shutil.rmtree(folder)
            return used[kind][-1][0].seconds

        name = f"{work.runs:,} runs with {work.samples} samples and {work.lines} lines each, 50 ms"
        cold = alternate(
            f"{name}, cold", 1.25, ALONE, lambda: cold_then_idle(BOTH),
            lambda: cold_then_idle(ALONE), rounds,
        )  # fmt: skip
    further = _requests(used[BOTH][-1][1]) - _requests(used[ALONE][-1][1])
    waiting = further * work.latency_seconds / AT_ONCE
    figures = [
        msgspec.structs.replace(
            cold,
            compared_with=f"{ALONE} + {further:,} requests x 50 ms / {AT_ONCE}",
            others=[one + waiting for one in cold.others],
        ),
        Figure(
            work=f"{name}, nothing new", goal=1.1, compared_with=ALONE,
            seconds=[usage.seconds for usage, _ in idle[BOTH][1:]],
            others=[usage.seconds for usage, _ in idle[ALONE][1:]],
        ),
    ]  # fmt: skip
    for line in map(line_of, figures):
        print(line, flush=True)
    for title, found in (("cold", used), ("nothing new", idle)):
        for kind, syncs in found.items():
            cpu = median(usage.cpu_seconds for usage, _ in syncs[1:])
            print(f"{title}, {kind}: {cpu:.2f} s of CPU time; {_spell(syncs[-1][1])}", flush=True)
    if _requests(idle[BOTH][-1][1]) > _requests(idle[ALONE][-1][1]):
        raise RuntimeError(f"a sync that finds nothing new asks for more: {idle['both'][-1][1]}")
    return figures


def _require_rows(folder: Path, work: Workload) -> None:
    for name, count in (("system", work.samples), ("console", work.lines)):
        with (folder / NAME / f"{name}.jsonl").open("rb") as lines:
            held = sum(1 for _ in lines)
        if held != count * work.runs:
            raise RuntimeError(f"{name}.jsonl has {held} lines")


def _requests(asked: Asked) -> int:
    return asked.listing + asked.of_runs + asked.downloads


def _spell(asked: Asked) -> str:
    counts = sorted(asked.operations.items())
    return ", ".join(f"{count:,} {operation}" for operation, count in counts)


def measure_memory(bench: Bench, many: Workload, rounds: int) -> list[Figure]:
    """Measure the peak memory of a first export with many lines, and with four times as many."""
    peaks: dict[int, list[float]] = {1: [], 4: []}
    for times, found in peaks.items():
        work = msgspec.structs.replace(many, lines=times * many.lines)
        with ServerProcess(work) as server:
            bench.point_at(server)
            for _ in range(rounds):
                folder = bench.new_folder()
                usage = bench.use(THIS_TOOL, folder, *HISTORY, "--with", "console")
                found.append(usage.peak_bytes / MEGABYTE)
                shutil.rmtree(folder)
    lines = many.lines * many.runs
    figure = Figure(
        work=f"{4 * lines:,} lines of {many.runs} consoles, cold: peak memory", goal=1.1,
        compared_with=f"{lines:,} lines", seconds=peaks[4], others=peaks[1], unit="MB",
    )  # fmt: skip
    print(line_of(figure), flush=True)
    return [figure]
