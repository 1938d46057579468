"""Measure this tool beside an earlier build of it: `python -m benchmarks.beside PYTHON_OF_BEFORE`.

Rules
- Each figure is a whole command against the stand-in server, or on a recording of it.
- The builds take turns within a round, and only ratios are compared: the machine's speed drifts.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from benchmarks.environments import CHECKOUT, THIS_TOOL, Tool, tool_of
from benchmarks.machine import describe_machine
from benchmarks.measuring import Usage, run_measured
from benchmarks.prepared import ENTITY, PROJECT
from benchmarks.server_process import ServerProcess
from benchmarks.workloads import GROWING, Workload

if TYPE_CHECKING:
    from collections.abc import Callable

BEFORE = "before"
NAME = "export"
HISTORY = ("--mode", "history")
DOCUMENT = CHECKOUT / "docs" / "performance.md"
BEGIN, END = "<!-- beside: begin -->", "<!-- beside: end -->"

app = App(name="python -m benchmarks.beside", help_format="plaintext")


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A kind of work in every round: its seconds, and those of what it is compared with.

    goal: the highest ratio of the two; with `most` the highest median instead, whatever the other
    needs. unit: of the values, if they are no seconds.
    """

    work: str
    goal: float
    compared_with: str
    seconds: list[float]
    others: list[float]
    unit: str = "s"
    most: bool = False

    @property
    def ratio(self) -> float:
        """Return the median of the ratios of the rounds."""
        return median(one / other for one, other in zip(self.seconds, self.others, strict=True))

    @property
    def met(self) -> bool:
        """Say whether the goal is reached."""
        return (median(self.seconds) if self.most else self.ratio) <= self.goal


class Bench:
    """Runs commands of two builds, each in a folder of its own."""

    def __init__(self, below: Path, tools: dict[str, Tool]) -> None:
        self._below = below
        self._tools = tools
        self._environment: dict[str, str] = {}

    def point_at(self, server: ServerProcess) -> None:
        """Let the commands ask a server."""
        self._environment = server.environment(self._below / "home")

    def new_folder(self) -> Path:
        """Return an empty folder."""
        return Path(mkdtemp(prefix="data-", dir=self._below))

    def sync(self, tool: str, data_root: Path, *flags: str) -> float:
        """Do one sync and return its seconds."""
        return self.use(tool, data_root, *flags).seconds

    def use(self, tool: str, data_root: Path, *flags: str) -> Usage:
        """Do one sync and return what it used."""
        sync = (ENTITY, PROJECT, "--name", NAME, "--quiet", "--data-root", str(data_root))
        return self.run(tool, *sync, *flags)

    def start_sdk(self, tool: str) -> float:
        """Start the SDK of a build, as each of its commands does, and return the seconds."""
        command = [self._tools[tool].python, "-c", "import wandb; wandb.Api()"]
        return self._measure(command).seconds

    def import_sdk(self, tool: str) -> float:
        """Import the SDK of a build, and return the seconds."""
        return self._measure([self._tools[tool].python, "-c", "import wandb"]).seconds

    def python(self, tool: str) -> str:
        """Return the interpreter that has a build."""
        return self._tools[tool].python

    def command(self, tool: str, *arguments: str) -> list[str]:
        """Return the words of one command."""
        return [*self._tools[tool].command, *arguments]

    def run(self, tool: str, *arguments: str, code: int = 0) -> Usage:
        """Run one command that ends with an exit code, and return what it used."""
        return self._measure(self.command(tool, *arguments), code)

    def other(self, *command: str) -> Usage:
        """Run the command of another program, and return what it used."""
        return self._measure([*command])

    def _measure(self, command: list[str], code: int = 0) -> Usage:
        work = self.new_folder()
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(work), **self._environment}
        usage, _ = run_measured(command, folder=work, environment=environment, code=code)
        shutil.rmtree(work)
        return usage

    def cold(self, tool: str, *flags: str) -> float:
        """Export with history into an empty folder and return the seconds."""
        folder = self.new_folder()
        seconds = self.sync(tool, folder, "--mode", "history", *flags)
        shutil.rmtree(folder)
        return seconds


def measure(bench: Bench, plain: Workload, rounds: int) -> list[Figure]:
    """Measure all figures."""
    mixed = msgspec.structs.replace(plain, mixed_metrics=2)
    figures: list[Figure] = []
    with ServerProcess(plain) as server, ServerProcess(mixed) as mixed_server:
        bench.point_at(server)

        def cold(tool: str, *flags: str) -> Callable[[], float]:
            def run() -> float:
                bench.point_at(server)
                return bench.cold(tool, *flags)

            return run

        def cold_mixed() -> float:
            bench.point_at(mixed_server)
            return bench.cold(THIS_TOOL)

        this = cold(THIS_TOOL)
        half = str(plain.rows_per_run // 2)
        works = [
            ("rows in plain columns, cold", 1.05, "the earlier build", this, cold(BEFORE)),
            ("two of eight metrics of mixed type, the step a double", 1.25, "plain columns",
             cold_mixed, this),
            ("`--history-key metric_1`", 1.1, "all keys", cold(THIS_TOOL, "--history-key",
             "metric_1"), this),
            (f"`--min-step {half}`, half of the steps", 1.1, "all steps",
             cold(THIS_TOOL, "--min-step", half), this),
            ("`--min-step 1`, all but one step of each run", 1.1, "all steps",
             cold(THIS_TOOL, "--min-step", "1"), this),
        ]  # fmt: skip
        figures.append(alternate(*works[0], 3 * rounds))  # the two are close: more rounds
        figures += [alternate(*work, rounds) for work in works[1:]]
        figures += _measure_shape(bench, server, rounds)
    return figures


def _measure_shape(bench: Bench, server: ServerProcess, rounds: int) -> list[Figure]:
    """Measure what bringing an export of the earlier build into the present shape takes."""
    bench.point_at(server)
    before, recording = bench.new_folder(), bench.new_folder() / "recording"
    bench.sync(BEFORE, before, "--mode", "history", "--record", str(recording))
    source = ("--source", f"replay:{recording}")

    def cold() -> float:
        return bench.cold(THIS_TOOL, *source)

    def bring(mode: str) -> Callable[[], float]:
        def run() -> float:
            folder = bench.new_folder()
            shutil.copytree(before / NAME, folder / NAME)
            seconds = bench.sync(THIS_TOOL, folder, "--mode", mode, *source)
            shutil.rmtree(folder)
            return seconds

        return run

    reference = "a cold export from a recording"
    return [
        alternate("an export of the earlier build into the present shape (metadata mode)", 1.5,
                   reference, bring("metadata"), cold, rounds),
        alternate("the same, and its history read once more (history mode)", 1.5,
                   reference, bring("history"), cold, rounds),
    ]  # fmt: skip


def measure_tails(bench: Bench, rounds: int) -> list[Figure]:
    """Measure the sync of the rows that live runs gained, of which the first part is exported.

    Each build continues an export of its own, copied for each round; then comes a sync that finds
    nothing new. Raises RuntimeError if this build downloads Parquet, or if rows are missing.
    """
    whole: dict[str, list[float]] = {THIS_TOOL: [], BEFORE: []}
    with ServerProcess(GROWING) as server:
        bench.point_at(server)
        folders = {tool: bench.new_folder() for tool in whole}
        for tool, folder in folders.items():
            bench.sync(tool, folder, *HISTORY)
        server.grow()

        def beyond(tool: str) -> Callable[[], float]:
            def run() -> float:
                folder = bench.new_folder()
                shutil.copytree(folders[tool] / NAME, folder / NAME)
                server.begin()
                seconds = bench.sync(tool, folder, *HISTORY)
                asked = server.asked()
                idle = bench.sync(tool, folder, *HISTORY)
                with (folder / NAME / "history.jsonl").open("rb") as lines:
                    rows = sum(1 for _ in lines)
                shutil.rmtree(folder)
                if rows != GROWING.grown().rows or (tool == THIS_TOOL and asked.downloads):
                    raise RuntimeError(f"{tool}: {rows} rows, {asked}")
                whole[tool].append(seconds)
                return seconds - idle

            return run

        work = "20 rows that each of 200 live runs gained, 20 ms latency"
        difference = alternate(f"{work}: beyond a sync that finds nothing new", 0.25,
                                "the earlier build", beyond(THIS_TOOL), beyond(BEFORE),
                                rounds)  # fmt: skip
    command = msgspec.structs.replace(
        difference,
        work=f"{work}: the whole command",
        seconds=whole[THIS_TOOL][1:],
        others=whole[BEFORE][1:],
    )
    print(line_of(command), flush=True)
    return [difference, command]


def alternate(
    work: str,
    goal: float,
    compared_with: str,
    one: Callable[[], float],
    other: Callable[[], float],
    rounds: int,
) -> Figure:
    """Measure two kinds of work in turn, after a warm-up."""
    seconds, others = [], []
    for number in range(rounds + 1):  # the first is a warm-up
        pair = (one(), other()) if number % 2 else (other(), one())[::-1]
        if number:
            seconds.append(pair[0])
            others.append(pair[1])
    figure = Figure(
        work=work, goal=goal, compared_with=compared_with, seconds=seconds, others=others
    )
    print(line_of(figure), flush=True)
    return figure


def line_of(figure: Figure) -> str:
    """Return a figure as a line of the table."""
    unit, digits = figure.unit, 0 if figure.most else 2
    met = "" if figure.met else ", **not met**"
    goal = f"at most {figure.goal:.0f} {unit}" if figure.most else f"{figure.goal}"
    spread = (
        f"{min(figure.seconds):.{digits // 2}f} to {max(figure.seconds):.{digits // 2}f} {unit}"
    )
    return (
        f"| {figure.work} | {median(figure.seconds):.{digits}f} {unit} ({spread}) "
        f"| {figure.compared_with}, {median(figure.others):.{digits}f} {unit} "
        f"| {figure.ratio:.2f} | {goal}{met} |"
    )


def table(figures: list[Figure], tools: dict[str, Tool], rows: int, rounds: int) -> str:
    """Return what is published."""
    versions = tools[THIS_TOOL].versions
    machine = describe_machine()
    head = (
        f"{rows:,} rows in 200 runs, {rounds} rounds after a warm-up ({3 * rounds} for the first), "
        "the two in turn; "
        f"Python {versions['python']}, wandb {versions['wandb']}; {machine['processor']}, "
        f"{machine['system']}.\n\n"
        "| work | this build, median (range) | compared with | ratio | goal |\n"
        "|---|---|---|---|---|"
    )
    return "\n".join([head, *map(line_of, figures)])


Kind = Literal[
    "rows", "tails", "listings", "runs", "folders", "log", "starts", "verify", "screens", "columns",
    "datasets",
]  # fmt: skip


@app.default
def main(
    before: Path | None = None,
    *,
    this_tool: Path = Path(sys.executable),
    scale: float = 1.0,
    rounds: int = 3,
    only: Kind | None = None,
    publish: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Measure this tool beside an earlier build.

    Parameters
    ----------
    before
        A Python that has the earlier build. Not needed for `--only columns` and `--only datasets`.
    this_tool
        A Python that has this one; by default the one that runs this.
    scale
        Size of the project: 0.05 is a twentieth of a million rows.
    rounds
        How often each pair is measured.
    only
        Measure one kind of figures: the work that has to do with rows, the rows that live runs
        gained, listings of many runs and of large ones, syncs of many runs of which few changed,
        folders of offline runs, the size of the log of live runs, commands that ask no server,
        checks of an export, what is shown on a terminal, exports to Parquet, or system metrics and
        consoles.
    publish
        Put the table into docs/performance.md.
    """
    if publish and only:
        raise SystemExit("--publish is for all figures")
    if before is None and only not in ("columns", "datasets"):
        raise SystemExit("a Python that has the earlier build is needed")
    tools = {THIS_TOOL: tool_of(THIS_TOOL, this_tool)}
    if before is not None:
        tools[BEFORE] = tool_of(BEFORE, before)
    from benchmarks.columns import measure_columns
    from benchmarks.datasets import measure_datasets
    from benchmarks.folders import measure_folders
    from benchmarks.listings import measure_listings
    from benchmarks.log_size import measure_log
    from benchmarks.many_runs import measure_many_runs
    from benchmarks.screens import measure_screens
    from benchmarks.starts import measure_starts
    from benchmarks.verifying import measure_verifying

    plain = Workload(runs=200, rows_per_run=max(10, round(5_000 * scale)))
    below = Path(mkdtemp(prefix="beside-"))
    try:
        bench = Bench(below, tools)
        figures: list[Figure] = []
        if only in (None, "rows"):
            figures += measure(bench, plain, rounds)
        if only in (None, "tails"):
            figures += measure_tails(bench, rounds)
        if only in (None, "listings"):
            figures += measure_listings(bench, scale, rounds)
        if only in (None, "runs"):
            figures += measure_many_runs(bench, scale, rounds)
        if only in (None, "folders"):
            figures += measure_folders(bench, scale, rounds)
        if only in (None, "log"):
            figures += measure_log(bench)
        if only in (None, "starts"):
            figures += measure_starts(bench, 3 * rounds)
        if only in (None, "verify"):
            figures += measure_verifying(bench, scale, rounds)
        if only in (None, "screens"):
            figures += measure_screens(bench, plain, scale, rounds)
        if only in (None, "columns"):
            figures += measure_columns(bench, scale, rounds)
        if only in (None, "datasets"):
            figures += measure_datasets(bench, scale, rounds)
    finally:
        shutil.rmtree(below, ignore_errors=True)
    text = table(figures, tools, plain.rows, rounds)
    print(text)
    if publish:
        document = DOCUMENT.read_text()
        first, _, rest = document.partition(BEGIN)
        _, _, after = rest.partition(END)
        DOCUMENT.write_text(f"{first}{BEGIN}\n\n{text}\n\n{END}{after}")


if __name__ == "__main__":
    app()
