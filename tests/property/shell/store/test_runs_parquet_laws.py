"""Law of `runs.parquet`: any runs read back, and equal runs have equal bytes."""

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.columnar.runs import ColumnType
from dr_wandb.core.contract.records import RunSnapshot
from dr_wandb.shell.store import runs_parquet
from dr_wandb.shell.store.runs_parquet import write_runs
from tests.support.run_columns import columns_of, row_of
from tests.support.snapshots import any_snapshots, lines_of_snapshots


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
