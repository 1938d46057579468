"""Let the tools do the steps of a case, round by round, and see that they did them."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any, Protocol

from benchmarks.cases import LOADS, Case, Step
from benchmarks.environments import THIS_TOOL
from benchmarks.measuring import run_measured
from benchmarks.results import Floor, Measurement, Sample, rows_of
from benchmarks.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.environments import Tool
    from benchmarks.server_process import Asked
    from benchmarks.workloads import Workload

HERE = Path(__file__).parent
ENTITY, PROJECT, NAME = "entity", "project", "export"
NOT_INHERITED = ("WANDB", "DR_WANDB", "XDG", "PYTHON")
DATA_FILES = ("history.jsonl", "runs.jsonl", "manifest.json", "changes.jsonl")
START = "import wandb; wandb.Api()"


class WrongExportError(Exception):
    """An export is something else than the server holds, so that no figure would mean anything."""


class Origin(Protocol):
    """Where a project is: on a server, or in a folder.

    arguments: what the command is told besides the project.
    """

    arguments: Sequence[str]

    def begin(self) -> None:
        """Count from here on."""
        ...

    def asked(self) -> Asked | None:
        """Return what was asked since `begin`; None where nobody can be asked."""
        ...

    def environment(self, home: Path) -> dict[str, str]:
        """Return the variables that point a tool here, with the SDK's folders in `home`."""
        ...


class Place:
    """A home, a temp folder and a working folder for one tool in one round, all of them new."""

    def __init__(self, origin: Origin, below: Path) -> None:
        self.folder = Path(mkdtemp(prefix="place-", dir=below))
        temp, self.cwd = self.folder / "temp", self.folder / "cwd"
        temp.mkdir()
        self.cwd.mkdir()
        inherited = {
            name: text for name, text in os.environ.items() if not name.startswith(NOT_INHERITED)
        }
        own = origin.environment(self.folder / "home")
        self.environment = {**inherited, **own, "TMPDIR": str(temp)}
        self.export = self.cwd / "data" / NAME

    def remove(self) -> None:
        """Delete all of it."""
        shutil.rmtree(self.folder)


def measure_case(case: Case, tools: Sequence[Tool], repeat: int, below: Path) -> list[Measurement]:
    """Measure one case; the first tool is this one."""
    taking_part = tools[:1] if case.alone else tools
    found = {
        (tool.name, step): Measurement(
            case=case.name, workload=case.workload, tool=tool.name, step=step
        )
        for tool in taking_part
        for step in case.steps
    }
    with ServerProcess(case.workload) as server:
        if case.warm_up:
            for tool in taking_part:
                do_steps(tool, case, server, below)
        for number in range(repeat):
            for tool in taking_part:
                done = do_steps(tool, case, server, below)
                for step, (sample, floor) in done.items():
                    found[tool.name, step].samples.append(sample)
                    if floor is not None:
                        found[tool.name, step].floors.append(floor)
                    say(case, tool, step, sample, number)
    return list(found.values())


def say(case: Case, tool: Tool, step: Step, sample: Sample, number: int) -> None:
    """Tell whoever waits what was measured."""
    size = case.workload.rows or case.workload.runs
    said = f"{sample.seconds:.2f} s, {sample.usage.peak_bytes / 1e6:.0f} MB"
    expected = rows_of(step, case.workload)
    if sample.row_lines != expected:
        said += f", {sample.row_lines} ROWS WHERE THERE ARE {expected}"
    print(f"{case.name} {size} #{number + 1} {tool.name} {step}: {said}", file=sys.stderr)


def do_steps(
    tool: Tool, case: Case, origin: Origin, below: Path
) -> dict[Step, tuple[Sample, Floor | None]]:
    """Let a tool do the steps of a case, one after the other, in one new place."""
    place = Place(origin, below)
    ours = tool.name == THIS_TOOL
    start: float | None = None
    done: dict[Step, tuple[Sample, Floor | None]] = {}
    try:
        for step in case.steps:
            before = _stamps(place)
            if step in LOADS:
                done[step] = (_load(tool, case.workload, step, place), None)
                continue
            sample, floor = _sync(tool, case.workload, origin, place), None
            if ours:
                _check(sample, case.workload, step, before == _stamps(place))
            if ours and case.floor:
                assert isinstance(origin, ServerProcess)
                fetch_and_write = _fetch_and_write(tool, origin, sample, step, below)
                start = start or _start(tool, origin, below)
                floor = Floor(start_seconds=start, **fetch_and_write)
            done[step] = (sample, floor)
    finally:
        place.remove()
    return done


def _sync(tool: Tool, workload: Workload, origin: Origin, place: Place) -> Sample:
    command = [*tool.command, ENTITY, PROJECT, "--name", NAME, "--mode", workload.mode]
    origin.begin()
    usage, _ = run_measured(
        [*command, *origin.arguments], folder=place.cwd, environment=place.environment
    )
    return Sample(
        seconds=usage.seconds,
        usage=usage,
        asked=origin.asked(),
        run_lines=_count_lines(place.export / "runs.jsonl"),
        row_lines=_count_lines(place.export / "history.jsonl"),
        file_bytes=_sizes(place.export),
    )


def _load(tool: Tool, workload: Workload, step: Step, place: Place) -> Sample:
    script = HERE / ("load_run.py" if step == Step.LOAD_RUN else "load_rows.py")
    command = [tool.python, "-P", str(script), NAME, "data"]
    usage, printed = run_measured(command, folder=place.cwd, environment=place.environment)
    told = json.loads(printed)
    runs = 1 if step == Step.LOAD_RUN else workload.runs
    steps = runs * workload.step_stride * sum(range(workload.rows_per_run))
    if told["rows"] == rows_of(step, workload) and told["steps"] != steps:
        raise WrongExportError(f"{tool.name} loads rows with other steps than the server holds")
    return Sample(
        seconds=told["seconds"],
        usage=usage,
        asked=None,
        run_lines=_count_lines(place.export / "runs.jsonl"),
        row_lines=told["rows"],
        file_bytes=_sizes(place.export),
    )


def _check(sample: Sample, workload: Workload, step: Step, same: bool) -> None:
    """Raise where this tool's export is not what it must be."""
    if (sample.run_lines, sample.row_lines) != (workload.runs, workload.rows):
        raise WrongExportError(
            f"exported {sample.run_lines} runs and {sample.row_lines} rows,"
            f" not {workload.runs} and {workload.rows}"
        )
    if step == Step.AGAIN and not same:
        raise WrongExportError("a sync that found nothing new wrote a data file")


def _start(tool: Tool, server: ServerProcess, below: Path) -> float:
    """Measure how long the SDK takes to do nothing."""
    place = Place(server, below)
    try:
        command = [tool.python, "-c", START]
        return run_measured(command, folder=place.cwd, environment=place.environment)[0].seconds
    finally:
        place.remove()


def _fetch_and_write(
    tool: Tool, server: ServerProcess, sample: Sample, step: Step, below: Path
) -> dict[str, Any]:
    """Ask again what the last step asked, and write as much as it wrote. Fields of Floor."""
    place = Place(server, below)
    replay = place.folder / "replay.json"
    server.write_replay(replay)
    size = sum(sample.file_bytes.values()) if step == Step.COLD else 0
    key = place.environment["WANDB_API_KEY"]
    script = [str(HERE / "floor.py"), str(replay), server.url, key, str(size), "written"]
    try:
        _, printed = run_measured(
            [tool.python, "-P", *script], folder=place.cwd, environment=place.environment
        )
    finally:
        place.remove()
    return {"bytes_written": size, **json.loads(printed)}


def _stamps(place: Place) -> dict[str, tuple[int, int, int]]:
    """Return what changes when a data file is written: inode, size, time."""
    found = {}
    for name in DATA_FILES:
        path = place.export / name
        if path.exists():
            status = path.stat()
            found[name] = (status.st_ino, status.st_size, status.st_mtime_ns)
    return found


def _sizes(folder: Path) -> dict[str, int]:
    if not folder.exists():
        return {}
    visible = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return {path.name: path.stat().st_size for path in sorted(visible)}


def _count_lines(path: Path) -> int:
    if not path.exists():
        return 0
    with path.open("rb") as stream:
        return sum(chunk.count(b"\n") for chunk in iter(lambda: stream.read(1 << 20), b""))
