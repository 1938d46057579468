"""Cells of some keys of lines: the same as those of whole rows."""

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from dr_wandb.core.columnar.some_keys import CellsOfKeys
from dr_wandb.core.contract.records import HistoryRow
from tests.support.cells import cells_of_rows, lines_of_rows

decode = msgspec.json.Decoder(HistoryRow).decode_lines


def never(lines: bytes) -> Sequence[HistoryRow]:
    raise AssertionError(lines)


def row(run_id: str = "a", **fields: object) -> HistoryRow:
    return msgspec.convert({"run_id": run_id, **fields}, HistoryRow)


def test_usual_lines_are_decoded_into_structs() -> None:
    rows = [
        row(step=1, timestamp="1.5", metrics={"x": 0.5, "y": "text"}),
        row(step=2, metrics={"x": 1}, extra={"_own": 1}),
        row("b", metrics={}),
    ]
    cells = CellsOfKeys(frozenset(["x"]), never)
    for _ in range(2):  # the second time it is known that rows have an extra
        piece = cells.piece(lines_of_rows(rows))
    assert piece.run_ids == ["a", "b"]
    assert piece.firsts == [0, 0]
    assert piece.borders.tolist() == [0, 2, 3]
    assert piece.steps.tolist() == [1, 2, 0]
    assert piece.has_step.tolist() == [True, True, False]
    assert piece.columns["x"].values.tolist() == [0.5, 1]
    assert [*piece.columns] == ["x"]


def test_words_are_expected_after_the_first_ones() -> None:
    words = [row(metrics={"x": "s"}), row(metrics={"x": 1})]
    cells = CellsOfKeys(frozenset(["x"]), decode)
    first = cells.piece(lines_of_rows(words))
    again = CellsOfKeys.piece(_with(cells, never), lines_of_rows(words))
    assert first.columns["x"].texts == again.columns["x"].texts == ["s"]
    assert np.array_equal(first.columns["x"].kinds, again.columns["x"].kinds)


def _with(cells: CellsOfKeys, decode_rows: object) -> CellsOfKeys:
    cells._decode = decode_rows  # type: ignore[assignment]
    return cells


@pytest.mark.parametrize(
    "odd",
    [
        row(metrics={"x": None, "y": 1}),
        row(metrics={"x": 2**53 + 1}),
        row(metrics={"x": [1]}),
        row(metrics={"x": 1}, extra={"x": 2}),
        row(metrics={"x": 1}, timestamp="soon"),
        row(metrics={"x": 1}, timestamp="1.0"),
        row(metrics={"x": 1}, timestamp="1.50"),
        row(metrics={"x": 1}, timestamp="1,2"),
        row(metrics={"x": 1}, timestamp="1e17"),
        row(metrics={"x": 1}, step=2**70),
    ],
)
@pytest.mark.parametrize("keys", [["x"], ["x", "_runtime"], ["x", 'a"b'], None])
def test_cells_of_odd_rows_are_those_of_the_row(odd: HistoryRow, keys: list[str] | None) -> None:
    rows = [row(metrics={"x": 0.5}, runtime=1), odd]
    expected = cells_of_rows(rows)
    wanted = None if keys is None else frozenset(keys)
    piece = CellsOfKeys(wanted, decode).piece(lines_of_rows(rows))
    columns = {
        key: cells
        for key, cells in expected.columns.items()
        if key is not None and (wanted is None or key in wanted)
    }
    assert repr(piece.columns) == repr(columns)
    assert repr(piece.timestamps) == repr(expected.timestamps)
