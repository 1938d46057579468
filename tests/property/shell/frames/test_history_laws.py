"""Laws of frames of the history: the values are the stored ones, whatever form they are held in."""

from typing import Any

import polars as pl
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from dr_wandb import load_history_frame, scan_history
from dr_wandb.core.columnar.cells import BOOL, KINDS, NUMBER
from dr_wandb.core.columnar.column_names import column_name
from tests.support.frames import (
    ExpectedRow,
    Limit,
    Runs,
    expected_rows,
    expected_type,
    exports_of,
    histories,
    in_column,
    limits,
    metrics_in,
    months,
)

ARROW_NAMES = {"int64": "int64", "double": "double", "bool": "bool"}


def chosen_of(rows: list[ExpectedRow], data: Any) -> list[str]:
    every = sorted({key for row in rows for key in row.cells})
    return data.draw(st.lists(st.sampled_from(every), unique=True, max_size=3)) if every else []


def wide_lines(rows: list[ExpectedRow], every: list[ExpectedRow], keys: list[str]) -> list[Any]:
    """Return the lines of a wide frame as texts. every: the rows of the whole export."""
    types = types_in(every, keys)
    return [
        (
            row.run_id,
            row.step,
            repr(row.timestamp),
            *(in_column(row.cells.get(key), types[key]) for key in keys),
        )
        for row in rows
    ]


def types_in(rows: list[ExpectedRow], keys: list[str]) -> dict[str, str]:
    return {
        key: expected_type([row.cells[key] for row in rows if key in row.cells]) for key in keys
    }


def lines_in(table: pa.Table) -> list[Any]:
    columns = [column.to_pylist() for column in table.columns]
    return [
        (run_id, step, repr(time), *(None if one is None else repr(one) for one in values))
        for run_id, step, time, *values in zip(*columns, strict=True)
    ]


@given(histories, months, limits, st.data())
def test_wide_frame_has_the_stored_values(
    runs: Runs, created: list[str | None], limit: Limit, data: Any
) -> None:
    every = expected_rows(runs)
    keys = chosen_of(every, data)
    wanted = data.draw(st.none() | st.lists(st.sampled_from(sorted(runs)), unique=True)
                       if runs else st.none())  # fmt: skip
    low = data.draw(st.none() | st.integers(0, 4))
    high = data.draw(st.none() | st.integers((low or 0), 6) | st.just(2**70))
    rows = [
        row
        for row in every
        if (wanted is None or row.run_id in wanted)
        and any(key in row.cells for key in keys)
        and (low is None or (row.step or 0) >= low)
        and (high is None or (row.step or 0) < high)
    ]
    types = types_in(every, keys)
    with exports_of(runs, created, limit) as (root, names):
        for name in names:
            table = load_history_frame(
                name, root, metrics=keys, runs=wanted, min_step=low, max_step=high, engine="arrow"
            )
            assert lines_in(table) == wide_lines(rows, every, keys)
            assert table.column_names == ["run_id", "step", "timestamp", *map(column_name, keys)]
            found = [str(one) for one in table.schema.types[3:]]
            assert found == [ARROW_NAMES.get(types[key], "string") for key in keys]
            table.validate(full=True)


@given(histories, months, limits)
def test_frame_of_everything_has_every_row(
    runs: Runs, created: list[str | None], limit: Limit
) -> None:
    every = expected_rows(runs)
    keys = metrics_in(every)
    with exports_of(runs, created, limit) as (root, names):
        for name in names:
            table = load_history_frame(name, root, engine="arrow")
            assert lines_in(table) == wide_lines(every, every, keys)


@given(histories, months, limits, st.data())
def test_long_frame_has_a_line_for_each_value(
    runs: Runs, created: list[str | None], limit: Limit, data: Any
) -> None:
    every = expected_rows(runs)
    keys = chosen_of(every, data)
    low = data.draw(st.none() | st.integers(0, 4))
    lines = sorted(
        (row.run_id, key, row.row, row.step, repr(row.timestamp), *long_cell(row, key))
        for row in every
        for key in keys
        if key in row.cells and (low is None or (row.step or 0) >= low)
    )
    with exports_of(runs, created, limit) as (root, names):
        for name in names:
            table = load_history_frame(
                name, root, metrics=keys, min_step=low, wide=False, engine="arrow"
            )
            found = [
                (one["run_id"], one["key"], one["row"], one["step"], repr(one["timestamp"]),
                 one["kind"], repr(one["value"]), repr(one["text"]))
                for one in table.to_pylist()
            ]  # fmt: skip
            assert found == lines
            table.validate(full=True)


def long_cell(row: ExpectedRow, key: str) -> tuple[str, str, str]:
    """Return kind, value and text of a cell."""
    kind, value = row.cells[key]
    if kind == BOOL:
        return KINDS[kind], repr(float(value)), repr(None)
    if kind != NUMBER:
        return KINDS[kind], repr(None), repr(value)
    if type(value) is float or abs(value) < 2**53:
        return KINDS[kind], repr(float(value)), repr(None)
    try:
        return KINDS[kind], repr(float(value)), repr(str(value))
    except OverflowError:
        return KINDS[kind], repr(None), repr(str(value))


@given(histories, months, limits, st.data())
def test_lazy_frame_equals_the_loaded_one(
    runs: Runs, created: list[str | None], limit: Limit, data: Any
) -> None:
    every = expected_rows(runs)
    keys = data.draw(st.none() | st.just(chosen_of(every, data)))
    with exports_of(runs, created, limit) as (root, names):
        for name in names:
            lazy = scan_history(name, root, metrics=keys)
            loaded = load_history_frame(name, root, metrics=keys)
            assert same(lazy.collect().sort("run_id", maintain_order=True), loaded)
            narrow = lazy.filter(pl.col("run_id") == "a").select("step", loaded.columns[-1])
            expected = loaded.filter(pl.col("run_id") == "a").select("step", loaded.columns[-1])
            assert same(narrow.collect(), expected)
            assert lazy.head(2).collect().height == min(2, loaded.height)


def same(one: pl.DataFrame, other: pl.DataFrame) -> bool:
    return one.schema == other.schema and repr(one.rows()) == repr(other.rows())


@given(histories, months, limits)
def test_engines_have_the_same_values(runs: Runs, created: list[str | None], limit: Limit) -> None:
    with exports_of(runs, created, limit) as (root, names):
        for name in names:
            table = load_history_frame(name, root, engine="arrow")
            polars = load_history_frame(name, root)
            pandas = load_history_frame(name, root, engine="pandas")
            assert polars.columns == list(pandas.columns) == table.column_names
            for index, column in enumerate(table.columns):
                values = repr(column.to_pylist())
                assert repr(polars.to_series(index).to_list()) == values
                back = pandas.iloc[:, index].array.__arrow_array__()
                assert repr(back.to_pylist()) == values
