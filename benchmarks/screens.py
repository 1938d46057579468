"""What it costs to say on a terminal what a command does, and to say what a large export holds.

Rules
- A terminal is that of `script`, which both commands of a pair have; with `--quiet` nothing is
  drawn, counted or said.
- `status` and the export on a terminal are whole commands. What a plan and a sync cost is beyond
  the start of the SDK, which both builds need: a bare `wandb.Api()` is measured before each.
"""

from __future__ import annotations

import shlex
import shutil
from typing import TYPE_CHECKING

from benchmarks.beside import BEFORE, HISTORY, NAME, Bench, Figure, alternate
from benchmarks.environments import THIS_TOOL
from benchmarks.prepared import ENTITY, PROJECT
from benchmarks.server_process import ServerProcess
from benchmarks.workloads import METADATA, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = Workload(runs=20_000, rows_per_run=10, mode=METADATA)
EARLIER = "the earlier build"
BEYOND = "beyond the start of the SDK"


def measure_screens(bench: Bench, plain: Workload, scale: float, rounds: int) -> list[Figure]:
    """Measure all figures. scale: of the number of runs. plain: whose rows are exported."""
    return [*_measure_many(bench, MANY.scaled(scale), rounds), _measure_bar(bench, plain, rounds)]


def _measure_many(bench: Bench, many: Workload, rounds: int) -> list[Figure]:
    with ServerProcess(many) as server:
        bench.point_at(server)
        folders = {tool: bench.new_folder() for tool in (THIS_TOOL, BEFORE)}
        for tool, folder in folders.items():
            bench.sync(tool, folder)
            bench.sync(tool, folder)

        def status(tool: str) -> Callable[[], float]:
            words = ("status", NAME, "--data-root", str(folders[tool]))
            return lambda: bench.run(tool, *words).seconds

        def beyond_sdk(tool: str, *flags: str) -> Callable[[], float]:
            def run() -> float:
                start = bench.start_sdk(tool)
                return bench.sync(tool, folders[tool], *flags) - start

            return run

        works = (
            ("`status NAME`", status(THIS_TOOL), status(BEFORE)),
            (
                f"`--dry-run`, {BEYOND}",
                beyond_sdk(THIS_TOOL, "--dry-run"),
                beyond_sdk(BEFORE, "--dry-run"),
            ),
            (f"a sync, {BEYOND}", beyond_sdk(THIS_TOOL), beyond_sdk(BEFORE)),
        )
        figures = [
            alternate(f"{many.runs:,} runs, nothing new: {work}", 0.6, EARLIER, one, other, rounds)
            for work, one, other in works
        ]
    for folder in folders.values():
        shutil.rmtree(folder)
    return figures


def _measure_bar(bench: Bench, plain: Workload, rounds: int) -> Figure:
    with ServerProcess(plain) as server:
        bench.point_at(server)

        def cold(*flags: str) -> Callable[[], float]:
            def run() -> float:
                folder = bench.new_folder()
                words = (ENTITY, PROJECT, "--name", NAME, "--data-root", str(folder))
                command = bench.command(THIS_TOOL, *words, *HISTORY, *flags)
                seconds = bench.other("script", "-qec", shlex.join(command), "/dev/null").seconds
                shutil.rmtree(folder)
                return seconds

            return run

        work = f"{plain.rows:,} rows, cold, on a terminal"
        return alternate(work, 1.01, "with `--quiet`", cold(), cold("--quiet"), 3 * rounds)
