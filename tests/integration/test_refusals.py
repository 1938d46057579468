"""W&B lists runs and refuses their history: a paywall, or a key without permission."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dr_wandb.core.contract.failures import ASK_FOR_ACCESS, DrWandbError
from tests.support.server import GraphQLErrors, Request, Status

if TYPE_CHECKING:
    from tests.support.api_exports import Exports
    from tests.support.command import Command
    from tests.support.server import Project

DENIED = json.dumps({"errors": [{"message": "permission denied"}], "data": {"project": None}})
REFUSALS: dict[str, Status | GraphQLErrors] = {
    "402": Status(402),
    "403": Status(403),
    "403, with a reason": Status(403, body=DENIED),
    "a GraphQL permission error": GraphQLErrors(["permission denied"]),
    "other words for it": GraphQLErrors(["You do not have permission to access this run"]),
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
    asked = [one for one in exports.server.requests if of_a_history(one) or one.parts]
    alone = [one.run_id for one in asked[-sum(exports.asked.values()) :] if not one.parts]
    assert sorted(map(str, alone)) == [run.run_id for run in runs], "each is asked for once"
    assert sum(exports.asked.values()) - len(runs) <= 2, "requests that some of them shared"
    assert exports.history() == before
    assert {tuple(run["tags"]) for run in exports.runs().values()} == {("later",)}

    exports.server.faults.remove(fault)
    assert exports.sync().complete
    exports.assert_converged()


@pytest.mark.parametrize("kind", REFUSALS)
def test_listing_that_is_refused_is_no_access(exports: Exports, kind: str) -> None:
    """It was said that W&B cannot be reached, and to check the network."""
    exports.project.add_run("run").log({"loss": 1})
    exports.sync()
    exports.server.clear_requests()
    exports.server.faults.add("Runs", REFUSALS[kind], times=None)
    with pytest.raises(DrWandbError) as error:
        exports.sync()
    assert error.value.exit_code == 4
    said, remedy = str(error.value).splitlines()
    assert said.startswith(f"cannot list entity/{exports.project.name}: ")
    assert remedy == ASK_FOR_ACCESS
    assert len(exports.server.requests_of("Runs")) == 1


@pytest.mark.parametrize("operation", ["RunParquetHistory", "HistoryPage"])
def test_key_that_is_refused_at_a_history_ends_the_sync(exports: Exports, operation: str) -> None:
    """Each run was tried three times, and failed by itself."""
    runs = [exports.project.add_run(f"run-{number}") for number in range(20)]
    for run in runs:
        run.log({"loss": 1})
    exports.sync()
    before = exports.history()
    for run in runs:
        run.log({"loss": 2})
    exports.server.faults.add(operation, Status(401), times=None)
    with pytest.raises(DrWandbError, match="the key was refused") as error:
        exports.sync(sync_mode="full_reconcile")
    assert error.value.exit_code == 4
    assert exports.history() == before


def test_refusal_is_one_line_for_all_runs_and_code_3(project: Project, command: Command) -> None:
    for number in range(12):
        project.add_run(f"run-{number:02}").log({"loss": 1})
    command.server.faults.add(of_a_history, Status(402), times=None)
    done = command.history()
    assert done.code == 3
    told = [line for line in done.stderr.splitlines() if "refuses" in line]
    assert len(told) == 1
    assert "W&B lists 12 runs but refuses their history (HTTP 402: scripted answer 402)" in told[0]
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


def test_doctor_distinguishes_a_project_that_is_not_listed_from_a_history_that_is_refused(
    project: Project, command: Command
) -> None:
    project.add_run("run").log({"loss": 1})
    well = command("doctor", "entity", "project")
    assert well.code == 0
    assert "run 'run' can be read: ok" in well.stdout
    command.server.faults.add(of_a_history, Status(402), times=None)
    refused = command("doctor", "entity", "project")
    assert refused.code == 11
    lines = {line.split("  ")[0]: line for line in refused.stdout.splitlines()}
    assert lines["project"].endswith("1 runs: ok")
    assert "402" in lines["history"]
    assert "what its plan allows" in lines["history"]
    assert command("doctor", "entity", "elsewhere").code == 11


def of_rows(request: Request) -> bool:
    return request.operation in {"RunParquetHistory", "HistoryPage"}


def of_a_metadata_file(request: Request) -> bool:
    return request.operation == "RunFiles"


@pytest.mark.parametrize("mode", ["metadata", "history"])
def test_metadata_files_that_are_refused_leave_the_history_and_what_is_held(
    exports: Exports, mode: str
) -> None:
    """No history was asked for, and the message said that the history is refused."""
    runs = [exports.project.add_run(f"run-{number}") for number in range(3)]
    for run in runs:
        run.metadata = {"host": "a"}
        run.log({"loss": 1})
    exports.sync(mode=mode, include_metadata=True)
    for run in runs:
        run.log({"loss": 2})
        run.metadata = {"host": "b"}
        run.tags.append("later")
    exports.server.faults.add(of_a_metadata_file, Status(403), times=None)
    for _ in range(2):
        summary = exports.sync(mode=mode, include_metadata=True)
        assert (summary.refused, summary.failures, summary.complete) == ((), (), False)
        failed = [failure.run_id for failure in summary.metadata_failures]
        assert failed == [run.run_id for run in runs]
        assert exports.asked["RunFiles"] == len(runs)
        held = exports.runs().values()
        assert [run["metadata"] for run in held] == [{"host": "a"}] * 3
        assert {tuple(run["tags"]) for run in held} == {("later",)}
        if mode == "history":
            assert len(exports.rows()) == 6

    exports.server.faults.clear()
    assert exports.sync(mode=mode, include_metadata=True).complete
    assert [run["metadata"] for run in exports.runs().values()] == [{"host": "b"}] * 3
    assert exports.sync(mode=mode, include_metadata=True).complete
    assert exports.asked == {}


@pytest.mark.parametrize("code", [403, 404, 500])
def test_metadata_file_that_cannot_be_downloaded_leaves_the_history(
    exports: Exports, code: int
) -> None:
    """One bad file kept the whole history of its run out of the export."""
    runs = [exports.project.add_run(name) for name in ("a", "b")]
    for run in runs:
        run.metadata = {"host": run.run_id}
        run.log({"loss": 1})
    runs[0].metadata_status = code
    summary = exports.sync(include_metadata=True)
    (failed,) = summary.metadata_failures
    assert failed.run_id == "a"
    assert str(code) in failed.reason
    assert failed.kind == "server_error"
    assert "<" not in failed.reason, "the XML of the storage"
    assert (summary.failures, summary.complete) == ((), False)
    assert (exports.steps("a"), exports.steps("b")) == ([0], [0])
    assert exports.runs()["a"]["metadata"] is None
    assert exports.runs()["b"]["metadata"] == {"host": "b"}

    runs[0].metadata_status = 200
    assert exports.sync(include_metadata=True).complete
    assert exports.runs()["a"]["metadata"] == {"host": "a"}


def add_run_that_moved(exports: Exports, run_id: str) -> None:
    """Export a run with its metadata, and let both go on."""
    run = exports.project.add_run(run_id)
    run.metadata = {"host": "a"}
    run.log({"loss": 1})
    exports.sync(include_metadata=True)
    exports.server.clock.advance(60)
    run.metadata = {"host": "b"}
    run.log({"loss": 2})


def test_metadata_comes_once_if_the_history_is_refused(exports: Exports) -> None:
    """It was downloaded at every sync, and dropped."""
    add_run_that_moved(exports, "held")
    new = exports.project.add_run("new")
    new.metadata = {"host": "c"}
    new.log({"loss": 1})
    fault = exports.server.faults.add(of_rows, Status(403), times=None)
    summary = exports.sync(include_metadata=True)
    assert summary.refused == ("held", "new")
    assert exports.runs()["held"]["metadata"] == {"host": "b"}
    assert exports.runs()["new"]["metadata"] == {"host": "c"}
    exports.sync(include_metadata=True)
    assert "RunFiles" not in exports.asked

    exports.server.faults.remove(fault)
    assert exports.sync(include_metadata=True).complete
    assert "RunFiles" not in exports.asked
    exports.assert_converged(include_metadata=True)


def test_metadata_comes_after_all_if_the_history_failed(exports: Exports) -> None:
    """A run that failed keeps its snapshot, so its metadata is read again, whatever came of it."""
    add_run_that_moved(exports, "run")
    exports.server.faults.add(of_rows, GraphQLErrors(["try later"]), times=None)
    assert exports.sync(include_metadata=True).failures
    exports.server.faults.clear()
    assert exports.sync(include_metadata=True).complete
    assert exports.runs()["run"]["metadata"] == {"host": "b"}


def test_refusal_of_metadata_files_is_one_line_for_all_runs(
    project: Project, command: Command
) -> None:
    for number in range(12):
        project.add_run(f"run-{number:02}").log({"loss": 1})
    command.server.faults.add(of_a_metadata_file, Status(403), times=None)
    done = command.history("--include-metadata")
    assert done.code == 3
    assert len(done.rows()) == 12
    assert "of 12 runs did not come (HTTP 403: scripted answer 403); a stored" in done.stderr
    assert "refuses their history" not in done.stderr
    assert len([line for line in done.stderr.splitlines() if "metadata file" in line]) == 1
    assert "without their last metadata file: 12 runs" in command("status", "n").stdout
    verified = command("verify", "n", "--against-server", "--all").stdout
    assert verified.count("its metadata file did not come: HTTP 403") == 12
