"""The loaders: the first row at once, a bounded memory, rows before a damage, files let go."""

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest

from dr_wandb import DrWandbError, iter_history_rows, load_run_snapshots
from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.failures import DamagedFile
from dr_wandb.core.contract.records import HistoryRow
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME

ROWS = 20_000


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Return the history file of an export, which a test fills."""
    source = MemorySource()
    source.add_run("a")
    source.log("a", {"loss": 0.5})
    syncing.sync(source, tmp_path)
    return tmp_path / NAME / "history.jsonl"


def row_of(step: int) -> HistoryRow:
    return HistoryRow(run_id="a", step=step, metrics={"loss": step / 3, "text": f"row {step}"})


def fill(history: Path, rows: int = ROWS) -> None:
    history.write_bytes(b"".join(encode_line(row_of(step)) for step in range(rows)))


def load(history: Path) -> Iterator[HistoryRow]:
    return iter_history_rows(NAME, history.parents[1])


@contextmanager
def at_most(peak_bytes: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < peak_bytes
    finally:
        tracemalloc.stop()


def test_all_rows_are_loaded_in_their_order(history: Path) -> None:
    fill(history)
    assert list(load(history)) == [row_of(step) for step in range(ROWS)]


def test_loading_takes_the_memory_of_a_few_rows_however_many_there_are(history: Path) -> None:
    fill(history)
    assert history.stat().st_size > 2_000_000
    with at_most(500_000):
        assert sum(1 for _ in load(history)) == ROWS


def test_first_row_comes_before_the_rest_is_read(history: Path) -> None:
    fill(history)
    with history.open("ab") as stream:
        stream.write(b"{")
    assert list(islice(load(history), 3)) == [row_of(step) for step in range(3)]


@pytest.mark.parametrize("place", [0, 1, 150, ROWS - 1])
def test_rows_before_a_damaged_line_are_loaded_and_the_line_is_named(
    history: Path, place: int
) -> None:
    fill(history)
    lines = history.read_bytes().splitlines(keepends=True)
    lines[place] = lines[place].replace(b'"run_id":"a"', b'"run_id":1')
    history.write_bytes(b"".join(lines))
    rows = load(history)
    assert list(islice(rows, place)) == [row_of(step) for step in range(place)]
    with pytest.raises(DrWandbError) as caught:
        next(rows)
    failure = caught.value.failure
    assert isinstance(failure, DamagedFile)
    assert (failure.path, failure.line) == (str(history), place + 1)
    assert list(rows) == []


def test_line_of_many_megabytes_is_loaded_between_short_ones(history: Path) -> None:
    long = HistoryRow(run_id="a", step=1, metrics={"text": "é" * 3_000_000})
    rows = [row_of(0), long, row_of(2)]
    history.write_bytes(b"".join(map(encode_line, rows)))
    assert list(load(history)) == rows


def test_last_line_without_its_newline_is_loaded(history: Path) -> None:
    fill(history, 3)
    history.write_bytes(history.read_bytes()[:-1])
    assert list(load(history)) == [row_of(step) for step in range(3)]


def test_rows_of_3_0_3_among_ours_are_loaded(history: Path) -> None:
    """3.0.3 wrote NaN as it is, which no strict reader takes."""
    fill(history, 300)
    with history.open("ab") as stream:
        stream.write(b'{"metrics": {"loss": NaN}, "run_id": "a", "step": 300.0}\n')
    fill_again = encode_line(row_of(301))
    history.write_bytes(history.read_bytes() + fill_again)
    assert [row.step for row in load(history)] == list(range(302))
    assert list(load(history))[300].metrics == {"loss": "NaN"}


def test_rows_that_are_not_wanted_leave_the_file_closed(history: Path) -> None:
    """An open file would be a ResourceWarning, which is an error here."""
    fill(history)
    rows = load(history)
    next(rows)
    del rows
    gc.collect()
    history.unlink()


def test_nothing_is_looked_at_before_the_first_row_is_asked_for(history: Path) -> None:
    rows = load(history)
    history.unlink()
    with pytest.raises(DrWandbError, match="the file is missing"):
        next(rows)


def test_snapshots_are_all_loaded_or_the_damaged_line_is_named(history: Path) -> None:
    runs = history.with_name("runs.jsonl")
    line = runs.read_bytes()
    runs.write_bytes(line * 500)
    assert len(load_run_snapshots(NAME, history.parents[1])) == 500
    runs.write_bytes(line * 400 + b"{}\n" + line)
    with pytest.raises(DrWandbError, match=r"runs\.jsonl line 401"):
        load_run_snapshots(NAME, history.parents[1])
