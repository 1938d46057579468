"""What changes on W&B after it was exported: noticed, told, and never a reason to lose anything."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.contract.failures import DrWandbError, RunsVanished
from tests.support.syncing import json_lines, visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.api_exports import Exports
    from tests.support.command import Command
    from tests.support.server import Project, Run

DAY = 86_400


def settled_runs(exports: Exports, count: int = 4, rows: int = 3) -> list[Run]:
    """Return runs that were exported, finished long ago, and are not looked at any more."""
    runs = []
    for number in range(count):
        run = exports.project.add_run(f"r{number}", tags=["x"], config={"lr": 0.1})
        run.log_all({"loss": 1 / (index + 1)} for index in range(rows))
        run.finish()
        runs.append(run)
        exports.server.clock.advance(DAY)  # beyond the overlap of the watermark
    exports.server.clock.advance(30 * DAY)
    exports.sync()
    exports.server.clock.advance(DAY)
    exports.sync()
    return runs


def changes_in(exports: Exports) -> list[dict[str, Any]]:
    return json_lines(exports.folder() / "changes.jsonl")


# --- detect_changes

EDITS: dict[str, Callable[[Run], Any]] = {
    "tags": lambda run: run.tags.append("y"),
    "notes": lambda run: setattr(run, "notes", "read this"),
    "display_name": lambda run: setattr(run, "display_name", "better"),
    "config.lr": lambda run: run.config.update(lr=0.2),
    "summary_metrics.best": lambda run: run.summary.update(best=0.5),
    "group": lambda run: setattr(run, "group", "g"),
}


@pytest.mark.parametrize("field", EDITS)
def test_edit_of_a_settled_run_is_seen_by_detect_changes(exports: Exports, field: str) -> None:
    """3.0.3 never looked at a finished run again: a note written later was never exported."""
    runs = settled_runs(exports)
    EDITS[field](runs[1])
    before = visible(exports.folder())
    exports.sync()
    assert visible(exports.folder())["runs.jsonl"] == before["runs.jsonl"]
    summary = exports.sync(sync_mode="detect_changes")
    assert summary.refreshed_count == 1
    assert summary.reused_count == 3
    assert (exports.asked, exports.listing_requests) == ({}, 2)
    (change,) = changes_in(exports)[-1]["changed"]["r1"]["fields"]
    assert change["field"] == field
    exports.assert_converged()


def resume(run: Run) -> None:
    run.state = "running"
    run.log({"loss": 9.5})


def log_and_finish(run: Run) -> None:
    run.log({"loss": 9.5})
    run.finish()


HISTORIES: dict[str, Callable[[Run], Any]] = {
    "resumed": resume,
    "revived and finished again": log_and_finish,
    "grew": lambda run: run.log_all({"loss": index} for index in range(5)),
    "arrived late": lambda run: run.log({"acc": 1}, step=1),
    "rewound": lambda run: run.rewind(0),
    "exported to Parquet": lambda run: run.export_parquet(),
}


@pytest.mark.parametrize("happening", HISTORIES)
def test_history_of_a_settled_run_is_followed_by_detect_changes(
    exports: Exports, happening: str
) -> None:
    runs = settled_runs(exports)
    HISTORIES[happening](runs[2])
    if not exports.sync(
        sync_mode="detect_changes"
    ).complete:  # rows go after two reads without them
        exports.server.clock.advance(600)
        exports.sync(sync_mode="detect_changes")
    asked = {one.run_id for one in exports.server.requests if one.run_id}
    assert asked <= {run.run_id for run in runs}
    exports.assert_converged()
    exports.sync(sync_mode="detect_changes")
    assert (exports.asked, exports.listing_requests) == ({}, 2)


def test_detect_changes_sends_one_listing_and_nothing_for_runs_that_did_not_change(
    exports: Exports,
) -> None:
    settled_runs(exports, count=12)
    before = visible(exports.folder())
    exports.per_page = 5
    exports.sync(sync_mode="detect_changes")
    assert exports.asked == {}
    assert exports.listing_requests == 3
    after = visible(exports.folder())
    assert {name for name in before if before[name] != after[name]} <= {"state.json"}


# --- gone upstream


def test_deleted_run_is_kept_and_marked_and_dropped_only_when_asked(exports: Exports) -> None:
    runs = settled_runs(exports)
    exports.project.delete_run(runs[0])
    rows = exports.rows("r0")
    summary = exports.sync()
    assert (summary.missing_count, summary.run_count) == (1, 4)
    assert exports.rows("r0") == rows
    missed = summary.exported_at
    assert exports.tracking("r0")["missing_since"] == missed
    manifest = json.loads(visible(exports.folder())["manifest.json"])
    assert manifest["missing_runs"] == {"r0": missed}
    assert changes_in(exports)[-1] == {"at": missed, "missing": ["r0"]}

    exports.server.clock.advance(DAY)
    again = exports.sync(sync_mode="full_reconcile")
    assert again.missing_count == 1
    assert exports.tracking("r0")["missing_since"] == missed
    assert exports.rows("r0") == rows

    pruned = exports.sync(prune=True)
    assert (pruned.pruned_count, pruned.missing_count, pruned.run_count) == (1, 0, 3)
    assert changes_in(exports)[-1]["pruned"] == ["r0"]
    exports.assert_converged()


def test_run_that_comes_back_is_missing_no_more(exports: Exports) -> None:
    """W&B keeps deleted runs for seven days."""
    runs = settled_runs(exports)
    exports.project.hidden_runs.add("r0")
    exports.sync()
    exports.project.hidden_runs.clear()
    runs[0].tags.append("back")
    summary = exports.sync()
    assert summary.missing_count == 0
    assert changes_in(exports)[-1]["returned"] == ["r0"]
    exports.assert_converged()


@pytest.mark.parametrize("gone", [3, 4])
@pytest.mark.parametrize("sync_mode", ["incremental", "detect_changes", "full_reconcile"])
def test_listing_that_has_lost_most_runs_stops_the_sync(
    exports: Exports, gone: int, sync_mode: str
) -> None:
    """An empty answer without an error is common: it must not mark, let alone prune, everything."""
    runs = settled_runs(exports)
    before = visible(exports.folder())
    exports.project.hidden_runs.update(run.run_id for run in runs[:gone])
    for prune in (False, True):
        with pytest.raises(DrWandbError) as caught:
            exports.sync(sync_mode=sync_mode, prune=prune)
        assert caught.value.failure == RunsVanished(name="n", vanished=gone, known=4)
        assert visible(exports.folder()) == before
    summary = exports.sync(sync_mode=sync_mode, allow_empty=True)
    assert (summary.missing_count, summary.run_count) == (gone, 4)
    assert exports.history() == before["history.jsonl"]


def test_half_of_the_runs_may_go(exports: Exports) -> None:
    runs = settled_runs(exports)
    exports.project.hidden_runs.update(run.run_id for run in runs[:2])
    assert exports.sync().missing_count == 2
    exports.project.hidden_runs.clear()
    assert exports.sync().missing_count == 0


def test_project_that_is_suddenly_empty_ends_with_a_code_of_its_own(
    project: Project, command: Command
) -> None:
    run = project.add_run("run")
    run.log({"loss": 1})
    done = command.history()
    before = visible(done.folder)
    project.delete_run(run)
    for flags in ((), ("--prune",)):
        stopped = command.history(*flags)
        assert (stopped.code, stopped.stdout) == (10, "")
        assert "1 of the 1 runs of n are no longer listed" in stopped.stderr
        assert "--allow-empty" in stopped.stderr
        assert visible(done.folder) == before
    pruned = command.history("--prune", "--allow-empty", "--quiet", "--json")
    assert (pruned.code, pruned.summary["pruned_count"]) == (0, 1)
    assert (pruned.rows(), pruned.runs()) == ([], [])


# --- the log


def test_log_and_diff_print_what_changed(project: Project, command: Command) -> None:
    run = project.add_run("run", tags=["a"], created_at="2025-12-31T00:00:00")
    run.log_all({"loss": index} for index in range(3))
    command.history()
    first = command("log", "n")
    (line,) = first.stdout.splitlines()
    assert line.endswith("  1 new, 3 rows added")
    first = command("log", "n", "-v")
    assert first.stdout.splitlines() == [line, "  new: run"]

    run.tags.append("b")
    run.log({"loss": 9})
    run.finish()
    command.history()
    command.history()
    log = command("log", "n", "--verbose").stdout.splitlines()
    assert log[:2] == first.stdout.splitlines()
    assert log[2].endswith("  1 changed, 1 finished, 1 row added")
    assert "  finished: run (finished)" in log
    (changed,) = (line for line in log if line.startswith("  changed: run: "))
    assert 'tags ["a"] -> ["a","b"]' in changed
    assert 'state "running" -> "finished"' in changed
    assert "  rows: run: 3 -> 4" in log

    lines = json_lines(command.data_root / "n" / "changes.jsonl")
    printed = command("log", "n", "--json", "--last", "1").stdout
    assert [json.loads(line) for line in printed.splitlines()] == lines[-1:]
    since = command("diff", "n", "--since", lines[1]["at"], "--json")
    combined = json.loads(since.stdout)
    assert combined["rows"] == {"run": {"before": 3, "after": 4}}
    assert command("diff", "n", "--since", "2020-01-01").stdout.splitlines()[0] == (
        "since 2020-01-01T00:00:00Z  1 new, 4 rows added"
    )
    assert "nothing changed" in command("diff", "n", "--since", "2999-01-01").stdout
    between = ("diff", "n", "--since", lines[0]["at"], "--until", lines[1]["at"])
    assert command(*between).stdout.splitlines() == [
        f"since {lines[0]['at']} until {lines[1]['at']}  1 new, 3 rows added",
        "  new: run",
    ]
    assert json.loads(command(*between, "--json").stdout)["new"] == ["run"]
    later = ("diff", "n", "--since", lines[1]["at"], "--until", "2999-01-01", "--json")
    assert json.loads(command(*later).stdout) == combined


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("log", "nope"), 6, "does not exist"),
        (("diff", "nope", "--since", "2026-01-01"), 6, "does not exist"),
        (("diff", "nope", "--since", "soon"), 2, "--since must be a date or a time, not 'soon'"),
        (
            ("diff", "nope", "--since", "2026-01-01", "--until", "soon"),
            2,
            "--until must be a date or a time, not 'soon'",
        ),
        (
            ("diff", "nope", "--since", "2026-01-01", "--until", "2026-01-01T00:00:00Z"),
            2,
            "--since 2026-01-01T00:00:00Z is not before --until 2026-01-01T00:00:00Z",
        ),
        (("log", "../x"), 2, "name must not have a path separator"),
        (("log", "n", "--last", "0"), 2, "--last must be 1 or more"),
        (("log", "nope", "--compact-before", "2026-01-01"), 6, "does not exist"),
        (
            ("log", "n", "--compact-before", "soon"),
            2,
            "--compact-before must be a date or a time, not 'soon'",
        ),
        (
            ("log", "n", "--compact-before", "2026-01-01", "--last", "1"),
            2,
            "--compact-before does not go with --last",
        ),
    ],
)
def test_log_of_something_missing_is_an_error_without_a_traceback(
    command: Command, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = command(*arguments)
    assert (done.code, done.stdout) == (code, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_log_is_folded_and_later_syncs_go_on(project: Project, command: Command) -> None:
    run = project.add_run("run", tags=["a"], created_at="2025-12-31T00:00:00")
    for tag in "bcd":
        run.log({"loss": 1})
        run.tags.append(tag)
        command.history()
    path = command.data_root / "n" / "changes.jsonl"
    size, lines = path.stat().st_size, json_lines(path)
    before = command("diff", "n", "--since", "2020-01-01").stdout
    nothing = command("log", "n", "--compact-before", lines[0]["at"])
    assert (nothing.code, nothing.stderr) == (0, "")
    assert nothing.stdout.startswith("nothing to fold: fewer than two lines are from before")
    done = command("log", "n", "--compact-before", "2999-01-01", "--json")
    assert (done.code, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {
        "folded": 3,
        "lines_before": 3,
        "bytes_before": size,
        "lines_after": 1,
        "bytes_after": path.stat().st_size,
    }
    assert command("diff", "n", "--since", "2020-01-01").stdout == before
    assert command("verify", "n").code == 0
    run.tags.append("e")
    command.history()
    assert len(json_lines(path)) == 2
    again = command("log", "n", "--compact-before", "2999-01-01")
    assert again.stdout.startswith("folded 2 lines into one: 2 lines, ")
