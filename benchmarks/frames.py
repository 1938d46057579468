"""Measure the loaders of frames beside the readers of JSON lines: `python -m benchmarks.frames`.

Rules
- Each load is a process of its own, in which everything is imported before the clock starts.
- The readers that are compared take turns. All files are in the page cache.
- It needs the extras `test` and `bench`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from typing import Annotated, NamedTuple

import duckdb
import numpy as np
import pandas
import polars
import pyarrow as pa
from cyclopts import App, Parameter

from benchmarks.environments import CHECKOUT
from benchmarks.frames_export import make_export
from benchmarks.machine import describe_machine

DOCUMENT = CHECKOUT / "docs" / "performance.md"
BEGIN, END = "<!-- frames: begin -->", "<!-- frames: end -->"

app = App(name="python -m benchmarks.frames", help_format="plaintext")


class Work(NamedTuple):
    """A frame that is loaded.

    times: how many times faster than the other reader it is to be, 0 if there is no goal.
    """

    engine: str
    what: str
    export: str
    words: str
    times: float


WORKS = (
    Work("pandas", "history", "both", "2 metrics, with Parquet, pandas", 20),
    Work("polars", "history", "both", "2 metrics, with Parquet, Polars", 8),
    Work("arrow", "history", "both", "2 metrics, with Parquet, Arrow", 8),
    Work("pandas", "history", "lines", "2 metrics, JSON lines only, pandas", 1),
    Work("polars", "history", "lines", "2 metrics, JSON lines only, Polars", 1),
    Work("arrow", "history", "lines", "2 metrics, JSON lines only, Arrow", 1),
    Work("pandas", "runs", "runs", "runs, with Parquet, pandas", 5),
    Work("polars", "runs", "runs", "runs, with Parquet, Polars", 5),
    Work("pandas", "runs", "runlines", "runs, JSON lines only, pandas", 0),
    Work("polars", "runs", "runlines", "runs, JSON lines only, Polars", 0),
)
READERS = {
    "pandas": "`read_json`",
    "polars": "`read_ndjson`",
    "arrow": "`pyarrow.json.read_json`",
}


class Load(NamedTuple):
    """One load."""

    seconds: float
    rows: int
    peak: int
    total: float | None


class Line(NamedTuple):
    """The loads of both readers in every round."""

    work: Work
    ours: list[Load]
    theirs: list[Load]

    @property
    def ratio(self) -> float:
        """Return how many times faster this tool is: the median of the rounds."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return median(other.seconds / one.seconds for one, other in pairs)


@app.default
def main(
    *,
    scale: float = 1.0,
    repeat: int = 5,
    folder: Path | None = None,
    publish: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Measure the loaders of frames.

    Parameters
    ----------
    scale
        Size of the exports: 0.05 is a twentieth.
    repeat
        Number of rounds; the table shows medians.
    folder
        Where the exports are made.
    publish
        Put the table into docs/performance.md. Only at full size.
    """
    if publish and scale != 1:
        raise SystemExit("--publish is for full size")
    root = Path(mkdtemp(prefix="frames-", dir=folder))
    try:
        runs, many = max(2, round(200 * scale)), max(2, round(20_000 * scale))
        for name, count, rows in (("both", runs, 5_000), ("runs", many, 1)):
            make_export(root / name, count, rows, parquet=True)
        for name, count, rows in (("lines", runs, 5_000), ("runlines", many, 1)):
            make_export(root / name, count, rows, parquet=False)
        lines = [line for works in together() for line in _measure(works, root, repeat)]
    finally:
        shutil.rmtree(root)
    text = report(lines, runs * 5_000, runs, many, repeat)
    print(text)
    if publish:
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")
    return 0


def together() -> list[tuple[Work, ...]]:
    """Return works that are compared with one reader of the same file."""
    groups: dict[tuple[str, str], list[Work]] = {}
    for work in WORKS:
        groups.setdefault((work.engine, work.what), []).append(work)
    return [tuple(works) for works in groups.values()]


def _measure(works: tuple[Work, ...], root: Path, repeat: int) -> list[Line]:
    engine, what, export, *_ = works[0]
    rounds = [
        (
            [_load(engine, what, work.export, root) for work in works],
            _load(f"{engine}-json", what, export, root),
        )
        for _ in range(repeat + 1)
    ][1:]  # the first one fills the page cache
    theirs = [other for _, other in rounds]
    lines = [Line(work, [ours[n] for ours, _ in rounds], theirs) for n, work in enumerate(works)]
    assert len({load.rows for line in lines for load in (*line.ours, *theirs)}) == 1
    assert len({load.total for line in lines for load in line.ours}) == 1
    for line in lines:
        print(f"{line.work.words}: {line.ratio:.1f}", file=sys.stderr, flush=True)
    return lines


def _load(how: str, what: str, export: str, root: Path) -> Load:
    command = [sys.executable, "-m", "benchmarks.read_frame", how, what, export, str(root)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    return Load(**json.loads(done.stdout))


def report(lines: list[Line], rows: int, runs: int, many: int, repeat: int) -> str:
    """Return the table, and what it was measured on."""
    versions = ", ".join(
        f"{one.__name__} {one.__version__}" for one in (pandas, polars, pa, duckdb, np)
    )
    machine = describe_machine()
    head = (
        f"{rows:,} rows of 8 metrics in {runs} runs; {many:,} runs; {repeat} rounds;"
        f" Python {sys.version.split()[0]}, {versions}; {machine['processor']},"
        f" {machine['system']}, load before {machine['load before']}."
    )
    table = [
        "| frame | this tool | the library's own reader of JSON lines | ratio | goal |",
        "|---|---|---|---|---|",
        *map(_row, lines),
    ]
    return f"{head}\n\n" + "\n".join(table) + "\n"


def _row(line: Line) -> str:
    met = "" if line.ratio >= line.work.times else ", **not met**"
    theirs = f"{READERS[line.work.engine]}, {_cell(line.theirs)}"
    goal = f"≥ {line.work.times:g} times faster{met}" if line.work.times else ""
    return f"| {line.work.words} | {_cell(line.ours)} | {theirs} | {line.ratio:.1f} | {goal} |"


def _cell(loads: list[Load]) -> str:
    seconds = [load.seconds for load in loads]
    peak = median(load.peak for load in loads) / 1e6
    return f"{median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f} s), {peak:,.0f} MB"


if __name__ == "__main__":
    app()
