"""Segments that other processes write: the same export, whatever becomes of a process."""

from __future__ import annotations

import errno
import os
import signal
import time
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.selection import HistorySelection, HistoryWindow
from dr_wandb.shell import processes
from dr_wandb.shell.executor import answer_of
from dr_wandb.shell.processes import Processes
from dr_wandb.shell.sources.api.source import ApiSource
from dr_wandb.shell.store import rows_file
from dr_wandb.shell.sync import engine, file_segments
from dr_wandb.shell.sync.listing import ATTEMPTS
from tests.support.server.faults import Truncate
from tests.support.syncing import select

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from tests.support.api_exports import Exports
    from tests.support.command import Command
    from tests.support.forked_python import ForkedPython
    from tests.support.server import Project

RUNS, ROWS = 12, 30


class Watched(Processes):
    """Notes what was answered, None for an error; `disturb` is called before each question."""

    answers: list[Any]
    disturb: Callable[[Processes], None]

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        type(self).disturb(self)
        future: Future[Any] = super().submit(function, *arguments, **named)
        answer = answer_of(future)
        type(self).answers.append(answer)
        if answer is not None:  # nothing has been put where a sync would find it
            assert Path(answer.path).parent == arguments[0]
            assert arguments[0].parent.name == ".staging"
        return future


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> type[Watched]:
    """Let two processes pay for any rows."""

    class Fresh(Watched):
        pass

    Fresh.answers = []
    Fresh.disturb = staticmethod(lambda processes: None)
    monkeypatch.setattr(processes, "Processes", Fresh)
    monkeypatch.setattr(file_segments, "ROWS_PER_PROCESS", 1)
    monkeypatch.setattr(file_segments, "count_cores", lambda: 2)
    return Fresh


def add_runs(exports: Exports) -> None:
    """Add runs that are exported, in one file or two, and others that are not, or not wholly."""
    for number in range(RUNS):
        run = exports.project.add_run(f"run-{number:02d}")
        run.log_all({"loss": 1 / (step + number + 1), "text": "ü" * step} for step in range(ROWS))
        if number % 4 == 3:
            run.export_parquet(upto=ROWS // 2 * (number % 8 == 3))
        else:
            run.finish()
            run.export_parquet(files=1 + number % 2, file_order=[1, 0] if number % 2 else None)


def sync_alone(exports: Exports, monkeypatch: pytest.MonkeyPatch, **fields: Any) -> None:
    """Sync into `alone`, without another process."""
    with monkeypatch.context() as patch:
        patch.setattr(file_segments, "count_cores", lambda: 1)
        exports.sync("alone", **fields)


def assert_same(exports: Exports, name: str = "n") -> None:
    for file in ("history.jsonl", "runs.jsonl"):
        assert (exports.folder(name) / file).read_bytes() == (
            exports.folder("alone") / file
        ).read_bytes()
    assert not list(exports.folder(name).glob(".staging*"))


def test_processes_write_the_same_bytes_as_this_process(
    exports: Exports, watched: type[Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_runs(exports)
    exports.sync()
    asked = exports.asked
    assert len(watched.answers) == RUNS * 3 // 4
    assert None not in watched.answers
    sync_alone(exports, monkeypatch)
    assert exports.asked == asked
    assert len(watched.answers) == RUNS * 3 // 4
    assert_same(exports)
    exports.sync()
    assert exports.asked == {}


@pytest.mark.parametrize(
    "selection",
    [
        HistorySelection(window=HistoryWindow(max_step=11)),
        HistorySelection(window=HistoryWindow(min_step=7, max_records=5)),
        HistorySelection(keys=("loss",)),
    ],
    ids=["from the start", "the last", "one key"],
)
def test_processes_make_the_same_selection(
    exports: Exports,
    watched: type[Watched],
    monkeypatch: pytest.MonkeyPatch,
    selection: HistorySelection,
) -> None:
    add_runs(exports)
    exports.sync(history_selection=selection)
    assert watched.answers
    assert None not in watched.answers
    sync_alone(exports, monkeypatch, history_selection=selection)
    assert_same(exports)


@pytest.mark.parametrize("when", ["at first", "at each question"])
def test_rows_of_killed_processes_are_written_by_this_process(
    exports: Exports, watched: type[Watched], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    def kill(processes: Processes) -> None:
        if when == "at first" and watched.answers:
            return
        for process in list(processes._there):
            os.kill(process._process.pid, signal.SIGKILL)

    watched.disturb = staticmethod(kill)
    add_runs(exports)
    exports.sync()
    asked = exports.asked
    assert None in watched.answers
    sync_alone(exports, monkeypatch)
    assert exports.asked == asked
    assert_same(exports)


def test_nothing_is_downloaded_twice_when_no_process_answers(
    exports: Exports, watched: type[Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched, "submit", take_nothing)
    add_runs(exports)
    exports.sync()
    asked = exports.asked
    sync_alone(exports, monkeypatch)
    assert exports.asked == asked
    assert_same(exports)


def test_file_that_does_not_read_fails_its_run_alone(
    exports: Exports, watched: type[Watched]
) -> None:
    add_runs(exports)
    exports.server.faults.add(
        lambda request: (request.run_id, request.operation) == ("run-01", "download"),
        Truncate(0.7, complete=True),
        times=None,
    )
    summary = exports.sync()
    assert [failure.run_id for failure in summary.failures] == ["run-01"]
    assert "cannot be read" in summary.failures[0].reason
    assert watched.answers.count(None) == ATTEMPTS
    exports.server.faults.clear()
    exports.sync()
    exports.assert_converged()


@pytest.mark.parametrize("kept", [True, False])
def test_after_a_full_disk_the_next_sync_of_this_process_goes_on(
    exports: Exports, watched: type[Watched], monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """A notebook keeps the last error, and with it all that was under way."""
    add_runs(exports)
    errors = []
    with monkeypatch.context() as patch:
        patch.setattr(watched, "submit", take_nothing)
        patch.setattr(rows_file.RowsFile, "write", refuse)
        with pytest.raises(DrWandbError, match="No space left") as raised:
            exports.sync()
        if kept:
            errors.append(raised.value)
        del raised
    exports.sync()
    sync_alone(exports, monkeypatch)
    assert_same(exports)


def take_nothing(self: Processes, function: Any, *arguments: Any) -> Any:
    raise BrokenExecutor("no process is left")


def refuse(self: Any, lines: bytes, rows: int) -> None:
    time.sleep(0.1)  # until the others are at it
    raise OSError(errno.ENOSPC, "No space left on device")


PROCESSES_FOR_ANYTHING = """
from dr_wandb.shell.sync import file_segments
file_segments.ROWS_PER_PROCESS = 1
file_segments.count_cores = lambda: 2
from dr_wandb.cli import main
main()
"""


@pytest.mark.parametrize(
    "end", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM], ids=lambda end: end.name
)
def test_sync_after_one_that_was_ended_is_as_if_it_had_not_been(
    end: signal.Signals, project: Project, command: Command, forked_python: ForkedPython
) -> None:
    for number in range(30):
        run = project.add_run(f"run-{number:02d}")
        run.log_all({"loss": 1 / (step + number + 1)} for step in range(200))
        run.finish()
        run.export_parquet()
    arguments = ["entity", "project", "--mode", "history", "--name"]
    codes = []
    for _ in range(3):
        before = len(command.server.requests)
        ended = forked_python.start(
            PROCESSES_FOR_ANYTHING,
            [*arguments, "ended"],
            env=command.environment,
            cwd=command.cwd,
        )
        while ended.poll() is None and not any(
            request.operation == "download" for request in command.server.requests[before:]
        ):
            time.sleep(0.01)
        time.sleep(0.1)
        ended.send_signal(end)
        codes.append(ended.wait(timeout=60))
    assert {*codes} <= {0, 130, -signal.SIGKILL}
    assert command(*arguments, "ended").code == 0
    assert command(*arguments, "alone").code == 0
    ours, alone = (command.data_root / name / "history.jsonl" for name in ("ended", "alone"))
    assert ours.read_bytes() == alone.read_bytes()
    assert not (command.data_root / "ended" / ".staging").exists()


def test_recording_gets_every_row(
    exports: Exports, watched: type[Watched], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add_runs(exports)
    monkeypatch.setattr(ApiSource, "close", lambda self: None)  # the session is for others too
    request = exports.request()
    built = exports._engine(request)
    recording = engine.ExportEngine(
        request, source=built._source, clock=built._clock, record=tmp_path / "recording"
    )
    recording.export()
    assert watched.answers == []
    assert len(exports.rows()) == RUNS * ROWS


def test_few_rows_need_no_process(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    class Counted(Processes):
        def __init__(self, count: int) -> None:
            counts.append(count)
            super().__init__(count)

    monkeypatch.setattr(processes, "Processes", Counted)
    add_runs(exports)
    exports.sync()
    monkeypatch.setattr(file_segments, "ROWS_PER_PROCESS", RUNS * ROWS)
    exports.sync("again")
    monkeypatch.setattr(file_segments, "count_cores", lambda: 8)
    monkeypatch.setattr(file_segments, "ROWS_PER_PROCESS", 1)
    exports.sync("once more")
    assert counts == [file_segments.MOST_PROCESSES]


def test_rows_that_stay_in_columns_need_no_process(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    class Counted(Processes):
        def __init__(self, count: int) -> None:
            counts.append(count)
            super().__init__(count)

    monkeypatch.setattr(processes, "Processes", Counted)
    monkeypatch.setattr(file_segments, "count_cores", lambda: 2)
    monkeypatch.setattr(file_segments, "ROWS_PER_PROCESS", 1)
    add_runs(exports)
    exports.sync(formats=("parquet",))
    assert not counts
    exports.sync("other", formats=("parquet",), history_selection=select("loss"))
    assert counts == [2]
