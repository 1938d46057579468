"""What a sync did not get, in lines of text."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from dr_wandb.core.contract.changes import ChangedRun, FieldChange, SyncChanges
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.unproven_runs import FailedRun, ShortKind, ShortRun, WaitingRun
from dr_wandb.core.sync.describe import (
    MOST_NAMED,
    describe_changes,
    describe_plan,
    describe_unproven,
)
from dr_wandb.core.sync.plan import PlannedFiles, SyncPlan
from dr_wandb.core.sync.planned_formats import FormatAction, PlannedFormat
from dr_wandb.core.sync.summary import ExportSummary
from tests.support import syncing
from tests.support.memory_source import MemorySource

REASON = "2 rows short of the 7 listed lines"


def summary_of(folder: Path, **fields: object) -> ExportSummary:
    return replace(syncing.sync(MemorySource(), folder), **fields)


def failed(run_id: str, reason: str) -> FailedRun:
    return FailedRun(run_id=run_id, kind=RunFailureKind.SERVER_ERROR, reason=reason)


def short(number: int) -> ShortRun:
    return ShortRun(kind=ShortKind.FEWER_ROWS, run_id=f"run-{number:02}", short_by=2, reason=REASON)


def test_no_line_is_printed_when_everything_came(tmp_path: Path) -> None:
    summary = summary_of(tmp_path)
    assert summary.complete
    assert list(describe_unproven(summary)) == []


def test_ten_short_runs_have_a_line_each_and_the_others_are_counted(tmp_path: Path) -> None:
    ten = list(describe_unproven(summary_of(tmp_path, short=tuple(map(short, range(10))))))
    assert ten[:MOST_NAMED] == [f"run 'run-{number:02}': {REASON}" for number in range(10)]
    assert len(ten) == MOST_NAMED + 1
    more = list(describe_unproven(summary_of(tmp_path, short=tuple(map(short, range(13))))))
    assert more[:MOST_NAMED] == ten[:MOST_NAMED]
    assert more[MOST_NAMED] == "and 3 more short runs"
    assert more[MOST_NAMED + 1].startswith("13 runs brought fewer rows than are listed")


def test_waiting_refused_and_unread_runs_say_what_follows(tmp_path: Path) -> None:
    summary = summary_of(
        tmp_path,
        waiting=(
            WaitingRun(run_id="a", kind="emptied", missing_rows=5),
            WaitingRun(run_id="e", kind="begins_later", missing_rows=1),
        ),
        unread=(failed("b", "config is not valid JSON"),),
        refused=("c", "d"),
        refusal=RunFailure(kind=RunFailureKind.REFUSED, reason="returned error 402"),
    )
    assert not summary.complete
    lines = list(describe_unproven(summary))
    assert "run 'a': 5 rows did not come again (emptied)" in lines
    assert (
        "run 'e': its files begin later than those that its 1 row came from (begins_later); "
        "export the folder that holds all files of the run"
    ) in lines
    assert (
        "run 'b' is exported without a part that cannot be read: config is not valid JSON" in lines
    )
    assert any("lists 2 runs but refuses their history (returned error 402)" in at for at in lines)
    assert any("ten minutes later" in line for line in lines)


def test_one_control_character_in_a_run_id_does_not_reach_the_terminal(tmp_path: Path) -> None:
    run = ShortRun(kind=ShortKind.FEWER_ROWS, run_id="a\x1b[2J", short_by=1, reason=REASON)
    assert all("\x1b" not in line for line in describe_unproven(summary_of(tmp_path, short=(run,))))


def test_metadata_files_that_did_not_come_have_a_line_for_each_reason(tmp_path: Path) -> None:
    failures = [failed(f"r{number:02}", "HTTP 403") for number in range(3)]
    failures += [failed(f"s{number:02}", f"no {number}") for number in range(12)]
    lines = list(describe_unproven(summary_of(tmp_path, metadata_failures=tuple(failures))))
    held = "a stored one stays"
    assert lines[0] == f"the metadata file of 3 runs did not come (HTTP 403); {held}"
    assert lines[1] == f"the metadata file of run 's00' did not come (no 0); {held}"
    assert lines[-1] == "nor did that of 3 other runs"
    assert len(lines) == MOST_NAMED + 1


def test_plan_says_how_many_files_come() -> None:
    plan = SyncPlan(runs=(), files=PlannedFiles(files=1200, bytes=5_000_000))
    assert list(describe_plan(plan))[-1] == "files: 1,200 to fetch, 5.0 MB"
    nothing = SyncPlan(runs=(), files=PlannedFiles())
    assert list(describe_plan(nothing))[-1] == "files: 0 to fetch"


def test_plan_names_the_formats_that_are_made_and_dropped() -> None:
    made = PlannedFormat(format="parquet", action=FormatAction.MAKE, rows=2)
    gone = PlannedFormat(format="jsonl", action=FormatAction.DROP, rows=2, bytes=3000)
    plan = SyncPlan(runs=(), rows=1, formats=(made, gone))
    lines = describe_plan(plan)
    assert lines[0] == "make parquet: of 2 held rows, and of the rows that come"
    assert lines[1] == "drop jsonl: its files have 3.0 kB"
    assert describe_plan(replace(plan, rows=0))[0].endswith("of 2 held rows, without a request")


def test_plan_ends_with_the_stored_rows_that_go() -> None:
    (line,) = describe_plan(SyncPlan(runs=(), rows_removed=1))
    assert line.endswith("; 1 stored row dropped or cut by the selection")
    (line,) = describe_plan(SyncPlan(runs=()))
    assert "stored row" not in line


@pytest.mark.parametrize(
    ("plan", "cost"),
    [
        (SyncPlan(runs=()), ""),
        (SyncPlan(runs=(), requests=1), "; about 1 request"),
        (SyncPlan(runs=(), rows=2, bytes=600), "; about 2 rows, 600 bytes"),
        (
            SyncPlan(runs=(), requests=12, rows=5_000, bytes=1_500_000),
            "; about 12 requests, 5,000 rows, 1.5 MB",
        ),
    ],
)
def test_plan_ends_with_its_cost_as_far_as_there_is_one(plan: SyncPlan, cost: str) -> None:
    (line,) = describe_plan(plan)
    assert line == f"0 runs: 0 new, 0 refresh, 0 reuse, 0 missing, 0 prune{cost}"


def test_value_of_an_ended_run_that_did_not_change_is_told_from_one_that_did() -> None:
    fields = (
        FieldChange(field="state", old="running", new="finished"),
        FieldChange(field="summary_metrics.acc", old=0.5, new=0.75),
        FieldChange(field="summary_metrics.loss", old=0.9, new=0.9),
    )
    changes = SyncChanges(at="2026-01-01T00:00:00Z", changed={"run": ChangedRun(fields=fields)})
    text = "\n".join(describe_changes(changes))
    assert "summary_metrics.acc 0.5 -> 0.75" in text
    assert "summary_metrics.loss still 0.9" in text
