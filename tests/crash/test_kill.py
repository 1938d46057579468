"""Real processes, killed without warning: at any moment, and between any two operations."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.crash.sync_until_killed import project
from tests.support import syncing
from tests.support.checkout import ROOT
from tests.support.scenarios import SCENARIOS, assert_heals, assert_loads, undisturbed

EVERYTHING = os.environ.get("HYPOTHESIS_PROFILE") == "ci"
KILLS = 100 if EVERYTHING else 10
LONGEST_SECONDS = 0.25

COMMITS = [
    "growth",
    "gone upstream",
    "mode and selection with a run gone",
    "growth in Parquet",
    "growth in Parquet alone",
    "growth with all datasets",
    "files pruned",
    "changed records",
]
RECORD = ".commit.json.part"
"""The first that a commit writes. Everything before it is tried by copies of the disk."""


def test_export_survives_kills_at_any_moment(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """After each kill the export loads; in the end one more sync has it as if there were none."""
    moments = random.Random(20260310)
    for growth in range(KILLS):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.crash.sync_until_killed", str(tmp_path), str(growth)],
            stdout=subprocess.PIPE,
            cwd=ROOT,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(moments.uniform(0, LONGEST_SECONDS))
            process.kill()
        assert_loads(tmp_path)
    source = project(KILLS)
    wanted = {"extra_datasets": ("console", "system", "files")}
    summary = syncing.sync(source, tmp_path, **wanted)
    assert summary.complete
    with syncing.fresh_export(source, **wanted) as fresh:
        assert syncing.data_of(tmp_path / syncing.NAME) == syncing.data_of(fresh)
        for name in ("console.jsonl", "system.jsonl", "files.jsonl"):
            assert (tmp_path / syncing.NAME / name).read_bytes() == (fresh / name).read_bytes()
    record_property("kills", KILLS)


class PausingProcess:
    """Syncs in processes of its own, which wait at an operation to be killed."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    def sync(self, data_root: Path, name: str, number: int) -> tuple[int | None, Any]:
        """Sync until the operation of this number; returns it, or None and all there were."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([str(data_root), name, number]).encode() + b"\n")
        self._process.stdin.flush()
        pid, at, what = self._hear()
        if at is not None:
            os.kill(pid, signal.SIGKILL)
        assert self._hear() == [pid, "ended", 0 if at is None else signal.SIGKILL]
        return at, what

    def _hear(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())


@contextmanager
def pausing_process() -> Iterator[PausingProcess]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.crash.pausing_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        yield PausingProcess(process)
        process.communicate(timeout=10)
        assert process.returncode == 0


@pytest.mark.parametrize("name", SCENARIOS if EVERYTHING else COMMITS)
def test_process_killed_between_any_two_operations_of_a_commit_costs_nothing(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    scenario = SCENARIOS[name]
    expected = undisturbed(scenario, tmp_path / "expected")
    source = scenario.begin(tmp_path / "begun")
    with pausing_process() as process, syncing.without_fsync():
        (tmp_path / "begun").mkdir(exist_ok=True)
        shutil.copytree(tmp_path / "begun", tmp_path / "whole")
        at, operations = process.sync(tmp_path / "whole", name, -1)
        assert at is None
        first = 0 if EVERYTHING else next(n for n, op in enumerate(operations) if RECORD in op)
        for number in range(first, len(operations)):
            data_root = tmp_path / f"{number:03d}"
            shutil.copytree(tmp_path / "begun", data_root)
            at, what = process.sync(data_root, name, number)
            assert at == number
            try:
                assert_heals(scenario, source, data_root, expected)
            except BaseException as error:
                error.add_note(f"killed before: {what} (operation {number})")
                raise
    renamed = [op.removeprefix("replace ") for op in operations if op.startswith("replace ")]
    assert {"state.json", RECORD} <= set(renamed)
    record_property("kills", len(operations) - first)
