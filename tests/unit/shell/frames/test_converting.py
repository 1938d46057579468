"""`wandb-export convert`: an export as tables of other tools."""

import json
import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from dr_wandb import load_history_frame, load_runs_frame, open_duckdb
from dr_wandb.cli import run
from dr_wandb.core.contract.export_files import PARQUET_HISTORY
from dr_wandb.core.contract.progress import Progress, Stage
from dr_wandb.shell.frames import ordered, writers
from dr_wandb.shell.frames.converting import Chosen, convert_export
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.export_store import ExportStore
from tests.support.frames import FORMS
from tests.support.syncing import files_below
from tests.support.written_parquet import put_manifest, read_manifest

Convert = Callable[..., int]


@pytest.fixture
def convert(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Convert:
    """Return a function that converts an export to `out` by the command, in small pieces."""
    monkeypatch.setattr(ordered, "MOST_ROWS", 7)
    monkeypatch.setattr(writers, "GROUP_ROWS", 10)

    def convert(name: str, to: str, *flags: str, out: str = "out", data: Path = root) -> int:
        path = ("--out", str(tmp_path / out))
        return run(["convert", name, "--data-root", str(data), "--to", to, *path, *flags])

    return convert


def test_csv_has_the_same_bytes_from_every_form(
    root: Path, convert: Convert, tmp_path: Path, capsys: Any
) -> None:
    before = files_below(root)
    for form in FORMS:
        assert convert(form, "csv", out=form) == 0
        assert {path.name for path in (tmp_path / form).iterdir()} == {"runs.csv", "history.csv"}
    assert files_below(root) == before
    [first, *others] = [files_below(tmp_path / form) for form in FORMS]
    assert others == [first, first]
    assert "lines has 4 runs and 105 rows of lines: " in capsys.readouterr().out
    lines = (tmp_path / "lines" / "history.csv").read_text().splitlines()
    names = lines[0].split(",")
    assert names[:3] == ["run_id", "step", "timestamp"]
    assert [name[:5] for name in names if name.lower().startswith("loss")] == ["Loss ", "loss "]
    assert lines[1].startswith("0012,0,")
    assert len(lines) == 106


def test_csv_is_read_as_it_was_written(convert: Convert, tmp_path: Path) -> None:
    assert convert("both", "csv", "--metric", "text", "--metric", "loss", "--run", "0012") == 0
    path = tmp_path / "out" / "history.csv"
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    [loss] = [name for name in frame.columns if name.startswith("loss")]
    assert frame["run_id"].tolist() == ["0012"] * 4
    assert frame["text"].tolist() == ["", "NaN", "0012", ""]
    assert repr(frame[loss].map(float).tolist()) == repr([0.5, math.nan, -math.inf, 3.0])


@pytest.mark.parametrize("form", FORMS)
def test_parquet_has_the_values_of_frames(
    root: Path, form: str, convert: Convert, tmp_path: Path
) -> None:
    assert convert(form, "parquet") == 0
    history = pq.read_table(tmp_path / "out" / "history.parquet")
    expected = load_history_frame(form, root, engine="arrow")
    assert history.schema.types == expected.schema.types
    for one, other in zip(history.columns, expected.columns, strict=True):
        assert repr(one.to_pylist()) == repr(other.to_pylist())
    runs = pl.read_parquet(tmp_path / "out" / "runs.parquet")
    assert runs.equals(load_runs_frame(form, root))


def test_parquet_has_the_same_groups_whatever_pieces_rows_come_in(
    convert: Convert, tmp_path: Path
) -> None:
    for form in FORMS:
        assert convert(form, "parquet", out=form) == 0
    [first, *others] = [files_below(tmp_path / form) for form in FORMS]
    assert others == [first, first]
    metadata = pq.read_metadata(tmp_path / "lines" / "history.parquet")
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert sizes == [10] * 10 + [5]
    assert not metadata.row_group(0).column(2).is_stats_set


@pytest.mark.parametrize("form", FORMS)
def test_duckdb_file_has_the_tables_of_the_views(
    root: Path, form: str, convert: Convert, tmp_path: Path
) -> None:
    assert convert(form, "duckdb", out="x.duckdb") == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x.duckdb"]
    with (
        duckdb.connect(str(tmp_path / "x.duckdb"), read_only=True) as file,
        open_duckdb(form, root) as opened,
    ):
        for query in (
            "from history order by run_id, step",
            "from history_long where not starts_with(key, '_') order by run_id, key, row",
            "from runs order by run_id",
        ):
            assert repr(file.sql(query).fetchall()) == repr(opened.sql(query).fetchall())
            assert file.sql(query).columns == opened.sql(query).columns


def test_runs_and_metrics_are_chosen(convert: Convert, tmp_path: Path, capsys: Any) -> None:
    flags = ("--metric", "late", "--run", "1e5", "--run", "long", "--json")
    assert convert("parquet", "csv", *flags) == 0
    done = json.loads(capsys.readouterr().out)
    assert (done["runs"], done["rows"], done["files"]) == (2, 1, ["runs.csv", "history.csv"])
    assert done["bytes"] == sum(path.stat().st_size for path in (tmp_path / "out").iterdir())
    lines = (tmp_path / "out" / "history.csv").read_text().splitlines()
    assert lines[0] == "run_id,step,timestamp,late"
    assert len(lines) == 2


def test_export_without_history_gives_its_runs(
    convert: Convert, tmp_path: Path, capsys: Any
) -> None:
    assert convert("metadata", "csv") == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["runs.csv"]
    assert "out has 4 runs and 0 rows of metadata: " in capsys.readouterr().out
    assert convert("metadata", "duckdb", out="x") == 0
    with duckdb.connect(str(tmp_path / "x")) as file:
        assert file.sql("from history").columns == ["run_id", "step", "timestamp"]
    assert convert("metadata", "csv", "--metric", "loss", out="y") == 2
    assert "metadata has no history" in capsys.readouterr().err


def test_progress_counts_rows(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dr_wandb.shell.progress.SECONDS_BETWEEN_REPORTS", 0)
    monkeypatch.setattr(ordered, "MOST_ROWS", 7)
    seen: list[Progress] = []
    store = ExportStore(name="parquet", data_root=root)
    convert_export(store, "csv", tmp_path / "out", Chosen(None, None), progress=seen.append)
    assert {one.stage for one in seen} == {Stage.CONVERTING}
    assert seen[-1].done == seen[-1].total == 105
    assert len(seen) > 3


def test_name_is_made_of_the_export_by_default(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for to in ("jsonl", "csv", "parquet", "duckdb"):
        assert run(["convert", "both", "--data-root", str(root), "--to", to]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {
        "both.jsonl", "both-csv", "both-parquet", "both.duckdb",
    }  # fmt: skip


# --- what is refused


def refused(capsys: Any) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    return str(captured.err)


def test_what_is_there_is_replaced_only_if_wanted(
    convert: Convert, tmp_path: Path, capsys: Any
) -> None:
    for to in ("csv", "duckdb"):
        assert convert("both", to, out=to) == 0
        before = files_below(tmp_path / to) if to == "csv" else (tmp_path / to).read_bytes()
        capsys.readouterr()
        assert convert("both", to, "--metric", "late", out=to) == 2
        assert "exists; give --overwrite to replace it" in refused(capsys)
        assert before == (
            files_below(tmp_path / to) if to == "csv" else (tmp_path / to).read_bytes()
        )
        assert convert("both", to, "--metric", "late", "--overwrite", out=to) == 0
    assert len((tmp_path / "csv" / "history.csv").read_text().splitlines()) == 2
    assert convert("metadata", "csv", "--overwrite", out="csv") == 0
    assert [path.name for path in (tmp_path / "csv").iterdir()] == ["runs.csv"]


def test_folder_with_other_files_is_left_alone(
    convert: Convert, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    assert convert("both", "csv", "--overwrite") == 2
    assert "out has other files in it, such as 'mine'" in refused(capsys)
    (tmp_path / "file").touch()
    assert convert("both", "csv", "--overwrite", out="file") == 2
    assert "file is not a folder" in refused(capsys)
    assert convert("both", "csv", out="none/out") == 2
    assert "there is no folder" in refused(capsys)


def test_nothing_is_written_inside_an_export(root: Path, convert: Convert, capsys: Any) -> None:
    before = files_below(root)
    for name in ("both", "lines"):
        assert convert("both", "csv", out=str(root / name / "csv")) == 2
        assert "is inside " in refused(capsys)
    assert files_below(root) == before


def test_mistakes_are_named(
    convert: Convert, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert convert("both", "csv", "--metric", "los") == 2
    assert "no row of both has the metric 'los'; did you mean loss" in refused(capsys)
    assert convert("both", "csv", "--run", "lonk") == 2
    assert "has no run 'lonk'; did you mean long" in refused(capsys)
    assert convert("both", "jsonl", "--metric", "loss") == 2
    assert "jsonl has all rows" in refused(capsys)
    assert convert("metadata", "csv", "--run", "lonk") == 2
    assert "there is no run 'lonk'; did you mean long" in refused(capsys)
    assert convert("none", "csv") == 6
    capsys.readouterr()
    monkeypatch.setitem(sys.modules, "duckdb", None)
    assert convert("both", "duckdb") == 2
    assert "duckdb is not installed; install it" in refused(capsys)
    assert [*tmp_path.iterdir()] == []


def drop_pack(folder: Path) -> None:
    min((folder / PARQUET_HISTORY).glob("*-?.parquet")).unlink()


def test_nothing_is_made_of_a_damaged_export(
    root: Path, tmp_path: Path, convert: Convert, capsys: Any
) -> None:
    folder = shutil.copytree(root / "parquet", tmp_path / "data" / "parquet")
    drop_pack(folder)
    for to in ("csv", "parquet", "duckdb"):
        assert convert("parquet", to, data=folder.parent) == 6
        assert "the file is missing" in refused(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("operation", ["sync_file", "rename", "sync_folder"])
@pytest.mark.parametrize("to", ["csv", "parquet", "duckdb"])
def test_disk_that_refuses_leaves_no_part(
    convert: Convert,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    to: str,
    capsys: Any,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, operation, refuse)
    assert convert("parquet", to) == 9
    assert "No space left on device" in refused(capsys)
    assert [path.name for path in tmp_path.iterdir() if path.name != "out"] == []


def test_run_that_is_in_two_files_is_damage(
    root: Path, tmp_path: Path, convert: Convert, capsys: Any
) -> None:
    folder = shutil.copytree(root / "parquet", tmp_path / "data" / "parquet")
    manifest = read_manifest(folder)
    own = sorted(name for name in manifest.files if "-run-" in name)
    for gone in (own[0], own[1]):
        files = {name: one for name, one in manifest.files.items() if name != gone}
        put_manifest(folder, replace(manifest, files=files))
        assert convert("parquet", "csv", data=folder.parent) == 6
        assert "run 'long' has " in refused(capsys)
