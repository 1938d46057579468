"""Export runs that the real SDK logged in offline mode, from the files that it wrote.

What must come out is what was logged (tests/support/offline_logging.py), not what a decoder of
ours says.
The command runs where wandb cannot be imported and no address can be reached.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import RunRecord

from dr_wandb.core.contract.request import ExportMode, ExportRequest, SyncMode
from dr_wandb.shell.sources.opening import source_opener
from dr_wandb.shell.sync.engine import ExportEngine
from tests.support.api_exports import Exports
from tests.support.checkout import ROOT
from tests.support.offline_logging import (
    HALVES,
    MANY_STEPS,
    MIXED_STEPS,
    RICH_STEPS,
    STORED_CONFIG,
    TYPED_STEPS,
    Machine,
)
from tests.support.state_files import whole_state
from tests.support.syncing import json_lines, tree, visible, without_source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dr_wandb.core.sync.summary import ExportSummary
    from tests.support.api_exports import Shared
    from tests.support.offline_logging import Script
    from tests.support.server import Run

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HEADER_BYTES = 7
BLOCK_BYTES = 1 << 15
LONG_AGO = 1_767_225_600
"""A file that was written to then is written to no more."""

LOGGED = {"rich": RICH_STEPS, "mixed": MIXED_STEPS, "many": MANY_STEPS, "typed": TYPED_STEPS}
"""The runs that the stand-in server holds too."""

OFFLINE_FEATURE = 4
"""The number that telemetry has for a run in offline mode."""

TELLS_RESUMED = "resume" in RunRecord.DESCRIPTOR.fields_by_name
"""Whether the SDK writes down that a run goes on (0.31 does, 0.29 does not: it begins anew)."""

SERVER_ONLY = {
    "heartbeat_at",
    "history_keys",
    "project_id",
    "read_only",
    "storage_id",
    "system_metrics",
    "url",
    "user",
    "wandb_config",
}
"""Fields of a run in which the two sources differ: what only a server knows, or counts."""

SERVER_NAMES = {"display_name", "name"}
"""A server invents a name for a run that has none."""


@dataclass(frozen=True)
class Logged:
    """What lies on the disk of the machine, and what the SDK told of each run."""

    tree: Path
    told: dict[str, list[dict[str, Any]]]

    def copy(self, place: Path, *run_ids: str) -> Path:
        """Copy the folders of some runs into a `wandb` folder."""
        for run_id in run_ids:
            for file in self.tree.rglob(f"run-{run_id}.wandb"):
                shutil.copytree(file.parent, place / "wandb" / file.parent.name)
        return place / "wandb"


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory) -> Logged:
    """Log everything that the tests read, once."""
    with Machine(tmp_path_factory.mktemp("machine")) as machine:
        whole = machine.start("log_runs", "whole")
        killed = machine.start("log_for_ever", "killed")
        told = [whole.listen()]
        raising = machine.start("resume_and_raise", "raising")
        _kill_in_the_middle(killed)
        told += whole.end()
        told += raising.end(code=1)
    by_run: dict[str, list[dict[str, Any]]] = {}
    for one_run in told:
        by_run.setdefault(one_run["run_id"], []).append(one_run)
    return Logged(machine.tree, by_run)


def _kill_in_the_middle(script: Script) -> None:
    """Kill a script once blocks are on the disk, and wait until nothing of it writes any more."""
    path = Path(script.listen()["paths"][0])
    wait_for_bytes(path, 8 * BLOCK_BYTES)
    script.stop()
    before = -1
    while before != (before := path.stat().st_size):
        time.sleep(0.3)


def wait_for_bytes(path: Path, size: int) -> None:
    """Wait until a file has so many bytes: the SDK writes whole blocks."""
    deadline = time.monotonic() + 30
    while not path.exists() or path.stat().st_size < size:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def age(tree: Path, seconds: float) -> None:
    """Let all files be written to so long ago."""
    moment = time.time() - seconds
    for path in tree.rglob("*.wandb"):
        os.utime(path, (moment, moment))


def sync(folder: Path, data_root: Path, name: str = "n", **fields: Any) -> ExportSummary:
    """Export what lies in a folder, in this process."""
    request = ExportRequest(
        entity="entity",
        project="project",
        name=name,
        data_root=data_root,
        **{"mode": ExportMode.HISTORY, **fields},
    )
    summary = ExportEngine(
        request, source=source_opener(f"offline:{folder}"), clock=lambda: NOW
    ).export()
    assert summary.failures == ()
    return summary


def runs_in(data_root: Path, name: str = "n") -> dict[str, dict[str, Any]]:
    """Return the exported runs by their ids."""
    snapshots = json_lines(data_root / name / "runs.jsonl")
    return {snapshot["run"]["run_id"]: snapshot["run"] for snapshot in snapshots}


def rows_in(data_root: Path, run_id: str, name: str = "n") -> list[dict[str, Any]]:
    """Return the exported rows of a run."""
    rows = json_lines(data_root / name / "history.jsonl")
    return [row for row in rows if row["run_id"] == run_id]


# The same run from its file and from W&B.


@pytest.fixture
def served(logged: Logged, shared: Shared, tmp_path: Path) -> Iterator[Exports]:
    """Yield exports of a project in which the server holds what the machine logged."""
    server = shared.server
    project = server.add_project("entity", "project")
    exports = Exports(shared, project, tmp_path / "api")
    for run_id, steps in LOGGED.items():
        (told,) = logged.told[run_id]
        run = project.add_run(
            run_id,
            created_at=datetime.fromtimestamp(int(told["started"]), UTC).isoformat()[:19],
            summary=told["summary"],
            display_name="brisk-sun-7",
            heartbeat_at="2030-01-01T00:00:00",
        )
        run.config_internal = {"cli_version": "0.31.0", "m": []}
        for step, runtime in zip(steps, told["runtimes"], strict=True):
            run.log(step.row(runtime))
        run.finish()
    rich = project.find_run("rich")
    assert rich is not None
    rich.config, rich.display_name = dict(STORED_CONFIG), "näme/ü 😀"
    rich.tags, rich.notes = ["b", "a", "ç"], "other\nnötes \u2028"
    rich.group, rich.job_type = "gröup/1", "train"
    yield exports
    server.delete_project(project)
    assert server.unknown_operations == []
    assert server.errors == []


def _runs_of(exports: Exports) -> dict[str, Run]:
    return {run.run_id: run for run in exports.project.runs}


def test_run_has_the_bytes_that_the_api_gives_when_it_was_logged_offline(
    logged: Logged, served: Exports, tmp_path: Path
) -> None:
    """Whoever syncs a machine later with `wandb sync` would find other rows than in the export."""
    sync(logged.copy(tmp_path, *LOGGED), tmp_path / "data")
    history = (tmp_path / "data/n/history.jsonl").read_bytes()
    assert history.count(b"\n") == sum(map(len, LOGGED.values()))
    summary = served.sync("live")
    assert summary.failures == ()
    assert rows_of(history) == rows_of(served.history("live"))
    assert history == served.history("live")
    for run_id in ("rich", "many"):  # no column holds what the others log
        _runs_of(served)[run_id].export_parquet(files=2)
    served.sync("parquet", sync_mode="full_reconcile")
    assert history == served.history("parquet")


def rows_of(history: bytes) -> list[dict[str, Any]]:
    """Return rows, which pytest compares more readably than bytes."""
    return [json.loads(line) for line in history.splitlines()]


def test_snapshot_differs_from_that_of_the_api_in_what_only_a_server_knows(
    logged: Logged, served: Exports, tmp_path: Path
) -> None:
    """Config, summary, names and times of a run would depend on where it was read from."""
    sync(logged.copy(tmp_path, *LOGGED), tmp_path / "data")
    offline = runs_in(tmp_path / "data")
    for run_id, served_run in _runs_of(served).items():
        seconds = offline[run_id]["summary_metrics"]["_runtime"]
        assert type(seconds) is int  # of the process, written at its end
        assert int(logged.told[run_id][0]["summary"]["_runtime"]) <= seconds < 60
        served_run.summary |= {"_runtime": seconds, "_wandb": {"runtime": seconds}}
    served.sync("live")
    online = served.runs("live")
    for run_id, run in offline.items():
        assert run.keys() == online[run_id].keys()
        expected = SERVER_ONLY | (set() if run["display_name"] else SERVER_NAMES)
        differing = {name for name in run if run[name] != online[run_id][name]}
        pairs = {name: (run[name], online[run_id][name]) for name in differing - expected}
        assert pairs == {}
        assert differing == expected
        assert {name for name in SERVER_ONLY if run[name] is None} == {
            *("project_id", "read_only", "storage_id", "system_metrics", "url", "user")
        }
        assert run["history_keys"] == {"lastStep": online[run_id]["history_keys"]["lastStep"]}
        assert run["heartbeat_at"] >= run["created_at"]


def test_export_of_the_api_can_be_continued_offline_and_back(
    logged: Logged, served: Exports, tmp_path: Path
) -> None:
    """Whoever looks at a run before it is uploaded would find it twice, or marked as gone."""
    folder = logged.copy(tmp_path, *LOGGED, "failed")
    sync(folder, tmp_path / "data")
    history = (tmp_path / "data/n/history.jsonl").read_bytes()
    served.sync("n")
    for _ in range(2):
        summary = sync(folder, served.data_root)
        assert (summary.run_count, summary.missing_count) == (5, 0)
        assert served.history("n") == history
        back = served.sync("n", sync_mode="full_reconcile")
        assert (back.run_count, back.missing_count, back.failures) == (5, 0, ())
        assert served.history("n") == history


def test_values_of_a_run_are_those_of_its_script(logged: Logged, tmp_path: Path) -> None:
    sync(logged.copy(tmp_path, "rich"), tmp_path / "data")
    run = runs_in(tmp_path / "data")["rich"]
    assert run["config"]["net"] == {"depth": 4, "opt.name": "adam", "eps": None, "more": {"x": 1}}
    assert run["config"]["inf"] == ["Infinity", "-Infinity"]
    assert (run["config"]["nan"], run["config"]["big"]) == (None, 2**53 + 1)
    assert "_wandb" not in run["config"]
    summary = run["summary_metrics"]
    wanted = {
        "loss": {"min": 0.25},
        "acc": {"max": 0.75, "mean": 0.5},
        "lastly": {"last": 2, "first": 3},
        "best.acc": 3,
        "text": "ü",
        "number": 2**53 + 1,
        "nan": "NaN",
        "ninf": "-Infinity",
        "nested": {"a": 1, "b": {"c": 2.5, "d.e": -1}},
        "box": {"b": 2},
        "2**64-1": float(2**64 - 1),
        "_step": 40_000,
        # A value that is set as a whole is one value: setting a member of it sets it anew.
        "final": {"deep": {"y": 2}},
    }
    assert {name: summary.get(name) for name in wanted} == wanted
    assert not {"words", "hushed", "none", ""} & summary.keys()


def test_own_config_says_versions_and_metrics(logged: Logged, tmp_path: Path) -> None:
    """Nothing said which SDK had made a run, nor what `define_metric` had asked for."""
    sync(logged.copy(tmp_path, "rich"), tmp_path / "data")
    own = runs_in(tmp_path / "data")["rich"]["wandb_config"]["_wandb"]
    assert own["cli_version"] == own["t"]["5"] == wandb.__version__
    assert own["python_version"] == platform.python_version()
    assert OFFLINE_FEATURE in own["t"]["3"]
    metrics = {entry.get("1") or entry["2"]: entry for entry in own["m"]}
    assert {"loss", "acc", "hushed", "lastly", "copied", "epoch"} <= metrics.keys()
    assert metrics["acc"] == {"1": "acc", "6": [3], "7": [2, 3]}
    assert metrics["hushed"]["7"] == [6]
    assert own["m"][metrics["val/*" if "val/*" in metrics else "val/f1"]["5"] - 1]["1"] == "epoch"
    assert "e" not in own


# How runs end.


def test_states_are_those_in_which_the_processes_ended(logged: Logged, tmp_path: Path) -> None:
    """A run that crashed would look finished."""
    folder = logged.copy(tmp_path, "rich", "failed", "raised", "killed", "barely", "ours")
    summary = sync(folder, tmp_path / "data")
    states = {run_id: run["state"] for run_id, run in runs_in(tmp_path / "data").items()}
    ended = {"rich": "finished", "failed": "failed", "raised": "failed", "ours": "finished"}
    assert states == {**ended, "killed": "running"}
    assert summary.run_count == 5
    age(folder, 301)
    sync(folder, tmp_path / "data")
    states = {run_id: run["state"] for run_id, run in runs_in(tmp_path / "data").items()}
    assert states == {**ended, "killed": "crashed"}


def test_rows_that_were_logged_last_are_kept_when_the_script_raises(
    logged: Logged, tmp_path: Path
) -> None:
    sync(logged.copy(tmp_path, "raised"), tmp_path / "data")
    assert [row["metrics"] for row in rows_in(tmp_path / "data", "raised")] == [
        {"loss": 0.5},
        {"loss": 0.25},
    ]


def test_killed_process_leaves_all_rows_that_reached_the_disk(
    logged: Logged, tmp_path: Path
) -> None:
    """Whoever lost a machine would lose the whole run for the sake of its last record."""
    folder = logged.copy(tmp_path, "killed", "barely")
    (barely,) = folder.glob("*-barely/*.wandb")
    assert barely.stat().st_size == HEADER_BYTES
    sync(folder, tmp_path / "data")
    rows = rows_in(tmp_path / "data", "killed")
    assert len(rows) > 100
    assert [row["step"] for row in rows] == list(range(len(rows)))
    assert [row["metrics"] for row in rows] == [
        {"number": step, "third": step / 3 if step % 3 else step // 3} for step in range(len(rows))
    ]
    run = runs_in(tmp_path / "data")["killed"]
    assert run["history_line_count"] == len(rows)
    assert run["summary_metrics"]["number"] in (len(rows) - 1, len(rows))


@pytest.mark.parametrize("cut", [1, 100, BLOCK_BYTES, 2 * BLOCK_BYTES + 3])
def test_torn_file_gives_the_rows_before_the_tear_and_the_others_when_they_come(
    logged: Logged, tmp_path: Path, cut: int
) -> None:
    """A disk that was full, or a copy that was cut short, would cost more than its last rows."""
    folder = logged.copy(tmp_path, "many")
    (path,) = folder.rglob("*.wandb")
    content = path.read_bytes()
    sync(folder, tmp_path / "whole")
    whole = rows_in(tmp_path / "whole", "many")
    assert len(whole) == len(MANY_STEPS)
    path.write_bytes(content[:-cut])
    age(folder, 301)
    sync(folder, tmp_path / "data")
    rows = rows_in(tmp_path / "data", "many")
    assert runs_in(tmp_path / "data")["many"]["state"] == "crashed"
    assert rows == whole[: len(rows)]
    kept = len(rows) / len(whole)
    assert (1 - cut / len(content)) * 0.9 - 0.1 < kept < 1.1 - cut / len(content)
    path.write_bytes(content)
    sync(folder, tmp_path / "data")
    assert visible(tmp_path / "data/n").keys() == visible(tmp_path / "whole/n").keys()
    for name in ("runs.jsonl", "history.jsonl"):
        assert (tmp_path / "data/n" / name).read_bytes() == (
            tmp_path / "whole/n" / name
        ).read_bytes()


def test_resumed_run_is_one_run_when_its_processes_wrote_two_folders(
    logged: Logged, tmp_path: Path
) -> None:
    """Half of a run that was continued on another day would be missing, or there twice."""
    sync(logged.tree, tmp_path / "data")
    first, _ = logged.told["resumed"]
    rows = rows_in(tmp_path / "data", "resumed")
    in_order = sorted(rows, key=lambda row: float(row["timestamp"]))
    metrics = [step.calls[0] for half in HALVES for step in half]
    assert [row["metrics"] for row in in_order] == metrics
    run = runs_in(tmp_path / "data")["resumed"]
    assert run["config"] == {"lr": 0.2, **({"net": {"depth": 3}} if TELLS_RESUMED else {})}
    assert (run["name"], run["tags"], run["state"]) == ("first", ["a", "b"], "finished")
    started = datetime.fromtimestamp(int(first["started"]), UTC)
    assert datetime.fromisoformat(run["created_at"]) == started
    assert run["history_line_count"] == 9
    assert run["summary_metrics"]["late"] is True
    assert run["summary_metrics"]["second"] == 3


def test_steps_of_a_resumed_run_continue_if_the_file_says_that_it_was_resumed(
    logged: Logged, tmp_path: Path
) -> None:
    """Two rows would stand at each step, and a curve would go back to its beginning.

    So W&B has it after `wandb sync` of both folders.
    """
    sync(logged.tree, tmp_path / "data")
    rows = rows_in(tmp_path / "data", "resumed")
    in_order = sorted(rows, key=lambda row: float(row["timestamp"]))
    second = range(5, 9) if TELLS_RESUMED else range(4)
    assert [row["step"] for row in in_order] == [*range(5), *second]


def test_run_that_goes_on_is_read_on(tmp_path: Path) -> None:
    """A sync of a run in progress would miss rows, double them, or read everything each time."""
    data = tmp_path / "data"
    with Machine(tmp_path / "machine") as machine:
        script = machine.start("log_while_watched")
        path = Path(script.listen()["path"])
        counts = []
        for logged_count in (400, 800):
            assert script.listen() == {"logged": logged_count}
            wait_for_bytes(path, BLOCK_BYTES * logged_count // 100)
            summary = sync(machine.tree, data)
            run, rows = runs_in(data)["watched"], rows_in(data, "watched")
            assert run["state"] == "running"
            counts.append(len(rows))
            assert [row["metrics"]["number"] for row in rows] == list(range(len(rows)))
            assert summary.rows_added == len(rows) - sum(counts[:-1][-1:])
            script.go_on()
        script.end()
    summary = sync(machine.tree, data)
    assert 200 < counts[0] <= 400 < counts[1] <= 800
    assert (summary.history_count, summary.rows_added) == (800, 800 - counts[1])
    run = runs_in(data)["watched"]
    assert run["state"] == "finished"
    sync(machine.tree, data, "fresh", sync_mode=SyncMode.FULL_RECONCILE)
    for name in ("runs.jsonl", "history.jsonl"):
        assert (data / "n" / name).read_bytes() == (data / "fresh" / name).read_bytes()
    before = visible(data / "n")
    assert sync(machine.tree, data).reused_count == 1
    after = visible(data / "n")
    assert {name for name in before if before[name] != after[name]} <= {"state.json"}


# The command, on a machine without wandb, network and key.

ALONE = """
import importlib.abc, os, sys

class NoWandb(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "wandb":
            raise ModuleNotFoundError("wandb is not installed", name=name)

def refuse_network(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname":
        os.write(2, f"{event} {arguments}\\n".encode())
        os._exit(97)

sys.meta_path.insert(0, NoWandb())
sys.addaudithook(refuse_network)
from dr_wandb.cli import main
main()
"""
"""Runs the command where wandb cannot be imported; ends at once if a socket is made."""


@dataclass(frozen=True)
class Answer:
    """What one call of the command did."""

    code: int
    stdout: str
    stderr: str

    @property
    def summary(self) -> dict[str, Any]:
        """The JSON document on stdout."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document


@dataclass(frozen=True)
class Alone:
    """`wandb-export`, called in a folder of its own."""

    cwd: Path

    def __call__(self, *arguments: str) -> Answer:
        """Call the command with just these arguments."""
        known = {"PATH": os.environ.get("PATH", ""), "HOME": str(self.cwd / "no-home")}
        done = subprocess.run(
            [sys.executable, "-c", ALONE, *arguments],
            env={**known, "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=self.cwd,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        return Answer(done.returncode, done.stdout, done.stderr)

    def export(self, source: str, *flags: str, name: str = "n", mode: str = "history") -> Answer:
        """Export the project of a source."""
        mode_flags = ("--mode", mode) if mode != "metadata" else ()
        return self("entity", "project", "--name", name, *mode_flags, "--source", source, *flags)

    def files(self, name: str = "n") -> dict[str, bytes]:
        """Return the visible files of an export."""
        return visible(self.cwd / "data" / name)

    def run_ids(self, name: str = "n") -> set[str]:
        """Return the ids of the exported runs."""
        return set(runs_in(self.cwd / "data", name))


@pytest.fixture
def alone(tmp_path: Path) -> Alone:
    """Return the command in an empty folder."""
    (tmp_path / "cwd").mkdir()
    return Alone(tmp_path / "cwd")


def quiet_lines(answer: Answer) -> list[str]:
    """Return what was said beside the progress and the last words."""
    usual = (
        r"(Listed|Processed|(n|all) holds|this sync:|to bring it up to date|  wandb-export sync) "
    )
    return [line for line in answer.stderr.splitlines() if not re.match(usual, line)]


def test_command_exports_without_wandb_network_and_key(
    logged: Logged, alone: Alone, tmp_path: Path
) -> None:
    """Those who train where there is no network could not look at their own runs."""
    wandb = logged.copy(alone.cwd, "rich", "many", "failed", "elsewhere", "theirs", "ours")
    before = tree(wandb)
    done = alone.export("offline:wandb")
    others = "skipped 2 runs of other projects (other, somebody/project)"
    assert done.code == 0
    assert quiet_lines(done) == [f"{others}; --any-project exports them"]
    assert done.stderr.splitlines()[-1] == "  wandb-export sync n"
    assert alone.run_ids() == {"rich", "many", "failed", "ours"}
    told = {name: done.summary[name] for name in ("run_count", "history_count", "failed_count")}
    rows = len(RICH_STEPS) + len(MANY_STEPS) + 1
    assert told == {"run_count": 4, "history_count": rows, "failed_count": 0}
    assert tree(wandb) == before
    files = alone.files()
    again = alone.export("offline:wandb", "--quiet", "--json")
    assert (again.code, again.summary["reused_count"]) == (0, 4)
    assert quiet_lines(again) == quiet_lines(done)
    after = alone.files()
    assert {name for name in files if files[name] != after[name]} <= {"state.json"}
    anywhere = alone.export("offline:wandb", "--any-project", name="all")
    assert (anywhere.code, quiet_lines(anywhere)) == (0, [])
    assert alone.run_ids("all") == {"rich", "many", "failed", "ours", "elsewhere", "theirs"}


def test_damaged_files_are_reported_and_cost_nothing_else(logged: Logged, alone: Alone) -> None:
    wandb = logged.copy(alone.cwd, "ours", "barely", "many", "failed")
    (torn,) = wandb.glob("*-many/*.wandb")
    torn.write_bytes(torn.read_bytes()[:-1])
    os.utime(torn, (LONG_AGO, LONG_AGO))
    size = torn.stat().st_size
    for name, content in (
        ("garbage", b"not a file of W&B at all, but a text"),
        ("nothing", b""),
        ("short", b":W&B"),
    ):
        folder = wandb / f"run-20260101_000000-{name}"
        folder.mkdir()
        (folder / f"run-{name}.wandb").write_bytes(content)
    done = alone.export("offline:wandb")
    assert done.code == 0
    assert alone.run_ids() == {"ours", "many", "failed"}
    said = {line.partition(" ")[0].rpartition("/")[2]: line for line in quiet_lines(done)}
    assert said.keys() == {
        f"run-{name}.wandb" for name in ("garbage", "nothing", "short", "many", "barely")
    }
    for name, words in (
        ("garbage", "is not a .wandb file"),
        ("nothing", "is empty"),
        ("short", "ends within its header of 7 bytes"),
        ("barely", "holds no record"),
    ):
        assert words in said[f"run-{name}.wandb"]
    match = re.search(r"at byte (\d+): .* cut off \((\d+) bytes", said["run-many.wandb"])
    assert match is not None
    assert int(match[1]) + int(match[2]) == size
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("kind", ["absent", "empty", "text", "other"])
def test_source_without_a_run_is_reported_in_one_line(
    logged: Logged, alone: Alone, kind: str
) -> None:
    place = alone.cwd / "place"
    if kind in ("empty", "other"):
        place.mkdir()
    if kind == "text":
        place.write_text("a text")
    if kind == "other":
        logged.copy(place, "elsewhere")
    done = alone.export("offline:place")
    assert "Traceback" not in done.stderr
    lines = quiet_lines(done)
    assert len(lines) == 1
    if kind == "absent":
        assert (done.code, done.stdout) == (2, "")
        assert "there is no folder place" in lines[0]
        assert list(alone.cwd.glob("data/*/*.json*")) == []
    elif kind == "other":
        assert "skipped 1 run of other projects (other)" in lines[0]
        assert (done.code, done.summary["run_count"]) == (0, 0)
    else:
        assert "place" in lines[0]


@pytest.mark.parametrize("depth", ["tree", "hidden", "wandb", "run", "file"])
def test_source_is_a_tree_a_folder_a_run_or_a_file(
    logged: Logged, alone: Alone, depth: str
) -> None:
    wandb = logged.copy(alone.cwd / "jobs" / "deep", "many")
    (file,) = wandb.rglob("*.wandb")
    (wandb / "latest-run").symlink_to(file.parent.name)
    place = {"wandb": wandb, "run": file.parent, "file": file}.get(depth, alone.cwd / "jobs")
    if depth == "hidden":
        wandb.rename(wandb.with_name(".wandb"))  # where the SDK writes if it is there
    done = alone.export(f"offline:{place}")
    assert (done.code, quiet_lines(done)) == (0, [])
    assert (done.summary["run_count"], done.summary["history_count"]) == (1, len(MANY_STEPS))


def test_recording_replays_to_the_same_bytes(logged: Logged, alone: Alone) -> None:
    logged.copy(alone.cwd, "rich", "mixed", "many", "failed")
    done = alone.export("offline:wandb", "--include-metadata", "--record", "tape")
    assert done.code == 0
    files = without_source(alone.files())
    (folder,) = (path.parent for path in alone.cwd.glob("data/*/state.json"))
    remembered = [whole_state(folder)]
    (alone.cwd / "data").rename(alone.cwd / "first")
    replayed = alone.export("replay:tape", "--include-metadata")
    assert (replayed.code, quiet_lines(replayed)) == (0, [])
    again = without_source(alone.files())
    assert {name for name in files if files[name] != again[name]} == {"state.json"}
    remembered.append(whole_state(folder))
    kinds = [{run["source"] for run in state["runs"].values()} for state in remembered]
    assert kinds == [{"offline"}, {"replay"}]


def test_data_about_the_machine_is_left_out_unless_asked_for(logged: Logged, alone: Alone) -> None:
    """Host names, users and paths would go wherever the export goes."""
    logged.copy(alone.cwd, "rich")
    place = str(ROOT).encode()
    assert alone.export("offline:wandb").code == 0
    plain = runs_in(alone.cwd / "data")["rich"]
    assert plain["metadata"] is None
    assert not [name for name, content in alone.files().items() if b"executable" in content]
    assert place not in alone.files()["runs.jsonl"]
    assert alone.export("offline:wandb", "--include-metadata").code == 0
    run = runs_in(alone.cwd / "data")["rich"]
    metadata = run["metadata"]
    assert metadata["python"].startswith("CPython 3.")
    assert metadata["args"] == ["log_runs"]
    assert metadata["host"]
    assert datetime.fromisoformat(metadata["startedAt"])
    machine = run["wandb_config"]["_wandb"].pop("e")
    assert [written["executable"] for written in machine.values()] == [metadata["executable"]]
    assert {**run, "metadata": None} == plain
    assert alone.export("offline:wandb").code == 0
    assert runs_in(alone.cwd / "data")["rich"] == plain


def test_metadata_mode_and_a_dry_run_write_no_more_than_they_should(
    logged: Logged, alone: Alone
) -> None:
    logged.copy(alone.cwd, "rich", "many")
    before = tree(alone.cwd)
    plan = alone.export("offline:wandb", "--dry-run")
    assert plan.code == 0
    lines = plan.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["new", "  'many'", "  'rich'"]
    assert lines[3].startswith("2 runs: 2 new, 0 refresh")
    assert tree(alone.cwd) == before
    assert alone.export("offline:wandb", mode="metadata").code == 0
    assert alone.files().keys() == {"manifest.json", "state.json", "runs.jsonl", "changes.jsonl"}
    as_json = alone.export("offline:wandb", "--dry-run", "--json")
    runs = {run["run_id"]: run["action"] for run in as_json.summary["runs"]}
    assert runs == {"many": "refresh", "rich": "refresh"}
    assert alone.export("offline:wandb").summary["history_count"] == 258


def test_flags_that_contradict_the_source_are_refused(alone: Alone) -> None:
    answers = [
        alone("entity", "project", "--name", "n", "--any-project"),
        alone.export("offline:"),
        alone.export("offline:wandb", "--run-filter", '{"state": "finished"}'),
    ]
    assert [answer.code for answer in answers] == [2, 2, 2]
    assert "--any-project needs source offline:DIR" in answers[0].stderr
    assert "offline:DIR" in answers[1].stderr
    assert "needs source api" in answers[2].stderr
    assert list(alone.cwd.iterdir()) == []


def test_runs_of_two_projects_with_one_id_are_not_mixed(logged: Logged, alone: Alone) -> None:
    """Rows of two experiments would stand in one run, or the run of this project be missing."""
    logged.copy(alone.cwd, "twin", "ours")
    mixed = alone.export("offline:wandb", "--any-project")
    assert (mixed.code, mixed.stdout) == (2, "")
    assert "several projects have a run 'twin': other, project" in mixed.stderr
    assert not (alone.cwd / "data/n/runs.jsonl").exists()
    for project, names in (("project", {"twin", "ours"}), ("other", {"twin"})):
        done = alone(
            *("entity", project, "--name", project, "--mode", "history"),
            *("--source", "offline:wandb"),
        )
        assert done.code == 0
        assert alone.run_ids(project) == names
        rows = rows_in(alone.cwd / "data", "twin", project)
        assert [row["metrics"] for row in rows] == [{"of": project}]
