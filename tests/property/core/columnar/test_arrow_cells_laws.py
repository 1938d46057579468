"""Law of cells from Arrow: they are the cells of the lines that it is encoded to."""

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dr_wandb.core.columnar.cells import KINDS, joined
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.arrow import cells_of_batch
from dr_wandb.shell.sources.api.parquet import ColumnBatch
from tests.support import arrow_batches as arrow
from tests.support.arrow_batches import batch_of, through_parquet
from tests.support.cells import exactly
from tests.support.strategies import RUN_ID


def assert_as_from_lines(batch: pa.RecordBatch, *, taken: bool) -> None:
    encoded = ColumnBatch(batch).encode(RUN_ID)
    expected = exactly(joined(list(cells_of_lines([encoded.lines], 5))))
    found = cells_of_batch(batch, 5)
    assert found is not None or not taken
    assert found is None or exactly(found) == expected
    assert exactly(ColumnBatch(batch).cells(RUN_ID, 5)) == expected


@given(arrow.ordinary_batches)
def test_arrow_gives_the_cells_of_its_lines(batch: pa.RecordBatch) -> None:
    assert_as_from_lines(batch, taken=False)


@given(arrow.ordinary_batches, st.integers(1, 4))
def test_parquet_gives_the_cells_of_its_lines(batch: pa.RecordBatch, size: int) -> None:
    for part in through_parquet(batch, size):
        assert_as_from_lines(part, taken=False)


@given(arrow.odd_batches)
def test_odd_arrow_gives_the_cells_of_its_lines(batch: pa.RecordBatch) -> None:
    try:
        ColumnBatch(batch).encode(RUN_ID)
    except SourceError:
        assume(False)
    assert_as_from_lines(batch, taken=False)


@given(arrow.ordinary_batches, st.data())
def test_slice_of_arrow_gives_the_cells_of_its_lines(
    batch: pa.RecordBatch, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, batch.num_rows))
    assert_as_from_lines(batch.slice(start, data.draw(st.integers(0, 4))), taken=False)


MIXED = pa.struct(
    [
        ("_type_float64", pa.float64()),
        ("_type_utf8", pa.string()),
        ("_type_bool", pa.bool_()),
        ("_type_struct", pa.struct([("_type_utf8", pa.string()), ("_type_float64", pa.float64())])),
    ]
)
NANS = np.array([0x7FF0000000000001, 0xFFF8000000000000, 0x7FF8000000000123] * 2, np.uint64)
DIGITS = pa.struct([("_type_int64", pa.int64()), ("_type_utf8", pa.string())])
COLUMNS = {
    "texts before and after digits": pa.array(
        [
            {"_type_utf8": "a"},
            {"_type_int64": 2**53},
            {"_type_utf8": "b"},
            {"_type_int64": 1},
            None,
            {"_type_int64": -(2**53)},
        ],
        DIGITS,
    ),
    "integers": pa.array([1, None, 2**53 - 1, 2**53, -(2**53) - 1, 2**63 - 1]),
    "unsigned integers": pa.array([0, 2**64 - 1, None, 2**53 + 1, 1, 2], pa.uint64()),
    "doubles": pa.array([-0.0, math.nan, None, math.inf, 2.0**53, 0.1]),
    "NaN of any bits": pa.array(NANS.view(np.float64)),
    "floats": pa.array([-0.0, math.nan, None, 0.1, 3.0, 1e30], pa.float32()),
    "booleans": pa.array([True, None, False, True, None, False]),
    "texts": pa.array(["", "NaN", None, "é", "Infinity", "1"]),
    "texts without a number": pa.array(["", "x", None, "é", "inf", "1"]),
    "values of mixed type": pa.array(
        [
            {"_type_float64": 0.5},
            {"_type_utf8": "NaN"},
            None,
            {"_type_utf8": "x"},
            {"_type_bool": True},
            {"_type_struct": {"_type_utf8": "y"}},
        ],
        MIXED,
    ),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
@pytest.mark.parametrize("name", ["a", "_step", "_timestamp", "_runtime", "_own"])
def test_columns_of_plain_values_are_taken_as_they_are(name: str, column: pa.Array) -> None:
    assert_as_from_lines(batch_of(**{name: column}), taken=True)
    assert_as_from_lines(batch_of(**{name: column.slice(1, 4), "b": [1, 2, 3, 4]}), taken=True)


def test_value_of_mixed_type_with_two_members_is_an_object() -> None:
    both = pa.array([{"_type_float64": 0.5, "_type_utf8": "x"}, {"_type_float64": 1.0}], MIXED)
    assert_as_from_lines(batch_of(a=both), taken=True)
    [cells] = [ColumnBatch(batch_of(a=both)).cells(RUN_ID, 0).columns["a"]]
    assert [KINDS[kind] for kind in cells.kinds] == ["json", "number"]
