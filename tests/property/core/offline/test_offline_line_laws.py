"""Laws of reading the lines of a history: where reading stops makes no difference."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.offline import lines
from dr_wandb.core.offline.lines import read_lines, rows_in_lines
from dr_wandb.core.offline.reading import FileReading
from dr_wandb.core.offline.steps import step_of

STEPS = st.one_of(st.none(), st.integers(-5, 20), st.just("odd"))


@st.composite
def histories(draw: Any) -> bytes:
    """Return rows, and between them what is none."""
    pieces = []
    for _ in range(draw(st.integers(0, 12))):
        row = {"loss": draw(st.floats()), "note": draw(st.text(max_size=5))}
        step = draw(STEPS)
        line = json.dumps(row if step is None else {**row, "_step": step}).encode()
        pieces.append(draw(st.sampled_from([line, line, line, b"", b"odd", b"\x00" * 7, b"[1]"])))
    ends = st.sampled_from([b"\n", b"\n", b"\n", b"", b" ", b" x", b"\x00"])
    end: bytes = draw(st.sampled_from([b"", b"\n", b"\n{"]))
    return b"".join(piece + draw(ends) for piece in pieces) + end


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Any:
    """Let a part of a file be a line or two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "PART_BYTES", 50)
        yield


def read(history: bytes, before: FileReading | None = None) -> FileReading:
    return read_lines(history, before or FileReading(end=0), lambda row: False)


def rows(history: bytes, reading: FileReading, window: FetchWindow) -> list[Any]:
    batches = rows_in_lines(history, reading, window)
    return [json.dumps(row, sort_keys=True) for batch in batches for row in batch.rows]


def without_marks(reading: FileReading) -> FileReading:
    return replace(reading, marks=())


@given(histories(), st.lists(st.integers(0, 400), max_size=4))
def test_reading_in_steps_is_reading_at_once(history: bytes, cuts: list[int]) -> None:
    reading: FileReading | None = None
    for cut in sorted(cuts):
        reading = read(history[:cut], reading)
    reading, at_once = read(history, reading), read(history)
    assert (reading.fold, reading.end, reading.torn) == (at_once.fold, at_once.end, at_once.torn)
    everything = FetchWindow()
    assert rows(history, reading, everything) == rows(history, at_once, everything)


@given(histories(), st.integers(0, 22), st.integers(0, 22))
def test_window_has_the_rows_inside_of_it(history: bytes, start: int, stop: int) -> None:
    reading, window = read(history), FetchWindow(start=start, stop=stop)
    all_rows = [json.loads(row) for row in rows(history, reading, FetchWindow())]
    assert len(all_rows) == reading.fold.rows
    wanted = [row for row in all_rows if window.has(step_of(row))]
    assert rows(history, reading, window) == [json.dumps(row, sort_keys=True) for row in wanted]


def test_negative_steps_are_read_when_the_file_grew() -> None:
    """The rows before the last mark were counted, but never came: they were lost."""
    history = b"".join(b'{"_step":%d}\n' % step for step in range(-9, 3))
    reading = read(history, read(history[:60]))
    assert len(rows(history, reading, FetchWindow())) == reading.fold.rows == 12
    assert len(rows(history, reading, FetchWindow(stop=-5))) == 4


def test_repeated_row_that_was_torn_is_not_read_when_it_is_whole() -> None:
    """It was counted once and read twice: the mark of the torn line was where reading began."""
    history = b'{"_step":0}\n{"_step":1}\n'
    torn = read_lines(history[:5], FileReading(end=0), lambda row: True)
    assert (torn.end, torn.marks) == (0, ())
    reading = read_lines(history, torn, lambda row: row["_step"] == 0)
    assert rows(history, reading, FetchWindow()) == ['{"_step": 1}']
    assert reading.fold.rows == 1


@pytest.mark.parametrize(("behind", "count"), [(b'{"_step":1}\n', 2), (b" x\n", 1), (b"\n", 1)])
def test_line_that_goes_on_behind_an_object_is_counted_as_it_is_read(
    behind: bytes, count: int
) -> None:
    """The last line was a row without its end. When it went on, no row was read of it."""
    history = b'{"_step":0}'
    before, history = read(history), history + behind
    for reading in (read(history, before), read(history)):
        assert len(rows(history, reading, FetchWindow())) == reading.fold.rows == count


@given(st.binary(max_size=300))
def test_any_bytes_are_read(history: bytes) -> None:
    reading = read(history)
    assert len(rows(history, reading, FetchWindow())) == reading.fold.rows
    assert without_marks(read(history, reading)) == without_marks(reading)
