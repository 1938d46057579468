"""Work in other processes: an answer or none, whatever becomes of a process."""

import math
import operator
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.shell import processes as other
from dr_wandb.shell.processes import Processes, count_cores

PATIENCE_SECONDS = 60.0


@pytest.fixture
def one() -> Iterator[Processes]:
    with closing(Processes(1)) as processes:
        yield processes


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


def test_an_answer_is_made_in_another_process(one: Processes) -> None:
    assert one.ask(math.factorial, 5) == 120
    process_id = one.ask(os.getpid)
    assert process_id not in (None, os.getpid())
    assert one.ask(os.getpid) == process_id


def test_where_there_is_no_process_there_is_no_answer() -> None:
    with closing(Processes(0)) as none:
        assert not none
        assert none.ask(math.factorial, 5) is None


def test_several_processes_work_at_once() -> None:
    with closing(Processes(3)) as processes:
        found: list[int | None] = []
        threads = [
            threading.Thread(target=lambda: found.append(processes.ask(slept, 0.5)))
            for _ in range(9)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(found) == 9
    assert None not in found
    assert 1 < len({*found}) <= 3


def test_each_thread_gets_its_own_answers(one: Processes) -> None:
    answers: dict[int, list[int | None]] = {}

    def ask(number: int) -> None:
        answers[number] = [one.ask(operator.mul, number, other) for other in range(100)]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: [number * other for other in range(100)] for number in range(8)}


def test_an_error_is_no_answer_and_the_process_goes_on(one: Processes) -> None:
    process_id = one.ask(os.getpid)
    assert one.ask(operator.truediv, 1, 0) is None
    assert one.ask(os.getpid) == process_id


def test_what_is_printed_is_no_answer(one: Processes) -> None:
    process_id = one.ask(os.getpid)
    assert one.ask(print, "no answer") is None
    assert one.ask(os.write, 1, b"no answer either") == 16
    assert one.ask(os.getpid) == process_id


@pytest.mark.parametrize("work", [lambda: os.getpid(), threading.Lock], ids=["question", "answer"])
def test_what_cannot_be_sent_has_no_answer(work: Any, one: Processes) -> None:
    assert one.ask(work) is None


def test_an_interrupt_is_not_for_the_process(one: Processes) -> None:
    process_id = one.ask(os.getpid)
    assert process_id is not None
    os.kill(process_id, signal.SIGINT)
    assert one.ask(os.getpid) == process_id


@pytest.mark.parametrize("busy", [False, True])
def test_a_process_that_is_killed_gives_no_answer(busy: bool, one: Processes) -> None:
    process_id = one.ask(os.getpid)
    assert process_id is not None
    if busy:
        threading.Timer(0.3, lambda: os.kill(process_id, signal.SIGKILL)).start()
        assert one.ask(slept, PATIENCE_SECONDS) is None
    else:
        os.kill(process_id, signal.SIGKILL)
        assert one.ask(os.getpid) is None
    assert one.ask(os.getpid) is None
    assert not one


def test_the_others_go_on_when_one_is_killed() -> None:
    with closing(Processes(2)) as processes:
        process_id = processes.ask(os.getpid)
        assert process_id is not None
        os.kill(process_id, signal.SIGKILL)
        answers = [processes.ask(os.getpid) for _ in range(10)]
        assert processes
    assert answers.count(None) <= 1
    assert {*answers} - {None, process_id}


def test_what_begins_and_never_answers_gives_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Python is part of another program, that may be what the interpreter's name begins."""
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 600\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(other, "WELCOME_SECONDS", 0.3)
    with closing(Processes(2)) as processes:
        assert processes.ask(math.factorial, 5) is None
        assert not processes


@pytest.mark.parametrize("said", [b"hello\n", b"I1\n."], ids=["text", "a pickle"])
def test_what_says_something_of_its_own_gives_no_answer(
    said: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "python"
    program.write_bytes(
        b"#!/bin/sh\nprintf '%b'\nexec %b \"$@\"\n"
        % (said.replace(b"\n", b"\\n"), sys.executable.encode())
    )
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))
    with closing(Processes(1)) as processes:
        assert processes.ask(math.factorial, 5) is None


@pytest.mark.parametrize("entry", ["/\u65e5\u672c", "/\udcff", Path("/tmp"), None, "/a'\"{}\n"])
def test_paths_of_any_form_are_no_hindrance(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path, entry])
    with closing(Processes(1)) as processes:
        assert processes.ask(math.factorial, 5) == 120


def test_an_interrupt_while_processes_begin_leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_process_is_told_no_key(one: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    with closing(Processes(1)) as processes:
        assert processes.ask(os.getenv, "WANDB_API_KEY", "none") == "none"


@pytest.mark.parametrize("program", ["/nonexistent/python", "/bin/true"])
def test_a_process_that_does_not_begin_gives_no_answer(
    program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", program)
    with closing(Processes(2)) as processes:
        assert [processes.ask(math.factorial, 5) for _ in range(20)] == [None] * 20
        assert not processes


def test_closing_ends_an_idle_process() -> None:
    with closing(Processes(1)) as processes:
        process_id = processes.ask(os.getpid)
        assert process_id is not None
    wait_until_gone(process_id)
    assert processes.ask(os.getpid) is None
    processes.close()


def test_closing_ends_what_is_under_way_and_what_waits() -> None:
    answers: list[int | None] = []
    with closing(Processes(1)) as processes:
        process_id = processes.ask(os.getpid)
        assert process_id is not None
        threads = [
            threading.Thread(target=lambda: answers.append(processes.ask(slept, PATIENCE_SECONDS)))
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        time.sleep(0.3)
    for thread in threads:
        thread.join(PATIENCE_SECONDS / 2)
    assert answers == [None, None, None]
    wait_until_gone(process_id)


def test_closing_at_once_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    begin = subprocess.Popen

    def note(*arguments: Any, **others: Any) -> Any:
        process = begin(*arguments, **others)
        begun.append(process.pid)
        return process

    monkeypatch.setattr(subprocess, "Popen", note)
    with closing(Processes(2)):
        pass
    assert len(begun) == 2
    for process_id in begun:
        wait_until_gone(process_id)


ASKER = """
import os, time
from dr_wandb.shell.processes import Processes
print(Processes(1).ask(os.getpid), flush=True)
time.sleep(600)
"""


def test_a_process_ends_when_the_one_that_asks_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ASKER], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as asker:
        assert asker.stdout is not None
        process_id = int(asker.stdout.readline())
        asker.kill()
    wait_until_gone(process_id, orphan=True)


def test_nothing_is_imported_from_where_it_happens_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("signal", "enum", "pickle", "dr_wandb", "threading"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    with closing(Processes(1)) as processes:
        assert processes.ask(os.getcwd) == str(tmp_path)


@pytest.mark.parametrize(
    "alter",
    [
        lambda patch: patch.setattr(sys, "executable", ""),
        lambda patch: patch.setattr(sys, "frozen", True, raising=False),
        lambda patch: patch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False),
    ],
    ids=["unknown", "not a Python", "one core"],
)
def test_where_no_other_process_helps_one_core_is_counted(
    alter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    alter(monkeypatch)
    assert count_cores() == 1
