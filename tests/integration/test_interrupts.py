"""Ctrl-C and SIGTERM: the command says what is kept and how to go on, and a second one ends it."""

from __future__ import annotations

import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.cli.interrupt import SAME_SIGNAL_SECONDS
from dr_wandb.core.contract.failures import EXIT_INTERRUPTED, EXIT_OK
from tests.support.server import Hang
from tests.support.syncing import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.command import Command
    from tests.support.server import Project, Request, StandInServer

SOON = 30.0
RUNS = 4
USED = "; the next sync uses them unless W&B lists something else by then"


@pytest.fixture(autouse=True)
def runs(project: Project) -> None:
    """Make finished runs whose rows are fetched one file each."""
    for number in range(RUNS):
        run = project.add_run(f"run-{number}")
        run.log_all({"loss": step + number + 0.5} for step in range(5))
        run.finish()
        run.export_parquet()


def hang(server: StandInServer, project: Project) -> None:
    """Let the server never answer about the last run."""
    last = project.runs[-1].run_id

    def of_last(request: Request) -> bool:
        return request.operation in ("HistoryPage", "RunParquetHistory") and request.run_id == last

    server.faults.add(of_last, Hang(), times=None)


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + SOON
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def segments(folder: Path) -> int:
    return len(list(folder.glob(".staging/*.segment")))


@contextmanager
def at_work(command: Command, *arguments: str) -> Iterator[tuple[Any, Path]]:
    """Start the command; yields its process and the file of what it prints."""
    printed = command.temp.parent / f"printed-{time.monotonic_ns()}"
    with printed.open("wb") as stream:
        process = command.start(*arguments, stderr=stream)
        try:
            yield process, printed
        finally:
            process.kill()
            process.wait(timeout=SOON)


FIRST = ("entity", "project", "--name", "n", "--mode", "history", "--quiet")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
def test_interrupted_first_sync_says_what_is_kept_and_is_seen_by_status(
    how: signal.Signals, server: StandInServer, project: Project, command: Command
) -> None:
    hang(server, project)
    folder = command.data_root / "n"
    with at_work(command, *FIRST) as (process, printed):
        wait_until(lambda: segments(folder) == RUNS - 1)
        process.send_signal(how)
        assert process.wait(timeout=SOON) == EXIT_INTERRUPTED
    size = sum(path.stat().st_size for path in folder.glob(".staging/*.segment"))
    kept = f"{RUNS - 1} parts ({size / 1000:.1f} kB)"
    assert printed.read_text().splitlines() == [
        "interrupted; no sync of n has completed yet",
        f"kept: {kept}{USED}",
        "to go on, run the same command again",
    ]
    status = command("status", "n")
    assert (status.code, status.stderr) == (EXIT_OK, "")
    assert "no sync has completed yet" in status.stdout
    assert kept in status.stdout
    assert "entity/project" in status.stdout
    server.faults.clear()
    assert command(*FIRST).code == EXIT_OK
    assert "no sync has completed yet" not in command("status").stdout


def test_status_sees_a_first_sync_at_work(
    server: StandInServer, project: Project, command: Command
) -> None:
    hang(server, project)
    with at_work(command, *FIRST) as (process, _):
        wait_until(lambda: segments(command.data_root / "n") == RUNS - 1)
        # the fork server runs one command at a time
        from dr_wandb.shell.inspect.status import find_exports, read_status

        (store,) = find_exports(command.data_root, unfinished=True)
        status = read_status(store)
        assert status.first_sync
        assert status.fetched_parts == RUNS - 1
        assert status.sync is not None
        assert status.sync.startswith("at work: process ")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=SOON) == EXIT_INTERRUPTED


@pytest.mark.parametrize(
    ("arguments", "again"),
    [
        (("sync", "n"), "run: wandb-export sync n"),
        (FIRST[:-1], "run: wandb-export sync n"),
        ((*FIRST, "--tag", "t"), "run the same command again"),
        (("sync", "--all"), "run the same command again"),
    ],
    ids=["sync", "as before", "another request", "all"],
)
def test_interrupted_sync_of_an_export_says_how_to_go_on(
    arguments: tuple[str, ...],
    again: str,
    server: StandInServer,
    project: Project,
    command: Command,
) -> None:
    assert command(*FIRST).code == EXIT_OK
    folder = command.data_root / "n"
    before = visible(folder)
    for run in project.runs:
        run.resume()
        run.log({"loss": 9.0})
        run.finish()
        run.tags.append("t")
    hang(server, project)
    with at_work(command, *arguments) as (process, printed):
        wait_until(lambda: segments(folder) == RUNS - 1)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=SOON) == EXIT_INTERRUPTED
    lines = printed.read_text().splitlines()
    assert lines[-3] == "interrupted; n is as it was before"
    assert lines[-2].startswith(f"kept: {RUNS - 1} parts (")
    assert lines[-1] == f"to go on, {again}"
    assert visible(folder) == before


def test_interrupt_during_the_listing_says_that_nothing_changed(
    server: StandInServer, command: Command
) -> None:
    server.faults.add(lambda one: one.operation == "Runs", Hang(), times=None)
    with at_work(command, *FIRST) as (process, printed):
        wait_until(lambda: any(one.operation == "Runs" for one in server.requests))
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=SOON) == EXIT_INTERRUPTED
    assert printed.read_text().splitlines() == [
        "interrupted before any rows were fetched: nothing changed, no sync of n has completed yet",
        "to go on, run the same command again",
    ]
    assert not (command.data_root / "n").exists()


SLOW_TO_END = """
import time
from dr_wandb.shell.sync import engine
def slow(self):
    time.sleep(60)
engine.Fetcher.close = slow
from dr_wandb.cli import main; main()
"""


def test_second_interrupt_ends_the_command_at_once(
    server: StandInServer,
    project: Project,
    command: Command,
    forked_python: Any,
) -> None:
    hang(server, project)
    folder, printed = command.data_root / "n", command.temp.parent / "printed"
    with printed.open("wb") as stream:
        process = forked_python.start(
            SLOW_TO_END,
            FIRST,
            env=command.environment,
            cwd=command.cwd,
            streams=[stream.fileno()] * 2,
        )
        wait_until(lambda: segments(folder) == RUNS - 1)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)  # passed on by `uv run`: it is the same
        time.sleep(2 * SAME_SIGNAL_SECONDS)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=5) == EXIT_INTERRUPTED
    assert "interrupted twice: ended at once" in printed.read_text()
    server.faults.clear()
    done = command(*FIRST)
    assert done.code == EXIT_OK
    fetched = {one.run_id for one in done.requests if one.operation == "RunParquetHistory"}
    assert fetched == {project.runs[-1].run_id}
