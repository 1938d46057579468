"""Laws of an export in DuckDB: its views have the values that frames have, in either form."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import example, given
from hypothesis import strategies as st

from dr_wandb import load_history_frame, open_duckdb
from dr_wandb.core.columnar.column_names import folding_names
from dr_wandb.core.columnar.runs import ColumnType
from dr_wandb.core.contract.values import json_safe
from dr_wandb.shell.frames import sql
from tests.support.frames import Limit, Runs, expected_rows, exports_of, histories, limits, months
from tests.support.strategies import clean_texts, floats


def lines_of(table: pa.Table) -> list[str]:
    return sorted(repr(tuple(row.values())) for row in table.to_pylist())


@given(histories, months, limits, st.data())
def test_views_have_the_values_of_frames(
    runs: Runs, created: list[str | None], limit: Limit, data: Any
) -> None:
    every = sorted({key for row in expected_rows(runs) for key in row.cells})
    keys = None
    if every and data.draw(st.booleans()):
        keys = data.draw(st.lists(st.sampled_from(every), unique=True, max_size=3))
    with exports_of(runs, created, limit) as (root, forms):
        for form in forms:
            wide = load_history_frame(form, root, metrics=keys, engine="arrow")
            long = load_history_frame(form, root, metrics=every, wide=False, engine="arrow")
            (root / form / "runs.jsonl").touch()
            with open_duckdb(form, root, metrics=keys) as connection:
                found = connection.sql("from history").to_arrow_table()
                assert lines_of(found) == lines_of(wide)
                metrics = keys if keys is not None else [k for k in every if not k.startswith("_")]
                names = folding_names(every)
                assert found.column_names[3:] == [names[key] for key in metrics]
                assert found.schema.types[3:] == wide.schema.types[3:]
                lines = connection.sql("from history_long").to_arrow_table()
                assert lines_of(lines) == lines_of(long)


@given(st.lists(floats | clean_texts | st.booleans(), min_size=1))
@example([1e-5, 9.9e-5, 1e-4, 1.5e-6, 1e15, 1e16, 2.0**53, 123456789012345.6, 1e100, 5e-324])
@example(["\x00", "\x1f\x7f", '"\\/\b\f\n\r\t', "\\u001F", "'"])
def test_values_are_spelled_as_in_an_export(values: list[Any]) -> None:
    kinds = ["text" if type(v) is str else "bool" if type(v) is bool else "number" for v in values]
    table = pa.table(
        {
            "run_id": ["a"] * len(values),
            "row": [*range(len(values))],
            "step": pa.array([None] * len(values), pa.int64()),
            "timestamp": pa.array([None] * len(values), pa.float64()),
            "key": ["k"] * len(values),
            "kind": kinds,
            "value": [None if type(v) is str else v + 0.0 for v in values],
            "text": pa.array([v if type(v) is str else None for v in values], pa.string()),
        }
    )
    expected = [msgspec.json.encode(json_safe(value)).decode() for value in values]
    with TemporaryDirectory() as folder, duckdb.connect() as connection:
        path = Path(folder) / "[x]*?'y.parquet"
        pq.write_table(table, path)
        query = sql.wide_query(
            sql.files_in([path]), {"k": ColumnType.JSON}, {"k": 'a"b'}, every_row=False
        )
        found = connection.sql(f'select "a""b" from ({query}) ').fetchall()
    assert sorted(one for (one,) in found) == sorted(expected)
