"""Laws of reading `.wandb` files: framing, damage, going on, rows by columns, the schema."""

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st
from returns.result import Failure, Success
from wandb.proto import wandb_internal_pb2 as pb

from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.offline.decoding import decode_record
from dr_wandb.core.offline.framing import Frames, read_parts
from dr_wandb.core.offline.header import header_problem
from dr_wandb.core.offline.parts import row_of
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.schema import artifact_class, files_class, record_class
from dr_wandb.core.offline.wandb_file import identify, read_file, rows_of
from tests.support.strategies import RUN_ID
from tests.support.wandb_file import (
    BLOCK,
    HEAD,
    HEADER,
    Placed,
    config_record,
    console_record,
    exit_record,
    file_of,
    history_record,
    item,
    items_of,
    places_of,
    record,
    run_record,
    stats_record,
    summary_record,
    telemetry_record,
    wire_field,
)

WHOLE = FetchWindow()
bounds = st.none() | st.integers(0, 8)
windows = st.builds(FetchWindow, start=bounds, stop=bounds)

# --- framing

PATTERN = bytes(range(256)) * 500

sizes = st.integers(0, 60) | st.sampled_from(
    [BLOCK - 2 * HEAD - extra for extra in range(-16, 24)]
    + [2 * BLOCK - extra for extra in (0, 7, 14, 21, 22)]
    + [100_000]
)


@st.composite
def payload_lists(draw: Any, most: int = 7) -> list[bytes]:
    """Contents of any length, those that end near the border of a block above all."""
    return [
        PATTERN[(start := draw(st.integers(0, 255))) : start + size]
        for size in draw(st.lists(sizes, max_size=most))
    ]


def contents_of(data: bytes, parts: Sequence[Frames]) -> list[tuple[int, bytes]]:
    """Return the records of all parts with the offset of their heads, in order."""
    found = []
    for frames in parts:
        bounds = zip(frames.starts.tolist(), frames.ends.tolist(), strict=True)
        here = [(start - HEAD, data[start:end]) for start, end in bounds]
        here += [(joined.offset, joined.content) for joined in frames.joined]
        found += sorted(here)
    return found


def placed(payloads: Sequence[bytes]) -> list[tuple[int, bytes]]:
    places = places_of(payloads)
    return [(place.begin, payload) for place, payload in zip(places, payloads, strict=True)]


@given(payload_lists(), st.sampled_from([1, 2, 3, 128]))
def test_written_records_are_read_in_parts_of_any_size(payloads: list[bytes], blocks: int) -> None:
    data = file_of(payloads)
    parts = list(read_parts(data, len(HEADER), blocks * BLOCK))
    assert contents_of(data, parts) == placed(payloads)
    assert [loss for frames in parts for loss in frames.lost] == []
    assert (parts[-1].end if parts else len(data)) == len(data)


@given(payload_lists(), st.data())
def test_file_that_is_cut_gives_the_records_before_the_cut(
    payloads: list[bytes], data: st.DataObject
) -> None:
    content = file_of(payloads)
    places = places_of(payloads)
    cut = data.draw(cuts(content, places))
    short = content[:cut]
    parts = list(read_parts(short, len(HEADER), BLOCK))
    whole = [place for place in places if place.end <= cut]
    assert contents_of(short, parts) == placed(payloads)[: len(whole)]
    losses = [loss for frames in parts for loss in frames.lost]
    assert all(loss.torn for loss in losses)
    assert len(losses) <= 1
    begun = any(place.begin < cut < place.end for place in places)
    event("inside of a record" if begun else "between two")
    assert losses or not begun
    for loss in losses:
        assert (loss.offset + loss.length, loss.records) == (cut, 1)
        assert not begun or loss.offset in {place.begin for place in places}
    end = parts[-1].end if parts else cut
    rest = list(read_parts(content, end, BLOCK))
    assert contents_of(content, rest) == placed(payloads)[len(whole) :]
    assert [loss for frames in rest for loss in frames.lost] == []


def cuts(content: bytes, places: Sequence[Placed]) -> st.SearchStrategy[int]:
    """Offsets within a file, those near the ends of records and blocks above all."""
    near = {offset for place in places for offset in place}
    near |= set(range(BLOCK, len(content), BLOCK))
    chosen = {
        offset + extra
        for offset in near
        for extra in (-8, -7, -6, -1, 0, 1, 3, 6, 7, 8)
        if len(HEADER) <= offset + extra <= len(content)
    }
    return st.sampled_from(sorted(chosen | {len(content)})) | st.integers(len(HEADER), len(content))


@given(payload_lists().filter(bool), st.data())
def test_one_flipped_bit_costs_the_rest_of_its_block_at_most(
    payloads: list[bytes], data: st.DataObject
) -> None:
    content = file_of(payloads)
    places = places_of(payloads)
    near = st.sampled_from(places).flatmap(lambda place: st.integers(0, 9).map(place.begin.__add__))
    at = data.draw((near | st.integers(len(HEADER), len(content) - 1)).filter(content_has(content)))
    damaged = bytearray(content)
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    parts = list(
        read_parts(bytes(damaged), len(HEADER), data.draw(st.sampled_from([1, 4])) * BLOCK)
    )
    found = contents_of(bytes(damaged), parts)
    written = placed(payloads)
    assert [entry for entry in written if entry in found] == found, "invented, or out of order"
    missing = [place for place, entry in zip(places, written, strict=True) if entry not in found]
    event(f"{min(len(missing), 3)} lost")
    first, last = at, (at // BLOCK + 1) * BLOCK
    assert all(place.end > first and place.begin < last for place in missing)
    losses = [loss for frames in parts for loss in frames.lost]
    assert bool(losses) == bool(missing)
    for place in missing:
        assert any(touches(loss.offset, loss.length, place) for loss in losses)
    assert all(loss.length > 0 and loss.offset + loss.length <= len(content) for loss in losses)


def test_record_of_three_blocks_is_lost_once_when_its_middle_is_damaged() -> None:
    """The log spoke of more lost records than there had been."""
    content = bytearray(file_of([PATTERN[:80_000]]))
    content[BLOCK + 100] ^= 1
    lost = [loss for frames in read_parts(bytes(content), len(HEADER)) for loss in frames.lost]
    assert sum(loss.records for loss in lost) == 1


def content_has(content: bytes) -> Any:
    return lambda offset: offset < len(content)


def touches(offset: int, length: int, place: Placed) -> bool:
    return offset < place.end and place.begin < offset + length


@given(payload_lists(), st.data())
def test_garbage_between_blocks_raises_nothing_and_ends(
    payloads: list[bytes], data: st.DataObject
) -> None:
    content = bytearray(file_of(payloads))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(len(HEADER), len(content)))
        content[at : at + data.draw(st.integers(0, 300))] = data.draw(st.binary(max_size=300))
    parts = list(read_parts(bytes(content), len(HEADER), BLOCK))
    assert all(frames.end <= len(content) for frames in parts)
    ends = [frames.end for frames in parts]
    assert ends == sorted(ends)


@given(st.binary(max_size=12) | st.integers(0, 7).map(lambda n: HEADER[:n]))
def test_file_with_only_a_header_has_no_problem(head: bytes) -> None:
    assert (header_problem(head) is None) == (head[: len(HEADER)] == HEADER)


# --- a run, read at once and in pieces

steps = st.integers(0, 9)

keys = st.sampled_from(["a", "b", ("a", "b"), ("a", "b", "c"), "x/y", "x.y"])
changes = st.dictionaries(keys, st.none() | st.integers() | st.just({"deep": [1]}), max_size=3)
removals = st.lists(keys, max_size=2)
notes = st.sampled_from(["", "x", "ü" * 40, "y" * 5_000, "z" * 33_000])


def row_at(step: int, note: str = "", told: str = "twice") -> bytes:
    """A row whose step is told by an item and beside the items, by one of these, or by none."""
    noted = {"note": note} if note else {}
    row = {"_timestamp": 1_767_225_600.5 + step, "loss": step / 3, **noted}
    own = {"_step": step} if told in ("twice", "item") else {}
    beside = step if told in ("twice", "beside") else None
    return history_record(items_of({**own, **row}), step=beside)


others = st.one_of(
    st.builds(
        run_record, config=changes, display_name=st.sampled_from(["", "new"]), tags=st.just("t")
    ),
    st.builds(config_record, changes, removals, flat=st.booleans()),
    st.builds(summary_record, changes, removals, flat=st.booleans()),
    st.builds(stats_record, st.integers(0, 2 * 10**9), cpu=st.floats(0, 100)),
    st.builds(console_record, notes, error=st.booleans()),
    st.builds(exit_record, st.integers(-1, 2)),
    st.builds(telemetry_record, resumed=st.booleans()),
    st.just(record(metric=pb.MetricRecord(name="loss"))),
    st.just(record(final=pb.FinalRecord())),
    st.sampled_from([b"", b"\xff", b"\x08", wire_field(999, b"new")]),
)


@st.composite
def files(draw: Any, *, rising: bool = False) -> list[bytes]:
    """Records of a run: rows in the order of their steps or in any, and others between them."""
    drawn = draw(st.lists(st.integers(0, 9), max_size=8))
    ways = ["twice"] * 3 + ["item", "beside"] + ([] if rising else ["none"])
    told = st.sampled_from(["none"] if rising and draw(st.integers(0, 4)) == 0 else ways)
    rows = [row_at(step, draw(notes), draw(told)) for step in (sorted(drawn) if rising else drawn)]
    return [
        payload
        for place in range(len(rows) + 1)
        for payload in [*draw(st.lists(others, max_size=2)), *rows[place : place + 1]]
    ]


def lines_of(data: bytes, reading: FileReading, window: FetchWindow = WHOLE) -> list[bytes]:
    """Return the rows of a file as an export has them, in one order."""
    encoded = [batch.encode(RUN_ID) for batch in rows_of(data, reading, window)]
    return sorted(line for rows in encoded for line in rows.lines.splitlines())


def lines_by_record(payloads: Sequence[bytes], window: FetchWindow = WHOLE) -> list[bytes]:
    """Return the rows of records that are decoded one by one."""
    raw_rows = [row for payload in payloads if (row := row_of(payload)) is not None]
    numbers = itertools.count()
    numbered = [
        {**row, "_step": next(numbers)} if row.get("_step") is None else row for row in raw_rows
    ]
    rows = [normalize_row(raw_row, RUN_ID) for raw_row in numbered]
    return sorted(encode_line(row)[:-1] for row in rows if window.has(row.step))


def in_two_pieces(payloads: Sequence[bytes], border: int) -> FileReading:
    first = read_file(file_of(payloads[:border]), FileReading())
    return read_file(file_of(payloads), first)


@given(files(rising=True), windows, st.data())
def test_reading_in_two_pieces_is_reading_at_once(
    payloads: list[bytes], window: FetchWindow, data: st.DataObject
) -> None:
    content = file_of(payloads)
    at_once = read_file(content, FileReading())
    pieces = in_two_pieces(payloads, data.draw(st.integers(0, len(payloads))))
    assert (pieces.end, pieces.torn, pieces.lost) == (at_once.end, at_once.torn, at_once.lost)
    assert pieces.fold == at_once.fold
    assert at_once.fold.rows == len(lines_of(content, at_once))
    assert lines_of(content, pieces, window) == lines_of(content, at_once, window)
    assert lines_of(content, at_once, window) == lines_by_record(payloads, window)


def test_row_before_one_with_a_lower_step_is_in_its_window() -> None:
    """`--min-step 3` lost the row of step 5 when a sync had ended behind that of step 2."""
    payloads = [row_at(5), row_at(2), row_at(6)]
    reading = in_two_pieces(payloads, 2)
    window = FetchWindow(start=3)
    assert lines_of(file_of(payloads), reading, window) == lines_by_record(payloads, window)


def test_negative_steps_are_read_when_the_file_grew() -> None:
    """The rows before the last mark were counted, but never came: they were lost."""
    payloads = [row_at(step) for step in range(-9, 3)]
    content, reading = file_of(payloads), in_two_pieces(payloads, 4)
    for window in (WHOLE, FetchWindow(stop=-5), FetchWindow(start=1)):
        assert lines_of(content, reading, window) == lines_by_record(payloads, window)


@given(files(), windows, st.data())
def test_rows_in_any_order_are_all_read(
    payloads: list[bytes], window: FetchWindow, data: st.DataObject
) -> None:
    """Rows whose steps do not rise (several writers, old files) would have been left out."""
    content = file_of(payloads)
    at_once = read_file(content, FileReading())
    pieces = in_two_pieces(payloads, data.draw(st.integers(0, len(payloads))))
    assert lines_of(content, at_once, window) == lines_by_record(payloads, window)
    assert lines_of(content, pieces, window) == lines_by_record(payloads, window)


NO_HISTORY = wire_field(2, b"\xff\xff")
"""A record that says that it is a row, and is none."""


@pytest.mark.parametrize("before", [0, 1, 2])
def test_rows_that_do_not_read_are_not_counted(before: int) -> None:
    """A run was said to be short of rows for ever, since one that does not read was counted."""
    rows = [row_at(step) for step in range(2)]
    payloads = [*rows[:before], NO_HISTORY, *rows[before:]]
    reading = read_file(file_of(payloads), FileReading())
    assert len(lines_of(file_of(payloads), reading)) == 2
    assert (reading.fold.rows, reading.fold.last_step) == (2, 1)
    assert reading.fold.unreadable == 1


@given(files(), st.data())
def test_last_step_and_latest_time_are_the_highest_however_a_file_is_read(
    payloads: list[bytes], data: st.DataObject
) -> None:
    """The snapshot of a run told another last step when its file was read in several syncs."""
    at_once = read_file(file_of(payloads), FileReading())
    pieces = in_two_pieces(payloads, data.draw(st.integers(0, len(payloads))))
    assert pieces.fold == at_once.fold
    raw_steps = [json.loads(line)["step"] for line in lines_by_record(payloads)]
    assert at_once.fold.last_step == max(raw_steps, default=None)


@given(files(rising=True), st.data())
def test_cut_file_is_a_run_up_to_there_and_goes_on_when_the_rest_comes(
    payloads: list[bytes], data: st.DataObject
) -> None:
    content, places = file_of(payloads), places_of(payloads)
    cut = data.draw(cuts(content, places))
    whole = [payload for payload, place in zip(payloads, places, strict=True) if place.end <= cut]
    reading = read_file(content[:cut], FileReading())
    assert reading.fold == read_file(file_of(whole), FileReading()).fold
    assert lines_of(content[:cut], reading) == lines_by_record(whole)
    assert not reading.lost
    assert read_file(content, reading).fold == read_file(content, FileReading()).fold


@given(files(rising=True).filter(bool), st.data())
def test_damaged_file_that_grows_is_read_as_if_it_were_read_at_once(
    payloads: list[bytes], data: st.DataObject
) -> None:
    """What an export holds of a damaged file must not depend on when it was looked at."""
    content, places = bytearray(file_of(payloads)), places_of(payloads)
    at = data.draw(st.integers(len(HEADER), len(content) - 1))
    content[at] ^= 1 << data.draw(st.integers(0, 7))
    end = data.draw(st.sampled_from(places)).end
    first = read_file(bytes(content[:end]), FileReading())
    pieces = read_file(bytes(content), first)
    at_once = read_file(bytes(content), FileReading())
    assert pieces.fold == at_once.fold
    assert lines_of(bytes(content), pieces) == lines_of(bytes(content), at_once)
    assert at_once.fold.rows == len(lines_of(bytes(content), at_once))


# --- anything at all


@given(st.binary(max_size=80) | st.lists(others | st.builds(row_at, steps)).map(b"".join))
@example(history_record([item("_step", "0"), item("_timestamp", "1" + "0" * 400)]))
@example(history_record([item("_step", "1" + "0" * 400)]))
@example(history_record([item(("_step", "inner"), "1")]))
def test_any_content_is_a_record_or_the_reason_why_not(payload: bytes) -> None:
    assert isinstance(decode_record(payload), Success | Failure)
    assert repr(decode_record(payload)) == repr(decode_record(payload))
    read_everything(file_of([payload, payload]))


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_behind_a_header_are_read_to_the_end(content: bytes, framed: bool) -> None:
    data = file_of([content]) if framed else HEADER + content
    read_everything(data)


def read_everything(data: bytes) -> None:
    """Read all that a source reads of a file; the rows that are counted must be there."""
    reading = read_file(data, FileReading())
    assert reading == read_file(data, FileReading())
    assert len(lines_of(data, reading)) == reading.fold.rows
    list(rows_of(data, reading, FetchWindow(start=1, stop=3)))
    identify(data)


# --- the schema

COMPATIBLE = {
    "bytes": {"string", "bytes"},
    "int32": {"int32", "enum"},
    "message": {"message"},
    **{name: {name} for name in ("bool", "double", "int64", "sint64", "uint32", "uint64")},
}
"""Types of our schema, and those of wandb's that have the same bytes and the same values."""


def type_name(field: Any) -> str:
    names: Iterator[str] = (
        name.removeprefix("TYPE_").lower()
        for name, number in vars(type(field)).items()
        if name.startswith("TYPE_") and number == field.type
    )
    return next(names)


def fields_beside(ours: Any, theirs: Any, seen: set[tuple[str, str]]) -> Iterator[tuple[Any, Any]]:
    """Give each field of our message, and of those inside of it, with the one of wandb's."""
    if (ours.full_name, theirs.full_name) in seen:
        return
    seen.add((ours.full_name, theirs.full_name))
    for field in ours.fields:
        other = theirs.fields_by_number.get(field.number)
        if (theirs.name, field.name) == ("StatsItem", "nested_key"):
            continue  # our items are one message
        yield field, other
        if other is not None and field.message_type and other.message_type:
            yield from fields_beside(field.message_type, other.message_type, seen)


def test_schema_agrees_with_that_of_wandb_field_by_field() -> None:
    """A wrong number or type would read other values than were logged, or none."""
    pairs = list(fields_beside(record_class().DESCRIPTOR, pb.Record.DESCRIPTOR, set()))
    artifacts = artifact_class().DESCRIPTOR, pb.ArtifactRecord.DESCRIPTOR
    pairs += fields_beside(*artifacts, set())
    pairs += fields_beside(files_class().DESCRIPTOR, pb.FilesRecord.DESCRIPTOR, set())
    assert len(pairs) > 100
    for ours, theirs in pairs:
        assert theirs is not None, f"wandb has no {ours.full_name}"
        assert theirs.name == ours.name
        left_alone = ours.name in ("telemetry", "artifact", "files")  # kept as bytes
        assert left_alone or type_name(theirs) in COMPATIBLE[type_name(ours)], ours.full_name
        assert theirs.is_repeated == ours.is_repeated, ours.full_name
        chosen = ours.containing_oneof and ours.containing_oneof.name
        if chosen == "kind":
            assert theirs.containing_oneof.name == "record_type"
        else:
            assert bool(chosen) == bool(theirs.containing_oneof), ours.full_name
