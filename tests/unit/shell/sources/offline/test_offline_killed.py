"""Summaries of runs whose process was killed before W&B's Python client wrote one.

What is expected was measured: the summaries that SDK 0.10.33 to 0.17.9 sent of the same rows.
"""

from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.contract.listing import EveryRun
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.run import RunFold, behind
from dr_wandb.core.offline.wandb_file import read_file
from dr_wandb.shell.sources.offline.source import OfflineSource
from tests.support.wandb_file import (
    exit_record,
    file_of,
    header_record,
    metric_record,
    row_record,
    run_record,
    summary_record,
    telemetry_record,
    write_run,
    write_summary,
)

LEGACY = header_record("")
IMAGE = {"_type": "image-file", "path": "media/1.png", "size": 3}


def row(step: int, **metrics: Any) -> bytes:
    return row_record({**metrics, "_timestamp": 1000.5 + step, "_step": step}, flat=True)


def fold_of(*payloads: bytes, before: RunFold | None = None) -> RunFold:
    reading = FileReading() if before is None else FileReading(fold=behind(before))
    return read_file(file_of([LEGACY, run_record(), *payloads]), reading).fold


def test_summary_of_a_killed_run_is_the_last_value_of_each_key() -> None:
    """W&B had it, but the export of a killed run had no summary."""
    fold = fold_of(
        row(0, loss=1.0, acc=0.5, nested={"a": 1, "b": {"c": 2}}, gone=None),
        row(1, loss=0.5, nested={"a": 2}, image=IMAGE),
    )
    assert fold.summary == {
        "loss": 0.5,
        "acc": 0.5,
        "nested": {"a": 2},
        "gone": None,
        "image": IMAGE,
        "_timestamp": 1001.5,
        "_step": 1,
    }


def test_summary_of_a_killed_run_follows_its_defined_metrics() -> None:
    """The values are those that SDK 0.10.33 to 0.17.9 sent of these rows."""
    definitions = [
        metric_record("epoch"),
        metric_record("loss", axis="epoch", summary=["min"], step_sync=True),
        metric_record(glob="val/*", axis="epoch", step_sync=True),
        metric_record("acc", summary=["max", "mean"]),
        metric_record("goal", summary=["best"], goal=2),
        metric_record("least", summary=["best"]),
        metric_record("copied", summary=["copy"]),
        metric_record("none", summary=["none"]),
        metric_record("last", summary=["last"]),
        metric_record("deep.a", summary=["max"]),
        metric_record("ow", axis="epoch"),
        metric_record("ow", summary=["max"], replaces=True),
    ]
    values = [(1.0, 0.1, 1), (0.5, 0.5, 3), (0.75, 0.3, 2)]
    logged = [
        row(
            step,
            **{"epoch": step, "loss": loss, "val/acc": step, "acc": acc, "goal": goal},
            **dict.fromkeys(("least", "copied", "none", "last", "ow"), goal),
            nested={"a": step},
            deep={"a": goal, "b": 1},
            image=IMAGE,
        )
        for step, (loss, acc, goal) in enumerate(values)
    ]
    expected = {
        "epoch": 2,
        "loss": {"min": 0.5},
        "val/acc": 2,
        "acc": {"max": 0.5, "mean": (0.1 + 0.5 + 0.3) / 3},
        "goal": {"best": 3},
        "least": {"best": 1},
        "copied": 2,
        "last": {"last": 2},
        "ow": {"max": 3},
        "deep": {"a": {"max": 3}},
        "image": IMAGE,
        "_timestamp": 1002.5,
        "_step": 2,
    }
    assert fold_of(*definitions, *logged).summary == expected
    late = fold_of(row(0, nested={"a": 7}), *definitions, *logged).summary
    assert late == {**expected, "nested": {"a": 7}}


def test_summary_of_a_nested_metric_that_is_copied_is_its_last_value() -> None:
    definition = metric_record("deep.a", summary=["copy"])
    logged = row(0, deep={"a": 1, "b": 2}, huge=10**400)
    fold = fold_of(definition, metric_record("huge", summary=["max"]), logged)
    assert fold.summary == {"deep": {"a": 1}, "_timestamp": 1000.5, "_step": 0}


def test_summary_record_counts_if_there_is_one() -> None:
    fold = fold_of(row(0, loss=1), summary_record({"loss": 2, "_step": 0}, flat=True), row(1, x=1))
    assert fold.summary == {"loss": 2, "_step": 1}
    assert fold.replay is None


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (telemetry_record("0.15.12", resumed=True), {"best": 7, "_wandb": {"runtime": 5}}),
        (telemetry_record("0.15.12"), {}),
    ],
)
def test_summary_of_a_killed_session_begins_with_that_before_if_it_was_resumed(
    said: bytes, kept: dict[str, Any]
) -> None:
    ended = [row(0, loss=1.0), exit_record(0, runtime=5), summary_record({"loss": 1, "best": 7})]
    first = fold_of(telemetry_record("0.15.12"), *ended)
    second = fold_of(said, row(1, loss=0.5), before=first)
    last = {"loss": 0.5, "_timestamp": 1001.5, "_step": 1}
    assert second.summary == {**kept, **last}
    third = fold_of(said, row(2, other=1), before=second)
    assert third.summary == {
        **({**kept, "loss": 0.5} if kept else {}),
        "other": 1,
        "_timestamp": 1002.5,
        "_step": 2,
    }


OLD: dict[str, Any] = {"config": {"lr": 0.1, "net": {"x": 1}}}


@pytest.mark.parametrize(
    ("said", "step", "resumed"),
    [
        ([], 1, True),
        ([], 3, True),  # the file before lost its end
        ([], 0, False),
        ([telemetry_record("0.13.11")], 1, False),
    ],
)
def test_file_without_telemetry_resumes_its_run_if_its_rows_go_on(
    said: list[bytes], step: int, resumed: bool
) -> None:
    """SDK 0.10 noted nothing, or at the end alone: config and summary of the run were lost."""
    first = [run_record(**OLD), row(0, loss=1.0), summary_record({"best": 7}, flat=True)]
    before = read_file(file_of([LEGACY, *first]), FileReading()).fold
    for more in ([], [row(9, loss=0.1)]):
        later = [run_record(config={"net": {"y": 2}}), *said, row(step, loss=0.5), *more]
        fold = read_file(file_of([LEGACY, *later]), FileReading(fold=behind(before))).fold
        assert fold.config == {"net": {"y": 2}, **({"lr": 0.1} if resumed else {})}
        assert ("best" in fold.summary) == resumed
        assert ("lr" in behind(fold).config) == resumed


def test_file_of_wandb_core_without_telemetry_does_not_resume_its_run() -> None:
    first = read_file(file_of([run_record(**OLD), row(0)]), FileReading()).fold
    later = file_of([header_record(), run_record(), row(1)])
    assert read_file(later, FileReading(fold=behind(first))).fold.config == {}


def listed_summary(folder: Path) -> dict[str, Any]:
    request = ExportRequest(entity="e", project="project", name="x", data_root=folder)
    (page,) = OfflineSource(folder, request).list_runs(EveryRun())
    (node,) = page.runs
    summary: dict[str, Any] = node["summaryMetrics"]
    return summary


FROM_ROWS = {"loss": 0.5, "_timestamp": 1001.5, "_step": 1}


@pytest.mark.parametrize(
    ("beside", "summary"),
    [
        (b'{"_timestamp": 1002.5, "_step": 2, "best": NaN}',
         {"_timestamp": 1002.5, "_step": 2, "best": "NaN"}),
        (b'{"_timestamp": 1001.5, "best": 7}', {"_timestamp": 1001.5, "best": 7}),
        (b'{"_step": 1, "best": 7}', {"_step": 1, "best": 7}),
        (b'{"_timestamp": 1001, "_step": 5, "best": 7}', FROM_ROWS),
        (b'{"_step": 0, "best": 7}', FROM_ROWS),
        (b'{"_wandb": {"runtime": 3}}', FROM_ROWS),
        (b'{"_timestamp": "now", "best": 7}', FROM_ROWS),
        (b'{"_timestamp": 1002.5, "be', FROM_ROWS),
        (b"[]", FROM_ROWS),
        (b"", FROM_ROWS),
    ],
)  # fmt: skip
def test_summary_beside_the_file_of_a_killed_run_counts_if_it_is_as_new_as_the_rows(
    tmp_path: Path, beside: bytes, summary: dict[str, Any]
) -> None:
    """What a script had put into the summary by hand was lost when its process was killed."""
    path = write_run(tmp_path, "run", [LEGACY, run_record(), row(0, loss=1), row(1, loss=0.5)])
    write_summary(path, beside)
    assert listed_summary(tmp_path) == summary


def test_summary_beside_a_file_that_has_its_own_does_not_count(tmp_path: Path) -> None:
    ended = [row(0, loss=1), summary_record({"loss": 1}, flat=True)]
    path = write_run(tmp_path, "run", [LEGACY, run_record(), *ended])
    write_summary(path, b'{"_timestamp": 2000, "_step": 9, "best": 7}')
    assert listed_summary(tmp_path) == {"loss": 1, "_step": 0}
