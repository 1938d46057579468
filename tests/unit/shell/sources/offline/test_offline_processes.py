"""Folders that other processes help to read: the same runs and the same export without them."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.shell.executor import SharedExecutor
from dr_wandb.shell.processes import Processes
from dr_wandb.shell.sources.offline import reader
from dr_wandb.shell.sources.offline.found import FoundRuns
from dr_wandb.shell.sources.offline.index import Known
from dr_wandb.shell.sources.offline.runs import FolderScan
from dr_wandb.shell.sources.offline.wanted import ANY, Wanted
from dr_wandb.shell.sync import file_segments
from tests.support.offline_folders import NOW_NS, put, sync_folder, whole_run
from tests.support.old_run import rows_of as old_rows
from tests.support.old_run import write_old_run
from tests.support.wandb_file import exit_record, rows_of, run_record

RUNS = 8


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write runs of one file each, one of two files, an old one, and files that are no run."""
    folder = tmp_path / "wandb"
    for number in range(RUNS):
        put(folder, f"run{number}", whole_run(f"run{number}", range(20 + number)))
    put(folder, "twice", whole_run("twice"), folder_time="20260101_000000")
    later = [
        run_record("twice", started="2026-01-01T00:10:00Z"),
        *rows_of(range(5, 9)),
        exit_record(),
    ]
    put(folder, "twice", later, folder_time="20260101_001000")
    put(folder, "other", whole_run("other", project="elsewhere"))
    put(folder, "nothing", b"not a run")
    put(folder, "torn", whole_run("torn")[:-1])
    write_old_run(folder, "old", old_rows(range(6)))
    return folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let two processes pay for any file, and note how many were started each time."""
    monkeypatch.setattr(reader, "BYTES_PER_PROCESS", 1)
    monkeypatch.setattr(reader, "count_cores", lambda: 2)
    monkeypatch.setattr(file_segments, "count_cores", lambda: 2)
    monkeypatch.setattr(file_segments, "ROWS_PER_PROCESS", 1)
    counts: list[int] = []
    real = Processes.__init__

    def count_and_begin(self: Processes, count: int) -> None:
        counts.append(count)
        real(self, count)

    monkeypatch.setattr(Processes, "__init__", count_and_begin)
    return counts


def scan_with(
    folder: Path, processes: Processes | None, wanted: Wanted = ANY, known: Known | None = None
) -> FoundRuns:
    """Read a folder with the help of some processes."""
    executor = None if processes is None else SharedExecutor(processes)
    return FolderScan(folder, known or Known(), wanted, NOW_NS, executor=executor).scan()


@pytest.mark.parametrize("wanted", [ANY, Wanted(None, "elsewhere"), Wanted(None, "project")])
def test_scan_finds_the_same_with_other_processes(
    folder: Path, started: list[int], wanted: Wanted
) -> None:
    alone = scan_with(folder, None, wanted)
    started.clear()
    with Processes(2) as processes:
        assert scan_with(folder, processes, wanted) == alone
        assert scan_with(folder, processes, wanted, alone.known) == scan_with(
            folder, None, wanted, alone.known
        )


def test_files_of_processes_that_end_are_read_here(folder: Path, started: list[int]) -> None:
    alone = scan_with(folder, None)
    with Processes(2) as processes:
        processes.submit(abs, 1).result()  # they are there
        for process in list(processes._there):
            os.kill(process._process.pid, signal.SIGKILL)
        assert scan_with(folder, processes) == alone


def test_processes_that_helped_to_list_write_the_segments(
    folder: Path, tmp_path: Path, started: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    real = Processes.submit

    def submit(self: Processes, function: Any, *arguments: Any) -> Any:
        asked.append(function.__name__)
        return real(self, function, *arguments)

    monkeypatch.setattr(Processes, "submit", submit)
    sync_folder(folder, tmp_path / "helped", any_project=True)
    assert started == [2]
    assert asked.count("look_at_alone") == RUNS + 4
    assert asked.count("write_segment_of_files") == 2  # of two files, and of an old folder

    monkeypatch.setattr(reader, "count_cores", lambda: 1)
    monkeypatch.setattr(file_segments, "count_cores", lambda: 1)
    sync_folder(folder, tmp_path / "alone", any_project=True)
    for name in ("runs.jsonl", "history.jsonl", "manifest.json"):
        (one,) = (tmp_path / "helped").rglob(name)
        (other,) = (tmp_path / "alone").rglob(name)
        assert one.read_bytes() == other.read_bytes()
