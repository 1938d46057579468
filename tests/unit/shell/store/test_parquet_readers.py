"""What DuckDB, Polars and pandas make of a folder of packs and parts, without any options."""

import math
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pytest

from dr_wandb.core.columnar import files
from dr_wandb.core.columnar.cells import CellBatch
from dr_wandb.core.columnar.files import cut_parts, pack_name, part_name
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.shell.store.cell_columns import cells_as_arrow
from dr_wandb.shell.store.parquet_files import merge_pack, write_part
from tests.support.cells import lines_of_rows

LOSSES: list[Any] = [0.5, math.nan, "high", 2**53 + 1, 3, -math.inf, True, [1], None, 2**53]
"""Of the run `0012`, one in a row."""

CREATED_AT = "2026-11-29T11:55:45Z"


def cells_of(run_id: str, rows: list[dict[str, Any]]) -> CellBatch:
    lines = lines_of_rows([normalize_row(row, run_id) for row in rows])
    [batch] = cells_of_lines([lines])
    return batch


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a run in a pack, and a run of a thousand rows with files of its own."""
    rows = [
        {"_step": row, "_timestamp": 1.5 + row, "loss": loss} for row, loss in enumerate(LOSSES)
    ]
    pack = tmp_path / pack_name("0012", CREATED_AT)
    merge_pack(None, pack, [("0012", [cells_as_arrow(cells_of("0012", rows), "0012")])])
    monkeypatch.setattr(files, "MOST_CELLS", 600)
    long = cells_of("1e5", [{"_step": row, "loss": row / 2, "Loss": "x"} for row in range(1000)])
    for number, part in enumerate(cut_parts([long])):
        write_part(tmp_path / part_name("1e5", None, number), "1e5", part)
    assert len(list(tmp_path.iterdir())) == 6
    return tmp_path


def test_duckdb_reads_the_values_of_a_metric(folder: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"create view history as from '{folder}/*.parquet'")

        def ask(query: str) -> list[Any]:
            return connection.sql(query).fetchall()

        found = ask("select row, step, timestamp, kind, value, text from history"
                    " where run_id = '0012' and key = 'loss' order by row")  # fmt: skip
        assert_losses(found)
        assert ask("select row from history where isnan(value)") == [(1,)]
        assert ask("select count(*) from history where kind = 'row'") == [(1010,)]
        assert ask("select max(value), count(*) from history"
                   " where key = 'loss' and run_id = '1e5'") == [(499.5, 1000)]  # fmt: skip
        assert ask("select max(text), count(value) from history where key = 'Loss'") == [("x", 0)]
        [(maximum,)] = ask("select max(value) from history where key = 'loss'")
        assert math.isnan(maximum)


def test_polars_reads_the_values_of_a_metric(folder: Path) -> None:
    history = pl.scan_parquet(folder / "*.parquet")
    assert history.collect_schema() == {
        "run_id": pl.String, "row": pl.Int64, "step": pl.Int64, "timestamp": pl.Float64,
        "key": pl.String, "kind": pl.String, "value": pl.Float64, "text": pl.String,
    }  # fmt: skip
    loss = history.filter(key="loss")
    found = loss.filter(run_id="0012").sort("row")
    assert_losses(
        found.select("row", "step", "timestamp", "kind", "value", "text").collect().rows()
    )
    assert history.filter(pl.col("value").is_nan()).collect()["row"].to_list() == [1]
    assert history.filter(kind="row").collect().height == 1010
    long = loss.filter(run_id="1e5").collect()
    assert (long["value"].max(), long.height) == (499.5, 1000)


def test_pandas_reads_the_values_of_a_metric(folder: Path) -> None:
    history = pd.read_parquet(folder)
    loss = history[history.key == "loss"]
    found = loss[loss.run_id == "0012"].sort_values("row")
    assert_losses(
        list(found[["row", "step", "timestamp", "kind", "value", "text"]].itertuples(index=False))
    )
    assert (history.kind == "row").sum() == 1010
    long = loss[loss.run_id == "1e5"]
    assert (long.value.max(), len(long)) == (499.5, 1000)
    [nan] = pd.read_parquet(folder, filters=[("key", "=", "loss"), ("step", "=", 1)]).value[:1]
    assert math.isnan(nan)


def assert_losses(found: list[Any]) -> None:
    """Compare with the cells of `LOSSES`: row, step, timestamp, kind, value, text."""
    exact = float(2**53)
    expected = [
        (0, "number", 0.5, None),
        (1, "number", math.nan, None),
        (2, "text", None, "high"),
        (3, "number", exact, "9007199254740993"),
        (4, "number", 3.0, None),
        (5, "number", -math.inf, None),
        (6, "bool", 1.0, None),
        (7, "json", None, "[1]"),
        (9, "number", exact, "9007199254740992"),
    ]
    assert [(row[0], row[3], *map(spelled, row[4:])) for row in found] == [
        (row, kind, *map(spelled, (value, text))) for row, kind, value, text in expected
    ]
    assert [(row[1], row[2]) for row in found] == [(row[0], row[0] + 1.5) for row in found]


def spelled(value: Any) -> str:
    """Return a value as text; pandas has no null beside NaN."""
    return "NaN" if value is None or value != value else str(value)
