"""W&B lists runs and refuses their history: a paywall, or a key without permission."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.server import GraphQLErrors, Request, Status

if TYPE_CHECKING:
    from tests.integration.conftest import Command, Exports
    from tests.server import Project

DENIED = json.dumps({"errors": [{"message": "permission denied"}], "data": {"project": None}})
REFUSALS = {
    "402": Status(402),
    "403": Status(403),
    "403, with a reason": Status(403, body=DENIED),
    "a GraphQL permission error": GraphQLErrors(["permission denied"]),
}


def of_a_history(request: Request) -> bool:
    return request.run_id is not None and request.operation != "RunFiles"


@pytest.mark.parametrize("kind", REFUSALS)
def test_history_that_is_refused_leaves_what_is_held_and_refreshes_snapshots(
    exports: Exports, kind: str
) -> None:
    """Each run was tried three times, and had a line of its own; its snapshot stayed old."""
    runs = [exports.project.add_run(f"run-{number}") for number in range(5)]
    for run in runs:
        run.log_all({"loss": index} for index in range(3))
    exports.sync()
    before = exports.history()
    for run in runs:
        run.log({"loss": 9.5})
        run.tags.append("later")
    fault = exports.server.faults.add(of_a_history, REFUSALS[kind], times=None)
    summary = exports.sync()
    assert summary.refused == tuple(run.run_id for run in runs)
    assert summary.refusal
    assert (summary.failures, summary.complete) == ((), False)
    assert sum(exports.asked.values()) == len(runs)
    assert exports.history() == before
    assert {tuple(run["tags"]) for run in exports.runs().values()} == {("later",)}

    exports.server.faults.remove(fault)
    assert exports.sync().complete
    exports.assert_converged()


def test_refusal_is_one_line_for_all_runs_and_code_3(project: Project, command: Command) -> None:
    for number in range(12):
        project.add_run(f"run-{number:02}").log({"loss": 1})
    command.server.faults.add(of_a_history, Status(402), times=None)
    done = command.history()
    assert done.code == 3
    told = [line for line in done.stderr.splitlines() if "refuses" in line]
    assert len(told) == 1
    assert "W&B lists 12 runs but refuses their history" in told[0]
    assert len(done.summary["refused"]) == 12
    assert "failed" not in done.stderr


def test_refusal_is_one_line_while_it_is_recorded_and_in_the_recording(
    project: Project, command: Command
) -> None:
    """The recorder forgot that it was a refusal: a line for each run, and no snapshot refreshed."""
    for number in range(3):
        project.add_run(f"run-{number:02}").log({"loss": 1})
    command.server.faults.add(of_a_history, Status(402), times=None)
    recorded = command.history("--record", "tape")
    replayed = command.history("--source", "replay:tape", name="again")
    for done in (recorded, replayed):
        assert done.code == 3
        assert done.stderr.count("lists 3 runs but refuses their history") == 1
        assert done.summary["refused"] == ["run-00", "run-01", "run-02"]
        assert done.summary["run_count"] == 3


def test_doctor_tells_a_project_that_is_not_listed_from_a_history_that_is_not_given(
    project: Project, command: Command
) -> None:
    project.add_run("run").log({"loss": 1})
    well = command("doctor", "entity", "project")
    assert well.code == 0
    assert "that of run 'run' is given: ok" in well.stdout
    command.server.faults.add(of_a_history, Status(402), times=None)
    refused = command("doctor", "entity", "project")
    assert refused.code == 11
    lines = {line.split("  ")[0]: line for line in refused.stdout.splitlines()}
    assert lines["project"].endswith("1 runs: ok")
    assert "402" in lines["history"]
    assert "what its plan allows" in lines["history"]
    assert command("doctor", "entity", "elsewhere").code == 11
