"""How long a check of a large export takes, beside an earlier build and beside `sha256sum`.

Rules
- Each build checks an export of its own, of the same rows, and its files are in the page cache.
- Peak memory is not among the figures: that of a command is at least that of the process which
  starts it, and the one that runs the server's project is larger than either build.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import msgspec

from benchmarks.beside import BEFORE, HISTORY, NAME, Bench, Figure, alternate, line_of
from benchmarks.environments import THIS_TOOL
from benchmarks.server_process import ServerProcess
from benchmarks.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from benchmarks.measuring import Usage

LARGE = Workload(runs=200, rows_per_run=25_000, metrics=2)
SMALL = Workload(runs=200, rows_per_run=50, metrics=2)
EARLIER = "the earlier build"


def measure_verifying(bench: Bench, scale: float, rounds: int) -> list[Figure]:
    """Measure all figures. scale: of the number of rows of a run."""
    rows = max(10, round(LARGE.rows_per_run * scale))
    large = msgspec.structs.replace(LARGE, rows_per_run=rows)
    return [*_measure_large(bench, large, rounds), _measure_small(bench, 3 * rounds)]


def _measure_large(bench: Bench, workload: Workload, rounds: int) -> list[Figure]:
    folders = _exports(bench, workload)
    used: dict[str, list[Usage]] = {THIS_TOOL: [], BEFORE: []}

    def check(tool: str) -> Callable[[], float]:
        def run() -> float:
            used[tool].append(_verify(bench, tool, folders[tool]))
            return used[tool][-1].seconds

        return run

    work = f"`verify` of {workload.rows:,} rows"
    wall = alternate(work, 0.25, EARLIER, check(THIS_TOOL), check(BEFORE), rounds)
    figures = [wall, _cpu_time(wall, used)]
    folder = folders[THIS_TOOL]
    files = [str(path) for path in (folder / NAME).iterdir() if not path.name.startswith(".")]
    figures.append(
        alternate(
            f"`verify --quick` of {workload.rows:,} rows",
            1.4,
            "`sha256sum` of the same files",
            lambda: _verify(bench, THIS_TOOL, folder, "--quick").seconds,
            lambda: bench.other("sha256sum", *files).seconds,
            rounds,
        )
    )
    for one in folders.values():
        shutil.rmtree(one)
    return figures


def _measure_small(bench: Bench, rounds: int) -> Figure:
    folders = _exports(bench, SMALL)

    def check(tool: str) -> Callable[[], float]:
        return lambda: _verify(bench, tool, folders[tool]).seconds

    work = f"`verify` of {SMALL.rows:,} rows"
    figure = alternate(work, 1.05, EARLIER, check(THIS_TOOL), check(BEFORE), rounds)
    for one in folders.values():
        shutil.rmtree(one)
    return figure


def _exports(bench: Bench, workload: Workload) -> dict[str, Path]:
    """Let each build export a project, and return the data root of each."""
    folders = {tool: bench.new_folder() for tool in (THIS_TOOL, BEFORE)}
    with ServerProcess(workload) as server:
        bench.point_at(server)
        for tool, folder in folders.items():
            bench.sync(tool, folder, *HISTORY)
    return folders


def _verify(bench: Bench, tool: str, data_root: Path, *flags: str) -> Usage:
    return bench.run(tool, "verify", NAME, "--data-root", str(data_root), *flags)


def _cpu_time(wall: Figure, used: dict[str, list[Usage]]) -> Figure:
    """Return the CPU time of the same commands, without those of the warm-up."""
    ours, theirs = ([one.cpu_seconds for one in used[tool][1:]] for tool in (THIS_TOOL, BEFORE))
    figure = msgspec.structs.replace(
        wall, work=f"{wall.work}: CPU time", goal=0.5, seconds=ours, others=theirs
    )
    print(line_of(figure), flush=True)
    return figure
