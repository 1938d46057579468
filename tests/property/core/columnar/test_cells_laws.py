"""Laws of the cells: lines can be had back byte for byte, whatever is in them."""

import math
from itertools import accumulate
from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from dr_wandb.core.columnar.cells import KINDS, joined
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.core.columnar.to_lines import lines_of
from dr_wandb.core.contract.codec import encode_line, locate
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.values import spell_number
from tests.support.cells import (
    any_rows,
    cells_of_rows,
    cuts_of_rows,
    divided,
    exactly,
    joined_rows,
    lines_of_rows,
)
from tests.support.strategies import RUN_ID, finite_numbers, json_values


def rows_of(*raw: dict[str, Any]) -> list[HistoryRow]:
    return [normalize_row(row, RUN_ID) for row in raw]


def row(**fields: Any) -> HistoryRow:
    return HistoryRow(run_id=RUN_ID, **fields)


def assert_given_back(rows: list[HistoryRow], first: int = 0) -> None:
    lines = lines_of_rows(rows)
    found = lines_of(cells_of_rows(rows, first), RUN_ID)
    assert found.lines.split(b"\n") == lines.split(b"\n")
    heads = [locate(line) for line in lines.splitlines(keepends=True)]
    assert [(RUN_ID, *one) for one in zip(found.steps, found.timestamps, strict=True)] == heads


@given(any_rows, st.integers(0, 10))
@example(rows_of({"a": 2**53}, {"a": 2.0**53}, {"a": 2**53 + 1}, {"a": -(2**53)}), 0)
@example(rows_of({"a": math.nan}, {"a": "NaN"}, {"a": 1.5}, {"a": -math.inf}, {"a": "nan"}), 0)
@example(rows_of({"a": True}, {"a": 1}, {"a": "true"}, {"a": [True, None]}, {"a": 10**400}), 0)
@example(rows_of({"a": {"_type": "histogram", "bins": [0.5, 1], "n": math.nan}}, {"a": -0.0}), 0)
@example(rows_of({}, {"_step": 2**70}, {"_step": "x"}, {"_step": -(2**63)}, {"_step": 2.0**62}), 0)
@example(rows_of({"_timestamp": 2**53 + 1}, {"_timestamp": math.nan}, {"_timestamp": "soon"}), 0)
@example(rows_of({"row": 1, "key": "x", "run_id": "y", "_row": 2, "": 3, '"': 4, "\\": 5}), 0)
def test_lines_can_be_had_back(rows: list[HistoryRow], first: int) -> None:
    assert_given_back(rows, first)


@given(st.lists(joined_rows, min_size=1, max_size=3))
@example([row(metrics={"a": 1}), row()])
@example([row(metrics={"a": None, "b": 1})])
@example([row(extra={"_wandb.a": 1})])
@example([row(extra={"own": 1})])
@example([row(metrics={"_own": 1})])
@example([row(extra={"_step": 1})])
@example([row(extra={"_runtime": "x"}, runtime=1)])
@example([row(timestamp="soon"), row(timestamp="1.0")])
@example([row(runtime=2**53 + 1), row(runtime=10**400)])
@example([row(metrics={"a": 1}), row(metrics={"a": 2**53})])
def test_rows_that_no_source_gives_can_be_had_back(rows: list[HistoryRow]) -> None:
    assert_given_back(rows)


@given(st.lists(st.dictionaries(st.sampled_from("abc"), finite_numbers), min_size=1, max_size=9))
def test_numbers_can_be_had_back(rows: list[dict[str, Any]]) -> None:
    assert_given_back(rows_of(*rows))


@given(st.integers() | st.sampled_from([2**53, -(2**63), -(2**63) - 1, 2**63 - 1, 2**63]))
def test_step_of_64_bits_is_in_its_column(step: int) -> None:
    found = cells_of_rows([row(step=step)])
    fits = -(2**63) <= step < 2**63
    assert (found.steps[0], found.has_step[0]) == (step if fits else 0, fits)
    assert ("_step" in found.columns) is not fits


@given(st.integers() | st.floats(allow_nan=False, allow_infinity=False))
@example(2**53)
@example(-(2**53) + 1)
@example(2.0**53)
def test_timestamp_that_is_a_double_is_in_its_column(moment: float) -> None:
    timestamp = spell_number(moment)
    found = cells_of_rows([row(timestamp=timestamp)])
    fits = type(moment) is float or abs(moment) < 2**53
    assert ("_timestamp" in found.columns) is not fits
    assert bool(found.timestamps[0] == moment) is fits


@given(any_rows, cuts_of_rows)
def test_cells_do_not_depend_on_batches(rows: list[HistoryRow], cuts: list[int]) -> None:
    assume(rows)
    pieces = [lines_of_rows(piece) for piece in divided(rows, cuts)]
    batches = list(cells_of_lines(pieces, 3))
    assert [batch.first for batch in batches] == [
        3 + rows_before for rows_before in [0, *accumulate(map(len, divided(rows, cuts)))][:-1]
    ]
    assert exactly(joined(batches)) == exactly(cells_of_rows(rows, 3))


@given(any_rows, st.integers(0, 6), st.integers(0, 6))
def test_some_rows_of_a_batch_have_the_cells_of_these_rows(
    rows: list[HistoryRow], start: int, stop: int
) -> None:
    start, stop = sorted((min(start, len(rows)), min(stop, len(rows))))
    found = cells_of_rows(rows).between(start, stop)
    assert exactly(found) == exactly(cells_of_rows(rows[start:stop], start)) or start == stop


@given(st.lists(st.dictionaries(st.sampled_from(["a", "_own"]), json_values), max_size=4))
def test_each_value_is_a_cell_of_its_kind(raw: list[dict[str, Any]]) -> None:
    rows = rows_of(*raw)
    for key, cells in cells_of_rows(rows).columns.items():
        texts = dict(zip(cells.text_at.tolist(), cells.texts, strict=True))
        for index, (row, kind, value) in enumerate(
            zip(cells.rows.tolist(), cells.kinds.tolist(), cells.values.tolist(), strict=True)
        ):
            members = {**rows[row].metrics, **rows[row].extra}
            found = (KINDS[kind], value if value == value else None, texts.get(index))
            expected = ("row", None, None) if key is None else expected_cell(members[key])
            assert found == expected


def expected_cell(value: Any) -> tuple[str, float | None, str | None]:
    if type(value) is bool:
        return "bool", float(value), None
    if type(value) is float or (type(value) is int and abs(value) < 2**53):
        return "number", value, None
    if type(value) is int:
        return "number", float(value) if abs(value) < 10**308 else None, str(value)
    if value in ("NaN", "Infinity", "-Infinity"):
        return "number", None if value == "NaN" else float(value), None
    if type(value) is str:
        return "text", None, value
    return "json", None, encode_line(value).decode().removesuffix("\n")
