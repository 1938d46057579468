"""`verify`, `verify --against-server` and `status`, on exports made through the real SDK."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.inspect.doubts import Doubt, DoubtKind
from dr_wandb.core.inspect.verify import describe_report
from dr_wandb.shell.inspect.status import find_exports, read_status
from dr_wandb.shell.inspect.verify import compare_with_source, verify_export
from dr_wandb.shell.sources.api.source import ApiSource
from dr_wandb.shell.store.export_store import ExportStore
from tests.support.syncing import visible

if TYPE_CHECKING:
    from dr_wandb.core.inspect.holdings import Comparison
    from tests.support.api_exports import Exports
    from tests.support.command import Command
    from tests.support.server import Project, Run


def add_run(project: Project, run_id: str, rows: int = 6, **fields: Any) -> Run:
    run = project.add_run(run_id, **fields)
    run.summary_follows_log = True
    run.log_all({"loss": 1 / (index + 1), "box": {"top": index}} for index in range(rows))
    return run


def store_of(exports: Exports, name: str = "n") -> ExportStore:
    return ExportStore(name=name, data_root=exports.data_root)


def compare(exports: Exports, name: str = "n") -> Comparison:
    """Compare an export with the server, on the session that the tests share."""
    return compare_with_source(
        store_of(exports, name),
        ApiSource(exports.shared.session, exports.request(name)),
        clock=lambda: exports.server.clock.now,
        wait=lambda attempts: None,
    )


def fully_exported(exports: Exports) -> list[str]:
    return [run.run_id for run in compare(exports).fully_exported]


def test_exports_of_every_kind_verify_as_sound(exports: Exports) -> None:
    add_run(exports.project, "done", rows=20).finish()
    add_run(exports.project, "live")
    add_run(exports.project, "nobody", user=None).finish()
    exports.project.add_run("empty")
    exports.sync()
    exports.sync("metadata", mode="metadata")
    for name in ("n", "metadata"):
        before = visible(exports.folder(name))
        assert describe_report(verify_export(store_of(exports, name)))[1:] == ()
        assert visible(exports.folder(name)) == before
    found = [
        read_status(store, exports.server.clock.now) for store in find_exports(exports.data_root)
    ]
    assert [(status.name, status.runs, status.rows) for status in found] == [
        ("metadata", 4, 0),
        ("n", 4, 32),
    ]


def test_run_is_fully_exported_when_it_ended_and_all_its_rows_are_there(exports: Exports) -> None:
    done = add_run(exports.project, "done")
    live = add_run(exports.project, "live")
    done.finish()
    exports.sync()
    before = len(exports.server.requests)
    compared = compare(exports)
    asked = {request.operation for request in exports.server.requests[before:]}
    assert "Runs" in asked
    assert not any("istory" in operation for operation in asked)
    assert [run.run_id for run in compared.fully_exported] == ["done"]
    assert [(run.run_id, run.reasons) for run in compared.not_fully_exported] == [
        ("live", (Doubt(kind=DoubtKind.ALIVE, reason="still running"),))
    ]
    live.finish()
    exports.sync()
    assert fully_exported(exports) == ["done", "live"]
    assert compare(exports).level


def test_run_is_fully_exported_the_same_when_its_rows_came_from_parquet(exports: Exports) -> None:
    run = add_run(exports.project, "done", rows=30)
    run.finish()
    run.export_parquet(files=2)
    exports.sync()
    assert fully_exported(exports) == ["done"]


def test_run_is_not_fully_exported_when_it_was_rewound_and_logged_as_many_rows(
    exports: Exports,
) -> None:
    """A user would have deleted the run, and the rows that took the place of others with it."""
    run = add_run(exports.project, "done")
    run.finish()
    exports.sync()
    run.rewind(2)
    run.log_all({"loss": 9.5} for _ in range(6 - len(run.rows)))
    assert len(run.rows) == 6
    assert fully_exported(exports) == []
    exports.sync(sync_mode="full_reconcile")
    assert fully_exported(exports) == []
    exports.server.clock.advance(600)
    exports.sync(sync_mode="full_reconcile")
    assert fully_exported(exports) == ["done"]


def test_run_is_not_fully_exported_when_it_was_made_again_or_is_short(exports: Exports) -> None:
    short = add_run(exports.project, "short")
    short.line_count_offset = 2
    short.finish()
    anew = add_run(exports.project, "anew")
    anew.finish()
    for _ in range(3):
        exports.sync()
    exports.project.delete_run(anew)
    exports.server.clock.advance(1)
    add_run(exports.project, "anew").finish()
    reasons = {run.run_id: run.reasons for run in compare(exports).not_fully_exported}
    (short_by,), (another,) = reasons["short"], reasons["anew"]
    assert (short_by.kind, short_by.reason) == ("accepted", "2 rows short, accepted as such")
    assert another.kind == "another_run"
    assert another.reason.startswith("made again upstream")
    assert fully_exported(exports) == []


def test_run_that_is_gone_from_wandb_is_distinguished_from_others(exports: Exports) -> None:
    gone = add_run(exports.project, "gone")
    gone.finish()
    add_run(exports.project, "done").finish()
    exports.sync()
    exports.project.delete_run(gone)
    compared = compare(exports)
    assert [run.run_id for run in compared.gone_upstream] == ["gone"]
    assert [run.run_id for run in compared.fully_exported] == ["done"]
    assert verify_export(store_of(exports)).sound


def test_no_run_is_fully_exported_when_the_export_is_damaged(exports: Exports) -> None:
    add_run(exports.project, "done").finish()
    exports.sync()
    path = exports.folder() / "history.jsonl"
    path.write_bytes(path.read_bytes().replace(b'top":3', b'top":4'))
    assert fully_exported(exports) == []
    exports.sync()
    assert verify_export(store_of(exports)).sound
    assert fully_exported(exports) == ["done"]


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_command_verifies_and_prints_the_status(
    command: Command, project: Project, flags: tuple[str, ...]
) -> None:
    add_run(project, "done").finish()
    assert command.history().code == 0
    verified = command("verify", "n", *flags)
    assert (verified.code, verified.stderr, verified.requests) == (0, "", ())
    status = command("status", "n", *flags)
    assert (status.code, status.requests) == (0, ())
    against = command("verify", "n", "--against-server", *flags)
    assert against.code == 0, against.stderr
    if flags:
        assert json.loads(verified.stdout)["findings"] == []
        assert json.loads(status.stdout)["rows"] == 6
        held = json.loads(against.stdout)
        assert [run["run_id"] for run in held["fully_exported"]] == ["done"]
        assert held["not_held"]
    else:
        assert verified.stdout.startswith("n (entity/project) is sound: 1 run, 6 rows, ")
        assert "  holds     1 run, 6 rows" in status.stdout.splitlines()
        assert "  'done': 6 rows" in against.stdout.splitlines()
        assert "  - artifacts (--with artifacts adds what they are, not their files)" in (
            against.stdout.splitlines()
        )
    path = command.data_root / "n" / "history.jsonl"
    path.write_bytes(path.read_bytes()[:-5])
    damaged = command("verify", "n", *flags)
    assert damaged.code != 0
    assert "the last line is cut short" in damaged.stdout
    assert "Traceback" not in damaged.stderr


def test_run_that_is_short_by_its_last_step_is_reported_as_short(
    project: Project, command: Command
) -> None:
    """`status` and `verify` said that it was 0 rows short."""
    run = project.add_run("run")
    run.log_all({"loss": step} for step in range(10))
    run.finish()
    run.last_step_override = 50
    for standing in ("short of the listing", "short of the listing", "accepted as short"):
        command.history()
        status = command("status", "n").stdout
        assert f"{standing}: 1 run" in status
        assert "'run': step 50 is listed but was not reached" in status
    verified = command("verify", "n", "--against-server").stdout
    assert "step 50 is listed but was not reached, accepted as short" in verified
    assert "0 rows short" not in verified + status
