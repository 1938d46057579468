"""Let this tool export the file of an offline run, and parse the same file's records beside it.

Rules
- The file is written once for all rounds of a case, in a process of its own.
- No tool is told of a server or a key: SDK calls would go to a port where nobody listens, and fail.
- What is parsed is the file that is exported; another number of records ends the benchmarks.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Self

import msgspec

from benchmarks.environments import CHECKOUT
from benchmarks.measuring import run_measured
from benchmarks.results import Measurement, Parsing
from benchmarks.rounds import HERE, Place, WrongExportError, do_steps, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.cases import Case
    from benchmarks.environments import Tool
    from benchmarks.workloads import Workload

NOBODY = "http://127.0.0.1:9"


class OfflineFolder:
    """A `wandb` folder with one run, from entering the context until leaving it."""

    def __init__(self, workload: Workload, below: Path) -> None:
        self.workload = workload
        self._folder = Path(mkdtemp(prefix="offline-", dir=below))
        self._runs = self._folder / "wandb"
        self.arguments: Sequence[str] = ("--source", f"offline:{self._runs}")
        self.file = Path()

    def __enter__(self) -> Self:
        spelled = msgspec.json.encode(self.workload).decode()
        written = subprocess.run(
            [sys.executable, "-m", "benchmarks.offline_file", spelled, str(self._runs)],
            cwd=CHECKOUT,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        self.file = Path(written.stdout.strip())
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder)

    def begin(self) -> None:
        """Do nothing: a file counts no requests."""

    def asked(self) -> None:
        """Return nothing: a file counts no requests."""

    def environment(self, home: Path) -> dict[str, str]:
        """Return the variables of a home without a key."""
        home.mkdir()
        return {
            "HOME": str(home),
            "NETRC": str(home / "netrc"),
            "WANDB_BASE_URL": NOBODY,
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_SILENT": "true",
        }


def measure_offline(case: Case, tool: Tool, repeat: int, below: Path) -> list[Measurement]:
    """Measure one case of an offline file, with the parsing of its records in the same rounds."""
    found = {
        step: Measurement(case=case.name, workload=case.workload, tool=tool.name, step=step)
        for step in case.steps
    }
    with OfflineFolder(case.workload, below) as folder:
        for number in range(repeat):
            parsing = parse_records(tool, folder, below)
            for step, (sample, _) in do_steps(tool, case, folder, below).items():
                found[step].samples.append(sample)
                found[step].parsings.append(parsing)
                say(case, tool, step, sample, number)
    return list(found.values())


def parse_records(tool: Tool, folder: OfflineFolder, below: Path) -> Parsing:
    """Parse the file's records, in the tool's environment."""
    place = Place(folder, below)
    command = [tool.python, "-P", str(HERE / "parse_records.py"), str(folder.file)]
    try:
        usage, printed = run_measured(command, folder=place.cwd, environment=place.environment)
    finally:
        place.remove()
    told = json.loads(printed)
    if told["records"] != folder.workload.records:
        raise WrongExportError(f"{folder.file} holds {told['records']} records")
    return Parsing(file_bytes=folder.file.stat().st_size, usage=usage, **told)
