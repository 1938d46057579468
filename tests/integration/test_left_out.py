"""A server that is older than this tool, and does not know some fields of a run."""

from __future__ import annotations

import json
import logging
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.contract.failures import DrWandbError, ServerTooOld
from dr_wandb.core.contract.scope import CRITERIA, RunScope
from dr_wandb.core.sync.left_out import REQUIRED
from dr_wandb.shell.sources.api.source import ApiSource
from dr_wandb.shell.sources.recording.source import RecordedSource
from dr_wandb.shell.sync.engine import ExportEngine
from tests.support.server import GraphQLErrors, Request, Status
from tests.support.syncing import visible

if TYPE_CHECKING:
    from pathlib import Path

    from dr_wandb.shell.sources import Source
    from tests.support.api_exports import Exports

KINDS = {"username": "User"}
UNKNOWN_TO_SOME = [one for one in CRITERIA if one.listed_as is not None]


def forget(exports: Exports, *fields: str, status: int = 200) -> None:
    """Let the server not know some fields any more; it names all of them at once."""
    said = [f'Cannot query field "{one}" on type "{KINDS.get(one, "Run")}".' for one in fields]
    body = json.dumps({"errors": [{"message": one} for one in said]})
    action = GraphQLErrors(said) if status == 200 else Status(status, body=body)

    def asks(request: Request) -> bool:
        words = request.document.split()
        return request.operation == "Runs" and any(one in words for one in fields)

    exports.server.faults.add(asks, action, times=None)


def add_run(exports: Exports, run_id: str = "run", mark: str = "first", **fields: str) -> None:
    run = exports.project.add_run(
        run_id, tags=[mark], user={"username": mark, "name": mark.title()}, **fields
    )
    run.notes = f"{mark} notes"
    run.system_metrics = {"system.cpu": len(mark)}


def change_run(exports: Exports, mark: str = "changed") -> None:
    (run,) = exports.project.runs
    run.notes, run.tags = f"{mark} notes", [mark]
    run.user = {"username": mark, "name": "First"}
    run.system_metrics = {"system.cpu": len(mark)}


@pytest.mark.parametrize("status", [200, 400, 422])
def test_held_run_keeps_what_the_server_does_not_know(exports: Exports, status: int) -> None:
    """One field that an older server does not know ended every sync with it."""
    add_run(exports)
    exports.sync(mode="metadata")
    before = visible(exports.folder())
    change_run(exports)
    forget(exports, "systemMetrics", "notes", "username", "tags", status=status)
    for mode in ("incremental", "detect_changes", "full_reconcile"):
        exports.server.clock.advance(60)
        exports.sync(mode="metadata", sync_mode=mode)
        after = visible(exports.folder())
        assert {**after, "state.json": b""} == {**before, "state.json": b""}


def test_field_is_read_once_the_server_knows_it(exports: Exports) -> None:
    add_run(exports)
    exports.sync(mode="metadata")
    forget(exports, "notes", "tags")
    exports.sync(mode="metadata")
    (run,) = exports.project.runs
    run.notes = "new notes"
    exports.server.faults.clear()
    before = (exports.folder() / "changes.jsonl").read_bytes()
    exports.sync(mode="metadata")
    line = (exports.folder() / "changes.jsonl").read_bytes().removeprefix(before)
    (field,) = json.loads(line)["changed"]["run"]["fields"]
    assert field == {"field": "notes", "old": "first notes", "new": "new notes"}


def test_fields_that_the_server_knows_still_change(exports: Exports) -> None:
    add_run(exports)
    exports.sync(mode="metadata")
    change_run(exports)
    forget(exports, "notes", "username", "systemMetrics")
    exports.sync(mode="metadata")
    run = exports.runs()["run"]
    assert (run["tags"], run["notes"]) == (["changed"], "first notes")
    assert run["user"] == {"username": "first", "name": "First"}
    line = (exports.folder() / "changes.jsonl").read_bytes().splitlines()[-1]
    assert [one["field"] for one in json.loads(line)["changed"]["run"]["fields"]] == ["tags"]


def test_new_run_has_the_default_of_a_field_that_the_server_does_not_know(exports: Exports) -> None:
    add_run(exports)
    forget(exports, "notes", "user", "systemMetrics", "tags")
    assert exports.sync(mode="metadata").failures == ()
    run = exports.runs()["run"]
    assert (run["notes"], run["user"], run["system_metrics"], run["tags"]) == (None, None, None, [])
    assert run["display_name"] is not None


def test_run_made_again_does_not_keep_what_the_old_one_had(exports: Exports) -> None:
    add_run(exports)
    exports.sync(mode="metadata")
    exports.project.delete_run(exports.project.runs[0])
    exports.server.clock.advance(60)
    add_run(exports, mark="second")
    forget(exports, "notes")
    exports.sync(mode="metadata")
    run = exports.runs()["run"]
    assert (run["tags"], run["notes"]) == (["second"], None)


def test_field_is_reported_once_a_sync(exports: Exports, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(5):
        add_run(exports, f"run-{number}")
    exports.sync(mode="metadata")
    forget(exports, "notes")
    forget(exports, "tags")
    before = len(exports.server.requests_of("Runs"))
    with caplog.at_level(logging.WARNING):
        exports.sync(mode="metadata")
    said = [one.getMessage() for one in caplog.records if "does not know" in one.getMessage()]
    assert len(said) == 2
    assert "does not know notes of a run" in said[0]
    assert "does not know tags of a run" in said[1]
    asked = exports.server.requests_of("Runs")[before:]
    assert sum("notes" in one.document for one in asked) == 1
    assert sum("tags" in one.document.split() for one in asked) == 2


@pytest.mark.parametrize(
    ("field", "scope"),
    [(one.listed_as, {one.field: ["x"]}) for one in UNKNOWN_TO_SOME],
    ids=[one.flag for one in UNKNOWN_TO_SOME],
)
def test_scope_of_a_field_that_is_not_known_is_judged_by_the_server(
    exports: Exports, caplog: pytest.LogCaptureFixture, field: str, scope: dict[str, Any]
) -> None:
    """Every run was dropped after the server had admitted it: exit 0, and nothing exported."""
    said = {one.of_run: ["x"] if one.of_run == "tags" else "x" for one in UNKNOWN_TO_SOME}
    for number in range(3):
        add_run(exports, f"in-{number}")
        for name, value in said.items():
            setattr(exports.project.runs[-1], name, value)
        add_run(exports, f"out-{number}")
    forget(exports, field)
    wanted = RunScope(**scope)
    with caplog.at_level(logging.WARNING):
        assert exports.sync(mode="metadata", scope=wanted).complete
    assert sorted(exports.runs()) == ["in-0", "in-1", "in-2"]
    told = [one.getMessage() for one in caplog.records if "own filter" in one.getMessage()]
    assert len(told) == 1
    assert f"does not know {field} of a run" in told[0]

    exports.server.clock.advance(60)
    assert exports.sync(mode="metadata", scope=wanted).out_of_scope_count == 0
    for name in said:
        setattr(exports.project.runs[0], name, [] if name == "tags" else None)
    summary = exports.sync(mode="metadata", scope=wanted, sync_mode="detect_changes")
    assert (summary.out_of_scope_count, len(exports.runs())) == (1, 3)


def test_runs_are_listed_by_a_server_that_does_not_count_them(exports: Exports) -> None:
    for number in range(12):
        add_run(exports, f"run-{number}")
    said = ['Cannot query field "runCount" on type "Project".'] * 2
    exports.server.faults.add(
        lambda one: one.operation == "Runs" and "runCount" in one.document,
        GraphQLErrors(said),
        times=None,
    )
    exports.sync(mode="metadata")
    assert len(exports.runs()) == 12


@pytest.mark.parametrize("field", sorted(REQUIRED - {"id", "name"}))
def test_field_that_an_export_needs_ends_the_sync(exports: Exports, field: str) -> None:
    add_run(exports)
    exports.sync(mode="metadata")
    before = visible(exports.folder())
    forget(exports, field, "notes")
    with pytest.raises(DrWandbError, match=f"an export needs: {field}") as error:
        exports.sync(mode="metadata")
    assert isinstance(error.value.failure, ServerTooOld)
    assert error.value.exit_code == 5
    assert visible(exports.folder()) == before


def test_replay_keeps_what_the_server_did_not_know(exports: Exports, tmp_path: Path) -> None:
    """A replay took fields that were left out for empty, and wrote that over what was held."""
    add_run(exports)
    add_run(exports, "other")
    exports.sync(mode="metadata")
    shutil.copytree(exports.folder(), exports.folder("replayed"))
    exports.project.runs[0].display_name = "Renamed"
    add_run(exports, "new")
    forget(exports, "notes", "username")

    def sync(name: str, source: Source, record: Path | None) -> None:
        request = exports.request(name, mode="metadata", sync_mode="detect_changes")
        ExportEngine(
            request, source=source, record=record, clock=lambda: exports.server.clock.now
        ).export()

    recording = tmp_path / "recording"
    request = exports.request(mode="metadata")
    sync("n", ApiSource(exports.shared.session, request), recording)
    sync("replayed", RecordedSource(recording), None)
    for file in ("runs.jsonl", "changes.jsonl"):
        replayed = (exports.folder("replayed") / file).read_bytes()
        assert replayed == (exports.folder() / file).read_bytes()
    assert exports.runs()["run"]["notes"] == "first notes"
    assert exports.runs()["run"]["display_name"] == "Renamed"
