"""What readers make of a whole export as Parquet whose values are made to be difficult.

By a plain pattern, or the folder, without any option but the one that docs/guides/load.md names.
`nox -s readers` runs these tests with the newest readers; Dask is in no other environment.
"""

import math
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pytest

from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME

# What one reader deprecates is used by another one: Dask 2026.8 by pandas 3.1.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

Row = tuple[Any, ...]

TWO_53 = float(2**53)
VALUES: list[tuple[Any, str, float | None, str | None]] = [
    (0.5, "number", 0.5, None),
    (math.nan, "number", math.nan, None),
    ("high", "text", None, "high"),
    (2**53 + 1, "number", TWO_53, "9007199254740993"),
    (2**64 + 1, "number", 2.0**64, "18446744073709551617"),
    (10**400, "number", None, f"1{400 * '0'}"),
    (-math.inf, "number", -math.inf, None),
    (True, "bool", 1.0, None),
    ([1, "a"], "json", None, '[1,"a"]'),
    (-0.0, "number", 0.0, None),
    ("", "text", None, ""),
    ("1e5", "text", None, "1e5"),
    (5e-324, "number", 5e-324, None),
]
"""What the metric `loss` of the run `0012` is in each row, and the cell that it becomes."""

LATER = 2**60 + 1
STEPS = [*range(len(VALUES)), LATER, None]
"""The steps of that run. Its last two rows have a number: one is far away, one has no step."""

LONG = 3000
"""The rows of the run `1e5`, which has files of its own: 141,000 cells."""

KEY = 'we"ird \n key'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an export as Parquet alone, of runs in two months."""
    data_root, source = tmp_path_factory.mktemp("readers"), MemorySource(rows_per_batch=1000)
    source.add_run("0012", config={"lr": 0.5, "mix": 1, "n": 1}, summary={"best": math.nan})
    for value, *_ in VALUES:
        source.log("0012", {"loss": value, "Loss": "other"})
    source.log("0012", {"loss": 9}, step=LATER)
    source.log("0012", {"loss": 7}, step=None)
    source.advance(40 * 86_400)
    source.add_run("1e5", config={"lr": 1, "mix": "x"})
    for row in range(LONG):
        loss = math.nan if row == 17 else row / 2
        source.log("1e5", {"loss": loss, **{f"m{key}": row * key for key in range(45)}})
    source.add_run("é/1", config={"lr": 2})
    source.log("é/1", {KEY: "ü\u2028", "": 1})
    source.add_run("empty")
    syncing.sync(source, data_root, formats=("parquet",))
    names = [path.name for path in (data_root / NAME / "parquet" / "history").iterdir()]
    assert sum("-run-" in name for name in names) == 2
    assert len(names) == 4
    return data_root / NAME / "parquet"


# --- what each reader says: of `loss` in a run, of all rows, and of the runs


def by_duckdb(folder: Path) -> tuple[list[Row], Row, list[Row]]:
    with duckdb.connect() as connection:
        connection.execute(f"create view history as from '{folder}/history/*.parquet'")
        loss = connection.sql(
            "select step, kind, value, text from history where run_id = '0012' and key = 'loss'"
            ' order by "row"'
        ).fetchall()
        [counts] = connection.sql(
            "select count(*) filter (kind = 'row'), count(*), count(*) filter (isnan(value)),"
            " max(step) from history"
        ).fetchall()
        assert connection.sql("select distinct text from history where key = $$" + KEY + "$$")
        runs = connection.sql(
            f"""select run_id, "config.lr", "config.mix" from '{folder}/runs.parquet' order by 1"""
        ).fetchall()
    return loss, counts, runs


def by_polars(folder: Path) -> tuple[list[Row], Row, list[Row]]:
    history = pl.scan_parquet(folder / "history" / "*.parquet")
    loss = history.filter(run_id="0012", key="loss").sort("row")
    counts = history.select(
        (pl.col("kind") == "row").sum(),
        pl.len(),
        pl.col("value").is_nan().sum().alias("nan"),
        pl.col("step").max(),
    )
    runs = pl.read_parquet(folder / "runs.parquet").sort("run_id")
    return (
        loss.select("step", "kind", "value", "text").collect().rows(),
        counts.collect().rows()[0],
        runs.select("run_id", "config.lr", "config.mix").rows(),
    )


def from_frames(history: Any, runs: Any) -> tuple[list[Row], Row, list[Row]]:
    """Return what frames with types of Arrow say, of pandas or of Dask."""
    loss = as_pandas(history[(history.run_id == "0012") & (history.key == "loss")])
    rows = as_pandas(history[history.kind == "row"])
    value = as_pandas(history[["value"]]).value
    nan = (value != value).fillna(False)
    counts = (len(rows), len(value), nan.sum(), rows.step.max())
    runs = as_pandas(runs).sort_values("run_id")[["run_id", "config.lr", "config.mix"]]
    loss = loss.sort_values("row")[["step", "kind", "value", "text"]]
    return plain(loss), counts, plain(runs)


def as_pandas(frame: Any) -> Any:
    return frame.compute() if hasattr(frame, "compute") else frame


def plain(frame: Any) -> list[Row]:
    rows = frame.itertuples(index=False, name=None)
    return [tuple(None if value is pd.NA else value for value in row) for row in rows]


def by_pandas(folder: Path) -> tuple[list[Row], Row, list[Row]]:
    history = pd.read_parquet(folder / "history", dtype_backend="pyarrow")
    return from_frames(history, pd.read_parquet(folder / "runs.parquet", dtype_backend="pyarrow"))


def by_dask(folder: Path) -> tuple[list[Row], Row, list[Row]]:
    frames = pytest.importorskip("dask.dataframe", reason="`nox -s readers` has Dask")
    history = frames.read_parquet(f"{folder}/history/*.parquet", dtype_backend="pyarrow")
    return from_frames(
        history, frames.read_parquet(folder / "runs.parquet", dtype_backend="pyarrow")
    )


@pytest.mark.parametrize("read", [by_duckdb, by_polars, by_pandas, by_dask])
def test_reader_has_every_value(read: Any, folder: Path) -> None:
    loss, counts, runs = read(folder)
    cells = [tuple(cell) for _, *cell in VALUES] + [("number", 9.0, None), ("number", 7.0, None)]
    expected = [(step, *cell) for step, cell in zip(STEPS, cells, strict=True)]
    assert list(map(repr, loss)) == list(map(repr, expected))
    rows = len(STEPS) + LONG + 1
    values = len(STEPS) + len(VALUES) + 46 * LONG + 2
    runtimes = rows
    assert tuple(counts) == (rows, rows + values + runtimes, 2, LATER)
    assert [(run_id, lr, mix) for run_id, lr, mix in runs] == [
        ("0012", 0.5, "1"),
        ("1e5", 1.0, '"x"'),
        ("empty", None, None),
        ("é/1", 2.0, None),
    ]


def test_pattern_and_pushed_down_conditions_find_nan(folder: Path) -> None:
    """By statistics of the column, DuckDB skipped groups with NaN."""
    pattern = f"{folder}/history/*.parquet"
    with duckdb.connect() as connection:
        query = f"""select run_id, "row" from '{pattern}' where isnan(value) order by 1"""
        assert connection.sql(query).fetchall() == [("0012", 1), ("1e5", 17)]
    found = pl.scan_parquet(pattern).filter(pl.col("value").is_nan()).sort("run_id").collect()
    assert found.select("run_id", "row").rows() == [("0012", 1), ("1e5", 17)]


# --- tables of other datasets


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an export with samples, lines and files of runs in two months."""
    data_root, source = tmp_path_factory.mktemp("tables"), MemorySource()
    for run_id in ("0012", "1e5"):
        source.add_run(run_id)
        source.write_line(run_id, "NaN", error=run_id == "1e5")
        source.write_line(run_id, KEY)
        source.sample(run_id, cpu=math.nan, gpu=2**53 + 1)
        source.put_file(run_id, "0012", b"x")
        source.advance(40 * 86_400)
    datasets = ("system", "console", "files")
    syncing.sync(source, data_root, formats=("parquet",), extra_datasets=datasets)
    return data_root / NAME / "parquet"


def tables_by_duckdb(folder: Path, table: str) -> Any:
    with duckdb.connect() as connection:
        return connection.sql(f"from '{folder}/{table}/*.parquet'").to_arrow_table().to_pylist()


def tables_by_polars(folder: Path, table: str) -> Any:
    return pl.read_parquet(folder / table / "*.parquet").to_dicts()


def tables_by_pandas(folder: Path, table: str) -> Any:
    frame = pd.read_parquet(folder / table, dtype_backend="pyarrow")
    return [dict(zip(frame, row, strict=True)) for row in plain(frame)]


def tables_by_dask(folder: Path, table: str) -> Any:
    frames = pytest.importorskip("dask.dataframe", reason="`nox -s readers` has Dask")
    frame = frames.read_parquet(f"{folder}/{table}/*.parquet", dtype_backend="pyarrow").compute()
    return [dict(zip(frame, row, strict=True)) for row in plain(frame)]


@pytest.mark.parametrize(
    "read", [tables_by_duckdb, tables_by_polars, tables_by_pandas, tables_by_dask]
)
def test_reader_has_every_row_of_a_table(read: Any, tables: Path) -> None:
    lines = sorted(
        (row["run_id"], row["number"], row["level"], row["content"])
        for row in read(tables, "console")
    )
    assert lines == [
        ("0012", 0, None, "NaN"),
        ("0012", 1, None, KEY),
        ("1e5", 0, "error", "NaN"),
        ("1e5", 1, None, KEY),
    ]
    samples = [row for row in read(tables, "system") if row["key"] is not None]
    values = {(row["run_id"], row["key"]): (repr(row["value"]), row["text"]) for row in samples}
    for run_id in ("0012", "1e5"):
        assert values[run_id, "system.cpu"] == ("nan", None)
        assert values[run_id, "system.gpu"] == (repr(TWO_53), str(2**53 + 1))
    files = sorted((row["run_id"], row["path"], row["size"]) for row in read(tables, "files"))
    assert files == [("0012", "0012", 1), ("1e5", "0012", 1)]
