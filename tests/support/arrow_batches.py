"""Record batches as pyarrow reads them from a history file: any column type, any value."""

import io
import math
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tests.support import strategies as some

NASTY_CHARACTERS = '\x00\x1f\x7f\x80"\\/\b\n\t \ud7ff\ue000\ufeff\uffff\U00010000\U0010ffff\u2028é'
texts = (
    st.sampled_from([text for text in some.NASTY_TEXTS if text.isascii() or text.isprintable()])
    | st.text(st.sampled_from(NASTY_CHARACTERS), max_size=4)
    | some.clean_texts
)

PLAIN_NAMES = ("loss", "acc", "a", "b", "a.b", "x/y", "é", "\U0001f600", "\uff5e", "\u2028", "\x7f")
FIELD_NAMES = ("run_id", "metrics", "extra", "step", "timestamp", "runtime", "wandb_metadata")
OWN_NAMES = ("_step", "_timestamp", "_runtime", "_wandb", "_own", "_", "__a", "_steps")
plain_names = (
    st.sampled_from((*PLAIN_NAMES, *FIELD_NAMES))
    | st.sampled_from(OWN_NAMES)
    | st.text(
        st.characters(exclude_categories=("Cs", "Cc"), exclude_characters='"\\'),
        min_size=1,
        max_size=4,
    )
)
names = plain_names | texts

# --- types

INTEGERS = (
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64()),
    *(pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
)
NUMBERS = (pa.float64(), pa.float32(), pa.float16(), *INTEGERS)
HISTOGRAM = pa.struct(
    [("_type", pa.string()), ("bins", pa.list_(pa.float64())), ("values", pa.list_(pa.int64()))]
)
UNION = pa.struct(
    [
        ("_type_float64", pa.float64()),
        ("_type_utf8", pa.string()),
        ("_type_bool", pa.bool_()),
        ("_type_list", pa.list_(pa.float64())),
        ("_type_struct", pa.struct([("a", pa.int64()), ("_type", pa.string())])),
    ]
)
"""A column of mixed type, as W&B's servers export it."""

JSON_BYTES = (b'{"a":{"b":1},"c":null}', b"[1,null,{}]", b'"x"', b"null", b"NaN", b"3.0", b"{}",
              b'{"_type":"q","z":{"_type_utf8":"NaN"}}', b"\xff", b"{", b"")  # fmt: skip

plain_scalars = st.sampled_from(
    [pa.float64(), pa.int64(), pa.string(), pa.bool_(), pa.null(), *NUMBERS]
)
odd_scalars = st.sampled_from(
    [
        *(pa.large_string(), pa.string_view()),
        *(pa.binary(), pa.large_binary(), pa.binary(3), pa.binary_view()),
        *(pa.decimal128(20, 3), pa.decimal256(50, 2), pa.decimal128(9, -2)),
        *(pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us", "UTC")),
        *(pa.timestamp("ns"), pa.timestamp("ns", "+05:30")),
        *(pa.date32(), pa.date64(), pa.time32("s"), pa.time32("ms")),
        *(pa.time64("us"), pa.time64("ns")),
        *(pa.duration("s"), pa.duration("ms"), pa.duration("us"), pa.duration("ns")),
        *(pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.int64())),
    ]
)


def _structs_of(
    inner: st.SearchStrategy[pa.DataType], keys: st.SearchStrategy[str], unique: bool
) -> st.SearchStrategy[pa.DataType]:
    members = st.lists(
        st.tuples(keys, inner),
        min_size=1,
        max_size=3,
        unique_by=(lambda member: member[0]) if unique else None,
    )
    return members.map(pa.struct)


def _plain_nested(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    special = st.sampled_from([HISTOGRAM, UNION, pa.struct([*UNION][:2])])
    return inner.map(pa.list_) | _structs_of(inner, plain_names, True) | special


def _odd_nested(inner: st.SearchStrategy[pa.DataType]) -> st.SearchStrategy[pa.DataType]:
    return (
        _plain_nested(inner)
        | _structs_of(inner, names, True)
        | _structs_of(inner, names, False)
        | inner.map(pa.large_list)
        | inner.map(lambda kind: pa.list_(kind, 2))
        | inner.map(lambda kind: pa.map_(pa.string(), kind))
    )


plain_types = st.recursive(plain_scalars, _plain_nested, max_leaves=5)
odd_types = st.recursive(plain_scalars | odd_scalars, _odd_nested, max_leaves=5)

# --- values

_DOUBLES = (
    *some.NASTY_FLOATS,
    *(1e-5, 9.999e-6, 1.5e-7, 0.00001, 0.30000000000000004),
    *(sign * math.nextafter(edge, to) for sign in (1, -1) for to in (0.0, math.inf)
      for edge in (1e-5, 1e16, 2.0**53, 1e15, 1.0, 2.0**63)),
)  # fmt: skip
doubles = st.sampled_from(_DOUBLES) | st.floats() | st.integers(-9, 9).map(float)


def _narrowed(kind: Any) -> st.SearchStrategy[Any]:
    width: Literal[16, 32] = 32 if kind is np.float32 else 16
    finite = st.sampled_from([value for value in _DOUBLES if abs(value) < 6e4])
    return st.floats(width=width) | finite.map(lambda value: float(kind(value)))


def _integers_of(kind: pa.DataType) -> st.SearchStrategy[int]:
    bits = kind.bit_width
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if pa.types.is_unsigned_integer(kind):
        low, high = 0, 2**bits - 1
    edges = (low, high, 0, 1, -1, 10, 99, 100, 2**53 - 1, 2**53, 2**53 + 1, -(2**53) - 1)
    return st.sampled_from([edge for edge in edges if low <= edge <= high]) | st.integers(low, high)


_MOMENTS = st.sampled_from([0, 1, -1, 999, 1_700_000_000, 1_700_000_000_123_456]) | st.integers(
    -(10**9), 10**9
)
_LEAVES: list[tuple[Callable[[pa.DataType], bool], Callable[[pa.DataType], Any]]] = [
    (pa.types.is_null, lambda _: st.none()),
    (pa.types.is_boolean, lambda _: st.booleans()),
    (pa.types.is_float64, lambda _: doubles),
    (pa.types.is_float32, lambda _: _narrowed(np.float32)),
    (pa.types.is_float16, lambda _: _narrowed(np.float16)),
    (pa.types.is_integer, _integers_of),
    (pa.types.is_fixed_size_binary, lambda _: st.binary(min_size=3, max_size=3)),
    (lambda kind: "binary" in str(kind),
     lambda _: st.binary(max_size=5) | st.sampled_from(JSON_BYTES)),
    (lambda kind: "string" in str(kind), lambda _: texts),
    (pa.types.is_decimal, lambda kind: st.integers(-9999, 9999).map(
        lambda digits: Decimal(digits).scaleb(-kind.scale))),
    (lambda kind: pa.types.is_timestamp(kind) or pa.types.is_duration(kind), lambda _: _MOMENTS),
    (pa.types.is_date, lambda _: st.dates(date(1, 1, 1), date(9999, 12, 31))),
    (lambda kind: kind == pa.time32("s"), lambda _: st.integers(0, 86_399)),
    (pa.types.is_time, lambda _: st.integers(0, 86_399_999)),
]  # fmt: skip


def values_of(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Return values that a column of this type can hold, null among them at every depth."""
    if pa.types.is_dictionary(kind):
        return values_of(kind.value_type)
    return st.none() | _present(kind)


def _present(kind: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_struct(kind) and kind.field(0).name.startswith("_type_"):
        return _one_of_several(kind) | _members(kind)
    if pa.types.is_struct(kind):
        return _members(kind)
    if pa.types.is_map(kind):
        return st.lists(st.tuples(texts, values_of(kind.item_type)), max_size=2)
    if pa.types.is_fixed_size_list(kind):
        return st.lists(values_of(kind.value_type), min_size=2, max_size=2)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return st.lists(values_of(kind.value_type), max_size=3)
    return next(make(kind) for fits, make in _LEAVES if fits(kind))


def _members(kind: pa.DataType) -> st.SearchStrategy[Any]:
    """Structs as tuples of their members, since one name may be there twice."""
    return st.tuples(*(values_of(kind.field(index).type) for index in range(kind.num_fields)))


def _one_of_several(kind: pa.DataType) -> st.SearchStrategy[Any]:
    return st.integers(0, kind.num_fields - 1).flatmap(
        lambda held: st.tuples(
            *(
                values_of(kind.field(index).type) if index == held else st.none()
                for index in range(kind.num_fields)
            )
        )
    )


# --- arrays


def array_of(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    """Make an array from what `values_of` draws; structs are tuples of their members."""
    mask = pa.array([value is None for value in values], pa.bool_())
    if pa.types.is_struct(kind):
        members = [
            array_of(
                [None if value is None else value[index] for value in values],
                kind.field(index).type,
            )
            for index in range(kind.num_fields)
        ]
        fields = [kind.field(index) for index in range(kind.num_fields)]
        return pa.StructArray.from_arrays(members, fields=fields, mask=mask)
    if pa.types.is_map(kind):
        pairs = [pair for value in values for pair in value or ()]
        keys = pa.array([key for key, _ in pairs], pa.string())
        found = array_of([one for _, one in pairs], kind.item_type)
        return pa.MapArray.from_arrays(_ends(values), keys, found, type=kind, mask=mask)
    if pa.types.is_fixed_size_list(kind):
        flat = [one for value in values for one in (value or (None, None))]
        members = array_of(flat, kind.value_type)
        return pa.FixedSizeListArray.from_arrays(members, type=kind, mask=mask)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        members = array_of([one for value in values for one in value or ()], kind.value_type)
        large = pa.types.is_large_list(kind)
        make = pa.LargeListArray if large else pa.ListArray
        offsets = _ends(values).cast(pa.int64() if large else pa.int32())
        return make.from_arrays(offsets, members, type=kind, mask=mask)
    return pa.array(values, type=kind)


def _ends(values: Sequence[Any]) -> pa.Array:
    lengths = [0, *(len(value or ()) for value in values)]
    return pa.array(np.cumsum(lengths), pa.int32())


def hidden(array: pa.Array, rows: Sequence[bool]) -> pa.Array:
    """Make these rows null and leave what they held in the buffers, as any writer of Arrow may."""
    valid = [
        is_there and not hide
        for is_there, hide in zip(array.is_valid().to_pylist(), rows, strict=True)
    ]
    kind = array.type
    if array.offset or pa.types.is_null(kind) or pa.types.is_dictionary(kind):
        return array
    mask = pa.array([not one for one in valid], pa.bool_())
    if pa.types.is_struct(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        members = [array.field(index) for index in range(kind.num_fields)]
        return pa.StructArray.from_arrays(members, fields=fields, mask=mask)
    if pa.types.is_map(kind):
        return array
    if pa.types.is_fixed_size_list(kind):
        return pa.FixedSizeListArray.from_arrays(array.values, type=kind, mask=mask)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        make = pa.LargeListArray if pa.types.is_large_list(kind) else pa.ListArray
        return make.from_arrays(array.offsets, array.values, type=kind, mask=mask)
    bits = pa.array(valid, pa.bool_()).buffers()[1]
    return pa.Array.from_buffers(kind, len(array), [bits, *array.buffers()[1:]])


# --- batches


@st.composite
def columns(draw: Any, types: st.SearchStrategy[pa.DataType], rows: int) -> pa.Array:
    """Columns that are full, sparse, all null, or null above values that are still there."""
    kind = draw(types)
    values = draw(st.lists(values_of(kind), min_size=rows, max_size=rows))
    fill = draw(st.sampled_from(["as drawn", "sparse", "empty", "hidden"]))
    if fill == "empty":
        return array_of([None] * rows, kind)
    if fill == "as drawn":
        return array_of(values, kind)
    gone = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    if fill == "hidden":
        return hidden(array_of(values, kind), gone)
    kept = [None if hide else value for value, hide in zip(values, gone, strict=True)]
    return array_of(kept, kind)


own_types = {
    "_step": [pa.int64(), pa.float64(), pa.string(), pa.uint64(), pa.int32(), pa.null(), pa.bool_(),
              pa.float32()],
    "_timestamp": [pa.float64(), pa.int64(), pa.string(), pa.null(), pa.uint64(), pa.float32()],
    "_runtime": [pa.float64(), pa.int64(), pa.string(), pa.null(), pa.float32(), pa.bool_()],
    "_wandb": [pa.struct([("a", pa.float64()), ("b", pa.struct([("c", pa.int64())]))]),
               pa.string(), pa.null(), pa.list_(pa.int64())],
}  # fmt: skip


@st.composite
def batches(
    draw: Any,
    types: st.SearchStrategy[pa.DataType] = plain_types,
    keys: st.SearchStrategy[str] = plain_names,
    unique: bool = True,
) -> pa.RecordBatch:
    """Batches of up to six rows, with W&B's own columns of the right or the wrong type."""
    rows = draw(st.sampled_from([0, 1, 2, 3, 6]))
    own = draw(st.lists(st.sampled_from(sorted(own_types)), unique=True))
    others = draw(st.lists(keys, max_size=4, unique=unique))
    if unique:
        others = [name for name in others if name not in own]
    order = draw(st.permutations([*own, *others]))
    arrays = [
        draw(columns(st.sampled_from(own_types[name]) if name in own else types, rows))
        for name in order
    ]
    if not arrays:
        return pa.RecordBatch.from_struct_array(pa.array([{}] * rows, pa.struct([])))
    return pa.RecordBatch.from_arrays(arrays, names=order)


ordinary_batches = batches()
odd_batches = batches(plain_types | odd_types, names, unique=False) | batches(odd_types, names)


def batch_of(**members: Any) -> pa.RecordBatch:
    """Return a batch with these columns: arrays, or lists whose type pyarrow infers."""
    arrays = [one if isinstance(one, pa.Array) else pa.array(one) for one in members.values()]
    return pa.RecordBatch.from_arrays(arrays, names=list(members))


def through_parquet(batch: pa.RecordBatch, rows_per_batch: int) -> list[pa.RecordBatch]:
    """Write a batch to a Parquet file and read it back, as an exported history is read."""
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_batches([batch]), sink)
    with pq.ParquetFile(sink) as file:
        return list(file.iter_batches(batch_size=rows_per_batch))
