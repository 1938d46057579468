"""Laws of segments: however rows arrive and whichever way they take, the same file comes out."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import event, example, given
from hypothesis import strategies as st

from dr_wandb.core.contract.codec import encode_line, run_and_key
from dr_wandb.core.contract.columns import encode_raw_rows
from dr_wandb.core.contract.dataset import SYSTEM
from dr_wandb.core.contract.encoded_rows import EncodedRows, encode_rows
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection
from dr_wandb.core.contract.system import system_sample
from dr_wandb.core.sync.merge import Tally, measure_from
from dr_wandb.shell.sources import RowBatch
from dr_wandb.shell.store import disk
from dr_wandb.shell.sync.segment_writer import SegmentWriter
from dr_wandb.shell.sync.segments import SegmentHeader, find_segment
from tests.support import strategies as some
from tests.support.arrived_rows import joined_rows, received, selected_lines

RawRows = list[dict[str, Any]]

rising_rows = st.lists(st.integers(0, 40), unique=True, max_size=12).map(
    lambda steps: [
        {"_step": step, "_timestamp": 100.5 + step, "loss": step / 2} for step in sorted(steps)
    ]
)
raw_rows = st.lists(some.raw_rows, max_size=8) | rising_rows
batches = st.lists(st.tuples(raw_rows, st.booleans()), max_size=5)


def row_path(rows: Sequence[dict[str, Any]]) -> EncodedRows:
    return encode_rows([normalize_row(row, some.RUN_ID) for row in rows])


@given(st.lists(some.raw_rows | st.dictionaries(some.texts, some.python_values), max_size=6))
@example([{"a": 1.0}, {"a": 1.5}, {"a": float("nan")}, {"a": -0.0}, {"a": 2.0**53}])
@example([{"a": 1e308}, {"a": 1e308}])
@example([{'quoted"': 1}, {"\ud800": 2}, {1: 3}])
@example([{"_step": 1.0}, {"_step": 1.5}, {"_step": True}, {"_step": "1"}, {}])
@example([{"a": some.Colour.NOTHING}, {"_wandb": {}}, {"_wandb": 1}])
def test_rows_are_encoded_alike_by_columns_and_by_rows(rows: RawRows) -> None:
    encoded, expected = encode_raw_rows(rows, some.RUN_ID), row_path(rows)
    assert encoded.lines.split(b"\n") == expected.lines.split(b"\n")
    assert (list(encoded.steps), list(encoded.timestamps)) == (expected.steps, expected.timestamps)


def test_rows_with_few_common_keys_do_not_cost_a_cell_for_each_key_of_all() -> None:
    """A thousand rows with a key each would be a million cells."""
    rows = [{f"key {number}": number} for number in range(3_000)]
    with some.within(2):
        assert encode_raw_rows(rows, some.RUN_ID) == row_path(rows)


@given(batches, some.fetch_windows, st.just(EVERYTHING) | some.selections)
@example([([{"_step": 1}], True), ([{"_step": 0}], False)], FetchWindow(), EVERYTHING)
@example([([{"_step": 1}], False), ([{"_step": 1}], True)], FetchWindow(start=1), EVERYTHING)
@example([([{"_step": 1}, {"_step": 5}], False)], FetchWindow(start=1, stop=3), EVERYTHING)
@example([([{"_step": 1}], False), ([{"x": 1}], False)], FetchWindow(), EVERYTHING)
@example([([{"_step": -1}], False)], FetchWindow(stop=3), EVERYTHING)
@example([([{"_timestamp": 1.5}], True), ([{"_step": 1}], True)], FetchWindow(), EVERYTHING)
def test_segment_does_not_depend_on_how_its_rows_arrive(
    arriving: list[tuple[RawRows, bool]], window: FetchWindow, selection: HistorySelection
) -> None:
    expected = joined_rows(
        received(row, live=live)
        for rows, live in arriving
        for row in (normalize_row(raw_row, some.RUN_ID) for raw_row in rows)
        if window.has(row.step)
    )
    lines = selected_lines(expected, selection)
    tally = Tally()
    for row in expected:
        tally.add(row)
    run = RunListing(run_id=some.RUN_ID)
    header = SegmentHeader(run=run, window=window, selection=selection, source="test")
    with tempfile.TemporaryDirectory() as folder:
        with SegmentWriter(Path(folder), header) as writer:
            for rows, live in arriving:
                writer.add(RowBatch(rows=rows, live=live))
            event("in order" if writer._in_order else "sorted")
            segment = writer.finish()
        assert list(segment.lines()) == lines
        written = Path(segment.path).read_bytes()[: segment.length]
        assert written == b"".join(segment.lines())
        assert segment.rows == len(lines)
        assert segment.received == tally.received()
        assert find_segment(Path(folder), header) == segment
        assert len(list(Path(folder).iterdir())) == 1


TIMES = (
    st.floats(0, 9)
    | st.integers(-2, 9)
    | st.sampled_from(
        ["noon", "1.5", None, float("inf"), float("-inf"), float("nan"), 2**64, 10**400]
    )
)
samples = st.lists(
    st.fixed_dictionaries({"_timestamp": TIMES}, optional={"system.cpu": st.integers(0, 1)}),
    max_size=8,
)


@given(st.lists(samples, max_size=4))
@example([[{"_timestamp": 1}, {"_timestamp": 2}], [{"_timestamp": 2}]])
@example([[{"_timestamp": float("-inf")}, {"_timestamp": 1}]])
@example([[{"_timestamp": 1}], [{}], [{"_timestamp": 2}]])
@example([[{"_timestamp": 2**53}, {"_timestamp": 2**53 + 1}]])
def test_segment_of_samples_does_not_depend_on_how_they_arrive(arriving: list[RawRows]) -> None:
    keyed = {
        line: run_and_key(line)
        for rows in arriving
        for line in map(encode_line, (system_sample(row, some.RUN_ID) for row in rows))
    }
    expected = sorted(keyed, key=lambda line: (keyed[line], line))
    run = RunListing(run_id=some.RUN_ID)
    header = SegmentHeader(
        run=run, window=FetchWindow(), selection=EVERYTHING, source="test", dataset=SYSTEM
    )
    with tempfile.TemporaryDirectory() as folder:
        with SegmentWriter(Path(folder), header) as writer:
            for rows in arriving:
                writer.add(RowBatch(rows=rows))
            event("in order" if writer._in_order else "sorted")
            segment = writer.finish()
        assert list(segment.lines()) == expected
        assert (segment.rows, segment.received.rows) == (len(expected), len(expected))
        assert segment.received.without_step == len(expected)
        assert find_segment(Path(folder), header) == segment


@given(raw_rows, st.integers(1, 9))
def test_lines_that_a_tail_may_replace_are_measured_from_the_end(rows: RawRows, start: int) -> None:
    stored = joined_rows(received(normalize_row(row, some.RUN_ID)) for row in rows)
    at_end = [row.content for row in stored if row.step is None or row.step >= start]
    length, count = measure_from(start, [row.content for row in reversed(stored)])
    assert (length, count) == (sum(map(len, at_end)), len(at_end))


some_lines = st.lists(st.binary(max_size=9).map(lambda text: text.replace(b"\n", b"") + b"\n"))


@given(some_lines, some_lines, st.integers(1, 12))
@example([], [b"a\rb\n"], 2)
def test_lines_are_read_from_the_end_whatever_the_size_of_a_piece(
    before: list[bytes], wanted: list[bytes], size: int
) -> None:
    with tempfile.TemporaryFile() as stream:
        stream.write(b"".join([*before, *wanted, b"after"]))
        offset, length = sum(map(len, before)), sum(map(len, wanted))
        found = list(disk.read_lines_from_end(stream, offset, length, size))
        assert found == wanted[::-1]


@given(some_lines, st.integers(1, 30))
def test_gathering_lines_into_chunks_keeps_their_bytes_and_count(
    given_lines: list[bytes], size: int
) -> None:
    chunks = list(disk.gathered(given_lines, size))
    assert b"".join(chunk for chunk, _ in chunks) == b"".join(given_lines)
    assert [chunk.count(b"\n") for chunk, _ in chunks] == [count for _, count in chunks]
    assert all(len(chunk) >= size for chunk, _ in chunks[:-1])
