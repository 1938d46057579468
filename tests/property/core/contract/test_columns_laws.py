"""Law of the columns: what they are encoded to is what the rows would be, byte for byte."""

import json
import math
import os
import struct
import subprocess
import sys
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, currently_in_test_context, event, example, given
from hypothesis import strategies as st

from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.encoded_rows import EncodedRows
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.shell.sources.api import arrow as by_columns
from dr_wandb.shell.sources.api.arrow import encode_batch
from dr_wandb.shell.sources.api.arrow_values import epoch_seconds
from dr_wandb.shell.sources.api.parquet import ColumnBatch
from tests.support import arrow_batches as arrow
from tests.support.arrow_batches import HISTOGRAM, NUMBERS, batch_of, through_parquet
from tests.support.strategies import RUN_ID, nested

REFUSALS = (pa.ArrowException, ValueError, OverflowError)


class ByRows(NamedTuple):
    """What the row path makes of a batch."""

    lines: bytes
    steps: list[int | None]
    timestamps: list[str | None]


def encoded_by_rows(batch: pa.RecordBatch, run_id: str) -> ByRows:
    rows = [normalize_row(raw_row, run_id) for raw_row in ColumnBatch(batch).rows]
    lines = b"".join(encode_line(row) for row in rows)
    return ByRows(lines, [row.step for row in rows], [row.timestamp for row in rows])


def assert_as_by_rows(batch: pa.RecordBatch, run_id: str = RUN_ID, *, taken: bool = True) -> None:
    """Compare the columns with the rows. taken: the batch may not be left to the rows.

    They are looked at as few rows are, and as many are.
    """
    for few in (0, sys.maxsize):
        with patch.object(by_columns, "FEW_ROWS", few):
            found = encode_batch(batch, run_id)
        assert_as_expected(found, batch, run_id, taken=taken)


def assert_as_expected(
    found: EncodedRows | None, batch: pa.RecordBatch, run_id: str, *, taken: bool
) -> None:
    if currently_in_test_context():
        event("left to the rows" if found is None else "encoded by columns")
    if found is None:
        assert not taken or not batch.num_columns or depends_on_the_row(batch)
        return
    expected = encoded_by_rows(batch, run_id)
    assert type(found.lines) is bytes
    assert found.lines.split(b"\n") == expected.lines.split(b"\n")
    for ours, theirs in ((found.steps, expected.steps), (found.timestamps, expected.timestamps)):
        assert list(ours) == theirs
        assert [type(one) for one in ours] == [type(one) for one in theirs]


def reads_as_rows(batch: pa.RecordBatch) -> bool:
    try:
        batch.to_pylist()
    except REFUSALS:
        return False
    return True


def depends_on_the_row(batch: pa.RecordBatch) -> bool:
    """Say whether the keys of a row are not those of its columns."""
    kinds = [str(field.type) for field in batch.schema]
    return any("_type" in kind for kind in kinds) or any("struct" in kind for kind in kinds)


MIXED = pa.struct([("_type_float64", pa.float64()), ("_type_utf8", pa.string())])


def test_structs_as_servers_export_them_are_not_left_to_the_rows() -> None:
    """One NaN is said to be enough for a column of mixed type: those have to be fast too."""
    values = [{"_type_float64": 0.5}, {"_type_utf8": "NaN"}, None, {"_type_float64": 2.0}]
    nested = [{"a": {"b": 1.5}, "c": None}, {"a": {"b": 2}, "c": "x"}, None, {"a": None, "c": "y"}]
    image = [{"_type": "image-file", "path": "a.png", "size": 5.0}, None, None, None]
    batch = batch_of(
        _step=pa.array([{"_type_float64": float(step)} for step in range(4)], MIXED),
        loss=pa.array(values, MIXED),
        losses=pa.array([[value] for value in values], pa.list_(MIXED)),
        val=pa.array(nested),
        image=pa.array(image),
        text=pa.array([b"[1, 2]", b'"x"', None, b"\xff"]),
    )
    for few in (0, sys.maxsize):
        with patch.object(by_columns, "FEW_ROWS", few):
            found = encode_batch(batch, RUN_ID)
        assert found is not None
        assert found.lines == encoded_by_rows(batch, RUN_ID).lines
    assert found is not None
    metrics = json.loads(found.lines.splitlines()[1])["metrics"]
    assert metrics == {
        "loss": "NaN",
        "losses": ["NaN"],
        "val.a.b": 2,
        "val.c": "x",
        "text": "x",
    }


def test_moments_of_nanoseconds_are_epoch_seconds() -> None:
    """The whole file did not read: such a count is no double."""
    moments = pa.array([1_700_000_000_250_000_000, None, -1_500_000_000], pa.timestamp("ns"))
    batch = epoch_seconds(batch_of(_timestamp=moments))
    assert batch["_timestamp"].to_pylist() == [1_700_000_000.25, None, -1.5]


STEPS = [pa.array([0.0, 1.0, 2.5, math.nan, math.inf, None, 3.0]), pa.array([0, 1, None, 2, 3])]


@pytest.mark.parametrize("steps", STEPS, ids=["doubles", "integers"])
@pytest.mark.parametrize(
    "window", [FetchWindow(stop=2), FetchWindow(start=1), FetchWindow(start=3)]
)
def test_no_row_of_a_window_is_left_out(steps: pa.Array, window: FetchWindow) -> None:
    batch = ColumnBatch(batch_of(_step=steps, number=pa.array(range(len(steps)))))
    rows = [normalize_row(row, RUN_ID) for row in batch.rows]
    expected = [row.metrics["number"] for row in rows if window.has(row.step)]
    assert [row["number"] for row in batch.inside(window).rows] == expected


# --- any batch


@given(arrow.ordinary_batches)
def test_columns_and_rows_have_the_same_bytes(batch: pa.RecordBatch) -> None:
    assert_as_by_rows(batch)


@given(arrow.ordinary_batches, st.integers(1, 4))
def test_columns_and_rows_have_the_same_bytes_when_they_come_from_parquet(
    batch: pa.RecordBatch, rows_per_batch: int
) -> None:
    for part in through_parquet(batch, rows_per_batch):
        assert_as_by_rows(part)


@given(arrow.odd_batches)
def test_odd_columns_have_the_bytes_of_the_rows_or_are_left_to_them(
    batch: pa.RecordBatch,
) -> None:
    assume(reads_as_rows(batch))
    assert_as_by_rows(batch, taken=False)


def test_members_of_one_name_that_are_nowhere_set_are_no_value() -> None:
    twice = pa.struct([("loss", pa.float64()), ("loss", pa.timestamp("s"))])
    column = pa.array([[None, [None]]], pa.list_(pa.large_list(twice), 2))
    batch = pa.RecordBatch.from_arrays([column], names=["loss"])
    for part in through_parquet(batch, 1):
        assert_as_by_rows(part, taken=False)


@given(arrow.odd_batches, st.integers(1, 4))
def test_odd_columns_have_the_bytes_of_the_rows_or_are_left_to_them_when_they_come_from_parquet(
    batch: pa.RecordBatch, rows_per_batch: int
) -> None:
    try:
        parts = through_parquet(batch, rows_per_batch)
    except (*REFUSALS, OSError):
        parts = []  # not every type can be written
    for part in parts:
        if reads_as_rows(part):
            assert_as_by_rows(part, taken=False)


TWICE = pa.StructArray.from_arrays([pa.array([1, 2]), pa.array([3, 4])], names=["a", "a"])
REFUSED = {
    "a member that is there twice": TWICE,
    "the same in a list": pa.ListArray.from_arrays([0, 1, 2], TWICE),
    "a day beyond the calendar": pa.array([0, 2**31 - 1], pa.date32()),
}


@pytest.mark.parametrize("column", REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("name", ["value", "_own", "_step", "_wandb"])
def test_columns_do_not_encode_values_that_rows_refuse(name: str, column: pa.Array) -> None:
    """What a row cannot hold must not reach the file by the shorter way."""
    batch = batch_of(**{name: column, "loss": pa.array([1, 2])})
    assert not reads_as_rows(batch)
    assert is_refused_or_left(batch)


def is_refused_or_left(batch: pa.RecordBatch) -> bool:
    try:
        return encode_batch(batch, RUN_ID) is None
    except REFUSALS:
        return True


@given(arrow.ordinary_batches, st.data())
def test_slice_of_a_batch_is_encoded_as_the_same_rows(
    batch: pa.RecordBatch, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, batch.num_rows))
    assert_as_by_rows(batch.slice(start, data.draw(st.integers(0, batch.num_rows))))


@given(arrow.ordinary_batches, st.integers(20, 60))
def test_many_rows_are_encoded_as_few(batch: pa.RecordBatch, times: int) -> None:
    assume(batch.num_columns)
    assert_as_by_rows(pa.concat_batches([batch] * times))


@given(arrow.ordinary_batches, arrow.texts)
def test_run_id_is_any_text(batch: pa.RecordBatch, run_id: str) -> None:
    assert_as_by_rows(batch, run_id)


@given(arrow.ordinary_batches)
def test_encoding_twice_gives_the_same(batch: pa.RecordBatch) -> None:
    assert encode_batch(batch, RUN_ID) == encode_batch(batch, RUN_ID)


# --- names


@given(st.lists(arrow.plain_names, unique=True, max_size=6))
@example(["run_id", "metrics", "extra", "step", "timestamp", "runtime", "wandb_metadata"])
@example(["\U0001f600", "\uff5e", "z", "Z", "_z", "a.b", "a", "a/b", "a b"])
@example(["__step", "_steps", "_", "_wandb_", "step_", "_stepé"])
@example(["\u2028", "\x7f", "é", "e\u0301"])
def test_columns_are_ordered_and_sorted_into_fields_by_their_names(names: list[str]) -> None:
    columns = [pa.array([1, None, 3]) for _ in names]
    if names:
        assert_as_by_rows(pa.RecordBatch.from_arrays(columns, names=names))
        member = pa.struct([(name, pa.int64()) for name in names])
        rows = [{name: index for index, name in enumerate(names)}, {names[0]: None}, None]
        assert_as_by_rows(batch_of(value=pa.array(rows, member), _wandb=pa.array(rows, member)))


@pytest.mark.parametrize("name", ["", '"', "\\", "\x00", "a\nb", "\x1f", '_"', "_\\", 'a"b\\'])
def test_name_that_needs_escaping_is_escaped_or_left_to_the_rows(name: str) -> None:
    values = pa.array([1, None])
    assert_as_by_rows(pa.RecordBatch.from_arrays([values], names=[name]), taken=False)
    member = pa.array([{name: 1}, {name: None}, None], pa.struct([(name, pa.int64())]))
    assert_as_by_rows(batch_of(value=member), taken=False)
    assert_as_by_rows(batch_of(value=pa.array([member.to_pylist()])), taken=False)


@pytest.mark.parametrize("name", ["a", "_step", "_timestamp", "_runtime", "_wandb", "_own"])
def test_column_name_that_occurs_twice_is_read_as_in_rows(name: str) -> None:
    columns = [
        pa.array([1, 2, None, None]),
        pa.array([3, None, 5, None]),
        pa.array(["x", None, "y", "z"]),
        pa.array([None] * 4, pa.int64()),
    ]
    for pair in permutations(columns, 2):
        batch = pa.RecordBatch.from_arrays(list(pair), names=[name, name])
        assert_as_by_rows(batch, taken=False)


# --- W&B's own columns

OWN_VALUES = [
    pa.array([0, 1, -1, 2**63 - 1, -(2**63), None]),
    pa.array([2**64 - 1, 2**63, 0, None], pa.uint64()),
    pa.array([1, -128, None], pa.int8()),
    pa.array([0.0, -0.0, 3.0, 2.0**53, 2.0**53 - 1, -(2.0**53), 1e300, None]),
    pa.array([0.5, math.nan, math.inf, -math.inf, 1700000000.123457, 5e-324]),
    pa.array([1.0, 0.1, math.nan, 16777216.0, None], pa.float32()),
    pa.array([1.0, 0.1, math.inf, None], pa.float16()),
    pa.array(["", "1", "NaN", 'a"b', "\x00", "é", None]),
    pa.array(["1", "1", None, "2"]).dictionary_encode(),
    pa.array([1, 1, None, 2]).dictionary_encode(),
    pa.array([True, False, None]),
    pa.array([None, None], pa.null()),
    pa.array([None, None], pa.float64()),
    pa.array([[1], [], None, [None]], pa.list_(pa.int64())),
    pa.array([{"a": 1}, {"a": None}, None]),
    pa.array([1, 2, None], pa.duration("us")),
    pa.array([1, 2, None], pa.timestamp("us")),
    pa.array([1, 2, None], pa.decimal128(10, 2)),
    pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
]


@pytest.mark.parametrize("values", OWN_VALUES, ids=lambda values: str(values.type))
@pytest.mark.parametrize("name", ["_step", "_timestamp", "_runtime", "_wandb", "_own", "own"])
def test_own_columns_are_used_or_kept_as_extra_by_the_type_of_each_value(
    name: str, values: pa.Array
) -> None:
    assert_as_by_rows(batch_of(**{name: values}), taken=is_ordinary(values.type))
    other = pa.array([None, *range(len(values) - 1)])
    batch = batch_of(**{name: values, "metric": other, "_other": other})
    assert_as_by_rows(batch, taken=is_ordinary(values.type))


def is_ordinary(kind: pa.DataType) -> bool:
    """Say whether a column is one that no batch may be left to the rows for."""
    if pa.types.is_list(kind):
        return is_ordinary(kind.value_type)
    if pa.types.is_struct(kind):
        return all(is_ordinary(kind.field(index).type) for index in range(kind.num_fields))
    return kind in (pa.string(), pa.bool_(), pa.null(), *NUMBERS)


def test_step_that_is_whole_in_one_row_and_not_in_the_next_is_sorted_row_by_row() -> None:
    steps = pa.array([0.0, 0.5, 1.0, None, math.nan, 2.0**53, 2.0, -0.0])
    batch = batch_of(_step=steps, _timestamp=steps, _runtime=steps, _own=steps, loss=steps)
    found = encode_batch(batch, RUN_ID)
    assert found is not None
    assert found.steps == [0, None, 1, None, None, 2**53, 2, 0]
    assert found.timestamps[:4] == ["0", "0.5", "1", None]
    assert_as_by_rows(batch)


# --- values


def doubles_of(raw: bytes) -> list[float]:
    return [value for (value,) in struct.iter_unpack("<d", raw[: len(raw) // 8 * 8])]


@given(st.binary(min_size=8, max_size=1600))
def test_every_double_has_its_one_spelling(raw: bytes) -> None:
    values = pa.array(doubles_of(raw))
    batch = batch_of(value=values, _timestamp=values, _runtime=values, _step=values)
    assert_as_by_rows(batch)


def test_doubles_around_every_power_have_their_one_spelling() -> None:
    powers = [float(f"1e{exponent}") for exponent in range(-323, 309)]
    powers += [2.0**exponent for exponent in range(-1074, 1024)]
    powers += [float(f"{digits}e{exponent}") for digits in (1.5, 9.999, 12345678901234567)
               for exponent in range(-30, 30)]  # fmt: skip
    near = np.array(powers)
    found = np.concatenate([near, np.nextafter(near, 0), np.nextafter(near, np.inf), -near])
    assert_as_by_rows(batch_of(value=pa.array(found)))
    assert_as_by_rows(batch_of(value=pa.array([found.tolist()])))
    with np.errstate(over="ignore"):
        assert_as_by_rows(batch_of(value=pa.array(found.astype(np.float32))))


def test_every_half_precision_float_has_one_spelling() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    assert_as_by_rows(batch_of(value=pa.array(halves, pa.float16())))


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=300))
def test_every_float_has_the_spelling_of_the_double_it_widens_to(bits: list[int]) -> None:
    floats = np.array(bits, dtype=np.uint32).view(np.float32)
    assert_as_by_rows(batch_of(value=pa.array(floats), _runtime=pa.array(floats)))


def test_integral_doubles_around_the_edge_have_their_one_spelling() -> None:
    edge = [2.0**53 + offset for offset in range(-40, 41)]
    values = [sign * value for value in [*edge, 1e15, 1e16, 2.0**63, 2.0**64] for sign in (1, -1)]
    assert_as_by_rows(batch_of(value=pa.array(values), _step=pa.array(values)))
    integers = [2**53 + offset for offset in range(-40, 41)] + [2**63 - 1, -(2**63)]
    assert_as_by_rows(batch_of(value=pa.array(integers), _step=pa.array(integers)))


def test_every_character_has_its_one_form() -> None:
    points = [chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point <= 0xDFFF]
    texts = ["".join(points[start : start + 61]) for start in range(0, len(points), 61)]
    assert_as_by_rows(batch_of(value=pa.array(texts)))
    singles = pa.array(points[:0x300])
    assert_as_by_rows(batch_of(value=singles, _own=singles, _step=singles, _wandb=singles))
    assert_as_by_rows(batch_of(value=pa.array([points[:0x300], None, [None]])))
    assert_as_by_rows(batch_of(value=singles.dictionary_encode()), taken=False)


@given(st.lists(st.none() | arrow.texts, min_size=1, max_size=20))
def test_every_text_has_its_one_form(texts: list[str | None]) -> None:
    for kind in (pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())):
        assert_as_by_rows(batch_of(value=pa.array(texts, kind)), taken=kind == pa.string())


@pytest.mark.parametrize("content", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
def test_text_that_is_not_utf8_is_never_written(content: bytes) -> None:
    """A Parquet file says it holds UTF-8; nothing checks that when it is read."""
    values = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(struct.pack("<ii", 0, len(content))),
                         pa.py_buffer(content)])  # fmt: skip
    for batch in (batch_of(value=values), batch_of(value=pa.ListArray.from_arrays([0, 1], values))):
        with pytest.raises(UnicodeDecodeError):
            batch.to_pylist()
        assert is_refused_or_left(batch)


# --- nesting

INNER = pa.struct([("c", pa.int64()), ("d", pa.list_(pa.struct([("e", pa.float64())])))])
OUTER = pa.struct([("a", INNER), ("b", pa.string())])


def test_null_members_are_absent_at_every_depth_and_nulls_in_lists_stay() -> None:
    values = pa.array(
        [
            None,
            {},
            {"a": None, "b": None},
            {"a": {}, "b": None},
            {"a": {"c": None, "d": []}},
            {"a": {"c": 1, "d": [None, {"e": None}, {"e": math.nan}, {"e": 4.0}]}, "b": "x"},
            {"a": {"d": [None]}, "b": ""},
        ],
        OUTER,
    )
    assert_as_by_rows(batch_of(value=values, _wandb=values, _own=values, _step=values))
    assert_as_by_rows(batch_of(value=pa.array([values.to_pylist(), None, []], pa.list_(OUTER))))
    for part in through_parquet(batch_of(value=values, _wandb=values), 3):
        assert_as_by_rows(part)


def test_histogram_is_kept_as_it_is() -> None:
    histogram = {"_type": "histogram", "bins": [0.0, 0.5, 1.0], "values": [2, 2**53 + 1]}
    empty: dict[str, Any] = {"_type": "histogram", "bins": [], "values": None}
    values = pa.array([histogram, None, empty, {}], HISTOGRAM)
    batch = batch_of(_step=pa.array(range(4)), weights=values)
    assert_as_by_rows(batch)
    for part in through_parquet(batch, 3):
        assert_as_by_rows(part)


@pytest.mark.parametrize("kind", ["list", "object"])
@pytest.mark.parametrize("levels", [5, 97, 98, 99, 100, 101, 130])
def test_values_nested_too_deep_are_left_to_the_rows_or_kept_as_text(
    levels: int, kind: str
) -> None:
    values = pa.array([nested(levels, kind=kind), None])
    assert_as_by_rows(batch_of(value=values, _wandb=values), taken=levels <= 5)


@given(arrow.columns(arrow.plain_types, 4), st.data())
def test_values_hidden_by_a_null_are_not_written(column: pa.Array, data: st.DataObject) -> None:
    """Arrow lets a null slot hold anything; a reader must not look there."""
    gone = data.draw(st.lists(st.booleans(), min_size=4, max_size=4))
    hidden = arrow.hidden(column, gone)
    wrapped = pa.StructArray.from_arrays([hidden, hidden], ["a", "b"], mask=pa.array(gone))
    assert_as_by_rows(batch_of(value=hidden, inner=wrapped, _step=hidden, _wandb=wrapped))


# --- size


def test_batch_without_rows_or_columns_has_no_lines() -> None:
    for batch in (
        batch_of(loss=pa.array([], pa.float64())),
        batch_of(value=pa.array([], OUTER), _step=pa.array([], pa.string())),
        pa.RecordBatch.from_arrays([], names=[]),
    ):
        assert_as_by_rows(batch)


@pytest.mark.parametrize("rows", [1, 3])
def test_rows_without_a_column_are_rows_without_a_value(rows: int) -> None:
    nothing: Any = pa.array([{}] * rows, pa.struct([]))
    assert_as_by_rows(pa.RecordBatch.from_struct_array(nothing))


def test_large_batch_is_encoded_as_its_rows() -> None:
    generator = np.random.default_rng(4)
    count = 5_000
    numbers = generator.standard_normal(count) * 10.0 ** generator.integers(-20, 20, count)
    sparse = pa.array(numbers, mask=generator.random(count) < 0.7)
    bins = pa.array(generator.integers(-(2**62), 2**62, 3 * count))
    batch = batch_of(
        _step=pa.array(np.arange(count)),
        _timestamp=pa.array(1.7e9 + np.arange(count) / 8),
        _runtime=pa.array(np.arange(count) / 7),
        loss=sparse,
        whole=pa.array(np.floor(numbers)),
        text=pa.array([f'{number}"\\\n' for number in numbers]),
        flags=pa.array(numbers > 0, mask=numbers > 1),
        bins=pa.ListArray.from_arrays(np.arange(0, 3 * count + 1, 3), bins),
        inner=pa.StructArray.from_arrays([sparse, sparse], ["a", "b"], mask=pa.array(numbers < 0)),
    )
    assert_as_by_rows(batch)
    assert_as_by_rows(batch.slice(1_234, 2_001))


READS = """
import sys
from pathlib import Path
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.shell.sources.api.parquet import read_parquet
batches = read_parquet(Path(sys.argv[1]), FetchWindow())
print(sum(len(batch.encode("run").steps) for batch in batches))
"""


def test_pandas_is_not_imported_when_it_is_installed(tmp_path: Path) -> None:
    """It takes a quarter of a second, and thirty megabytes."""
    values = pa.array([0.5, None, 2.0, math.nan] * 250)
    pq.write_table(pa.table({"_step": range(1000), "loss": values}), tmp_path / "rows")
    (tmp_path / "pandas.py").write_text("print('imported')")
    done = subprocess.run(
        [sys.executable, "-c", READS, tmp_path / "rows"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "1000\n"
