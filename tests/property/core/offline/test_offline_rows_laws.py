"""Law of the rows of `.wandb` files: those by columns are those of the records, byte for byte."""

import itertools
import json
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.offline import rows as offline_rows
from dr_wandb.core.offline.framing import read_frames
from dr_wandb.core.offline.parts import row_of, sort_records
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.rows import ColumnRows, read_rows
from dr_wandb.core.offline.run import RunFold
from dr_wandb.core.offline.wandb_file import read_file, rows_of
from tests.support.strategies import RUN_ID, json_values
from tests.support.wandb_file import (
    HEADER,
    KeyPath,
    exit_record,
    file_of,
    history_record,
    item,
    items_of,
    record,
    row_record,
    wire_field,
)

WHOLE = FetchWindow()
bounds = st.none() | st.integers(0, 8)
windows = st.just(WHOLE) | st.builds(FetchWindow, start=bounds, stop=bounds)

# --- what rows are made of

NAMES = (
    "loss",
    "acc",
    "a",
    "",
    "x.y",
    "x/y",
    "ключ",
    "ключ-ключ-ключ",
    'quote"',
    "_own",
    *("k" * length for length in (7, 8, 9, 15, 16, 17, 23, 24, 25, 126, 127, 128, 200)),
    "k" * 12 + "j" + "k" * 11,
)
MEDIA: tuple[KeyPath, ...] = (
    *(("m", "_type"), ("m", "path"), ("m", "in", "x"), ("m", "in", "_type"), ("n", "_type")),
    *(("d", "m", "_type"), ("d", "m", "size"), ("d", "x"), ("d", "n", "path"), ("d", "_type")),
    *(("m", "_type", "x"), ("m", "_type_x"), ("_type",), ("_type_x",), ("_wandb", "_type")),
    *(("m.path",), ("d.m",), ("d.m.size",), ("d", "m.size")),
)
PATHS: tuple[KeyPath, ...] = (
    *((name,) for name in NAMES),
    ("a", "b"),
    ("a", "c"),
    ("a", "b", "c"),
    ("b", "c"),
    ("_wandb", "x"),
    ("_step", "inner"),
    *MEDIA,
    tuple("abcdefgh"),
    tuple("abcdefghi"),
)
OWN: tuple[KeyPath, ...] = (("_timestamp",), ("_runtime",), ("_wandb",))

ODD_TEXTS = (
    *("null", "true", "false", "NaN", "Infinity", "-Infinity", "[NaN]", "{}", "[]"),
    *("-0.0", "-0", "4.0", "1e16", "1e400", "1e-400", "0.1", "1.0e+2", "1E5"),
    *(str(2**53), str(2**64), str(-(2**63) - 1), "1" + "0" * 50, "9" * 5_000),
    *("nope", "nul", " ", " 1 ", "1\n", "\t2", "01", "1.", "+1", ".5", "-", "{", "]", "1]", "1,2"),
    *('"text"', '"a,b"', '"["', '"ü"', '"\\ud800"', '"\x00"', '""', '"\\u0000"', '"1"'),
    *('{"x":null}', '{"x":{"y":null}}', '{"a":1,"a":2}', "[1,null]", '{"b":1}'),
    *('{"_type":"image-file"}', '{"_type":null,"a":1}', '[{"_type":"image-file","size":1}]'),
    *('{"m":{"_type":"table","x":{"y":1}}}', '{"_type":{"x":1}}', '{"_type_x":1}'),
    json.dumps("x" * 70),
    json.dumps(list(range(40))),
)
odd_texts = st.sampled_from(ODD_TEXTS) | json_values.map(json.dumps)
number_texts = st.floats(allow_nan=False, allow_infinity=False).map(json.dumps)
integer_texts = st.integers(-(2**70), 2**70).map(str)
small_texts = st.integers(0, 9).map(str)
word_texts = st.text(max_size=5).map(json.dumps)

columns_of_texts = st.sampled_from(
    [number_texts, number_texts, integer_texts, small_texts, word_texts, odd_texts]
)
step_texts = st.one_of(
    *[st.integers(0, 9).map(str)] * 8,
    st.sampled_from(["-1", "3.0", "null", "true", '"x"', "[1]", "NaN", "1" + "0" * 30]),
)

TYPED: tuple[dict[str, Any], ...] = (
    *({"none": 0}, {"boolean": False}, {"boolean": True}, {"integer": -3}, {"integer": 2**63 - 1}),
    *({"number": 0.5}, {"number": float("nan")}, {"number": -0.0}, {"number": 4.0}),
    *({"text": ""}, {"text": "ü"}, {"json": '{"x":[1]}'}, {"json": "nope"}, {}),
)


@st.composite
def items(draw: Any, path: KeyPath, text: str) -> Any:
    """An item as the SDK writes it, or seldom in another way."""
    odd = draw(st.integers(0, 99))
    flat = len(path) == 1 and odd in (0, 1)
    if odd == 2:
        return item(path, **draw(st.sampled_from(TYPED)))
    if odd == 3:
        return item(path, text, **draw(st.sampled_from(TYPED)))
    return item(path, text or None, flat=flat)


TRAILERS = (
    *[b""] * 6,
    wire_field(200, b""),
    wire_field(200, wire_field(1, b"stream") * 40),
    wire_field(16, b"\x08\x01"),
    wire_field(19, b"some uuid"),
    wire_field(16, b"") + wire_field(200, b""),
    wire_field(999, b"new"),
    wire_field(2, wire_field(1, wire_field(2, b"merged") + wire_field(16, b"1"))),
    wire_field(18, b""),
)

paths = st.sampled_from(PATHS + OWN)
media_texts = st.sampled_from(['"image-file"', '"table"', "1", "null", '{"x":1}'])


@st.composite
def histories(draw: Any) -> list[bytes]:
    """Rows of a run: most have the same columns, each in an order of its own."""
    columns = draw(st.lists(st.tuples(paths, columns_of_texts), max_size=5))
    if draw(st.booleans()):
        typed = draw(st.lists(st.sampled_from(MEDIA), max_size=6))
        texts = {path: media_texts if path[-1] == "_type" else small_texts for path in typed}
        columns += texts.items()
    columns += [(path, draw(columns_of_texts)) for path in OWN if draw(st.booleans())]
    has_steps = draw(st.integers(0, 5)) > 0
    payloads = []
    for _ in range(draw(st.integers(1, 7))):
        held = [
            draw(items(path, draw(texts)))
            for path, texts in columns
            if draw(st.integers(0, 19)) > 0
        ]
        if has_steps or draw(st.booleans()):
            held.append(draw(items(("_step",), draw(step_texts))))
        if draw(st.integers(0, 9)) == 0:
            held.append(draw(items(draw(paths), draw(odd_texts))))
        number, step = draw(st.sampled_from([0, 1, 2**40])), draw(st.none() | st.integers(0, 9))
        row = history_record(draw(st.permutations(held)), step=step, number=number)
        payloads.append(row + draw(st.sampled_from(TRAILERS)))
    return payloads


# --- the law


def lines_by_record(
    payloads: Sequence[bytes], window: FetchWindow, stepless: int = 0
) -> list[bytes]:
    raw_rows = [row for payload in payloads if (row := row_of(payload)) is not None]
    numbers = itertools.count(stepless)
    numbered = [
        {**row, "_step": next(numbers)} if row.get("_step") is None else row for row in raw_rows
    ]
    rows = [normalize_row(raw_row, RUN_ID) for raw_row in numbered]
    return sorted(encode_line(row) for row in rows if window.has(row.step))


def batches_of(payloads: Sequence[bytes], window: FetchWindow, stepless: int = 0) -> list[Any]:
    data = file_of(payloads)
    records = sort_records(data, read_frames(data, len(HEADER), len(data)))
    return [batch for batch, _ in read_rows(records, window, stepless) if batch.size]


def assert_as_by_record(
    payloads: Sequence[bytes], window: FetchWindow = WHOLE, stepless: int = 0
) -> list[Any]:
    """Compare the rows that are read with those of their records; gives the batches back."""
    assert_taken_as_read(file_of(payloads))
    return assert_window_as_by_record(payloads, window, stepless)


def assert_window_as_by_record(
    payloads: Sequence[bytes], window: FetchWindow, stepless: int = 0
) -> list[Any]:
    """Compare the rows of a window with those of their records; gives the batches back."""
    found = []
    batches = batches_of(payloads, window, stepless)
    for batch in batches:
        rows = [normalize_row(row, RUN_ID) for row in batch.rows]
        encoded = batch.encode(RUN_ID)
        assert encoded.lines == b"".join(map(encode_line, rows))
        assert list(encoded.steps) == [row.step for row in rows]
        assert list(encoded.timestamps) == [row.timestamp for row in rows]
        assert {*map(type, encoded.steps)} <= {int, type(None)}
        found += [line for line in encoded.lines.split(b"\n") if line]
    assert sorted(line + b"\n" for line in found) == lines_by_record(payloads, window, stepless)
    return batches


def assert_taken_as_read(data: bytes) -> None:
    """Compare the rows that are given while a file is read with those that are read afterwards."""
    first = RunFold(rows=3, last_step=5, end_step=5)
    for before in (FileReading(), FileReading(fold=first, numbered_on=True)):
        taken: list[Any] = []
        reading = read_file(data, before, take=taken.append)
        assert reading == read_file(data, before)
        afterwards = rows_of(data, reading, WHOLE)
        assert [batch.encode(RUN_ID) for batch in taken] == [
            batch.encode(RUN_ID) for batch in afterwards
        ]
        assert sum(batch.size for batch in taken) == reading.fold.rows - before.fold.rows


@given(histories(), windows, st.sampled_from([1, 2, 3, 8192]), st.integers(0, 3))
def test_rows_by_columns_are_the_rows_of_their_records(
    payloads: list[bytes], window: FetchWindow, at_once: int, stepless: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offline_rows, "ROWS_AT_ONCE", at_once)
        batches = assert_as_by_record(payloads, window, stepless)
    columns = any(isinstance(batch, ColumnRows) for batch in batches)
    event("by columns" if columns else "one by one")


@given(histories(), st.sampled_from([1, 3, 8192]), st.data())
def test_rows_taken_from_a_damaged_file_are_those_that_are_read_afterwards(
    payloads: list[bytes], at_once: int, data: st.DataObject
) -> None:
    content = bytearray(file_of([exit_record(), *payloads, exit_record()]))
    at = data.draw(st.integers(len(HEADER), len(content) - 1))
    content[at] ^= data.draw(st.integers(0, 255))
    cut = data.draw(st.just(len(content)) | st.integers(at, len(content)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(offline_rows, "ROWS_AT_ONCE", at_once)
        assert_taken_as_read(bytes(content[:cut]))


media = st.fixed_dictionaries(
    {"_type": st.sampled_from(["image-file", "histogram"])},
    optional={
        "path": st.sampled_from(["a.png", None]),
        "size": st.integers(0, 9),
        "in": st.sampled_from([{"x": 1}, {"_type": "table", "rows": [1]}, {"x.y": {}}, [{}]]),
    },
)
plain: st.SearchStrategy[Any] = st.sampled_from(
    [1, 0.5, "text", None, [1, {"_type": "image-file", "b": None}], [[]], {}]
)
members = st.recursive(
    plain | media,
    lambda inner: st.dictionaries(
        st.sampled_from(["a", "b", "img", "x.y", "m"]), inner, max_size=3
    ),
    max_leaves=6,
)


@given(
    st.lists(st.dictionaries(st.sampled_from(["a", "img", "m", "a.b"]), members), max_size=4),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_row_of_media_is_what_was_logged_in_whatever_order_its_leaves_are(
    logged: list[dict[str, Any]], alike: bool, random: Random
) -> None:
    """wandb-core writes each member of a media object by itself, in random order."""
    rows = [{**row, "_step": step} for step, row in enumerate(logged * (3 if alike else 1))]
    payloads = []
    for row in rows:
        leaves = items_of(row, split=True)
        random.shuffle(leaves)
        payloads.append(history_record(leaves))
    found = [line for batch in assert_as_by_record(payloads) for line in lines_in(batch)]
    assert found == [encode_line(normalize_row(row, RUN_ID)) for row in rows]


def lines_in(batch: Any) -> list[bytes]:
    lines: list[bytes] = batch.encode(RUN_ID).lines.splitlines(keepends=True)
    return lines


def test_media_are_read_by_columns() -> None:
    """A table, an image in an object, and a list of images, as the SDK writes them."""
    image = {"_type": "image-file", "path": "media/1.png", "size": 3}
    rows = [
        {
            "img": image,
            "eval": {"img": {**image, "size": step}, "acc": 0.5},
            "imgs": [image, image],
            "table": {"_type": "table-file", "ncols": 2, "parts": {"_type": "joined", "n": step}},
            "_step": step,
        }
        for step in range(100)
    ]
    payloads = [row_record(row, seed=number, split=True) for number, row in enumerate(rows)]
    (batch,) = assert_as_by_record(payloads)
    assert lines_in(batch) == [encode_line(normalize_row(row, RUN_ID)) for row in rows]
    assert isinstance(batch, ColumnRows)


def rows_with(key: KeyPath, *texts: str) -> list[bytes]:
    return [
        history_record([item("_step", str(step)), item(key, text), item("loss", "0.5")])
        for step, text in enumerate(texts)
    ]


@pytest.mark.parametrize("window", [FetchWindow(start=1), FetchWindow(stop=1)])
def test_window_has_a_row_whose_step_is_no_integer_as_one_without_a_step(
    window: FetchWindow,
) -> None:
    """A row with a step that no record can hold was in no window, or in the wrong one."""
    rows = [history_record([item("_step", text), item("loss", "0.5")]) for text in ("1e300", "2")]
    assert_as_by_record(rows, window)
    assert_as_by_record([history_record([item("_step", "1e300")], step=7)], window)


@pytest.mark.parametrize("text", ODD_TEXTS, ids=range(len(ODD_TEXTS)))
@pytest.mark.parametrize("key", [("odd",), ("a", "b"), ("_timestamp",), ("_wandb",), ("_step",)])
def test_odd_value_is_read_as_by_its_record_when_others_are_plain(key: KeyPath, text: str) -> None:
    own = key == ("_step",)
    rows = rows_with(("odd",) if own else key, "1.5", "2.5" if own else text, "3.5")
    if own:
        rows.append(history_record([item("loss", "0.5"), item("odd", "1.5"), item("_step", text)]))
    assert_as_by_record(rows)
    assert_window_as_by_record(rows, FetchWindow(start=1, stop=3))


NOT_UTF8 = b"\xff\xfe"


@pytest.mark.parametrize(
    "content",
    [
        wire_field(2, NOT_UTF8) + wire_field(16, b"1"),
        wire_field(1, NOT_UTF8) + wire_field(16, b"1"),
        wire_field(2, b"odd") + wire_field(16, NOT_UTF8),
        wire_field(2, b"odd") + wire_field(16, b'"' + NOT_UTF8 + b'"'),
        wire_field(2, b"odd") + wire_field(7, NOT_UTF8),
        wire_field(2, b"odd") + wire_field(8, NOT_UTF8),
        wire_field(16, b"1") + wire_field(2, b"behind"),
        wire_field(2, b"odd") + wire_field(16, b"1") + wire_field(16, b"2"),
        wire_field(1, b"first") + wire_field(2, b"then") + wire_field(16, b"1"),
        wire_field(2, b"odd") + wire_field(99, b"new") + wire_field(16, b"1"),
        wire_field(16, b"1"),
        wire_field(2, b"odd"),
        b"",
        wire_field(2, b"odd") + b"\xff",
        wire_field(2, b"odd") + wire_field(16, b"1")[:-1],
    ],
)
def test_odd_item_is_read_as_by_its_record(content: bytes) -> None:
    usual = [wire_field(2, b"_step") + wire_field(16, b"1"), wire_field(2, b"x") + b"\x82\x01\x011"]
    others = rows_with(("x",), "1", "2")
    odd = wire_field(2, b"".join(wire_field(1, one) for one in [*usual, content]))
    for rows in ([odd], [odd, *others], [*others, odd], [odd, odd]):
        assert_as_by_record(rows)
        assert_window_as_by_record(rows, FetchWindow(start=1))


@pytest.mark.parametrize(
    "told",
    [
        *(b"", b"\x08\x07", b"\x08\x00", b"\x08\x80\x01", b"\x08\xff\xff\xff\x7f"),
        *(b"\x08\x80\x80\x80\x80\x40", b"\x08" + b"\xff" * 9 + b"\x01", b"\x08\x80\x80\x00"),
        *(b"\x08\x01\x08\x02", b"\x10\x01", b"\x08\x01\x10\x01", b"\x08", b"\x08\x80", b"\x0a\x00"),
    ],
)
@pytest.mark.parametrize("own", [b"", wire_field(1, wire_field(2, b"_step") + b"\x82\x01\x015")])
def test_step_beside_the_items_is_read_as_by_its_record(told: bytes, own: bytes) -> None:
    loss = wire_field(1, wire_field(2, b"loss") + b"\x82\x01\x012")
    step = wire_field(2, told)
    rows = [wire_field(2, part) for part in (loss + own + step, step + loss + own, loss + own)]
    twice = wire_field(2, step + loss + own + wire_field(2, b"\x08\x03"))
    for payloads in (rows, [*rows, twice], [twice, rows[2]], [rows[0]]):
        assert_as_by_record(payloads)
        assert_window_as_by_record(payloads, FetchWindow(start=1, stop=100), stepless=1)
        assert_counted_as_read(payloads)


def test_row_whose_step_is_an_empty_object_is_counted_as_it_is_read() -> None:
    """It was counted as a row without a number, and the rows behind it got one too low."""
    rows = [history_record([item("_step", text), item("loss", "0.5")]) for text in ("1", "{}")]
    assert_counted_as_read(rows)


def assert_counted_as_read(payloads: Sequence[bytes]) -> None:
    data = file_of(payloads)
    reading = read_file(data, FileReading())
    steps: list[Any] = [
        row.get("_step") for batch in rows_of(data, reading, WHOLE) for row in batch.rows
    ]
    assert (reading.fold.rows, reading.fold.end_step) == (len(steps), (steps or [None])[-1])
    assert reading.fold.last_step == max(steps, default=None)


@pytest.mark.parametrize(
    "row",
    [
        {"a": {"_type": {"x": 1}}},
        {"a": {"_type_x": 1}},
        {"a": {"b": 1}, "a.b": 2},
        {"a": {"b": {"_type": "image-file"}}, "a.b": 2},
        {"_step": {"x": 1}},
    ],
)
def test_rows_whose_shape_depends_on_the_row_are_read_one_by_one(row: dict[str, Any]) -> None:
    rows = [row_record({"_step": step, "x": 1.5, **row}, split=True) for step in range(3)]
    (batch,) = assert_as_by_record(rows)
    assert not isinstance(batch, ColumnRows)


def test_objects_of_which_some_have_a_type_are_read_one_by_one() -> None:
    image = {"_type": "image-file", "size": 1}
    rows = [row_record({"_step": n, "a": image if n else {"size": 1}}, split=True) for n in (0, 1)]
    (batch,) = assert_as_by_record(rows)
    assert not isinstance(batch, ColumnRows)


@pytest.mark.parametrize("step", [None, 3])
def test_rows_without_a_step_of_their_own_are_read_by_columns(step: int | None) -> None:
    """Rows of shared mode took ten times longer than others."""
    rows = [history_record([item("loss", "0.5")], step=step) for _ in range(100)]
    (batch,) = assert_as_by_record(rows, stepless=7)
    assert isinstance(batch, ColumnRows)
    assert batch.columns["_step"] == ([step] * 100 if step else list(range(7, 107)))


def test_usual_rows_are_read_by_columns() -> None:
    """The laws above would hold of a reader that is slow for all rows."""
    rows = rows_with(("a", "b"), *(f"{number / 7:.12f}" for number in range(500)))
    batches = assert_as_by_record([*rows, exit_record()], FetchWindow(start=3))
    assert [type(batch) for batch in batches] == [ColumnRows]


def test_rows_with_more_keys_than_columns_can_be_are_read() -> None:
    rows = [
        history_record([item("_step", str(step)), item(f"key-{step}", "1.5")])
        for step in range(300)
    ]
    assert_as_by_record(rows)


def test_records_that_are_no_rows_give_none() -> None:
    assert batches_of([exit_record(), record(), b"", b"\xff"], WHOLE) == []
