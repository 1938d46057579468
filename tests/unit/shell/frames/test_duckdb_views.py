"""An export in DuckDB."""

import math
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from dr_wandb import DrWandbError, ExportNotFoundError, InvalidRequestError, open_duckdb
from dr_wandb.core.contract.export_files import PARQUET_HISTORY
from tests.support import syncing
from tests.support.frames import FORMS
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME, files_below
from tests.support.written_parquet import add_parquet


@pytest.mark.parametrize("form", FORMS)
def test_metrics_that_differ_in_case_are_two_columns(root: Path, form: str) -> None:
    """DuckDB gave the values of `loss` under the name of `Loss`."""
    with open_duckdb(form, root) as connection:
        columns = [name for name, *_ in connection.execute("describe history").fetchall()]
        [lower] = [name for name in columns if name.startswith("loss (")]
        [upper] = [name for name in columns if name.startswith("Loss (")]
        query = f'select "{upper}", "{lower}" from history where run_id = ? order by step'
        found = connection.execute(query, ["0012"]).fetchall()
    assert repr(found) == repr([(1, 0.5), (2, math.nan), (None, -math.inf), (None, 3.0)])


@pytest.mark.parametrize("form", FORMS)
def test_values_are_exact(root: Path, form: str) -> None:
    metrics = ["n", "mixed", "big", "step", 'a."b" c', "flag", "text"]
    with open_duckdb(form, root, metrics=metrics) as connection:
        rows = connection.execute(
            'select step, n, mixed, big, "step (metric)", "a.""b"" c", flag, "text" from history'
            " order by step"
        ).fetchall()
    assert rows == [
        (0, 1, "1", "1", 7, "x", True, None),
        (1, 2**60 + 1, '"1"', str(2**64), None, None, None, "NaN"),
        (2, None, "[1]", "0.5", None, None, False, "0012"),
        (3, None, None, str(2**53 + 1), None, None, None, None),
    ]


@pytest.mark.parametrize("form", FORMS)
def test_history_has_rows_with_a_chosen_metric_or_all(root: Path, form: str) -> None:
    for metrics, count in ((["late"], 1), ("other", 100), (None, 105), ([], 0)):
        with open_duckdb(form, root, metrics=metrics) as connection:
            assert connection.execute("select count(*) from history").fetchone() == (count,)


@pytest.mark.parametrize("form", FORMS)
def test_runs_and_long_history_are_there(root: Path, form: str) -> None:
    with open_duckdb(form, root, metrics=["late"]) as connection:
        query = (
            "select run_id, count(h.key) filter (where h.key = 'loss') from runs"
            " left join history_long h using (run_id) group by all order by all"
        )
        assert connection.execute(query).fetchall() == [
            ("0012", 4), ("1e5", 1), ("empty", 0), ("long", 100),
        ]  # fmt: skip


@pytest.mark.parametrize("alone", [True, False])
def test_export_without_rows_has_empty_views(tmp_path: Path, alone: bool) -> None:
    source = MemorySource()
    source.add_run("a")
    syncing.sync(source, tmp_path)
    if alone:
        add_parquet(tmp_path / NAME, alone=True)
    with open_duckdb(NAME, tmp_path, metrics=["loss"]) as connection:
        assert connection.execute("select loss from history").fetchall() == []
        assert connection.execute("select value from history_long").fetchall() == []
        assert connection.execute("select run_id from runs").fetchall() == [("a",)]


def test_export_without_history_has_its_runs(root: Path) -> None:
    with open_duckdb("metadata", root) as connection:
        assert connection.execute("select count(*) from runs").fetchone() == (4,)
        assert connection.execute("select run_id, step from history").fetchall() == []
    with pytest.raises(InvalidRequestError, match="has no history"):
        open_duckdb("metadata", root, metrics=["loss"])


def test_folder_with_signs_of_a_pattern_is_read(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "[a]*?'b"
    shutil.copytree(root / "parquet", other / "parquet")
    shutil.copytree(root / "parquet", tmp_path / "axx'b" / "parquet")
    with open_duckdb("parquet", other) as connection:
        assert connection.execute("select count(*) from history").fetchone() == (105,)


def test_files_that_the_manifest_does_not_name_are_not_read(root: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(root / "parquet", tmp_path / "parquet")
    pack = min((folder / PARQUET_HISTORY).glob("*-?.parquet"))
    shutil.copy(pack, pack.with_name(f"{pack.stem}-copy.parquet"))
    with open_duckdb("parquet", tmp_path) as connection:
        assert connection.execute("select count(*) from history_long").fetchone() == (
            open_duckdb("parquet", root).execute("select count(*) from history_long").fetchone()
        )


def test_opening_changes_nothing(root: Path) -> None:
    before = files_below(root)
    for form in FORMS:
        open_duckdb(form, root).execute("from history").fetchall()
    assert files_below(root) == before


def test_mistakes_are_named(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="has the metric 'los'; did you mean loss"):
        open_duckdb("parquet", root, metrics=["los"])
    with pytest.raises(ExportNotFoundError):
        open_duckdb("none", root)
    folder = shutil.copytree(root / "parquet", tmp_path / "parquet")
    open_duckdb("parquet", tmp_path)
    pack = min((folder / PARQUET_HISTORY).glob("*-?.parquet"))
    pack.write_bytes(pack.read_bytes()[:-1] + b"!")
    with pytest.raises(DrWandbError, match=pack.name):
        open_duckdb("parquet", tmp_path)


def test_missing_library_is_named(root: Path) -> None:
    program = (
        "import sys; sys.modules['duckdb'] = None\nfrom dr_wandb import open_duckdb\n"
        f"open_duckdb('lines', {str(root)!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert "duckdb is not installed; install it" in done.stderr.splitlines()[-1]


def test_connection_is_one_of_duckdb(root: Path) -> None:
    assert isinstance(open_duckdb("lines", root), duckdb.DuckDBPyConnection)
