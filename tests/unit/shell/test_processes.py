"""Work in other processes: an answer or an error, whatever becomes of a process."""

import errno
import math
import operator
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.shell import processes as other
from dr_wandb.shell.executor import count_cores
from dr_wandb.shell.processes import Processes

PATIENCE_SECONDS = 60.0


@contextmanager
def started(count: int) -> Iterator[Processes]:
    """Start some processes, and kill them at the end as a sync does."""
    processes = Processes(count)
    try:
        yield processes
    finally:
        processes.kill_workers()


@pytest.fixture
def one() -> Iterator[Processes]:
    with started(1) as processes:
        yield processes


def ask(processes: Executor, function: Any, *arguments: Any) -> Any:
    """Return what a function gives there."""
    return processes.submit(function, *arguments).result(PATIENCE_SECONDS)


def ask_or_none(processes: Executor, function: Any, *arguments: Any) -> Any:
    """Return what a function gives there, None if the executor is broken."""
    try:
        return ask(processes, function, *arguments)
    except BrokenExecutor:
        return None


def assert_broken(processes: Processes) -> None:
    with pytest.raises(BrokenExecutor):
        ask(processes, os.getpid)


def wait_until_gone(process_id: int, *, orphan: bool = False) -> None:
    """Wait for the end of a process. orphan: who begot it is gone, so that it may stay a zombie."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            os.kill(process_id, 0)
        except ProcessLookupError:
            return
        if orphan and is_zombie(process_id):
            return
        time.sleep(0.02)
    raise AssertionError(f"process {process_id} goes on")


def is_zombie(process_id: int) -> bool:
    try:
        return Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return False


def slept(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def test_work_is_done_in_another_process(one: Processes) -> None:
    assert ask(one, math.factorial, 5) == 120
    process_id = ask(one, os.getpid)
    assert process_id not in (None, os.getpid())
    assert ask(one, os.getpid) == process_id


def test_zero_processes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Processes(0)


def test_processes_are_an_executor() -> None:
    with Processes(2) as processes:
        assert isinstance(processes, Executor)
        assert list(processes.map(math.factorial, range(20))) == [
            math.factorial(n) for n in range(20)
        ]
        assert processes.submit(int, "101", base=2).result(PATIENCE_SECONDS) == 5
        process_id = ask(processes, os.getpid)
    wait_until_gone(process_id)
    with pytest.raises(RuntimeError):
        processes.submit(os.getpid)


def test_shutdown_lets_work_end_and_then_the_processes() -> None:
    processes = Processes(1)
    process_id = ask(processes, os.getpid)
    under_way, waiting = processes.submit(slept, 0.3), processes.submit(slept, 0.0)
    processes.shutdown(wait=False)
    assert waiting.result(PATIENCE_SECONDS) == process_id
    assert under_way.result(0) == process_id
    wait_until_gone(process_id)


def test_several_processes_work_at_once() -> None:
    with started(3) as processes:
        futures = [processes.submit(slept, 0.5) for _ in range(9)]
        found = [future.result(PATIENCE_SECONDS) for future in futures]
    assert 1 < len({*found}) <= 3


def test_each_thread_gets_its_own_answers(one: Processes) -> None:
    answers: dict[int, list[int]] = {}

    def ask_all(number: int) -> None:
        answers[number] = [ask(one, operator.mul, number, other) for other in range(100)]

    threads = [threading.Thread(target=ask_all, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: [number * other for other in range(100)] for number in range(8)}


def test_error_of_work_is_raised_in_the_caller_and_the_process_goes_on(one: Processes) -> None:
    process_id = ask(one, os.getpid)
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        ask(one, operator.truediv, 1, 0)
    with pytest.raises(FileNotFoundError) as raised:
        ask(one, os.stat, "/nonexistent")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOENT, "/nonexistent")
    assert ask(one, os.getpid) == process_id


def test_printed_output_does_not_change_the_result(one: Processes) -> None:
    process_id = ask(one, os.getpid)
    assert ask(one, print, "no answer") is None
    assert ask(one, os.write, 1, b"no answer either") == 16
    assert ask(one, os.getpid) == process_id


class OddError(Exception):
    """An error that is pickled, but cannot be read."""

    def __init__(self, reason: str, *, number: int) -> None:
        super().__init__(reason)
        self.number = number


def raise_odd_error() -> None:
    raise OddError("odd", number=1)


@pytest.mark.parametrize("work", [lambda: os.getpid(), threading.Lock], ids=["question", "answer"])
def test_work_that_cannot_be_pickled_raises_and_the_process_goes_on(
    work: Any, one: Processes
) -> None:
    process_id = ask(one, os.getpid)
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        ask(one, work)
    assert ask(one, os.getpid) == process_id


def test_error_that_cannot_be_pickled_is_raised_as_text(one: Processes) -> None:
    with pytest.raises(RuntimeError, match="OddError: odd"):
        ask(one, raise_odd_error)


def test_process_goes_on_after_an_interrupt(one: Processes) -> None:
    process_id = ask(one, os.getpid)
    os.kill(process_id, signal.SIGINT)
    assert ask(one, os.getpid) == process_id


@pytest.mark.parametrize("busy", [False, True])
def test_killed_process_breaks_the_executor(busy: bool, one: Processes) -> None:
    process_id = ask(one, os.getpid)
    if busy:
        threading.Timer(0.3, lambda: os.kill(process_id, signal.SIGKILL)).start()
        with pytest.raises(BrokenExecutor):
            ask(one, slept, PATIENCE_SECONDS)
    else:
        os.kill(process_id, signal.SIGKILL)
        assert_broken(one)
    assert_broken(one)


def test_other_processes_go_on_when_one_is_killed() -> None:
    with started(2) as processes:
        process_id = ask(processes, os.getpid)
        os.kill(process_id, signal.SIGKILL)
        answers = [ask_or_none(processes, os.getpid) for _ in range(10)]
    assert answers.count(None) <= 1
    assert {*answers} - {None, process_id}


def test_program_that_never_answers_breaks_the_executor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Python is part of another program, that may be what the interpreter's name begins."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(other, "WELCOME_SECONDS", 0.3)
    with started(2) as processes:
        assert_broken(processes)


@pytest.mark.parametrize("said", [b"hello\n", b"I1\n."], ids=["text", "a pickle"])
def test_program_that_prints_first_breaks_the_executor(
    said: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_bytes(
        b"#!/bin/sh\nprintf '%b'\nexec %b \"$@\"\n"
        % (said.replace(b"\n", b"\\n"), sys.executable.encode())
    )
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with started(1) as processes:
        assert_broken(processes)


@pytest.mark.parametrize("entry", ["/\u65e5\u672c", "/\udcff", Path("/tmp"), None, "/a'\"{}\n"])
def test_processes_start_with_any_entry_in_sys_path(
    entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, entry])
    with started(1) as processes:
        assert ask(processes, math.factorial, 5) == 120


def test_interrupt_while_processes_start_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Any] = []
    begin = subprocess.Popen

    def interrupted(*arguments: Any, **others: Any) -> Any:
        if begun:
            raise KeyboardInterrupt
        begun.append(begin(*arguments, **others))
        return begun[0]

    monkeypatch.setattr(subprocess, "Popen", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Processes(2)
    assert begun[0].wait(PATIENCE_SECONDS) is not None


def test_process_gets_no_api_key(one: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    with started(1) as processes:
        assert ask(processes, os.getenv, "WANDB_API_KEY", "none") == "none"


def test_process_has_an_allocator_of_its_own(
    one: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That of the command is for many threads: JSON lines took a twentieth longer with it."""
    monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "system")
    with started(1) as processes:
        assert ask(processes, os.getenv, "ARROW_DEFAULT_MEMORY_POOL", "none") == "none"


@pytest.mark.parametrize("program", ["/nonexistent/python", "/bin/true"])
def test_program_that_does_not_start_breaks_the_executor(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    with started(2) as processes:
        for _ in range(20):
            assert_broken(processes)


def test_killing_ends_an_idle_process() -> None:
    with started(1) as processes:
        process_id = ask(processes, os.getpid)
    wait_until_gone(process_id)
    with pytest.raises(RuntimeError):
        processes.submit(os.getpid)
    processes.kill_workers()


def test_killing_ends_running_and_waiting_work() -> None:
    with started(1) as processes:
        process_id = ask(processes, os.getpid)
        futures = [processes.submit(slept, PATIENCE_SECONDS) for _ in range(3)]
        time.sleep(0.3)
    errors = [future.exception(PATIENCE_SECONDS / 2) for future in under_way(futures)]
    assert [type(error) for error in errors] == [BrokenExecutor]
    assert all(future.cancelled() for future in futures[1:])
    wait_until_gone(process_id)


def under_way(futures: list[Future[int]]) -> list[Future[int]]:
    """Return the futures of work that was not cancelled before it started."""
    return [future for future in futures if not future.cancelled()]


def test_killing_at_once_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    begin = subprocess.Popen

    def note(*arguments: Any, **others: Any) -> Any:
        process = begin(*arguments, **others)
        begun.append(process.pid)
        return process

    monkeypatch.setattr(subprocess, "Popen", note)
    with started(2):
        pass
    assert len(begun) == 2
    for process_id in begun:
        wait_until_gone(process_id)


ASKER = """
import os, time
from dr_wandb.shell.processes import Processes
processes = Processes(1)
print(processes.submit(os.getpid).result(), flush=True)
time.sleep(600)
"""


def test_process_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ASKER], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as asker:
        assert asker.stdout is not None
        process_id = int(asker.stdout.readline())
        asker.kill()
    wait_until_gone(process_id, orphan=True)


def test_processes_import_nothing_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("signal", "enum", "pickle", "dr_wandb", "threading"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    with started(1) as processes:
        assert ask(processes, os.getcwd) == str(tmp_path)


@pytest.mark.parametrize(
    "alter",
    [
        lambda patch: patch.setattr(sys, "executable", ""),
        lambda patch: patch.setattr(sys, "frozen", True, raising=False),
        lambda patch: patch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False),
    ],
    ids=["unknown", "not a Python", "one core"],
)
def test_one_core_is_counted_when_another_process_would_not_help(
    alter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alter(monkeypatch)
    assert count_cores() == 1
