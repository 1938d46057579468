"""Rows are the same whatever way they came: the whole tool, through the real SDK.

The stand-in serves exports as W&B's servers make them: columns of mixed type, files with different
columns in which the same steps occur, steps as doubles, bytes of JSON, and live rows flattened.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dr_wandb import ExportEngine
from dr_wandb.shell.sources.api.source import ApiSource
from dr_wandb.shell.sources.opening import source_opener
from tests.support.server.parquet import ParquetFile
from tests.support.syncing import select

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.api_exports import Exports
    from tests.support.server.run import Run


def log_every_kind(run: Run) -> Run:
    image = {"_type": "image-file", "path": "media/images/a.png", "caption": None}
    for step in range(12):
        row: dict[str, Any] = {
            "loss": math.nan if step == 7 else step / 3,
            "val": {"loss": step / 2, "by": {"layer": step}, "unset": None},
            "mixed": [step, f"s{step}", True, [step, "x"]][step % 4],
            "list": [0.5, math.inf, {"a": {"b": step}}],
            "image": image,
            "flat.name": step,
        }
        if step % 2:
            row["odd"] = step
        run.log(row, step=3 * step)
    return run


WAYS: dict[str, Callable[[Run], None]] = {
    "one file": lambda run: run.export_parquet(),
    "files of steps": lambda run: run.export_parquet(files=3, file_order=[2, 0, 1]),
    "files of columns": lambda run: run.export_parquet(files=3, by_columns=True),
    "steps as doubles": lambda run: run.export_parquet(double_steps=True),
    "bytes of JSON": lambda run: run.export_parquet(as_json=["list", "val.loss", "mixed"]),
    "half of each": lambda run: run.export_parquet(files=2, upto=7, overlap=3),
    "exported and live": lambda run: run.export_parquet(drop_live=False, overlap=12),
}


@pytest.mark.parametrize("way", WAYS)
def test_rows_have_the_same_bytes_live_and_exported(exports: Exports, way: str) -> None:
    """A metric with one NaN was 0.5 before its run was exported and an object afterwards."""
    run = log_every_kind(exports.project.add_run("run"))
    run.finish()
    assert exports.sync("live").failures == ()
    WAYS[way](run)
    assert exports.sync("exported").failures == ()
    assert exports.history("exported") == exports.history("live")
    before = exports.history("live")
    exports.sync("live", sync_mode="full_reconcile")
    assert exports.history("live") == before
    metrics = exports.rows(name="exported")[7]["metrics"]
    assert metrics["loss"] == "NaN"
    assert (metrics["val.loss"], metrics["val.by.layer"], metrics["mixed"]) == (3.5, 7, [7, "x"])
    assert metrics["list"] == [0.5, "Infinity", {"a": {"b": 7}}]
    assert metrics["image"] == {"_type": "image-file", "path": "media/images/a.png"}


class _Kept(ApiSource):
    """A source whose session other tests go on with."""

    def close(self) -> None:
        pass


@pytest.mark.parametrize("way", WAYS)
def test_rows_have_the_same_bytes_recorded_and_replayed(
    exports: Exports, tmp_path: Path, way: str
) -> None:
    run = log_every_kind(exports.project.add_run("run"))
    run.finish()
    WAYS[way](run)
    request = exports.request("recorded")
    source = _Kept(exports.shared.session, request)
    clock = exports.server.clock
    ExportEngine(request, source=source, record=tmp_path / "rec", clock=lambda: clock.now).export()
    replay = source_opener(f"replay:{tmp_path / 'rec'}")
    assert not ExportEngine(exports.request("replayed"), source=replay).export().failures
    assert exports.history("replayed") == exports.history("recorded")


@pytest.mark.parametrize(
    "keys", [("val",), ("val.by.layer",), ("image.path", "loss"), ("flat.name",), ("list",)]
)
@pytest.mark.parametrize("way", ["one file", "files of columns", "half of each"])
def test_selected_rows_have_the_same_bytes_live_and_exported(
    exports: Exports, way: str, keys: tuple[str, ...]
) -> None:
    """`val` selects all of `val.*`, as it selected the object `val` before."""
    run = log_every_kind(exports.project.add_run("run"))
    run.finish()
    selection = select(*keys, min_step=6)
    exports.sync("live", history_selection=selection)
    WAYS[way](run)
    exports.sync("exported", history_selection=selection)
    assert exports.history("exported") == exports.history("live")
    row = exports.rows(name="live")[0]
    assert row["step"] == 6
    assert row["metrics"]
    for key in row["metrics"]:
        assert any(key == wanted or key.startswith(f"{wanted}.") for wanted in keys)


def serve(run: Run, *files: dict[str, pa.Array]) -> None:
    """Let a run be exported in just these files."""
    run.exports = []
    for number, columns in enumerate(files):
        sink = io.BytesIO()
        pq.write_table(pa.table(columns), sink)
        rows = len(next(iter(columns.values())))
        run.exports.append(ParquetFile(f"{number:04d}.parquet", sink.getvalue(), rows))
    run.live_from = run.served_from = len(run.rows)


def test_columns_of_other_arrow_types_are_read(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.log({"text": "a"}, step=1, timestamp=100.25)
    run.finish()
    serve(
        run,
        {
            "_step": pa.array([1.0]),
            "_timestamp": pa.array([100_250_000], pa.timestamp("us")),
            "text": pa.array(["a"], pa.large_string()),
            "kind": pa.array(["train"]).dictionary_encode(),
            "blob": pa.array([b'{"k":[1]}'], pa.large_binary()),
            "at": pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")),
            "union": pa.array([{"_type_bool": True, "_type_float64": None}]),
        },
    )
    assert exports.sync().failures == ()
    (row,) = exports.rows()
    assert (row["step"], row["timestamp"]) == (1, "100.25")
    assert row["metrics"] == {
        "text": "a",
        "kind": "train",
        "blob.k": [1],
        "at": "2023-11-14T22:13:20.000000001Z",
        "union": True,
    }


def test_rows_without_a_step_and_in_any_order_are_kept(exports: Exports) -> None:
    run = exports.project.add_run("run")
    for step in (3, None, 1, 2):
        place = run.NO_STEP if step is None else step
        run.log({"loss": 1.5 if step is None else step}, step=place, timestamp=100.0 + (step or 0))
    run.finish()
    run.export_parquet(double_steps=True)
    assert exports.sync().failures == ()
    assert [row["step"] for row in exports.rows()] == [1, 2, 3, None]


def test_step_in_two_files_has_the_columns_of_both(exports: Exports) -> None:
    """One of the two rows was dropped, and its columns with it."""
    run = exports.project.add_run("run")
    for step in range(3):
        run.log({"a": step + 0.5, "b": -step}, step=step, timestamp=100.0 + step)
    run.finish()
    steps = {"_step": pa.array([0, 1, 2])}
    times = {"_timestamp": pa.array([100.0, 101.0, 102.0])}
    serve(
        run,
        {**steps, **times, "a": pa.array([0.5, 1.5, 2.5])},
        {**steps, "b": pa.array([0, -1, -2])},  # and no timestamp
    )
    assert exports.sync().failures == ()
    assert [row["metrics"] for row in exports.rows()] == [
        {"a": step + 0.5, "b": -step} for step in range(3)
    ]


def test_system_keys_among_the_history_keys_are_no_history(exports: Exports) -> None:
    run = exports.project.add_run("run")
    for _ in range(4):
        run.log_system({"system.cpu": 5.0, "_timestamp": 1.0})
    run.finish()
    assert exports.sync().failures == ()
    stored = exports.runs()["run"]
    assert stored["history_keys"]["keys"]["system/cpu"]["typeCounts"][0]["count"] == 4
    assert stored["history_keys"]["lastStep"] == -1
    assert exports.rows() == []
    exports.sync()
    assert not exports.asked


# --- identity


def test_run_made_again_with_the_same_storage_id_is_another_run(exports: Exports) -> None:
    """W&B's storage ids hold names alone: going by them, the rows of the first run stayed."""
    first = exports.project.add_run("run")
    first.log_all({"loss": step} for step in range(5))
    first.finish()
    exports.sync()
    exports.project.delete_run(first)
    exports.server.clock.advance(60)
    second = exports.project.add_run("run")
    second.log_all({"loss": 10 + step} for step in range(5))
    second.finish()
    assert second.storage_id == first.storage_id
    summary = exports.sync()
    assert (summary.new_count, summary.failures) == (1, ())
    assert [row["metrics"]["loss"] for row in exports.rows()] == [10, 11, 12, 13, 14]


def test_run_stays_the_same_run_when_its_project_is_renamed(exports: Exports) -> None:
    """All storage ids change with the name: every run was read again, as if it were new."""
    runs = [exports.project.add_run(f"run-{number}") for number in range(3)]
    for run in runs:
        run.log({"loss": 0.5})
        run.finish()
    exports.sync()
    for run in runs:
        run.storage_id = type(run)(
            type(exports.project)(run.world, "entity", "renamed"), run.run_id
        ).storage_id
    log = (exports.folder() / "changes.jsonl").read_bytes()
    summary = exports.sync(sync_mode="detect_changes")
    assert summary.new_count == 0
    assert exports.asked["HistoryPage"] == 0
    assert (exports.folder() / "changes.jsonl").read_bytes() == log
    assert {run["storage_id"] for run in exports.runs().values()} == {
        run.storage_id for run in runs
    }
