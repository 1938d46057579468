"""Pieces of the rows of many runs, and their order."""

from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from dr_wandb.core.columnar.long import long_rows
from dr_wandb.core.columnar.run_rows import (
    RunRows,
    by_run,
    gathered,
    in_order,
    of_runs,
    ranges,
    rows_of_batch,
)
from dr_wandb.core.columnar.runs import ColumnType
from dr_wandb.core.columnar.some_keys import CellsOfKeys
from dr_wandb.core.columnar.wide import wide_rows
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.selection import HistoryWindow
from tests.support.cells import cells_of_rows, lines_of_rows
from tests.support.strategies import RUN_ID

decode_lines = msgspec.json.Decoder(HistoryRow).decode_lines


def piece_of(run_id: str, *rows: dict[str, Any], first: int = 0) -> RunRows:
    records = [replace(normalize_row(row, RUN_ID), run_id=run_id) for row in rows]
    return rows_of_batch(run_id, cells_of_rows(records, first))


def test_pieces_are_put_in_order() -> None:
    pieces = [
        piece_of("b", {"_step": 0, "x": 1}),
        piece_of("a", {"_step": 2, "x": 4}, first=2),
        piece_of("a", {"_step": 0, "x": 2}, {"_step": 1}),
    ]
    ordered = in_order(pieces)
    assert ordered.run_ids == ["a", "b"]
    assert ordered.counts.tolist() == [3, 1]
    rows = wide_rows(ordered, {"x": ColumnType.INTEGER}, every_row=True)
    assert rows.steps.tolist() == [0, 1, 2, 0]
    numbers = rows.columns["x"].numbers
    assert numbers is not None
    assert numbers.tolist() == [2, 0, 4, 1]
    assert rows.columns["x"].valid.tolist() == [True, False, True, True]


@pytest.mark.parametrize("first", [0, 1, 3])
def test_rows_that_do_not_follow_each_other_are_refused(first: int) -> None:
    pieces = [piece_of("a", {"x": 1}, {"x": 2}), piece_of("a", {"x": 3}, first=first)]
    with pytest.raises(ValueError, match="run 'a' has 2 rows before its row"):
        in_order(pieces)


def test_run_that_begins_late_is_refused() -> None:
    with pytest.raises(ValueError, match="run 'a' has 0 rows before its row 1"):
        in_order([piece_of("a", {"x": 3}, first=1)])


def test_rows_of_some_runs_are_taken_out_of_a_piece() -> None:
    piece = piece_of("a", {"x": 1, "y": "t"})
    assert of_runs(piece, {"a"}.__contains__) is piece
    nothing = of_runs(piece, {"b"}.__contains__)
    assert nothing.row_count == 0
    assert nothing.columns == {}


def test_piece_of_several_runs_is_divided() -> None:
    rows: list[tuple[str, dict[str, Any]]] = [
        ("a", {"x": 1}),
        ("b", {"x": 2, "y": 3}),
        ("b", {"y": 4}),
        ("c", {"y": "t"}),
    ]
    records = [replace(normalize_row(row, RUN_ID), run_id=run_id) for run_id, row in rows]
    piece = CellsOfKeys(None, decode_lines).piece(lines_of_rows(records))
    divided = list(by_run(piece))
    assert [one.run_ids for one in divided] == [["a"], ["b"], ["c"]]
    assert [one.row_count for one in divided] == [1, 2, 1]
    assert divided[1].columns["y"].rows.tolist() == [0, 1]
    assert [*divided[2].columns] == ["y"]
    some = of_runs(piece, {"a", "c"}.__contains__)
    assert some.run_ids == ["a", "c"]
    assert some.borders.tolist() == [0, 1, 2]
    assert some.columns["x"].rows.tolist() == [0]
    assert some.columns["y"].rows.tolist() == [1]
    assert some.columns["y"].texts == ["t"]


def test_rows_without_a_wanted_metric_are_skipped() -> None:
    ordered = in_order([piece_of("a", {"x": "s"}, {"y": "t"}), piece_of("b", {"y": "u"})])
    rows = wide_rows(ordered, {"x": ColumnType.TEXT})
    assert rows.run_ids == ["a"]
    assert rows.counts.tolist() == [1]
    assert rows.columns["x"].texts == ["s"]


def test_window_counts_a_row_without_step_as_step_0() -> None:
    ordered = in_order([piece_of("a", {"_step": 1, "x": 1.5}, {"_step": 7, "x": 2.5}, {"x": 3.5})])
    for window, kept in (
        (HistoryWindow(min_step=1), [1.5, 2.5]),
        (HistoryWindow(max_step=7), [1.5, 3.5]),
        (HistoryWindow(min_step=2**80), []),
        (HistoryWindow(max_step=2**80), [1.5, 2.5, 3.5]),
    ):
        numbers = wide_rows(ordered, {"x": ColumnType.DOUBLE}, window).columns["x"].numbers
        assert numbers is not None
        assert numbers.tolist() == kept
        assert long_rows(ordered, ["x"], window).columns.values.tolist() == kept


def test_long_rows_have_the_texts_of_all_pieces() -> None:
    pieces = [piece_of("b", {"x": "s", "y": 10**400}), piece_of("a", {"x": 2**60, "z": True})]
    rows = long_rows(in_order(pieces), ["x", "y", "z"])
    assert rows.columns.runs.tolist() == [0, 0, 1, 1]
    assert rows.columns.key_codes.tolist() == [0, 2, 0, 1]
    assert rows.has_value.tolist() == [True, True, False, False]
    assert rows.text_at.tolist() == [0, 2, 3]
    assert rows.texts == [str(2**60), "s", str(10**400)]


def test_slices_are_gathered_whether_they_are_long_or_short() -> None:
    values = np.arange(1000)
    for starts, lengths in (([5, 700], [200, 10]), ([5, 7, 900], [1, 2, 0]), ([], [])):
        found = gathered(values, np.array(starts, np.int64), np.array(lengths, np.int64))
        expected = [start + n for start, length in zip(starts, lengths, strict=True)
                    for n in range(length)]  # fmt: skip
        assert found.tolist() == expected
        assert ranges(np.array(starts, np.int64), np.array(lengths, np.int64)).tolist() == expected
