"""How long the files of runs take: `python -m benchmarks.files`.

Many small files from a stand-in server that answers late, beside the SDK's own loop and sixteen
threads by hand that check nothing; and one large file beside `curl`. Prints a line for each, with
the time of the processor beside that of the clock, and the peak memory of a command: its own, and
that of wandb-core. Nothing else should run meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from benchmarks.measuring import run_measured

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

THREADS = 16
RUNS = """query Runs($project: String!, $entity: String!) {
  project(name: $project, entityName: $entity) { runs(first: 1000) { edges { node { name } } } }
}"""
FILES = """query RunFiles($project: String!, $entity: String!, $run: String!) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { files(first: 1000) { edges { node { name directUrl } } } }
  }
}"""
NAMES = {"entity": "entity", "project": "project"}

app = App(name="python -m benchmarks.files", help_format="plaintext")


@app.command
def serve(runs: int, files: int, size: int, latency: float) -> None:
    """Serve a project with files until stdin ends."""
    from tests.support.server import StandInServer

    with StandInServer() as server:
        project = server.add_project(entity="entity", name="project")
        for number in range(runs):
            run = project.add_run(f"run{number:05}")
            for file in range(files):
                seed = hashlib.sha256(b"%d %d" % (number, file)).digest()
                run.put_file(f"file{file:05}.bin", seed * (size // len(seed)))
            run.finish()
        server.latency_seconds = latency
        print(json.dumps({"url": server.url, "key": server.api_key}), flush=True)
        sys.stdin.read()


@contextmanager
def _served(*workload: float) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.files", "serve", *map(str, workload)]
    with (
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
        TemporaryDirectory() as home,
    ):
        assert process.stdout is not None
        server = json.loads(process.stdout.readline())
        os.environ |= {
            "HOME": home,
            "WANDB_BASE_URL": server["url"],
            "WANDB_API_KEY": server["key"],
            "WANDB_CACHE_DIR": home,
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_SILENT": "true",
        }
        yield
        process.communicate()


def _timed(name: str, work: Callable[[], object]) -> None:
    def processor() -> float:
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    clock, before = time.monotonic(), processor()
    work()
    took = time.monotonic() - clock
    print(f"{name}: {took:.2f} s, {processor() - before:.2f} s of the processor", flush=True)


def _measure(name: str, command: list[str], folder: Path) -> None:
    used, _ = run_measured(command, folder=folder, environment=os.environ)
    core = (
        "" if used.core_peak_bytes is None else f", {used.core_peak_bytes >> 20} MB of wandb-core"
    )
    print(
        f"{name}: {used.seconds:.2f} s, {used.cpu_seconds:.2f} s of the processor;"
        f" {used.peak_bytes >> 20} MB{core}",
        flush=True,
    )


def _export_to(name: str, folder: Path, data_root: Path) -> None:
    command = [sys.executable, "-m", "dr_wandb", "entity", "project", "--name", "export"]
    flags = ["--with", "files", "--quiet", "--data-root", str(data_root.absolute())]
    _measure(name, [*command, *flags], folder)


def _download_with_sdk(folder: Path) -> None:
    import wandb

    for run in wandb.Api().runs("entity/project"):
        for file in run.files():
            file.download(root=str(folder / run.id), replace=True).close()


def _addresses(session: Any) -> list[tuple[str, str, str]]:
    """Return run, name and address of each file."""
    import wandb

    address, auth = f"{os.environ['WANDB_BASE_URL']}/graphql", ("api", str(wandb.Api().api_key))

    def ask(document: str, **variables: str) -> Any:
        sent = {"query": document, "variables": {**NAMES, **variables}}
        return session.post(address, json=sent, auth=auth).json()["data"]["project"]

    def of_run(run: str) -> list[tuple[str, str, str]]:
        edges = ask(FILES, run=run)["run"]["files"]["edges"]
        return [(run, edge["node"]["name"], edge["node"]["directUrl"]) for edge in edges]

    runs = [edge["node"]["name"] for edge in ask(RUNS)["runs"]["edges"]]
    with ThreadPoolExecutor(THREADS) as threads:
        return [file for files in threads.map(of_run, runs) for file in files]


def _download_by_hand(folder: Path) -> None:
    import requests

    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=THREADS))

    def download(file: tuple[str, str, str]) -> None:
        run, name, address = file
        (folder / run).mkdir(parents=True, exist_ok=True)
        (folder / run / name).write_bytes(session.get(address).content)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(download, _addresses(session)))


@app.default
def main(
    *,
    runs: int = 200,
    large_bytes: int = 1_000_000_000,
    repeat: int = 3,
    folder: Annotated[Path, Parameter(negative="")] = Path("build/benchmarks/files"),
) -> None:
    """Measure many small files, then a large one, in turn with what they are compared with.

    Parameters
    ----------
    runs
        How many runs have ten files of 20 kB each.
    large_bytes
        The size of the large file.
    repeat
        How often each is measured.
    folder
        Everything is written below this folder, which is removed.
    """
    import requests

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # First the large file: a command is said to take as much memory as what started it.
    with _served(1, 1, large_bytes, 0.0):
        (_, _, address), *_ = _addresses(requests.Session())
        for number in range(repeat):
            _export_to("one large file", folder, folder / f"large{number}")
            _measure("curl", ["curl", "-sSo", str((folder / "curl").absolute()), address], folder)
            (folder / "curl").unlink()
            shutil.rmtree(folder / f"large{number}")
    with _served(runs, 10, 20_000, 0.05):
        for number in range(repeat):
            _export_to("this tool", folder, folder / f"{number}")
            _export_to("this tool, nothing new", folder, folder / f"{number}")
            _timed("by hand", lambda at=folder / f"hand{number}": _download_by_hand(at))  # type: ignore[misc]
        _timed("the SDK's loop", lambda: _download_with_sdk(folder / "sdk"))
    shutil.rmtree(folder)


if __name__ == "__main__":
    app()
