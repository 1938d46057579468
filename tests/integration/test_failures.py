"""What goes wrong: the exit code, a line or two on stderr, and nothing written or left behind."""

from __future__ import annotations

import json
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.cli import run as run_command
from dr_wandb.shell.store.lock import locked
from tests.support.api_exports import Exports, Shared
from tests.support.command import LISTING, VISIBLE, Command, Outcome
from tests.support.server import Drop, GraphQLErrors, Hang, NullField, Request, Status, Truncate
from tests.support.syncing import tree, visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.server import Project, Run, StandInServer


def assert_told(done: Outcome, code: int, *words: str) -> None:
    """Check the exit code and that it was said in a line or two, without a traceback."""
    assert done.code == code, done.stderr
    assert done.stdout == ""
    assert 1 <= len(done.stderr.splitlines()) <= 2, done.stderr
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


# --- nothing to sync with

NOWHERE = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("project_name", "environment", "code", "words"),
    [
        ("elsewhere", {}, 4, ("no project elsewhere in entity",)),
        (
            "project",
            {"WANDB_API_KEY": "a" * 40},
            4,
            ("key was refused by 127.0.0.1", "wandb login"),
        ),
        ("project", {"WANDB_API_KEY": "short"}, 4, ("key was refused", "40")),
        ("project", {"WANDB_API_KEY": ""}, 4, ("no API key", "wandb login", "WANDB_API_KEY")),
        ("project", {"WANDB_BASE_URL": NOWHERE}, 5, ("cannot reach 127.0.0.1:9", "network")),
    ],
    ids=["no project", "wrong key", "malformed key", "no key", "unreachable"],
)
def test_sync_that_cannot_begin_leaves_nothing(
    project: Project,
    command: Command,
    project_name: str,
    environment: dict[str, str],
    code: int,
    words: tuple[str, ...],
) -> None:
    project.add_run("run")
    before = command.left_behind()
    done = command("entity", project_name, "--name", "n", env=environment)
    assert_told(done, code, *words)
    assert command.left_behind() == before


def test_listing_that_fails_leaves_the_export_as_it_was(
    server: StandInServer, project: Project, command: Command
) -> None:
    project.add_run("run").log({"loss": 1.5})
    done = command.history()
    before = command.left_behind()
    server.faults.add("Runs", Status(503), times=None)
    project.runs[0].log({"loss": 2.5})
    done = command.history()
    assert_told(done, 5, "127.0.0.1", "gives no usable answer", "503")
    assert done.seconds < 30
    assert command.left_behind() == before
    server.faults.clear()
    assert len(command.history().rows()) == 2


# --- bad requests, told before anything is opened


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["entity", "project"], ["--name"]),
        (["entity"], ["PROJECT"]),
        (["entity", "project", "--name", ""], ["name must not be blank"]),
        (["entity", "project", "--name", "  "], ["name must not be blank"]),
        (["entity", "project", "--name", "."], ["name must be a folder name of its own"]),
        (["entity", "project", "--name", ".."], ["name must be a folder name of its own"]),
        (["entity", "project", "--name", "/abs"], ["name must not have a path separator"]),
        (["entity", "project", "--name", "a/b"], ["name must not have a path separator"]),
        (["entity", "project", "--name", "../../etc"], ["name must not have a path separator"]),
        (["entity", "project", "--name", "a\\b"], ["name must not have a path separator"]),
        (["entity", "project", "--name", "a\nb"], ["control characters"]),
        (["entity", "project", "--name", "x" * 201], ["200 bytes"]),
        ([" ", "project", "--name", "n"], ["entity must not be blank"]),
        (["entity", "", "--name", "n"], ["project must not be blank"]),
        (["a/b", "p/q", "--name", "n"], ["entity must not", "project must not"]),
        (["entity", "project", "--name", "n", "--runs-per-page", "0"], ["--runs-per-page", "0"]),
        (["entity", "project", "--name", "n", "--timeout-seconds", "-1"], ["--timeout-seconds"]),
        (["entity", "project", "--name", "n", "--mode", "all"], ["all", "history"]),
        (["entity", "project", "--name", "n", "--sync-mode", "x"], ["sync-mode", "full"]),
        (["entity", "project", "--name", "n", "--min-step", "many"], ["min-step", "many"]),
        (["entity", "project", "--name", "n", "--max-records", "3"], ["needs mode history"]),
        (["entity", "project", "--name", "n", "--history-key", "a"], ["needs mode history"]),
        (["e", "p", "--name", "n", "--mode", "history", "--min-step", "-1"], ["--min-step", "-1"]),
        (["e", "p", "--name", "n", "--mode", "history", "--max-records", "0"], ["--max-records"]),
        (["e", "p", "--name", "n", "--mode", "history", "--history-key", " "], ["blank"]),
        (
            ["e", "p", "--name", "n", "--mode", "history", "--min-step", "5", "--max-step", "4"],
            ["--min-step 5", "--max-step 4"],
        ),
        (["e", "p", "--name", "n", "--record", "r", "--dry-run"], ["--record", "--dry-run"]),
        (["e", "p", "--name", "n", "--colour"], ["--colour"]),
        (["e", "p", "q", "--name", "n"], ["q"]),
    ],
    ids=lambda value: " ".join(value)[-60:] if isinstance(value, list) else None,
)
def test_bad_request_is_reported_in_one_or_two_lines(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: list[str],
) -> None:
    """A name such as `../../etc` made 3.0.3 write outside of the data root."""
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    assert run_command(arguments) == 2
    stdout, stderr = capsys.readouterr()
    assert stdout == ""
    assert 1 <= len(stderr.splitlines()) <= 2
    for word in words:
        assert word in stderr
    assert tree(tmp_path) == {"inside": None}


def test_unknown_source_is_a_bad_request(command: Command) -> None:
    before = command.left_behind()
    assert_told(command.sync("--source", "ftp:x"), 2, "source", "ftp:x")
    assert command.left_behind() == before


# --- exports that cannot be built on


@pytest.fixture(scope="module")
def stored(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data root with an export of entity/project under the name n."""
    project = shared.server.add_project("entity", "project")
    for number in range(3):
        project.add_run(f"run-{number}").log_all({"loss": step + 0.5} for step in range(4))
    exports = Exports(shared, project, tmp_path_factory.mktemp("stored"))
    exports.sync()
    shared.server.delete_project(project)
    return exports.data_root


def change_document(name: str, **fields: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        path.write_text(json.dumps({**json.loads(path.read_bytes()), **fields}))

    return change


def change_line(name: str, number: int, text: bytes) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        lines = (folder / name).read_bytes().split(b"\n")
        lines[number - 1] = text
        (folder / name).write_bytes(b"\n".join(lines))

    return change


def cut_short(name: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:-30])

    return cut


@pytest.mark.parametrize(
    ("damage", "code", "words"),
    [
        (
            change_document("manifest.json", project="other"),
            2,
            ("n/manifest.json belongs to entity/other, not entity/project", "--name"),
        ),
        (
            change_document("state.json", entity="other"),
            2,
            ("n/state.json belongs to other/project, not entity/project", "--name"),
        ),
        (
            change_document("manifest.json", schema_version=99),
            6,
            ("n/manifest.json has schema_version 99", "newer version"),
        ),
        (
            change_document("state.json", schema_version=99),
            6,
            ("n/state.json has schema_version 99", "newer version"),
        ),
        (change_line("runs.jsonl", 2, b'{"run": 1}'), 6, ("n/runs.jsonl line 2 cannot be read",)),
        (change_line("runs.jsonl", 1, b"\xff\xfe"), 6, ("n/runs.jsonl line 1 cannot be read",)),
        (change_line("history.jsonl", 5, b"{"), 6, ("n/history.jsonl line 5 cannot be read",)),
        (change_line("history.jsonl", 3, b"null"), 6, ("n/history.jsonl line 3 cannot be read",)),
        (cut_short("history.jsonl"), 6, ("n/history.jsonl line 12 cannot be read",)),
        (cut_short("state.json"), 6, ("n/state.json cannot be read",)),
        (cut_short("manifest.json"), 6, ("n/manifest.json cannot be read",)),
    ],
    ids=[
        *("manifest of another project", "state of another project", "newer manifest"),
        *("newer state", "bad run", "run not UTF-8", "torn row", "null row", "cut history"),
        *("cut state", "cut manifest"),
    ],
)
def test_export_that_does_not_read_is_left_alone(
    command: Command,
    stored: Path,
    damage: Callable[[Path], None],
    code: int,
    words: tuple[str, ...],
) -> None:
    shutil.copytree(stored, command.data_root)
    damage(command.data_root / "n")
    before = command.left_behind()
    assert_told(command.history(), code, *words)
    assert command.left_behind() == before


def test_full_reconcile_does_not_overwrite_another_export(command: Command, stored: Path) -> None:
    shutil.copytree(stored, command.data_root)
    before = command.left_behind()
    done = command("entity", "other", "--name", "n", "--sync-mode", "full_reconcile")
    assert_told(done, 2, "belongs to entity/project, not entity/other")
    assert command.left_behind() == before


def test_export_that_is_being_synced_is_locked(command: Command, stored: Path) -> None:
    shutil.copytree(stored, command.data_root)
    with locked(command.data_root / "n"):
        before = command.left_behind()
        assert_told(command.history(), 7, "is in use by process", "--name")
        assert command.left_behind() == before


def test_data_root_that_cannot_be_used_is_named(command: Command) -> None:
    command.data_root.write_text("a file")
    before = command.left_behind()
    assert_told(command.sync(), 9, "data", "sync again")
    assert command.left_behind() == before


# --- bad runs among many


def of(run: Run, operation: str | None = None) -> Callable[[Request], bool]:
    """Match what is asked of one run: downloads only as they are read, not as they are sized."""
    return lambda one: (
        one.run_id == run.run_id and operation in (None, one.operation) and one.method != "HEAD"
    )


def test_bad_runs_fail_alone_and_heal(
    server: StandInServer, project: Project, command: Command
) -> None:
    """In 3.0.3 one bad run discarded the whole export, each time, until it was deleted."""
    names = ("good-live", "errors", "config", "null", "good-parquet", "cut", "heals", "refused")
    runs = {name: project.add_run(name) for name in names}
    for name, run in runs.items():
        run.log_all({"loss": step + 0.5} for step in range(6))
        if name in ("good-parquet", "cut", "heals", "refused"):
            run.finish()
            run.export_parquet(files=2)
    runs["config"].config_json = '{"lr": '
    faults = server.faults
    faults.add(of(runs["errors"]), GraphQLErrors(["column does not exist"]), times=None)
    faults.add(of(runs["null"]), NullField("run"), times=None)
    faults.add(of(runs["cut"], "download"), Truncate(0.7, complete=True), times=None)
    faults.add(of(runs["refused"], "download"), Status(403), times=None)
    healing = faults.add(of(runs["heals"], "download"), Status(403), times=1)

    done = command.history()
    assert done.code == 3
    assert healing.hits == 1
    bad = ["cut", "errors", "null", "refused"]
    assert [failed["run_id"] for failed in done.summary["failures"]] == bad
    assert done.summary["failed_count"] == 4
    reasons = {failed["run_id"]: failed["reason"] for failed in done.summary["failures"]}
    (unread,) = done.summary["unread"]
    assert unread["run_id"] == "config"
    assert "config is not valid JSON" in unread["reason"]
    assert unread["kind"] == "unreadable"
    assert {failed["run_id"]: failed["kind"] for failed in done.summary["failures"]} == {
        "cut": "unreadable",
        "errors": "server_error",
        "null": "not_found",
        "refused": "server_error",
    }
    assert "column does not exist" in reasons["errors"]
    assert "403" in reasons["refused"] or "could not be downloaded" in reasons["refused"]
    assert "Parquet" in reasons["cut"]
    assert "Traceback" not in done.stderr
    for run_id in bad:
        assert f"run {run_id!r} failed: {reasons[run_id]}" in done.stderr.splitlines()
    assert "run 'config' is exported without a part that cannot be read: " in done.stderr
    assert done.stderr.splitlines()[-1].startswith("4 runs could not be read")
    good = {"good-live", "good-parquet", "heals", "config"}
    assert {row["run_id"] for row in done.rows()} == good
    assert len(done.rows()) == 24
    assert {snapshot["run"]["run_id"] for snapshot in done.runs()} == set(names)
    assert set(visible(done.folder)) == VISIBLE
    assert tree(command.temp) == {}

    faults.clear()
    runs["config"].config_json = None
    healed = command.history()
    assert (healed.code, healed.summary["failures"]) == (0, [])
    assert len(healed.rows()) == 48
    assert {snapshot["run"]["run_id"] for snapshot in healed.runs()} == set(names)
    asked = {one.run_id for one in healed.requests if one.operation not in ("Viewer", "Runs")}
    assert asked == set(bad)


@pytest.mark.parametrize("field", ["config_json", "summary_json"])
def test_run_whose_config_or_summary_does_not_read_keeps_what_reads(
    exports: Exports, field: str
) -> None:
    """Such a run had no snapshot and no row; a held one stayed as it was."""
    kept = "config" if field == "config_json" else "summary_metrics"
    held, new = (exports.project.add_run(name) for name in ("held", "new"))
    exports.project.delete_run(new)
    setattr(held, field, json.dumps({"lr": {"value": 3}}))
    held.log({"loss": 1.5})
    exports.sync()
    before = exports.runs()["held"][kept]
    new = exports.project.add_run("new")
    for run in (held, new):
        run.log_all({"loss": index} for index in range(4))
        run.tags.append("later")
        setattr(run, field, '{"lr": ')
    for _ in range(2):
        summary = exports.sync()
        assert [run.run_id for run in summary.unread] == ["held", "new"]
        assert (summary.failures, summary.complete) == ((), False)
        assert exports.runs()["held"][kept] == before
        assert exports.runs()["new"][kept] == {}
        assert [exports.runs()[name]["tags"] for name in ("held", "new")] == [["later"]] * 2
        assert exports.steps("held") == list(range(5))
        assert exports.steps("new") == list(range(4))
    assert exports.asked == {}
    for run in (held, new):
        setattr(run, field, None)
    assert exports.sync().complete
    exports.assert_converged()


def test_run_that_fails_later_keeps_what_it_had(exports: Exports) -> None:
    """What was exported of a run stays while the run cannot be read, whatever is wrong with it."""
    for name in ("errors", "config", "gone"):
        exports.project.add_run(name).log_all({"loss": step + 0.5} for step in range(4))
    exports.sync()
    before = exports.history()
    old = exports.runs()
    for run in exports.project.runs:
        run.log({"loss": 9.5})
        run.tags.append("new")
    errors, config, gone = exports.project.runs
    config.tags.clear()
    config.rows.pop()
    exports.server.faults.add(of(errors), GraphQLErrors(["no"]), times=None)
    config.config_json = "[1]"
    exports.server.faults.add(of(gone), NullField("project"), times=None)
    for _ in range(2):
        summary = exports.sync()
        assert [failed.run_id for failed in summary.failures] == ["errors", "gone"]
        assert exports.history() == before
        assert {run: exports.runs()[run] for run in ("errors", "gone")} == {
            run: old[run] for run in ("errors", "gone")
        }
    exports.server.faults.clear()
    config.config_json = None
    summary = exports.sync()
    assert (summary.failures, summary.history_count) == ((), 14)
    exports.assert_converged()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_fetched_rows_are_kept_when_the_command_is_ended(
    server: StandInServer, project: Project, command: Command, how: signal.Signals
) -> None:
    """3.0.3 held all rows in memory until the end: after a kill it began from nothing.

    Ctrl-C ends the command within two seconds, also while an answer hangs.
    """
    for number in range(4):
        run = project.add_run(f"run-{number}")
        run.log_all({"loss": step + number + 0.5} for step in range(5))
        if number % 2:
            run.finish()
            run.export_parquet()
    command.history(name="whole")
    server.faults.add(of(project.runs[2]), Hang(), times=None)
    folder = command.data_root / "n"
    process = command.start("entity", "project", "--name", "n", "--mode", "history")
    deadline = time.monotonic() + 60
    while len(list(folder.glob(".staging/*.segment"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(how)
    sent = time.monotonic()
    code = process.wait(timeout=30)
    if how != signal.SIGKILL:
        assert code == 130
        assert time.monotonic() - sent < 2
    assert visible(folder) == {}
    server.faults.clear()
    done = command.history()
    assert done.code == 0
    asked = {one.run_id for one in done.requests if one.operation not in LISTING}
    assert asked == {"run-2"}
    whole = command.data_root / "whole"
    assert visible(folder)["history.jsonl"] == visible(whole)["history.jsonl"]
    assert not list(folder.glob(".staging*"))


# --- what passes


@pytest.mark.parametrize("operation", ["Runs", "HistoryPage", "RunParquetHistory", "download"])
@pytest.mark.parametrize(
    ("action", "times"),
    [
        (Status(429, retry_after=1), 1),
        (Status(429), 2),
        (Status(500), 2),
        (Status(502), 3),
        (Drop(), 2),
        (Truncate(0.5), 2),
    ],
    ids=["429 once", "429", "500", "502 three times", "dropped", "cut"],
)
def test_fault_that_passes_costs_nothing_but_time(
    exports: Exports, operation: str, action: Any, times: int
) -> None:
    """In 3.0.3 every such error ended the sync, and what had been fetched was lost."""
    live, exported = exports.project.add_run("live"), exports.project.add_run("exported")
    for run in (live, exported):
        run.log_all({"loss": step + 0.5} for step in range(6))
    exported.finish()
    exported.export_parquet(files=2)
    fault = exports.server.faults.add(
        lambda one: one.operation == operation and one.method != "HEAD", action, times=times
    )
    summary = exports.sync()
    assert fault.hits == times
    assert summary.failures == ()
    assert summary.history_count == 12


@pytest.mark.parametrize("action", [Status(504), Status(502), Truncate(0.5), Drop()], ids=str)
def test_page_of_history_that_cannot_be_served_is_asked_for_with_fewer_rows(
    exports: Exports, action: Any
) -> None:
    """Five tries of the same 1,000 rows failed the run, and so at every sync."""
    exports.project.add_run("run").log_all({"loss": step} for step in range(1200))

    def too_large(request: Request) -> bool:
        return request.operation == "HistoryPage" and request.variables["pageSize"] > 300

    fault = exports.server.faults.add(too_large, action, times=None)
    summary = exports.sync()
    assert (summary.failures, summary.short) == ((), ())
    assert exports.steps("run") == list(range(1200))
    assert fault.hits <= 6, "each try is sent twice by wandb-core"
    assert exports.asked["HistoryPage"] < 25


def test_run_whose_history_is_never_served_fails_after_the_usual_tries(exports: Exports) -> None:
    exports.project.add_run("run").log({"loss": 1})
    fault = exports.server.faults.add("HistoryPage", Status(504), times=None)
    (failed,) = exports.sync().failures
    assert "tried 5 times" in failed.reason
    assert failed.kind == "server_error"
    assert fault.hits == 10
    sizes = [one.variables["pageSize"] for one in exports.server.requests_of("HistoryPage")]
    assert sizes[::2] == [1000, 250, 62, 15, 10]


def test_throttled_server_is_waited_for(
    server: StandInServer, project: Project, command: Command
) -> None:
    for number in range(12):
        project.add_run(f"run-{number}").log({"loss": number + 0.5})
    limiter = server.throttle(600, window_seconds=1.0)
    assert limiter is not None
    done = command.history()
    assert (done.code, len(done.rows())) == (0, 12)
    assert limiter.refused > 0


def test_server_that_hangs_does_not_hang_the_sync(
    server: StandInServer, project: Project, command: Command
) -> None:
    """A scan and a download of the SDK have no timeout: 3.0.3 waited for ever."""
    live, exported = project.add_run("live"), project.add_run("exported")
    project.add_run("good").log({"loss": 1.5})
    for run in (live, exported):
        run.log({"loss": 0.5})
    exported.finish()
    exported.export_parquet()
    server.faults.add(of(live, "HistoryPage"), Hang(), times=None)
    server.faults.add(of(exported, "download"), Hang(), times=None)
    done = command.history("--timeout-seconds", "3", timeout=100)
    assert done.code == 3
    assert [failed["run_id"] for failed in done.summary["failures"]] == ["exported", "live"]
    assert {failed["kind"] for failed in done.summary["failures"]} == {"timeout"}
    assert [row["run_id"] for row in done.rows()] == ["good"]
    assert done.seconds < 45
    assert tree(command.temp) == {}
