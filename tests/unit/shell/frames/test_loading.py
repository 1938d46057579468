"""Frames of an export: values that readers of JSON lines get wrong, and what is refused."""

import math
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from dr_wandb import (
    DrWandbError,
    ExportNotFoundError,
    InvalidRequestError,
    load_history_frame,
    load_runs_frame,
    scan_history,
)
from dr_wandb.core.contract.export_files import PARQUET_HISTORY
from dr_wandb.shell.frames.runs import read_frame
from tests.support import syncing
from tests.support.checkout import EXPORT_OF_3_0_3
from tests.support.frames import FORMS, HARD
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME, files_below
from tests.support.written_parquet import (
    add_parquet,
    let_a_sync_end_in_between,
    put_manifest,
    read_manifest,
)


def hard(root: Path, form: str, *metrics: str, **options: Any) -> pa.Table:
    return load_history_frame(form, root, metrics=metrics, runs="0012", engine="arrow", **options)


@pytest.mark.parametrize("form", FORMS)
def test_values_are_exact_in_columns_of_their_types(root: Path, form: str) -> None:
    table = hard(root, form, *(key for row in HARD for key in row))
    assert table.num_rows == 4
    found = {name: (str(kind), table[name].to_pylist()) for name, kind in
             zip(table.column_names, table.schema.types, strict=True)}  # fmt: skip
    assert found.pop("timestamp")[0] == "double"
    assert repr(found) == repr({
        "run_id": ("string", ["0012"] * 4),
        "step": ("int64", [0, 1, 2, 3]),
        "loss": ("double", [0.5, math.nan, -math.inf, 3.0]),
        "Loss": ("int64", [1, 2, None, None]),
        "n": ("int64", [1, 2**60 + 1, None, None]),
        "mixed": ("string", ["1", '"1"', "[1]", None]),
        "big": ("string", ["1", str(2**64), "0.5", str(2**53 + 1)]),
        "step (metric)": ("int64", [7, None, None, None]),
        'a."b" c': ("string", ["x", None, None, None]),
        "flag": ("bool", [True, None, False, None]),
        "text": ("string", [None, "NaN", "0012", None]),
        "h": ("string", [None, None, None, '{"_type":"histogram","bins":[1]}']),
    })  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_type_does_not_depend_on_the_runs_asked_for(root: Path, form: str) -> None:
    """A metric of integers in the chosen runs was an integer there, and a double elsewhere."""
    for _ in range(2):  # the second time the types are known
        table = load_history_frame(form, root, metrics="loss", runs=["1e5"], engine="arrow")
        assert table.to_pydict()["loss"] == [1.0]
        assert str(table.schema.field("loss").type) == "double"


@pytest.mark.parametrize("form", FORMS)
def test_nan_is_not_a_missing_value(root: Path, form: str) -> None:
    polars = load_history_frame(form, root, metrics=["loss", "Loss"], runs="0012")
    assert isinstance(polars, pl.DataFrame)
    assert polars["loss"].is_nan().to_list() == [False, True, False, False]
    assert polars["Loss"].is_null().to_list() == [False, False, True, True]
    pandas = load_history_frame(form, root, metrics=["loss", "Loss"], runs="0012", engine="pandas")
    assert isinstance(pandas, pd.DataFrame)
    assert pandas["loss"].isna().sum() == 0
    assert math.isnan(pandas["loss"][1])
    assert pandas["Loss"].isna().tolist() == [False, False, True, True]
    assert pandas["run_id"].tolist() == ["0012"] * 4


@pytest.mark.parametrize("form", FORMS)
def test_every_metric_and_row_comes_by_default(root: Path, form: str) -> None:
    frame = load_history_frame(form, root)
    assert frame.height == 105
    assert frame.columns[3:] == sorted(
        {"loss", "Loss", "n", "mixed", "big", "step (metric)", 'a."b" c', "flag", "text", "h",
         "late", "other"}, key=lambda name: name.removesuffix(" (metric)")
    )  # fmt: skip
    assert frame["run_id"].unique(maintain_order=True).to_list() == ["0012", "1e5", "long"]
    assert frame.filter(run_id="long")["step"].to_list() == [*range(100)]


@pytest.mark.parametrize("form", FORMS)
def test_own_columns_come_if_they_are_named(root: Path, form: str) -> None:
    frame = load_history_frame(form, root, metrics=["_runtime"])
    assert frame.columns == ["run_id", "step", "timestamp", "_runtime"]
    assert frame.height == 105


@pytest.mark.parametrize("form", FORMS)
def test_runs_and_steps_are_chosen(root: Path, form: str) -> None:
    frame = load_history_frame(form, root, metrics="loss", runs=["long", "empty"], min_step=97)
    assert frame.rows() == [("long", step, frame["timestamp"][step - 97], step / 4)
                            for step in (97, 98, 99)]  # fmt: skip
    assert load_history_frame(form, root, runs="empty").height == 0
    assert load_history_frame(form, root, runs=[]).height == 0
    assert load_history_frame(form, root, metrics=[]).height == 0
    assert load_history_frame(form, root, max_step=1, runs="long").height == 1


@pytest.mark.parametrize("form", FORMS)
def test_lazy_frame_reads_what_the_query_uses(root: Path, form: str) -> None:
    lazy = scan_history(form, root)
    found = lazy.group_by("run_id").agg(pl.col("loss").sum()).sort("run_id").collect()
    assert found["loss"].to_list()[1:] == [1, sum(range(100)) / 4]
    assert lazy.select(pl.len()).collect().item() == 105
    assert scan_history(form, root, metrics="late", runs=["1e5"]).collect().height == 1


def test_loading_changes_nothing(root: Path) -> None:
    before = files_below(root)
    for form in FORMS:
        load_runs_frame(form, root)
        load_history_frame(form, root)
    assert files_below(root) == before


# --- runs


def test_runs_are_the_same_in_every_form_and_engine(root: Path) -> None:
    [table, *others] = [load_runs_frame(form, root, engine="arrow") for form in FORMS]
    assert table["run_id"].to_pylist() == ["long", "empty", "1e5", "0012"]
    assert all(other.equals(table) for other in others)
    assert load_runs_frame("lines", root)["run_id"].to_list() == table["run_id"].to_pylist()
    pandas = load_runs_frame("lines", root, engine="pandas")
    assert pandas["run_id"].tolist() == table["run_id"].to_pylist()
    assert load_runs_frame("metadata", root).height == 4


# --- exports with little in them


@pytest.mark.parametrize("alone", [True, False])
def test_export_without_rows_gives_an_empty_frame(tmp_path: Path, alone: bool) -> None:
    source = MemorySource()
    source.add_run("a")
    syncing.sync(source, tmp_path)
    if alone:
        add_parquet(tmp_path / NAME, alone=True)
    for engine in ("polars", "pandas", "arrow"):
        frame = load_history_frame(NAME, tmp_path, metrics="loss", engine=engine)
        assert frame.shape == (0, 4)
    assert load_history_frame(NAME, tmp_path).columns == ["run_id", "step", "timestamp"]
    assert load_history_frame(NAME, tmp_path, wide=False).height == 0
    assert scan_history(NAME, tmp_path, metrics="loss").collect().schema["loss"] == pl.Float64


def test_export_of_3_0_3_is_loaded() -> None:
    root, name = EXPORT_OF_3_0_3.parent, EXPORT_OF_3_0_3.name
    assert load_history_frame(name, root).height == read_manifest(EXPORT_OF_3_0_3).history_count
    assert load_runs_frame(name, root).height == read_manifest(EXPORT_OF_3_0_3).run_count


# --- what is refused


@pytest.mark.parametrize("form", FORMS)
def test_metric_that_no_row_has_is_named_with_the_nearest(root: Path, form: str) -> None:
    with pytest.raises(InvalidRequestError, match="has the metric 'los'; did you mean loss"):
        load_history_frame(form, root, metrics=["los", "loss"])
    with pytest.raises(InvalidRequestError, match="has the metric 'los'"):
        scan_history(form, root, metrics=["los"])


@pytest.mark.parametrize("form", FORMS)
def test_run_that_is_not_there_is_named_with_the_nearest(root: Path, form: str) -> None:
    with pytest.raises(InvalidRequestError, match="has no run 'lonk'; did you mean long"):
        load_history_frame(form, root, runs=["lonk"])
    with pytest.raises(InvalidRequestError, match="has no run 'lonk'"):
        scan_history(form, root, runs="lonk")


def test_export_without_history_is_refused(root: Path) -> None:
    with pytest.raises(InvalidRequestError, match="metadata has no history: sync it with"):
        load_history_frame("metadata", root)
    with pytest.raises(ExportNotFoundError):
        load_history_frame("none", root)
    with pytest.raises(ExportNotFoundError):
        load_runs_frame("none", root)


def test_wrong_arguments_are_refused(root: Path) -> None:
    with pytest.raises(InvalidRequestError, match="not 'polar'; did you mean polars"):
        load_history_frame("lines", root, engine="polar")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="names of metrics"):
        load_history_frame("lines", root, metrics=[1])  # type: ignore[list-item]
    with pytest.raises(InvalidRequestError, match="beyond max_step"):
        load_history_frame("lines", root, min_step=2, max_step=1)


@pytest.mark.parametrize("engine", ["polars", "pandas"])
def test_missing_library_is_named(root: Path, engine: str) -> None:
    """Without the extra the traceback ended in a module that users have not heard of."""
    program = (
        f"import sys; sys.modules[{engine!r}] = None\n"
        "from dr_wandb import load_runs_frame\n"
        f"load_runs_frame('lines', {str(root)!r}, engine={engine!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    [last] = done.stderr.splitlines()[-1:]
    assert f"{engine} is not installed; install it, or this tool with it" in last
    assert f"pip install '.[{engine}]'" in last


# --- damage


def test_damaged_file_is_named(root: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(root / "parquet", tmp_path / "parquet")
    pack = min((folder / PARQUET_HISTORY).glob("*-?.parquet"))
    content = pack.read_bytes()
    pack.write_bytes(content[:-1] + b"!")
    with pytest.raises(DrWandbError, match=pack.name):
        load_history_frame("parquet", tmp_path)
    pack.write_bytes(content)
    own = sorted((folder / PARQUET_HISTORY).glob("*-run-*"))
    assert len(own) > 1
    manifest = read_manifest(folder)
    kept = {name: one for name, one in manifest.files.items() if not name.endswith(own[0].name)}
    put_manifest(folder, replace(manifest, files=kept))
    with pytest.raises(DrWandbError, match="run 'long' has 0 rows before its row"):
        load_history_frame("parquet", tmp_path)


def test_row_count_of_a_file_is_checked(root: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(root / "parquet", tmp_path / "parquet")
    manifest = read_manifest(folder)
    name = min(one for one in manifest.files if "-run-" in one)
    wrong = replace(manifest.files[name], lines=1)
    put_manifest(folder, replace(manifest, files={**manifest.files, name: wrong}))
    with pytest.raises(DrWandbError, match="rows, not 1"):
        load_history_frame("parquet", tmp_path)


def test_damaged_line_is_named(root: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(root / "lines", tmp_path / "lines")
    lines = (folder / "history.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "history.jsonl").write_bytes(b"".join([*lines[:2], b"{\n", *lines[2:]]))
    with pytest.raises(DrWandbError, match=r"history.jsonl.*3|line 3"):
        load_history_frame("lines", tmp_path, metrics="loss")


def test_sync_in_between_is_no_damage(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that replaced the files while they were read made the frame fail."""
    folder = shutil.copytree(root / "parquet", tmp_path / "parquet")
    asked = let_a_sync_end_in_between(folder, monkeypatch)
    assert load_history_frame("parquet", tmp_path).height == 105
    assert len(asked) == 2


@pytest.mark.parametrize("loader", ["load_runs_frame", "load_history_frame"])
@pytest.mark.parametrize("form", FORMS)
def test_no_thread_of_arrow_is_left_with_a_file(root: Path, form: str, loader: str) -> None:
    """A process that had loaded the runs and then ended was aborted once in some hundred times.

    Arrow's reader of datasets keeps a file in threads of its own, and imports pandas.
    """
    load = f"{loader}({form!r}, {str(root)!r}, engine='arrow')"
    program = f"import sys\nfrom dr_wandb import {loader}\n{load}\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert {"pyarrow.dataset", "pandas"}.isdisjoint(done.stdout.split())


def test_polars_reads_any_names_of_the_columns_of_runs(tmp_path: Path) -> None:
    names = ["config.a\0b", "config.A", "config.a", 'config."q" ', "config.\n", "summary. "]
    column = pa.array([1.0, None, math.nan])
    pq.write_table(pa.table([column] * len(names), names=names), tmp_path / "runs.parquet")
    frame = read_frame(tmp_path / "runs.parquet", "polars")
    assert frame.columns == names
    assert repr(frame.rows()) == repr([(value,) * len(names) for value in (1.0, None, math.nan)])
