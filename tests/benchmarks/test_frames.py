"""The measurement of frames, too small to say how fast anything is."""

from pathlib import Path

import numpy as np
import pytest
from benchmarks.at_scale import memory_of, run
from benchmarks.frames import WORKS, Line, Load, report
from benchmarks.frames_export import make_export
from benchmarks.many_rows import loss_of, make_many_rows, rate_of, run_id_of
from benchmarks.read_frame import load, read_json, total_of

from dr_wandb import load_history_frame, load_runs_frame, verify_export
from dr_wandb.shell.store.export_store import ExportStore


def test_exports_are_the_same_in_both_forms(tmp_path: Path) -> None:
    for name, parquet in (("both", True), ("lines", False)):
        make_export(tmp_path / name, 3, 20, parquet=parquet)
    frames = [load("arrow", "history", name, tmp_path) for name in ("both", "lines")]
    assert frames[0].equals(frames[1])
    assert frames[0].num_rows == 60
    runs = [load("arrow", "runs", name, tmp_path) for name in ("both", "lines")]
    assert runs[0].equals(runs[1])


def test_readers_find_the_rows_that_frames_have(tmp_path: Path) -> None:
    make_export(tmp_path / "both", 2, 20, parquet=True)
    for library in ("polars", "pandas", "arrow"):
        frame = load(library, "history", "both", tmp_path)
        assert len(frame) == len(read_json(library, tmp_path / "both" / "history.jsonl")) == 40
        assert total_of(frame, library) is not None
    assert total_of(load("polars", "runs", "both", tmp_path), "polars") is None


def test_report_says_which_goal_is_missed() -> None:
    def loads(seconds: float) -> list[Load]:
        return [Load(seconds=seconds, rows=1, peak=1_000_000, total=None)]

    met = Line(WORKS[0], loads(1), loads(20))
    missed = Line(WORKS[1], loads(1), loads(7))
    table = report([met, missed], 1_000, 2, 3, 1).splitlines()
    assert table[-2].endswith("| 20.0 | ≥ 20 times faster |")
    assert table[-1].endswith("| 7.0 | ≥ 8 times faster, **not met** |")


def test_export_of_many_rows_has_the_numbers_it_was_made_of(tmp_path: Path) -> None:
    make_many_rows(tmp_path / "many", 101, 4)
    frame = load_history_frame("many", tmp_path, metrics=["loss", "epoch"], runs=run_id_of(100))
    assert np.array_equal(frame["loss"].to_numpy(), loss_of(100, 4), equal_nan=True)
    assert frame["epoch"].to_list() == [0] * 4
    runs = load_runs_frame("many", tmp_path)
    assert runs.filter(run_id=run_id_of(100))["config.lr"].to_list() == [rate_of(100)]
    assert load_history_frame("many", tmp_path).height == 404
    assert verify_export(ExportStore(name="many", data_root=tmp_path), quick=True).rows == 404


def test_program_is_run_and_its_memory_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path)
    printed, seconds, peak = run("import time; time.sleep(0.3); print([1])", Path("below"))
    assert printed == "[1]\n"
    assert seconds > 0.3
    assert peak > 1_000_000
    assert memory_of(0x7FFFFFFF) == 0
