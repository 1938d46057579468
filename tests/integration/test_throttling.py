"""Requests that fail in ways that may pass, and a server that counts requests in a fixed window."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.command import Command
from tests.support.server import Drop, Hang, Request, Status
from tests.support.syncing import tree

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.api_exports import Exports
    from tests.support.server import Project, Run, StandInServer


def of(run: Run, operation: str) -> Callable[[Request], bool]:
    return lambda one: (
        one.run_id == run.run_id and operation == one.operation and one.method != "HEAD"
    )


def add_runs(project: Project, count: int, rows: int = 3) -> None:
    for number in range(count):
        run = project.add_run(f"run-{number:02}")
        run.log_all({"loss": step + number + 0.5} for step in range(rows))


def asked_of_graphql(requests: list[Request] | tuple[Request, ...]) -> list[Request]:
    return [one for one in requests if one.operation != "download"]


# --- what passes


PASSING = [Status(408), Status(429), Status(500), Status(504), Drop()]


@pytest.mark.parametrize("action", PASSING, ids=str)
def test_history_continues_after_trouble_that_passes(exports: Exports, action: Any) -> None:
    """One hiccup on a late page made the whole history begin again."""
    run = exports.project.add_run("live")
    run.log_all({"loss": step + 0.5, "text": "x" * 1000} for step in range(3000))
    fault = exports.server.faults.add("HistoryPage", action, times=2, after=2)
    summary = exports.sync()
    assert (summary.failures, summary.history_count, fault.hits) == ((), 3000, 2)
    asked = [
        (one.variables["minStep"], one.variables["maxStep"], one.variables["pageSize"])
        for one in exports.server.requests_of("HistoryPage")
        if one.status == 200
    ]
    assert len(asked) == 3
    assert len(asked) == len(set(asked)), "a page was read twice"


def test_session_opens_when_its_first_requests_are_refused(
    server: StandInServer, project: Project, command: Command
) -> None:
    """A sync right after another one finds the window used up: it must wait, not end."""
    add_runs(project, 1)
    refused = server.faults.add("Viewer", Status(429), times=4)
    done = command.history()
    assert (done.code, len(done.rows())) == (0, 3)
    assert refused.hits == 4
    assert "throttled by W&B, waiting" in done.stderr


def test_session_that_nobody_answers_is_given_up(
    server: StandInServer, project: Project, command: Command
) -> None:
    add_runs(project, 1)
    server.faults.add("Viewer", Hang(), times=None)
    done = command.history("--timeout-seconds", "2")
    assert done.code == 5
    assert "cannot reach 127.0.0.1" in done.stderr
    assert done.seconds < 25


def test_run_that_keeps_failing_fails_alone_and_soon(
    server: StandInServer, project: Project, command: Command
) -> None:
    """Three attempts of five attempts of two: a broken run made a sync wait for minutes."""
    add_runs(project, 4)
    server.faults.add(of(project.runs[1], "HistoryPage"), Status(503), times=None)
    done = command.history("--timeout-seconds", "3")
    assert (done.code, len(done.rows())) == (3, 9)
    (failed,) = done.summary["failures"]
    assert failed["run_id"] == "run-01"
    assert failed["reason"].startswith("HTTP 503: scripted answer 503 (tried ")
    asked = [one.at for one in done.requests if one.operation == "HistoryPage" and one.status > 200]
    assert 4 <= len(asked) <= 10, "two to five requests, each sent twice by wandb-core"
    assert asked[-1] - asked[0] < 10


# --- a server that counts


def test_throttled_server_gives_the_same_bytes(
    server: StandInServer, project: Project, command: Command
) -> None:
    """3.0.3 ended with the first 429, and what it had fetched was lost."""
    add_runs(project, 20)
    for run in project.runs[::4]:
        run.finish()
        run.export_parquet()
    free = command.history("--include-metadata", name="free")
    needed = len(asked_of_graphql(free.requests))
    limiter = server.throttle(600, window_seconds=2.0)
    assert limiter is not None
    done = command.history("--include-metadata", name="throttled")
    assert done.code == 0, done.stderr
    assert [line["run"] for line in done.runs()] == [line["run"] for line in free.runs()]
    assert (done.folder / "history.jsonl").read_bytes() == (
        free.folder / "history.jsonl"
    ).read_bytes()
    assert limiter.refused > 0, "the server was never throttled"
    assert limiter.refused < needed
    windows = needed / limiter.allowed
    assert done.seconds < free.seconds + 2 * 2.0 * windows + 5
    assert "throttled by W&B, waiting" in done.stderr
    assert done.stderr.count("throttled by W&B") < 4


def test_server_sees_no_more_requests_than_the_highest_rate(
    exports: Exports, tmp_path: Path
) -> None:
    """Two jobs of one team share a limit: `--max-rate` keeps this one in its place."""
    add_runs(exports.project, 6)
    code = (
        "import sys; from pathlib import Path; from dr_wandb import ExportEngine, ExportRequest;"
        "ExportEngine(ExportRequest(entity='entity', project=sys.argv[1], name='n', mode='history',"
        "data_root=Path(sys.argv[2]), max_rate=5.0)).export()"
    )
    exports.server.clear_requests()
    subprocess.run(
        [sys.executable, "-c", code, exports.project.name, str(tmp_path / "own")],
        env=own_environment(exports, tmp_path),
        check=True,
        timeout=60,
    )
    at = [one.at for one in asked_of_graphql(exports.server.requests)]
    assert len(at) >= 14
    for first, sixth in zip(at, at[6:], strict=False):
        assert sixth - first >= 6 / 5.0 - 0.15
    assert at[-1] - at[0] < 2 * len(at) / 5.0


def own_environment(exports: Exports, place: Path) -> dict[str, str]:
    command = Command(exports.server, place / "own-process")
    return command.environment


# --- a server that says how long to wait


def test_wait_that_the_server_asks_for_is_reported_and_holds_off_all_threads(
    server: StandInServer, project: Project, command: Command
) -> None:
    """wandb-core waits for `Retry-After` without a word: 300 runs took 94 s, with 112 refusals."""
    add_runs(project, 80)
    server.latency_seconds = 0.1
    refused = server.faults.add("HistoryPage", Status(429, retry_after=5), times=1)
    done = command.history()
    assert (done.code, len(done.rows()), refused.hits) == (0, 240, 1)
    told = [line for line in done.stderr.splitlines() if "throttled" in line]
    assert [line.partition(" s ")[2] for line in told] == ["or as long as it asks"]
    asked = [one for one in done.requests if one.operation == "HistoryPage"]
    again = [one.run_id for one in asked if one.status == 429]
    second = max(at for at, one in enumerate(asked) if one.run_id == again[0])
    assert second < 40, "half of the runs were read while W&B had asked to wait"


def test_server_that_counts_and_says_how_long_to_wait_refuses_few(
    server: StandInServer, project: Project, command: Command
) -> None:
    """Each of eight threads was refused in each window: 37 refusals for 60 runs."""
    add_runs(project, 40)
    limiter = server.throttle(600, window_seconds=3.0, retry_after=True)
    assert limiter is not None
    done = command.history()
    assert (done.code, len(done.rows())) == (0, 120)
    assert "throttled by W&B, waiting" in done.stderr
    assert limiter.refused > 0, "the server was never throttled"
    windows = -(-len(asked_of_graphql(done.requests)) // limiter.allowed)
    assert limiter.refused <= 8 + 3 * windows


# --- an interrupt


@pytest.mark.parametrize("operation", ["Runs", "HistoryPage"])
def test_interrupt_ends_a_hold_at_once(
    server: StandInServer, project: Project, command: Command, operation: str
) -> None:
    """Ctrl-C during a wait of minutes must not have to be pressed twice, or wait it out."""
    add_runs(project, 3)
    refused = server.faults.add(operation, Status(429), times=None)
    process = command.start("entity", "project", "--name", "n", "--mode", "history")
    try:
        deadline = time.monotonic() + 30
        while refused.hits < 4 and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1.5)  # the second hold is two seconds: the middle of it
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert time.monotonic() - began < 2
    finally:
        process.kill()
        process.wait()
    assert not list(command.cwd.rglob("*.json*"))
    assert tree(command.temp) == {}
