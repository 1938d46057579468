"""Several live runs share the request for the rows that they gained."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.sync.live_pages import IN_FLIGHT, MOST_RUNS
from dr_wandb.shell.sources import WORKERS
from dr_wandb.shell.sources.api import batching
from tests.support.server import Drop, EmptyRows, GraphQLErrors, NullField, Status
from tests.support.syncing import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.api_exports import Exports
    from tests.support.command import Command
    from tests.support.server import Project, Request, StandInServer

RUNS = 40
BAD = "run-017"
MOST_FAILED = batching.MOST_FAILURES - 1 + IN_FLIGHT
"""Requests for several runs that may be out before the last failure that is borne is known."""


@pytest.fixture(autouse=True)
def slow_enough(request: pytest.FixtureRequest) -> Iterator[None]:
    """Answer after some milliseconds, as any server does, so that callers have to wait."""
    server = request.getfixturevalue("server" if "command" in request.fixturenames else "shared")
    server = getattr(server, "server", server)
    server.latency_seconds = 0.01
    yield
    server.latency_seconds = 0.0


def add_runs(project: Project, count: int = RUNS, rows: int = 30) -> None:
    for number in range(count):
        run = project.add_run(f"run-{number:03}")
        run.log_all({"loss": step + number / 8} for step in range(rows))


def grow(project: Project, rows: int = 5) -> None:
    for run in project.runs:
        run.log_all({"loss": -1.5 - row} for row in range(rows))


def together(request: Request) -> bool:
    return request.together > 1


def of_bad(request: Request) -> bool:
    return request.operation == "HistoryPage" and request.run_id == BAD


def sync_twice(
    exports: Exports, patch: pytest.MonkeyPatch, add_fault: Callable[[], Any]
) -> set[str]:
    """Sync rows that came meanwhile, one by one and together; return the runs that failed."""
    add_runs(exports.project)
    for name in ("alone", "together"):
        exports.sync(name)
    grow(exports.project)
    done = []
    for name in ("alone", "together"):
        exports.server.faults.clear()
        add_fault()
        with patch.context() as one_by_one:
            if name == "alone":
                one_by_one.setattr(batching, "MOST_FAILURES", 0)
            done.append(exports.sync(name))
    exports.server.faults.clear()
    assert exports.history("alone") == exports.history("together")
    assert exports.snapshots("alone") == exports.snapshots("together")
    alone, shared = done
    assert (alone.failures, alone.short) == (shared.failures, shared.short)
    assert (alone.refused, alone.refusal) == (shared.refused, shared.refusal)
    return {one.run_id for one in shared.failures} | set(shared.refused)


def test_tails_of_200_runs_take_few_requests(exports: Exports) -> None:
    exports.workers = WORKERS
    add_runs(exports.project, 200)
    exports.sync()
    for _ in range(2):
        grow(exports.project, 20)
        summary = exports.sync()
        assert summary.failures == ()
        assert set(exports.asked) == {"HistoryPage"}
        assert exports.asked["HistoryPage"] <= 60
    asked = exports.server.requests_of("HistoryPage")
    assert max(len(one.parts) for one in asked) <= MOST_RUNS
    assert len(exports.rows()) == 200 * 70
    exports.assert_converged()


ONE_RUN: dict[str, Any] = {
    "GraphQL errors": GraphQLErrors(["no rows of this run today"]),
    "refused": GraphQLErrors(["permission denied"]),
    "null history": NullField("history"),
    "null run": NullField("run"),
    "no rows": EmptyRows(),
    "another status": Status(403),
}


@pytest.mark.parametrize("action", ONE_RUN.values(), ids=list(ONE_RUN))
def test_run_that_fails_harms_no_other_and_is_reported_as_if_it_was_alone(
    exports: Exports, monkeypatch: pytest.MonkeyPatch, action: Any
) -> None:
    failed = sync_twice(
        exports, monkeypatch, lambda: exports.server.faults.add(of_bad, action, times=None)
    )
    assert failed == (set() if isinstance(action, EmptyRows) else {BAD})
    rows = {run.run_id: len(exports.rows(run.run_id, "together")) for run in exports.project.runs}
    assert {run_id for run_id, count in rows.items() if count != 35} <= {BAD}


SEVERAL_RUNS: dict[str, Any] = {
    "400": Status(400),
    "413": Status(413),
    "504": Status(504),
    "dropped": Drop(),
    "GraphQL errors": GraphQLErrors(["operation has complexity 160, which exceeds the limit"]),
}


@pytest.mark.parametrize("action", SEVERAL_RUNS.values(), ids=list(SEVERAL_RUNS))
def test_server_that_does_not_answer_for_several_runs_costs_few_requests_more(
    exports: Exports, monkeypatch: pytest.MonkeyPatch, action: Any
) -> None:
    failed = sync_twice(
        exports, monkeypatch, lambda: exports.server.faults.add(together, action, times=None)
    )
    assert failed == set()
    sent_twice_by_wandb_core = 2
    assert exports.asked["HistoryPage"] <= RUNS + MOST_FAILED * sent_twice_by_wandb_core


def test_server_that_does_not_know_aliases_costs_few_requests_more(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forget_aliases() -> None:
        exports.server.ignores_aliases = True

    assert sync_twice(exports, monkeypatch, forget_aliases) == set()
    assert exports.asked["HistoryPage"] <= RUNS + MOST_FAILED


def test_rows_that_are_denser_than_those_before_are_all_there(exports: Exports) -> None:
    """The page was too small for them: it is asked for once more, as before."""
    add_runs(exports.project, 20, rows=5)
    for run in exports.project.runs:
        run.log({"loss": 0.5}, step=100_000)
    exports.sync()
    grow(exports.project, 60)
    exports.sync()
    assert len(exports.rows()) == 20 * 66
    exports.assert_converged()


def test_throttled_server_gives_the_same_rows_and_shared_requests_go_on(exports: Exports) -> None:
    add_runs(exports.project)
    exports.sync()
    grow(exports.project)
    limiter = exports.server.throttle(120, window_seconds=1.0)
    summary = exports.sync()
    exports.server.throttle(None)
    assert limiter is not None
    assert summary.failures == ()
    answered = [one for one in exports.server.requests_of("HistoryPage") if one.status == 200]
    shared = [one for one in answered if one.parts]
    assert sum(len(one.parts) for one in shared) > RUNS / 2
    exports.assert_converged()


def test_recording_does_not_show_which_runs_shared_a_request(
    server: StandInServer, project: Project, command: Command, tmp_path: Path
) -> None:
    add_runs(project, 12)
    first = command.history()
    assert first.code == 0
    shutil.copytree(first.folder, first.folder.parent / "copy")
    grow(project)
    recording = tmp_path / "recording"
    live = command.history("--record", str(recording))
    assert any(one.parts for one in live.requests)
    again = command.history("--source", f"replay:{recording}", name="copy")
    assert (live.code, again.code, again.asked) == (0, 0, {})
    assert visible(live.folder)["history.jsonl"] == visible(again.folder)["history.jsonl"]
    assert visible(live.folder)["runs.jsonl"] == visible(again.folder)["runs.jsonl"]
