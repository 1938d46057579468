"""What people and scripts see of `wandb-export`: stdout, stderr, exit codes, files."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pandas as pd

import dr_wandb
from tests.support.command import VISIBLE, Command
from tests.support.syncing import tree, visible

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.server import Project

SUMMARY_FIELDS = {
    "datasets",
    "records",
    "requests",
    "bytes",
    "rows_removed",
    "unread",
    "metadata_failures",
    "short",
    "waiting",
    "refused",
    "refusal",
    "name",
    "entity",
    "project",
    "mode",
    "sync_mode",
    "output_dir",
    "state_path",
    "manifest_path",
    "runs_path",
    "history_path",
    "run_count",
    "history_count",
    "exported_at",
    "new_count",
    "refreshed_count",
    "reused_count",
    "failed_count",
    "missing_count",
    "out_of_scope_count",
    "pruned_count",
    "unlisted_count",
    "rows_added",
    "failures",
}


def build(project: Project, runs: int, rows: int = 3) -> None:
    """Build runs of which one half is finished and a quarter exported to Parquet."""
    for number in range(runs):
        run = project.add_run(
            f"run-{number:03}", config={"lr": number / 8}, summary={"best": number / 3}
        )
        run.log_all({"loss": 1 / (step + number + 1), "acc": step / 7} for step in range(rows))
        if number % 2:
            run.finish()
        if number % 4 == 1:
            run.export_parquet()


def test_sync_reports_its_progress_and_leaves_only_the_documented_files(
    project: Project, started_command: Command
) -> None:
    build(project, 40)
    home = tree(started_command.home)
    first = started_command.history()
    assert first.code == 0
    assert set(first.summary) == SUMMARY_FIELDS
    told = {name: first.summary[name] for name in ("mode", "sync_mode", "run_count", "new_count")}
    assert told == {"mode": "history", "sync_mode": "incremental", "run_count": 40, "new_count": 40}
    assert (first.summary["history_count"], first.summary["rows_added"]) == (120, 120)
    assert (first.summary["failed_count"], first.summary["failures"]) == (0, [])
    assert first.summary["history_path"] == "data/n/history.jsonl"

    lines = first.stderr.splitlines()
    assert lines[0] == "Listed 40 runs of entity/project for n"
    assert lines[-4].startswith("n holds 40 runs, 120 rows, ")
    assert lines[-3].startswith("this sync: 40 new, 120 rows added; ")
    assert lines[-1] == "  wandb-export sync n"
    processed = [re.fullmatch(r"Processed (\d+)/40 runs .*", line) for line in lines[1:-4]]
    assert all(processed)
    assert [int(line[1]) for line in processed if line] == [1, *range(2, 41, 2)]
    assert lines[-5] == "Processed 40/40 runs (100% complete), 120 rows"

    assert set(visible(first.folder)) == VISIBLE
    hidden = {path.name for path in first.folder.iterdir() if path.name.startswith(".")}
    assert not {name for name in hidden if "staging" in name or "commit" in name}
    assert tree(started_command.temp) == {}
    assert set(started_command.cwd.iterdir()) == {started_command.data_root}
    assert set(started_command.data_root.iterdir()) == {first.folder}
    assert {name: one for name, one in tree(started_command.home).items() if one is not None} == {
        name: one for name, one in home.items() if one is not None
    }

    before = visible(first.folder)
    second = started_command.history(env={"DR_WANDB_LOG_LEVEL": "ERROR"})
    assert (second.code, second.stderr) == (0, "")
    assert second.asked == {}
    assert (second.summary["reused_count"], second.summary["rows_added"]) == (40, 0)
    after = visible(first.folder)
    assert {name for name in VISIBLE if before[name] != after[name]} <= {"state.json"}


def test_log_level_and_quiet_decide_what_is_said(project: Project, command: Command) -> None:
    build(project, 2)
    nonsense = command.sync(env={"DR_WANDB_LOG_LEVEL": "nonsense"})
    assert "Listed 2 runs of entity/project for n" in nonsense.stderr
    lower = command.sync(env={"DR_WANDB_LOG_LEVEL": "error"})
    assert (lower.code, lower.stderr) == (0, "")
    quiet = command.history("--quiet")
    assert (quiet.code, quiet.stderr, quiet.stdout) == (0, "", "")
    with_json = command.history("--quiet", "--json")
    assert (with_json.code, with_json.stderr) == (0, "")
    assert with_json.summary["history_count"] == 6
    (quiet.folder / "history.jsonl").unlink()
    warned = command.history("--quiet")
    assert (warned.code, warned.stdout) == (0, "")
    assert len(warned.stderr.splitlines()) == 1
    assert "history.jsonl is missing" in warned.stderr


def test_last_words_and_the_number_of_requests_are_those_of_the_server(
    project: Project, command: Command
) -> None:
    build(project, 2)
    done = command.history()
    holds, did, *_ = done.stderr.splitlines()[-4:]
    assert holds.startswith("n holds 2 runs, 6 rows, ")
    assert did.startswith("this sync: 2 new, 6 rows added; ")
    sent = [one for one in done.requests if one.operation != "download"]
    assert done.summary["requests"] == len(sent)
    assert did.endswith(f", {len(sent)} requests")
    held = ("runs.jsonl", "history.jsonl", "changes.jsonl")
    assert done.summary["bytes"] == sum((done.folder / name).stat().st_size for name in held)


def test_more_is_said_when_more_is_asked(project: Project, command: Command) -> None:
    build(project, 2)
    decisions = command.history("-v").stderr
    assert "'run-000'" in decisions
    assert "request Runs" not in decisions
    requests = command.history("-vv", "--sync-mode", "full_reconcile").stderr
    assert "request Runs: " in requests
    assert "request HistoryPage: " in requests


def test_dry_run_shows_the_plan_and_writes_nothing(
    project: Project, started_command: Command
) -> None:
    build(project, 3)
    before = started_command.left_behind()
    text = started_command.history("--dry-run")
    assert text.code == 0
    lines = text.stdout.splitlines()
    assert len(lines) == 5
    assert lines[:2] == [
        "new: 3 runs",
        "  'run-000': not exported yet; the whole history (never fetched)",
    ]
    assert lines[-1].startswith("3 runs: 3 new, 0 refresh, 0 reuse, 0 missing, 0 prune; about ")
    assert text.asked == {}
    assert started_command.left_behind() == before

    started_command.history()
    project.runs[0].log({"loss": 2.5})
    before = started_command.left_behind()
    plan = started_command.history("--dry-run", "--json")
    assert plan.code == 0
    runs = {run["run_id"]: run for run in plan.summary["runs"]}
    assert {name: run["action"] for name, run in runs.items()} == {
        "run-000": "refresh",
        "run-001": "reuse",
        "run-002": "reuse",
    }
    assert runs["run-000"]["fetches"]["history"]["reason"] == "1 rows behind"
    assert runs["run-001"]["fetches"] == {}
    assert plan.asked == {}
    assert started_command.left_behind() == before


def test_help_and_version_import_nothing_heavy() -> None:
    source = """
import contextlib, io, json, sys
import dr_wandb.cli
answers = []
for flag in ("--version", "--help"):
    with contextlib.redirect_stdout(io.StringIO()) as stdout:
        answers.append([dr_wandb.cli.run([flag]), stdout.getvalue()])
heavy = ("wandb", "pyarrow", "rich", "numpy", "pandas", "requests")
print(json.dumps([answers, [name for name in heavy if name in sys.modules]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, timeout=30, check=True
    )
    [[version_code, version], [help_code, text]], heavy = json.loads(done.stdout)
    assert (version_code, version.strip()) == (0, dr_wandb.__version__)
    assert help_code == 0
    for flag in (
        *("--name", "--data-root", "--mode", "--sync-mode", "--history-key", "--min-step"),
        *("--max-step", "--max-records", "--runs-per-page", "--timeout-seconds"),
        *("--include-metadata", "--source", "--record", "--dry-run", "--json", "--quiet"),
    ):
        assert flag in text
    assert heavy == []


def test_status_imports_nothing_that_only_a_sync_needs(tmp_path: Path) -> None:
    source = """
import sys
import dr_wandb.cli
code = dr_wandb.cli.run(["status", "--data-root", sys.argv[1]])
print([name for name in ("wandb", "pyarrow", "rich", "filelock", "socket") if name in sys.modules])
sys.exit(code)
"""
    (tmp_path / "name").mkdir()
    (tmp_path / "name" / "state.json").write_text("{}")
    done = subprocess.run(
        [sys.executable, "-c", source, tmp_path], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["[]"]), done.stderr


def test_flags_may_come_before_and_after_the_project(project: Project, command: Command) -> None:
    run = project.add_run("run")
    run.log_all([{"a": 1.5}, {"b": 2.5}, {"c": 3.5}])
    before = command(
        *("--history-key", "a", "--mode", "history", "--history-key", "b"),
        *("--sync-mode", "full_reconcile", "entity", "project", "--name", "before"),
    )
    after = command(
        *("entity", "project", "--name", "after", "--history-key=a", "--mode=history"),
        *("--history-key", "b", "--sync-mode", "full-reconcile"),
    )
    assert (before.code, after.code) == (0, 0)
    assert [row["metrics"] for row in before.rows()] == [{"a": 1.5}, {"b": 2.5}]
    assert before.rows() == after.rows()
    assert before.summary["sync_mode"] == after.summary["sync_mode"] == "full_reconcile"
    manifest = json.loads((after.folder / "manifest.json").read_bytes())
    assert manifest["selected_history_keys"] == ["a", "b"]


def test_export_loads_with_pandas_when_there_are_many_runs(
    project: Project, command: Command
) -> None:
    build(project, 200, rows=5)
    metadata = command.sync("--runs-per-page", "64")
    assert metadata.code == 0
    assert set(visible(metadata.folder)) == VISIBLE - {"history.jsonl"}
    assert metadata.summary["history_path"] is None
    runs = pd.read_json(io.BytesIO((metadata.folder / "runs.jsonl").read_bytes()), lines=True)
    assert len(runs) == 200
    assert {run["run_id"] for run in runs["run"]} == {run.run_id for run in project.runs}
    created = [(run["created_at"], run["run_id"]) for run in runs["run"]]
    assert created == sorted(created, reverse=True)

    history = command.history("--runs-per-page", "64")
    assert history.code == 0
    assert history.summary["history_count"] == 1000
    content = io.BytesIO((history.folder / "history.jsonl").read_bytes())
    rows = pd.read_json(content, lines=True, precise_float=True)
    assert len(rows) == 1000
    losses = {(row.run_id, row.step): row.metrics["loss"] for row in rows.itertuples(index=False)}
    assert losses == {
        (run.run_id, row["_step"]): row["loss"] for run in project.runs for row in run.rows
    }
