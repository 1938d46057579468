"""Measure `--with artifacts`: `python -m benchmarks.artifacts [--only speed|memory]`.

Rules
- The server is a process of its own. With latency, each answer comes 50 ms late.
- The ideal is what all requests of a command take if ten of them are always under way.
- Memory is the peak of the command's own process. Runs without rows are nearly no work.
- The SDK's own walk does what a script by hand does: `Api.artifact_types`, `collections`,
  `artifacts`, `manifest`, `logged_artifacts` and `used_artifacts`, one after the other. It is
  measured on a smaller project, beside this tool on the same one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import msgspec
from cyclopts import App, Parameter

from benchmarks.artifacts_project import ENTITY, PROJECT, ArtifactsProject
from benchmarks.environments import CHECKOUT
from benchmarks.goals import MEGABYTE
from benchmarks.measuring import Usage, run_measured

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "export"
AT_ONCE = 10
FAR = ArtifactsProject(latency_seconds=0.05)
SMALL = msgspec.structs.replace(FAR, runs=50, collections=20)
ENTRIES = (10_000, 100_000, 400_000)

WALK = """
import wandb
api = wandb.Api()
seen = 0
for kind in api.artifact_types("{project}"):
    for collection in kind.collections():
        for version in collection.artifacts():
            seen += len(version.manifest.entries)
for run in api.runs("{project}"):
    seen += len([*run.logged_artifacts()]) + len([*run.used_artifacts()])
print(seen)
"""

LOAD = """
from dr_wandb import iter_artifacts
print(sum(len(one.entries or ()) for one in iter_artifacts("{name}", "{data_root}")))
"""

ONE_BY_ONE = """
from dr_wandb import iter_artifact_entries
print(sum(1 for _ in iter_artifact_entries("{name}", "{data_root}")))
"""

app = App(name="python -m benchmarks.artifacts", help_format="plaintext")


class Server:
    """The stand-in server in a process of its own, from entering the context until leaving it."""

    def __init__(self, project: ArtifactsProject) -> None:
        self._project = project
        self.url = self.api_key = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.artifacts_server", self._spelled()],
            cwd=CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        begun = self._read()
        self.url, self.api_key = begun["url"], begun["api_key"]
        return self

    def _spelled(self) -> str:
        return msgspec.json.encode(self._project).decode()

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def ask(self, what: str) -> dict[str, Any]:
        """Ask the server something, and return its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the stand-in server has ended")
        found: dict[str, Any] = json.loads(line)
        return found


class Step(msgspec.Struct, frozen=True):
    """What one command took, and what it asked the server by operation."""

    usage: Usage
    operations: dict[str, int]
    server_cpu: float

    @property
    def requests(self) -> int:
        """Return how many requests it sent."""
        return sum(self.operations.values())


class Bench:
    """Runs commands against one server, below one folder."""

    def __init__(self, server: Server, python: str, below: Path) -> None:
        self._server = server
        self._python = python
        self._below = below
        home = below / "home"
        home.mkdir(exist_ok=True)
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "NETRC": str(home / "netrc"),
            "WANDB_BASE_URL": server.url,
            "WANDB_API_KEY": server.api_key,
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_SILENT": "true",
            **{f"WANDB_{one}_DIR": str(home / one) for one in ("CACHE", "CONFIG", "DATA")},
        }

    def sync(self, data_root: Path, *flags: str) -> Step:
        """Sync the project in metadata mode."""
        words = ("--name", NAME, "--quiet", "--mode", "metadata", "--data-root", str(data_root))
        return self.run("-m", "dr_wandb", ENTITY, PROJECT, *words, *flags)

    def run(self, *arguments: str) -> Step:
        """Run Python with some arguments."""
        work = Path(mkdtemp(prefix="cwd-", dir=self._below))
        self._server.ask("begin")
        usage, _ = run_measured(
            [self._python, *arguments], folder=work, environment=self._environment
        )
        asked = self._server.ask("asked")
        if asked["problems"]:
            raise RuntimeError(f"the stand-in server had trouble: {asked['problems'][:3]}")
        shutil.rmtree(work)
        return Step(usage, asked["operations"], asked["cpu_seconds"])


def line(work: str, steps: list[Step], *more: str) -> str:
    """Return a line of a table with the medians of some rounds."""
    seconds = [one.usage.seconds for one in steps]
    spread = f"{median(seconds):.2f} s ({min(seconds):.1f} to {max(seconds):.1f} s)"
    cpu = median(one.usage.cpu_seconds for one in steps)
    peak = max(one.usage.peak_bytes for one in steps) / MEGABYTE
    return "| " + " | ".join((work, spread, f"{cpu:.1f} s", f"{peak:.0f} MB", *more)) + " |"


def measure_speed(python: str, below: Path, far: ArtifactsProject, rounds: int) -> Iterator[str]:
    """Yield the lines of the table of times, and of the requests."""
    yield "| work | time | CPU | peak memory | requests | times the ideal |"
    yield "|---|---|---|---|---|---|"
    cold, bare, again, changed = [], [], [], []
    with Server(far) as server:
        bench = Bench(server, python, below)
        for number in range(rounds):
            folder, without = below / f"with-{number}", below / f"without-{number}"
            bare.append(bench.sync(without))
            cold.append(bench.sync(folder, "--with", "artifacts"))
            again.append(bench.sync(folder, "--with", "artifacts"))
        server.ask("change")
        changed.append(bench.sync(folder, "--with", "artifacts"))
    beyond = cold[0].requests - bare[0].requests
    ideal = beyond / AT_ONCE * far.latency_seconds
    extra = median(one.usage.seconds for one in cold) - median(one.usage.seconds for one in bare)
    yield line("runs alone, first export", bare, str(bare[0].requests), "")
    yield line("first export", cold, str(cold[0].requests), f"{extra / ideal:.2f} beyond the runs")
    yield line("nothing new", again, str(again[0].requests), "")
    yield line("a new version, a moved alias", changed, str(changed[0].requests), "")
    yield ""
    for step in (bare, cold, again, changed):
        yield f"- {step[0].operations}; the server's CPU {step[0].server_cpu:.1f} s"


def measure_walk(python: str, below: Path, small: ArtifactsProject) -> Iterator[str]:
    """Yield the lines that compare a first export with the SDK's own walk."""
    with Server(small) as server:
        bench = Bench(server, python, below)
        ours = bench.sync(below / "small", "--with", "artifacts")
        theirs = bench.run("-c", WALK.format(project=f"{ENTITY}/{PROJECT}"))
    times = theirs.usage.seconds / ours.usage.seconds
    yield line("small project, first export", [ours], str(ours.requests), "")
    yield line("the SDK's own walk", [theirs], str(theirs.requests), f"{times:.1f} times as long")


def measure_memory(python: str, below: Path, sizes: tuple[int, ...]) -> Iterator[str]:
    """Yield the lines of the table of memory."""
    yield "| entries of one version | work | time | CPU | peak memory |"
    yield "|---|---|---|---|---|"
    for entries in sizes:
        one = ArtifactsProject(runs=2, collections=1, versions=1, entries=entries)
        with Server(one) as server:
            bench = Bench(server, python, below)
            folder = below / f"entries-{entries}"
            flags = ("--with", "artifacts")
            begin = f"{entries:,} | "
            yield line(f"{begin}first export", [bench.sync(folder, *flags)])
            yield line(f"{begin}nothing new", [bench.sync(folder, *flags)])
            full = bench.sync(folder, *flags, "--sync-mode", "full_reconcile")
            yield line(f"{begin}full_reconcile", [full])
            verify = ("verify", NAME, "--data-root", str(folder))
            yield line(f"{begin}verify", [bench.run("-m", "dr_wandb", *verify)])
            shown = ("artifacts", NAME, "--data-root", str(folder))
            yield line(f"{begin}artifacts", [bench.run("-m", "dr_wandb", *shown)])
            load = LOAD.format(name=NAME, data_root=folder)
            yield line(f"{begin}iter_artifacts", [bench.run("-c", load)])
            apart = ONE_BY_ONE.format(name=NAME, data_root=folder)
            yield line(f"{begin}iter_artifact_entries", [bench.run("-c", apart)])


@app.default
def main(
    *,
    only: Literal["speed", "memory", "walk"] | None = None,
    rounds: int = 3,
    scale: float = 1.0,
    python: Annotated[Path | None, Parameter(negative="")] = None,
) -> None:
    """Print tables in Markdown.

    Parameters
    ----------
    only
        Measure this alone.
    rounds
        Rounds of the times; the tables show medians.
    scale
        Size of the projects: 0.1 is a tenth.
    python
        A Python that has the tool, instead of this one.
    """
    tool = str(python or sys.executable)
    below = Path(mkdtemp(prefix="artifacts-"))
    far, small = (
        msgspec.structs.replace(
            one, runs=round(one.runs * scale), collections=round(one.collections * scale)
        )
        for one in (FAR, SMALL)
    )
    try:
        if only in (None, "speed"):
            print_lines(measure_speed(tool, below, far, rounds))
        if only in (None, "walk"):
            print_lines(measure_walk(tool, below, small))
        if only in (None, "memory"):
            sizes = tuple(round(one * scale) for one in ENTRIES)
            print_lines(measure_memory(tool, below, sizes))
    finally:
        shutil.rmtree(below, ignore_errors=True)


def print_lines(lines: Iterator[str]) -> None:
    """Print each line as it is ready."""
    for one in lines:
        print(one, flush=True)


if __name__ == "__main__":
    app()
