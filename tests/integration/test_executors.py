"""Syncs with an executor of the caller: the same export, whatever it is and whatever it does."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.shell.processes import Processes
from dr_wandb.shell.store import rows_file
from dr_wandb.shell.sync.engine import ExportEngine
from tests.support import syncing
from tests.support.offline_folders import put, sync_folder, whole_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.api_exports import Exports

RUNS = 6
SOON = 30.0

LOSS: dict[str, Any] = {"history_selection": HistorySelection(keys=("loss",))}
"""A request for some metrics: rows are not written before it is planned to fetch them."""


class Remote(Executor):
    """Does as an executor of another machine: all that goes there or comes back is pickled."""

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future: Future[Any] = Future()
        question = pickle.dumps((fn, arguments, named))

        def work() -> None:
            future.set_running_or_notify_cancel()
            function, given, others = pickle.loads(question)
            try:
                future.set_result(pickle.loads(pickle.dumps(function(*given, **others))))
            except Exception as error:
                future.set_exception(error)

        threading.Thread(target=work, daemon=True).start()
        return future


def loky_executor() -> Executor:
    loky = pytest.importorskip("loky")
    executor: Executor = loky.ProcessPoolExecutor(2)
    return executor


EXECUTORS: dict[str, Callable[[], Executor]] = {
    "threads": lambda: ThreadPoolExecutor(2),
    # one process: one that starts while another is killed lets Python 3.11 wait for it for ever
    "processes": lambda: ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")),
    "loky": loky_executor,
    "remote": Remote,
    "ours": lambda: Processes(2),
}


class Watched(Executor):
    """Passes work on, and notes it. fate: what happens to the work instead, by its number."""

    def __init__(self, executor: Executor, fate: Callable[[int], Future[Any] | None]) -> None:
        self.futures: list[tuple[str, Future[Any]]] = []
        self._executor = executor
        self._fate = fate
        self._one_at_a_time = threading.Lock()  # or two submissions have the same number

    def submit(self, fn: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        with self._one_at_a_time:
            future = self._fate(len(self.futures)) or self._executor.submit(fn, *arguments, **named)
            self.futures.append((fn.__name__, future))
        return future

    @property
    def done(self) -> list[str]:
        """Return what the executor did."""
        return [name for name, future in self.futures if future.exception(SOON) is None]


def watched(executor: Executor) -> Watched:
    return Watched(executor, lambda number: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write runs that nobody would start a process for."""
    folder = tmp_path / "wandb"
    for number in range(RUNS):
        put(folder, f"run{number}", whole_run(f"run{number}", range(20 + number)))
    return folder


def assert_as_alone(folder: Path, exported: Path, **fields: Any) -> None:
    alone = exported.parent / "alone"
    if not alone.exists():
        sync_folder(folder, alone, **fields)
    for name in ("runs.jsonl", "history.jsonl", "manifest.json"):
        (one,), (other,) = exported.rglob(name), alone.rglob(name)
        assert one.read_bytes() == other.read_bytes()
    assert not list(exported.rglob(".staging*"))


@pytest.mark.parametrize("fields", [{}, LOSS], ids=["written early", "written when fetched"])
@pytest.mark.parametrize("kind", EXECUTORS)
def test_bytes_of_an_export_of_files_do_not_depend_on_the_executor(
    kind: str, fields: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    with EXECUTORS[kind]() as executor:
        seen = watched(executor)
        sync_folder(folder, tmp_path / "export", executor=seen, **fields)
        segments = ["write_segment_of_files"] * (RUNS if fields else 0)
        assert sorted(seen.done) == ["look_at_alone"] * RUNS + segments
        assert_as_alone(folder, tmp_path / "export", **fields)
        assert executor.submit(abs, -1).result(SOON) == 1  # it is not ours to shut down


@pytest.mark.parametrize(
    ("format_name", "work"),
    [("jsonl", "write_segment_of_files"), ("parquet", "write_segment_in_columns")],
)
@pytest.mark.parametrize("kind", EXECUTORS)
def test_bytes_of_an_export_of_the_api_do_not_depend_on_the_executor(
    kind: str, format_name: str, work: str, exports: Exports
) -> None:
    for number in range(RUNS):
        run = exports.project.add_run(f"run-{number}")
        run.log_all({"loss": 1 / (step + 1), "text": "ü" * step} for step in range(30))
        run.finish()
        run.export_parquet(files=1 + number % 2)
    exports.sync("alone", formats=(format_name,))
    with EXECUTORS[kind]() as executor:
        seen = watched(executor)
        built = exports._engine(exports.request("n", formats=(format_name,)))
        ExportEngine(
            built.request, source=built._source, clock=built._clock, executor=seen
        ).export()
        assert seen.done == [work] * RUNS
    ours, alone = (syncing.visible(exports.folder(name)) for name in ("n", "alone"))
    assert ours.keys() == alone.keys()
    differ = {name for name, content in ours.items() if content != alone[name]}
    assert differ <= {"manifest.json", "state.json"}  # which have the name of the export


def refused(number: int) -> Future[Any]:
    raise BrokenExecutor("broken")


def failed(number: int) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(OSError(errno.ENOSPC, "No space left on device"))
    return future


def cancelled(number: int) -> Future[Any]:
    future: Future[Any] = Future()
    future.cancel()
    return future


def every_other_time(number: int) -> Future[Any] | None:
    return failed(number) if number % 2 else None


@pytest.mark.parametrize("fields", [{}, LOSS], ids=["written early", "written when fetched"])
@pytest.mark.parametrize("fate", [refused, failed, cancelled, every_other_time])
def test_work_that_an_executor_does_not_do_is_done_in_this_process(
    fate: Callable[[int], Future[Any] | None],
    fields: dict[str, Any],
    folder: Path,
    tmp_path: Path,
) -> None:
    executor = Watched(Remote(), fate)
    summary = sync_folder(folder, tmp_path / "export", executor=executor, **fields)
    assert summary.complete
    assert_as_alone(folder, tmp_path / "export", **fields)


@pytest.mark.parametrize("kind", ["processes", "loky", "ours"])
@pytest.mark.parametrize(
    ("after", "fields"), [(0, {}), (2, {}), (2, LOSS), (RUNS, LOSS), (RUNS + 2, LOSS)]
)
def test_work_of_a_killed_worker_is_done_in_this_process(
    kind: str, after: int, fields: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    with EXECUTORS[kind]() as executor:
        worker = executor.submit(os.getpid).result(SOON)

        def kill(number: int) -> None:
            if number == after:
                os.kill(worker, signal.SIGKILL)

        seen = Watched(executor, kill)
        summary = sync_folder(folder, tmp_path / "export", executor=seen, **fields)
    assert len(seen.futures) > after
    assert summary.complete
    assert_as_alone(folder, tmp_path / "export", **fields)


def test_full_disk_in_a_worker_ends_the_sync_as_a_full_disk(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Any, lines: bytes, rows: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with ThreadPoolExecutor(2) as executor:
        with monkeypatch.context() as patch:
            patch.setattr(rows_file.RowsFile, "write", refuse)
            with pytest.raises(DrWandbError, match="No space left"):
                sync_folder(folder, tmp_path / "export", executor=executor)
        sync_folder(folder, tmp_path / "export", executor=executor)
    assert_as_alone(folder, tmp_path / "export")


@pytest.mark.parametrize("after", [0, RUNS], ids=["listing", "fetching"])
def test_interrupt_does_not_wait_for_an_executor(after: int, folder: Path, tmp_path: Path) -> None:
    def stuck(number: int) -> Future[Any] | None:
        if number < after:
            return None
        if number == after:
            threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
        return Future()

    executor = Watched(Remote(), stuck)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        sync_folder(folder, tmp_path / "export", executor=executor, **LOSS)
    assert time.monotonic() - started < SOON / 2
    assert all(future.cancelled() for _, future in executor.futures[after:])
    sync_folder(folder, tmp_path / "export", **LOSS)
    assert_as_alone(folder, tmp_path / "export", **LOSS)


UNGUARDED = """
import os, sys
from pathlib import Path
from dr_wandb import ExportEngine, ExportRequest
from dr_wandb.shell import processes
from dr_wandb.shell.sources.offline import reader
from dr_wandb.shell.sources.opening import source_opener
from dr_wandb.shell.sync import file_segments

print("main", flush=True)
started = []
class Counted(processes.Processes):
    def __init__(self, count):
        super().__init__(count)
        started.extend(process._process.pid for process in self._there)
processes.Processes = Counted
reader.BYTES_PER_PROCESS = file_segments.ROWS_PER_PROCESS = 1
reader.count_cores = file_segments.count_cores = lambda: 2
for name in ("first", "second"):
    request = ExportRequest(
        entity="any", project="p", name=name, data_root=Path(sys.argv[2]), mode="history",
        any_project=True,
    )
    ExportEngine(request, source=source_opener("offline:" + sys.argv[1])).export()
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    print(name, len(started), children.read_text() if children.exists() else "", flush=True)
"""


def test_two_syncs_of_an_unguarded_main_module_leave_no_process(
    folder: Path, tmp_path: Path
) -> None:
    """A notebook syncs again and again, and a script need not have `if __name__ == ...`."""
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(tmp_path / "data")],
        env={**os.environ, "WANDB_API_KEY": "k" * 40},
        capture_output=True,
        text=True,
        timeout=4 * SOON,
        check=True,
    )
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["main"],
        ["first", "2"],
        ["second", "4"],
    ]
    histories = [tmp_path / "data" / name / "history.jsonl" for name in ("first", "second")]
    assert histories[0].read_bytes() == histories[1].read_bytes() != b""
