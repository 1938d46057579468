"""What an export to Parquet takes, beside JSON lines and beside a script by hand.

Rules
- All are whole commands of this build, in turn, in empty folders, against one server.
- The script by hand is `by_hand.py`: the SDK's own download in eight threads, and Polars.
- Memory is that of all processes together, wandb-core too.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import msgspec

from benchmarks.beside import HISTORY, NAME, Bench, Figure, alternate, line_of
from benchmarks.environments import THIS_TOOL
from benchmarks.goals import MEGABYTE
from benchmarks.prepared import ENTITY, PROJECT
from benchmarks.server_process import ServerProcess
from benchmarks.workloads import Workload

if TYPE_CHECKING:
    from benchmarks.measuring import Usage

PARQUET = (*HISTORY, "--format", "parquet")
LINES = "JSON lines, this build"
BY_HAND = Path(__file__).parent / "by_hand.py"
HELD_MILLIONS = (1, 4, 16)
GAINED = 1_000


def measure_columns(bench: Bench, scale: float, rounds: int) -> list[Figure]:
    """Measure all figures. scale: of the number of rows of a run."""
    plain = Workload(runs=200, rows_per_run=max(10, round(5_000 * scale)))
    figures = _measure_cold(bench, plain, rounds)
    figures.append(_measure_growing_memory(bench, plain, rounds))
    figures += _measure_gain(bench, scale, rounds)
    return figures


def _measure_cold(bench: Bench, plain: Workload, rounds: int) -> list[Figure]:
    used: dict[str, list[Usage]] = {"columns": [], "lines": []}
    folders = {name: bench.new_folder() for name in used}
    with ServerProcess(plain) as server:
        bench.point_at(server)

        def cold(name: str) -> float:
            shutil.rmtree(folders[name])
            folders[name].mkdir()
            flags = PARQUET if name == "columns" else HISTORY
            used[name].append(bench.use(THIS_TOOL, folders[name], *flags))
            return used[name][-1].seconds

        work = f"{plain.rows:,} rows, cold, `--format parquet`"
        columns, lines = partial(cold, "columns"), partial(cold, "lines")
        figures = [
            alternate(work, 0.7, LINES, columns, lines, rounds),
            alternate(work, 1.2, "by hand", columns, lambda: by_hand(bench), rounds),
        ]
    figures.append(_memory(work, used["columns"][1:], used["lines"][1:]))
    sizes = [_size_of(folders[name] / NAME) / MEGABYTE for name in used]
    figures.append(
        Figure(work=f"{plain.rows:,} rows: bytes on disk", goal=0.3, compared_with=LINES,
               seconds=[sizes[0]], others=[sizes[1]], unit="MB")
    )  # fmt: skip
    out = bench.new_folder() / "history.jsonl"

    def convert() -> float:
        out.unlink(missing_ok=True)
        words = ("convert", NAME, "--data-root", str(folders["columns"]), "--to", "jsonl")
        return bench.run(THIS_TOOL, *words, "--out", str(out)).seconds

    with ServerProcess(plain) as server:
        bench.point_at(server)
        figures.append(
            alternate(f"`convert --to jsonl` of {plain.rows:,} rows", 1.0, "the export of " + LINES,
                      convert, lines, rounds)
        )  # fmt: skip
    for line in map(line_of, figures[2:4]):
        print(line, flush=True)
    return figures


def by_hand(bench: Bench) -> float:
    """Let the script by hand export the project, and return the seconds."""
    folder = bench.new_folder()
    python = bench.python(THIS_TOOL)
    words = (python, str(BY_HAND), ENTITY, PROJECT, str(folder / "history.parquet"))
    seconds = bench.other(*words).seconds
    shutil.rmtree(folder)
    return seconds


def _memory(work: str, columns: list[Usage], lines: list[Usage]) -> Figure:
    rounds = min(len(columns), len(lines))
    peaks = [list(map(_peak, used[:rounds])) for used in (columns, lines)]
    return Figure(
        work=f"{work}: peak memory of all processes", goal=250, most=True, unit="MB",
        compared_with=LINES, seconds=peaks[0], others=peaks[1],
    )  # fmt: skip


def _peak(usage: Usage) -> float:
    return (usage.peak_bytes + (usage.core_peak_bytes or 0)) / MEGABYTE


def _measure_growing_memory(bench: Bench, plain: Workload, rounds: int) -> Figure:
    """Measure how the peak memory grows with four times as many rows."""
    peaks: dict[int, list[float]] = {1: [], 4: []}
    for times, found in peaks.items():
        more = msgspec.structs.replace(plain, rows_per_run=times * plain.rows_per_run)
        with ServerProcess(more) as server:
            bench.point_at(server)
            for _ in range(rounds):
                folder = bench.new_folder()
                found.append(_peak(bench.use(THIS_TOOL, folder, *PARQUET)))
                shutil.rmtree(folder)
    figure = Figure(work=f"{4 * plain.rows:,} rows, cold, `--format parquet`: peak memory",
                    goal=1.2, compared_with=f"{plain.rows:,} rows", seconds=peaks[4],
                    others=peaks[1], unit="MB")  # fmt: skip
    print(line_of(figure), flush=True)
    return figure


def _measure_gain(bench: Bench, scale: float, rounds: int) -> list[Figure]:
    """Measure what it takes that one of 200 runs is alive and gains rows, by the rows held."""
    seconds = {}
    for millions in HELD_MILLIONS:
        rows = max(2_000, round(5_000 * millions * scale))
        held = Workload(
            runs=200, rows_per_run=rows, live_runs=1 / 200, exported_live_runs=True,
            live_rows=1_000 / rows, gained_rows=GAINED * rounds,
        )  # fmt: skip
        with ServerProcess(held) as server:
            bench.point_at(server)
            folder = bench.new_folder()
            bench.use(THIS_TOOL, folder, *PARQUET)
            seconds[held.rows], written = _gain(bench, server, folder, rounds)
            took = f"{median(seconds[held.rows]):.2f} s, written: {', '.join(written)}"
            print(f"{held.rows:,} rows held, {GAINED:,} gained: {took}", flush=True)
            shutil.rmtree(folder)
    fewest = min(seconds)
    figures = [
        Figure(work=f"{GAINED:,} rows that one of 200 runs gained, {rows:,} rows held", goal=1.3,
               compared_with=f"{fewest:,} rows held", seconds=found, others=seconds[fewest])
        for rows, found in seconds.items() if rows != fewest
    ]  # fmt: skip
    for line in map(line_of, figures):
        print(line, flush=True)
    return figures


def _gain(
    bench: Bench, server: ServerProcess, folder: Path, rounds: int
) -> tuple[list[float], list[str]]:
    """Let a run gain rows and sync, in place: a copy would be hashed as a whole.

    Returns the seconds, and the Parquet files that the last sync wrote.
    """
    seconds, written = [], []
    for _ in range(rounds):
        server.grow(GAINED)
        before = _files_in(folder)
        seconds.append(bench.use(THIS_TOOL, folder, *HISTORY).seconds)
        written = [
            f"{name} ({size / 1000:,.0f} kB)"
            for name, (inode, size) in _files_in(folder).items()
            if before.get(name, (None, 0))[0] != inode
        ]
    return seconds, written


def _files_in(folder: Path) -> dict[str, tuple[int, int]]:
    paths = sorted((folder / NAME / "parquet").rglob("*.parquet"))
    return {path.name: (path.stat().st_ino, path.stat().st_size) for path in paths}


def _size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
