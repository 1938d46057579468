"""The last words of a sync."""

from typing import Any

import pytest

from dr_wandb.core.contract.held_rows import HeldRows
from dr_wandb.core.contract.request import ExportMode, SyncMode
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.contract.unproven_runs import FailedRun
from dr_wandb.core.sync.describe_result import describe_result
from dr_wandb.core.sync.summary import ExportSummary

FOLDER = "data/demo"


def summary(**fields: Any) -> ExportSummary:
    folder = fields.pop("folder", FOLDER)
    given = {
        "name": "demo",
        "entity": "team",
        "project": "vision",
        "mode": ExportMode.HISTORY,
        "sync_mode": SyncMode.INCREMENTAL,
        "output_dir": folder,
        "state_path": f"{folder}/state.json",
        "manifest_path": f"{folder}/manifest.json",
        "runs_path": f"{folder}/runs.jsonl",
        "history_path": f"{folder}/history.jsonl",
        "exported_at": "2026-01-02T03:04:05Z",
        "bytes": 1_500_000,
        **fields,
    }
    return ExportSummary(**given)


def test_first_export_says_how_to_go_on() -> None:
    first = summary(
        run_count=3000, new_count=3000, history_count=1_234_567, rows_added=1_234_567, requests=61
    )
    assert describe_result(first, 125.2) == (
        "demo holds 3,000 runs, 1,234,567 rows, 1.5 MB of team/vision in data/demo",
        "this sync: 3,000 new, 1,234,567 rows added; 2 min 5 s, 61 requests",
        "to bring it up to date later:",
        "  wandb-export sync demo",
    )


def test_command_to_go_on_names_another_data_root() -> None:
    first = summary(run_count=1, new_count=1, folder="/srv/my exports/demo", history_path=None)
    assert describe_result(first, 0.04)[1:] == (
        "this sync: 1 new; 0.0 s",
        "to bring it up to date later:",
        "  wandb-export sync demo --data-root '/srv/my exports'",
    )
    assert describe_result(first, 0.04)[0] == (
        "demo holds 1 run, 1.5 MB of team/vision in /srv/my exports/demo"
    )


def test_rows_of_other_datasets_are_counted_beside_the_history() -> None:
    datasets = {
        "console": HeldRows(rows=1, short_runs=1, capped_runs=1),
        "system": HeldRows(rows=2_000, sampled_runs=3),
    }
    assert describe_result(summary(run_count=3, datasets=datasets), 1)[::2] == (
        "demo holds 3 runs, 0 rows, 1 console line, 2,000 system samples, 1.5 MB of team/vision "
        "in data/demo",
        "console: W&B keeps no more than the held rows of 1 run",
    )
    assert describe_result(summary(run_count=3, datasets=datasets), 1)[3:] == (
        "system: W&B gives only a sample of the rows of 3 runs",
    )


def test_rows_that_are_held_as_parquet_alone_are_counted_too() -> None:
    later = summary(run_count=2, history_count=7, history_path=None)
    assert describe_result(later, 1)[0].startswith("demo holds 2 runs, 7 rows, 1.5 MB of ")


def test_each_kind_of_run_is_counted() -> None:
    later = summary(
        run_count=9,
        history_count=2,
        new_count=1,
        refreshed_count=2,
        reused_count=3,
        pruned_count=4,
        missing_count=5,
        failed_count=1,
        rows_added=1,
        rows_removed=7,
        failures=(FailedRun(run_id="a", kind=RunFailureKind.TIMEOUT, reason="no answer in 120 s"),),
        requests=1,
    )
    assert describe_result(later, 4000) == (
        "demo holds 9 runs, 2 rows, 1.5 MB of team/vision in data/demo",
        "this sync: 1 new, 2 refreshed, 3 unchanged, 4 pruned, 5 gone upstream and kept, 1 failed, "
        "1 row added, 7 rows dropped or cut; 1 h 6 min, 1 request",
        "run 'a' failed: no answer in 120 s",
        "1 run could not be read; exported data stays, and the next sync tries again",
    )


def test_empty_project_has_no_runs() -> None:
    assert describe_result(summary(), 59.7)[1:] == ("this sync: no runs; 1 min 0 s",)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.0, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.4, "59 s"), (60.0, "1 min 0 s")],
)
def test_durations_get_coarser(seconds: float, words: str) -> None:
    assert describe_result(summary(), seconds)[1].endswith(f"; {words}")
    assert describe_result(summary(), 3600)[1].endswith("; 1 h 0 min")
