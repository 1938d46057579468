"""Law of rebuilding: whatever became of a file, it reads as if each row had been decoded."""

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import event, example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from returns.pipeline import is_successful

from dr_wandb import DrWandbError
from dr_wandb.core.contract.codec import canonical_row, digest, encode_line, row_key
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.failures import DamagedFile
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.part import ByteRange, PartTracking
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.row_forms import form_of
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.shell.store import rebuilding
from dr_wandb.shell.store.rebuilding import rebuild_rows
from tests.support import strategies as some

Lines = list[bytes]
RUNS = ("a", "b", "c", "é")


class BadLineError(Exception):
    """The number of the first line that does not read, and what is wrong with it."""


# --- the law, by decoding every row


def row_order(row: HistoryRow) -> tuple[Any, ...]:
    line = encode_line(row)
    return (row.run_id, row_key(row.step, row.timestamp), -len(line), line)


def in_our_form(rows: Sequence[HistoryRow]) -> Iterator[tuple[str, Lines]]:
    """Give the lines of each run: sorted, each row once, of two copies the one that says more."""
    for run_id, own in groupby(sorted(rows, key=row_order), key=lambda row: row.run_id):
        lines: dict[Any, bytes] = {}
        for row in own:
            line, key = encode_line(row), row_key(row.step, row.timestamp)
            lines.setdefault(line if key[0] or key[2] else key, line)
        yield run_id, list(lines.values())


def ranges_of(runs: Iterator[tuple[str, Lines]]) -> tuple[bytes, dict[str, ByteRange]]:
    content, ranges = b"", {}
    for run_id, lines in runs:
        own = b"".join(lines)
        ranges[run_id] = ByteRange(
            offset=len(content), length=len(own), rows=len(lines), digest=digest(own)
        )
        content += own
    return content, ranges


def read_whole(content: bytes) -> tuple[bytes, dict[str, ByteRange]]:
    lines = [line + b"\n" for line in content.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    rows = []
    for number, line in enumerate(lines, start=1):
        if line:
            result = canonical_row(line)
            if not is_successful(result):
                raise BadLineError(number, result.failure())
            rows.append(result.unwrap())
    return ranges_of(in_our_form(rows))


def rebuild(content: bytes, state: ExportState) -> tuple[bytes, dict[str, ByteRange]]:
    with TemporaryDirectory() as folder:
        path, target = Path(folder) / "history.jsonl", Path(folder) / "target.jsonl"
        path.write_bytes(content)
        try:
            ranges = rebuild_rows(path, HISTORY, state, target)
        except DrWandbError as error:
            failure = error.failure
            assert isinstance(failure, DamagedFile)
            assert failure.path == str(path)
            raise BadLineError(failure.line, failure.reason) from None
        assert {found.name for found in Path(folder).iterdir()} == {path.name, target.name}
        return target.read_bytes(), ranges


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except BadLineError as error:
        return error.args


# --- what becomes of files

raw_rows = some.raw_rows | st.builds(
    lambda step, loss: {"_step": step, "_timestamp": 1.7e9 + step, "loss": loss},
    some.steps,
    st.integers(0, 2),
)
rows_of_runs = st.lists(st.builds(normalize_row, raw_rows, st.sampled_from(RUNS)), max_size=14)


def state_of(ranges: dict[str, ByteRange]) -> ExportState:
    return some.state_of(
        [
            RunTracking(run_id=run_id, parts={HISTORY: PartTracking(stored=place)})
            for run_id, place in ranges.items()
        ]
    )


def edit_line(line: bytes) -> bytes:
    return line.replace(b'"metrics":{', b'"metrics":{"edited":1.0,', 1).replace(b",}", b"}")


def of_another_run(line: bytes) -> bytes:
    return line.replace(b'"run_id":"a"', b'"run_id":"b"')


def as_3_0_3(line: bytes) -> bytes:
    return line.replace(b'":', b'": ').replace(b',"', b', "').replace(b": 1,", b": NaN,")


CHANGES: dict[str, Callable[[bytes], Lines]] = {
    "edited": lambda line: [edit_line(line)],
    "moved to another run": lambda line: [of_another_run(line)],
    "in another form": lambda line: [as_3_0_3(line)],
    "doubled": lambda line: [line, line],
    "doubled in another form": lambda line: [as_3_0_3(line), line],
    "lost": lambda line: [],
    "torn": lambda line: [line[: len(line) // 2]],
    "without its newline": lambda line: [line[:-1]],
    "blank": lambda line: [b"\n"],
    "not an object": lambda line: [b"[]\n"],
    "without a run": lambda line: [b"{}\n"],
    "with other fields": lambda line: [line.replace(b"{", b'{"metrics":[],', 1)],
}
FOREIGN = (
    b'{"run_id":"a","step":1}\n',
    b'{"run_id":"new","step":1}\n',
    b'{"run_id": "b", "metrics": {"x": NaN, "y": null}}\n',
    b'{"run_id":"a","metrics":[]}\n',
    b'{"run_id":"\\ud800"}\n',
    b"{\n",
)


@st.composite
def changed_files(draw: Any, lines: Lines) -> bytes:
    """Return a file in which rows, or whole runs of rows, are moved, doubled, edited or lost."""
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(lines)))
        end = draw(st.integers(start, len(lines)))
        match draw(st.sampled_from(["move", "copy", "lose", "change", "change", "add", "reverse"])):
            case "move" | "copy" as how:
                piece = lines[start:end]
                rest = lines if how == "copy" else lines[:start] + lines[end:]
                place = draw(st.integers(0, len(rest)))
                lines = rest[:place] + piece + rest[place:]
            case "lose":
                lines = lines[:start] + lines[end:]
            case "reverse":
                lines = lines[:start] + lines[start:end][::-1] + lines[end:]
            case "add":
                lines = [*lines[:start], draw(st.sampled_from(FOREIGN)), *lines[start:]]
            case "change":
                change = CHANGES[draw(st.sampled_from(sorted(CHANGES)))]
                changed = [new for line in lines[start : start + 1] for new in change(line)]
                lines = lines[:start] + changed + lines[start + 1 :]
    content = b"".join(lines)
    return (
        content[: draw(st.integers(0, len(content)))] if draw(st.integers(0, 9)) == 9 else content
    )


odd_ranges = st.sampled_from(
    [
        lambda place: replace(place, rows=place.rows + 1),
        lambda place: replace(place, length=place.length + 1),
        lambda place: replace(place, length=0),
        lambda place: replace(place, length=-5),
        lambda place: replace(place, length=2**60),
        lambda place: replace(place, offset=place.offset + 7),
        lambda place: replace(place, digest=""),
    ]
)


@given(rows_of_runs, st.data())
def test_changed_file_reads_as_if_every_row_had_been_decoded(
    rows: list[HistoryRow], data: st.DataObject
) -> None:
    content, ranges = ranges_of(in_our_form(rows))
    changed = data.draw(changed_files(content.splitlines(keepends=True)))
    for run_id in data.draw(st.sets(st.sampled_from(sorted(ranges)), max_size=1) if ranges else
                            st.just(set())):  # fmt: skip
        ranges[run_id] = data.draw(odd_ranges)(ranges[run_id])
    found, expected = outcome(rebuild, changed, state_of(ranges)), outcome(read_whole, changed)
    event("a line does not read" if isinstance(expected[0], int) else "all lines read")
    assert found == expected


@given(rows_of_runs)
@example([])
def test_untouched_file_reads_as_it_is(rows: list[HistoryRow]) -> None:
    content, ranges = ranges_of(in_our_form(rows))
    assert rebuild(content, state_of(ranges)) == (content, ranges)


@given(rows_of_runs, st.data())
def test_runs_of_an_untouched_file_may_stand_in_any_order(
    rows: list[HistoryRow], data: st.DataObject
) -> None:
    runs = list(in_our_form(rows))
    content, ranges = ranges_of(iter(runs))
    moved = b"".join(line for _, lines in data.draw(st.permutations(runs)) for line in lines)
    assert rebuild(moved, state_of(ranges)) == (content, ranges)


# --- which rows are decoded


def rows_with_an_odd_byte_form(run_id: str, count: int) -> Lines:
    """Return lines that decoding would change, so that one sees whether they were decoded."""
    return [b'{"run_id": "%b", "step": %d}\n' % (run_id.encode(), step) for step in range(count)]


def test_rows_that_the_state_knows_are_kept_byte_for_byte_and_not_decoded() -> None:
    """Of millions of rows, an edited one costs the decoding of its run, not of all."""
    runs = [(run_id, rows_with_an_odd_byte_form(run_id, 40)) for run_id in "abc"]
    content, ranges = ranges_of(iter(runs))
    edited = content.replace(b'"b", "step": 7}', b'"b", "step": 70}')
    found, places = rebuild(edited, state_of(ranges))
    lines = found.splitlines(keepends=True)
    assert lines[:40] == runs[0][1]
    assert lines[80:] == runs[2][1]
    assert lines[40:80] == sorted(lines[40:80], key=len)
    assert all(b'"run_id":"b"' in line for line in lines[40:80])
    assert places["a"] == ranges["a"]
    assert (places["c"].digest, places["c"].rows) == (ranges["c"].digest, 40)


def no_other_decoder(line: bytes, row_shape: int) -> Any:
    raise AssertionError(line)


def test_rows_that_are_kept_are_read_with_the_partial_decoder_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content, ranges = ranges_of((run_id, rows_with_an_odd_byte_form(run_id, 40)) for run_id in "ab")
    without_canonical = form_of(HISTORY)._replace(canonical=no_other_decoder)
    monkeypatch.setattr(rebuilding, "form_of", lambda dataset: without_canonical)
    assert rebuild(content, state_of(ranges)) == (content, ranges)


@pytest.mark.parametrize("place", [0, 20, 40, 60, 120])
def test_row_that_is_apart_from_its_run_is_kept(place: int) -> None:
    runs = [(run_id, rows_with_an_odd_byte_form(run_id, 40)) for run_id in "abc"]
    content, ranges = ranges_of(iter(runs))
    lines = content.splitlines(keepends=True)
    lines.insert(place, b'{"run_id":"a","step":99}\n')
    _, places = rebuild(b"".join(lines), state_of(ranges))
    _, expected = read_whole(b"".join(line for line in lines if b'"a"' in line))
    assert places["a"] == expected["a"]
    assert places["a"].rows == 41


def test_run_of_many_megabytes_is_kept_with_little_memory(tmp_path: Path) -> None:
    lines = rows_with_an_odd_byte_form("a", 300_000)
    content, ranges = ranges_of(iter([("a", lines)]))
    path, target = tmp_path / "history.jsonl", tmp_path / "target.jsonl"
    path.write_bytes(content)
    assert len(content) > 8_000_000
    tracemalloc.start()
    try:
        assert rebuild_rows(path, HISTORY, state_of(ranges), target) == ranges
        assert tracemalloc.get_traced_memory()[1] < 4_000_000
    finally:
        tracemalloc.stop()
    assert target.read_bytes() == content
