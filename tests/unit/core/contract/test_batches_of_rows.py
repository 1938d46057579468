"""Batches of rows give the part of them that a selection admits, in either form."""

import pytest

from dr_wandb.core.contract.columns import RowBatch
from dr_wandb.core.contract.selection import HistorySelection, HistoryWindow
from dr_wandb.core.offline.rows import ColumnRows

BATCHES = (
    RowBatch(rows=[{"_step": 1, "loss": 0.5}, {"_step": 2, "loss": 0.25}]),
    ColumnRows(columns={"_step": [1, 2], "loss": [0.5, 0.25]}, size=2),
)


@pytest.mark.parametrize("batch", BATCHES, ids=["rows", "columns"])
def test_rows_outside_the_window_are_not_admitted(batch: RowBatch | ColumnRows) -> None:
    selected = batch.select("a", HistorySelection(window=HistoryWindow(min_step=2)))
    assert selected.admitted == 1
    assert b'"step":2' in selected.lines
    assert b'"step":1' not in selected.lines
