"""Law of `runs.parquet`: any runs read back, and equal runs have equal bytes."""

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pyarrow.parquet as pq
from hypothesis import event, given
from hypothesis import strategies as st

from dr_wandb.core.columnar.runs import ColumnType
from dr_wandb.core.contract.records import RunSnapshot
from dr_wandb.shell.frames.engines import as_frame
from dr_wandb.shell.frames.runs import read_frame
from dr_wandb.shell.store import runs_parquet
from dr_wandb.shell.store.runs_parquet import columns_in, write_runs
from tests.support.run_columns import columns_of, row_of
from tests.support.snapshots import any_snapshots, lines_of_snapshots

Snapshots = list[RunSnapshot]


@given(
    st.lists(any_snapshots, max_size=3),
    st.lists(any_snapshots, max_size=3),
    st.lists(any_snapshots, max_size=3),
)
def test_file_is_the_same_whatever_was_before(
    stay: Snapshots, gone: Snapshots, new: Snapshots
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        lines = folder / "runs.jsonl"
        lines.write_bytes(lines_of_snapshots([*stay, *gone]))
        write_runs(lines, folder / "before")
        lines.write_bytes(lines_of_snapshots([*new, *stay]))
        fresh = write_runs(lines, folder / "fresh")
        same = columns_in(folder / "before") == columns_of([*new, *stay])
        event(f"the columns are the same: {same}")
        assert write_runs(lines, folder / "new", folder / "before") == fresh
        assert (folder / "new").read_bytes() == (folder / "fresh").read_bytes()


@given(st.lists(any_snapshots, min_size=1, max_size=5))
def test_columns_of_a_file_are_those_that_it_was_made_with(snapshots: Snapshots) -> None:
    columns = columns_of(snapshots)
    with TemporaryDirectory() as name:
        (Path(name) / "runs.jsonl").write_bytes(lines_of_snapshots(snapshots))
        write_runs(Path(name) / "runs.jsonl", Path(name) / "runs.parquet")
        assert columns_in(Path(name) / "runs.parquet") == columns


@given(st.lists(any_snapshots, max_size=5), st.integers(1, 5), st.integers(1, 2000))
def test_values_of_any_runs_read_back(
    snapshots: list[RunSnapshot], most: int, at_a_time: int
) -> None:
    columns = columns_of(snapshots)
    with (
        TemporaryDirectory() as name,
        patch.object(runs_parquet, "MOST_RUNS", most),
    ):
        folder = Path(name)
        (folder / "runs.jsonl").write_bytes(lines_of_snapshots(snapshots))
        first = write_runs(folder / "runs.jsonl", folder / "first")
        with patch.object(runs_parquet, "BYTES_AT_A_TIME", at_a_time):
            assert write_runs(folder / "runs.jsonl", folder / "again") == first
        assert (folder / "again").read_bytes() == (folder / "first").read_bytes()
        found = pq.read_table(folder / "first")
    assert found.column_names == [one.name for one in columns.all]
    rows = [row_of(one, columns) for one in snapshots]
    for index, column in enumerate(columns.all):
        values = found.column(index)
        if column.type == ColumnType.TIME:
            values = values.cast("int64")
        assert repr(values.to_pylist()) == repr([row[column.name] for row in rows]), column


@given(st.lists(any_snapshots, max_size=5), st.integers(1, 5))
def test_polars_reads_what_arrow_reads(snapshots: Snapshots, most: int) -> None:
    with TemporaryDirectory() as name, patch.object(runs_parquet, "MOST_RUNS", most):
        lines, file = Path(name) / "runs.jsonl", Path(name) / "runs.parquet"
        lines.write_bytes(lines_of_snapshots(snapshots))
        write_runs(lines, file)
        by_arrow = as_frame(read_frame(file, "arrow"), "polars")
        found = read_frame(file, "polars")
    assert found.schema == by_arrow.schema
    assert repr(found.rows()) == repr(by_arrow.rows())
