"""How large the log of an export grows that is synced again and again while its runs are alive.

Rules
- Each build syncs into an export of its own, as often as the other, and sees the same runs.
- Nothing but the size of `changes.jsonl` counts, so one round is enough.
"""

from __future__ import annotations

import shutil

from benchmarks.beside import BEFORE, HISTORY, NAME, Bench, Figure, line_of
from benchmarks.environments import THIS_TOOL
from benchmarks.server_process import ServerProcess
from benchmarks.workloads import SYNCED_HOURLY

SYNCS = 51
GAINED = 20
"""The rows that each run logs between two syncs."""


def measure_log(bench: Bench, syncs: int = SYNCS) -> list[Figure]:
    """Measure the size of `changes.jsonl` after a number of syncs of live runs."""
    folders = {tool: bench.new_folder() for tool in (THIS_TOOL, BEFORE)}
    with ServerProcess(SYNCED_HOURLY) as server:
        bench.point_at(server)
        for number in range(syncs):
            if number:
                server.grow(GAINED)
            for tool, folder in folders.items():
                bench.sync(tool, folder, *HISTORY)
    sizes = {
        tool: (folder / NAME / "changes.jsonl").stat().st_size / 1000
        for tool, folder in folders.items()
    }
    for folder in folders.values():
        shutil.rmtree(folder)
    figure = Figure(
        work=f"{syncs} syncs of {SYNCED_HOURLY.runs} live runs: the size of `changes.jsonl`",
        goal=0.1,
        compared_with="the earlier build",
        seconds=[sizes[THIS_TOOL]],
        others=[sizes[BEFORE]],
        unit="kB",
    )
    print(line_of(figure), flush=True)
    return [figure]
