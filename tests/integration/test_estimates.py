"""What a plan says that a sync will cost is what the server then sees, within a factor of 1.5.

A request is a GraphQL request: the download of a file is none. The session of these tests is opened
before, so one request of each plan is not seen here. `command` opens one for each call.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.core.sync.estimate import EXPORTED_AFTER, OPENING, ROW_BYTES
from dr_wandb.shell.sources import WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.support.api_exports import Exports
    from tests.support.command import Command
    from tests.support.server import Project, Request, Run

FACTOR = 1.5


@pytest.fixture(autouse=True)
def answers_take_time(request: pytest.FixtureRequest) -> Iterator[None]:
    """Answer after some milliseconds, as any server does: then tails share requests."""
    if "exports" not in request.fixturenames:
        yield
        return
    exports: Exports = request.getfixturevalue("exports")
    exports.workers = WORKERS
    exports.server.latency_seconds = 0.01
    yield
    exports.server.latency_seconds = 0.0


def sent(requests: Iterable[Request]) -> int:
    return sum(one.operation != "download" for one in requests)


LATENCY_SECONDS = 0.05


def assert_close(estimated: int, true: int) -> None:
    assert estimated <= FACTOR * true, (estimated, true)
    assert true <= FACTOR * estimated, (estimated, true)


def live(exports: Exports, run_id: str, rows: int) -> Run:
    run = exports.project.add_run(run_id)
    run.log_all({"loss": step + 0.5} for step in range(rows))
    return run


def ended(exports: Exports, run_id: str, rows: int) -> Run:
    run = live(exports, run_id, rows)
    run.finish()
    run.export_parquet(files=1 + rows % 3)
    return run


def some_runs(exports: Exports) -> None:
    for number in range(30):
        ended(exports, f"ended-{number:02}", 20 + number)
    exports.server.clock.advance(2 * EXPORTED_AFTER.total_seconds())
    for number in range(10):
        live(exports, f"live-{number:02}", 20 + number)


Situation = tuple["Callable[[Exports], None]", dict[str, Any]]


def new_metadata(exports: Exports) -> None:
    some_runs(exports)


def files_of_metadata(exports: Exports) -> None:
    some_runs(exports)
    for run in exports.project.runs:
        run.metadata = {"host": run.run_id}


def cold_ended(exports: Exports) -> None:
    for number in range(40):
        ended(exports, f"ended-{number:02}", 10 + number)
    exports.server.clock.advance(2 * EXPORTED_AFTER.total_seconds())


def cold_just_ended(exports: Exports) -> None:
    for number in range(40):
        live(exports, f"ended-{number:02}", 10 + number).finish()


def cold_live(exports: Exports) -> None:
    for number, rows in enumerate([1, 400, 501, 1_500, 4_000, 12_000]):
        live(exports, f"live-{number}", rows)


def cold_live_with_large_rows(exports: Exports) -> None:
    exports.project.add_run("a").log_all({"text": "x" * 9_000, "n": n} for n in range(100))
    exports.sync()
    exports.project.add_run("b").log_all({"text": "x" * 9_000, "n": n} for n in range(3_000))


def nothing_new(exports: Exports) -> None:
    some_runs(exports)
    exports.sync()


def grown(runs: int, rows: int, before: int = 30) -> Callable[[Exports], None]:
    def situation(exports: Exports) -> None:
        for number in range(runs):
            live(exports, f"live-{number:03}", before)
        exports.sync()
        for run in exports.project.runs:
            run.log_all({"loss": -1.5} for _ in range(rows))

    return situation


def new_and_grown(exports: Exports) -> None:
    nothing_new(exports)
    for number in range(4):
        ended(exports, f"new-{number}", 50)
    for run in exports.project.runs:
        if run.state == "running":
            run.log_all({"loss": 0.25} for _ in range(7))


def edited(exports: Exports) -> None:
    nothing_new(exports)
    for run in exports.project.runs[::3]:
        run.tags.append("edited")


def reset(exports: Exports) -> None:
    nothing_new(exports)
    for run in exports.project.runs[:6]:
        run.rewind(5)


FINISHED = RunScope(states=("finished",))
LOSS = HistorySelection(keys=("loss",))

SITUATIONS: dict[str, Situation] = {
    "new, metadata": (new_metadata, {"mode": "metadata"}),
    "new, metadata, small pages": (new_metadata, {"mode": "metadata", "runs_per_page": 5}),
    "new, with metadata files": (
        files_of_metadata,
        {"mode": "metadata", "include_metadata": True},
    ),
    "new, ended runs": (cold_ended, {}),
    "new, runs that ended just now": (cold_just_ended, {}),
    "new, live runs": (cold_live, {}),
    "large rows": (cold_live_with_large_rows, {}),
    "new, both": (some_runs, {}),
    "nothing new": (nothing_new, {}),
    "one tail": (grown(1, 5), {}),
    "some tails": (grown(12, 5), {}),
    "many tails": (grown(80, 5), {}),
    "tails that share little": (grown(20, 120), {}),
    "tails of some pages": (grown(5, 3_000), {}),
    "new and grown": (new_and_grown, {}),
    "new scope": (some_runs, {"scope": FINISHED}),
    "narrowed scope": (new_and_grown, {"scope": FINISHED}),
    "changes, none": (nothing_new, {"sync_mode": "detect_changes"}),
    "changes, some": (edited, {"sync_mode": "detect_changes"}),
    "changes, all": (new_and_grown, {"sync_mode": "detect_changes"}),
    "reconcile": (new_and_grown, {"sync_mode": "full_reconcile"}),
    "selection": (nothing_new, {"history_selection": LOSS, "allow_narrower": True}),
}


@pytest.mark.parametrize("name", SITUATIONS)
def test_requests_of_a_plan_are_those_that_are_sent(
    name: str, exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tails share a request while one is under way, so answers take some time, as W&B's do."""
    prepare, fields = SITUATIONS[name]
    prepare(exports)
    plan = exports.plan(**fields)
    before = len(exports.server.requests)
    monkeypatch.setattr(exports.server, "latency_seconds", LATENCY_SECONDS)
    exports.sync(**fields)
    assert_close(plan.requests, OPENING + sent(exports.server.requests[before:]))


@pytest.mark.parametrize("name", ["new, both", "many tails", "new and grown", "reconcile"])
def test_rows_and_bytes_of_a_plan_are_those_that_come(name: str, exports: Exports) -> None:
    prepare, fields = SITUATIONS[name]
    prepare(exports)
    held = len(exports.history()) if exports.folder().exists() else 0
    rows = len(exports.rows()) if held else 0
    plan = exports.plan(**fields)
    exports.sync(**fields)
    come = len(exports.rows()) - (0 if name == "reconcile" else rows)
    assert plan.rows == come
    if held:
        assert_close(plan.bytes, len(exports.history()) - (0 if name == "reconcile" else held))
    else:
        assert plan.bytes == ROW_BYTES * come


def test_nothing_new_has_no_rows(exports: Exports) -> None:
    nothing_new(exports)
    plan = exports.plan()
    assert (plan.rows, plan.bytes) == (0, 0)


def test_dry_run_counts_the_opening_of_its_session(project: Project, command: Command) -> None:
    for number in range(5):
        run = project.add_run(f"run-{number}")
        run.log_all({"loss": step + 0.5} for step in range(20))
        run.finish()
        run.export_parquet()
    printed = command.history("--dry-run", "--json")
    plan = json.loads(printed.stdout)
    in_words = command.history("--dry-run")
    done = command.history()
    assert (plan["rows"], plan["bytes"]) == (100, 100 * ROW_BYTES)
    assert plan["requests"] == sent(done.requests)
    counts = "5 runs: 5 new, 0 refresh, 0 reuse, 0 missing, 0 prune"
    cost = f"about {plan['requests']} requests, 100 rows, 30.0 kB"
    assert in_words.stdout.splitlines()[-1] == f"{counts}; {cost}"
    again = command.history("--dry-run", "--json")
    assert json.loads(again.stdout)["requests"] == sent(command.history().requests)


def test_requests_for_records_of_the_project_are_estimated(exports: Exports) -> None:
    for number in range(45):
        run = exports.project.add_run(f"r{number:02}")
        run.state = "finished"
    runs = exports.project.runs
    for number in range(30):
        collection = exports.project.add_collection(f"c{number:02}")
        for _ in range(3):
            run = runs[number % len(runs)]
            run.outputs = [*run.outputs, collection.add()]
    exports.project.sweeps = [{"id": f"s{n}", "name": f"s{n}"} for n in range(150)]
    asked: dict[str, Any] = {
        "extra_datasets": ("artifacts", "sweeps", "reports"),
        "mode": "metadata",
    }
    for _ in range(2):
        plan = exports.plan(**asked)
        before = len(exports.server.requests)
        exports.sync(**asked)
        requests = exports.server.requests[before:]
        assert_close(plan.requests - OPENING, sent(requests))
        assert plan.requests > sum(one.requests for one in plan.records.values()) > 0
