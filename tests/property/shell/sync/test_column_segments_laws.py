"""Rows that stay in columns give the files that they would give as lines."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from dr_wandb.shell.sync import column_segments, file_segments
from tests.support import arrow_batches as arrow
from tests.support import syncing
from tests.support.arrow_batches import through_parquet
from tests.support.exporting_source import ExportingSource
from tests.support.memory_source import MemorySource
from tests.support.parquet_exports import lines_in, small_files
from tests.support.state_files import whole_state
from tests.support.syncing import NAME

ALONE: dict[str, Any] = {"formats": ("parquet",)}
RUN = "e"


@contextmanager
def as_lines() -> Iterator[None]:
    """Let all rows become lines."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_segments, "goes_in_columns", lambda *_: False)
        yield


@contextmanager
def watched() -> Iterator[list[bool]]:
    """Give a list that says of each answer in files whether its rows stayed in columns."""
    found: list[bool] = []
    write = column_segments.write_column_segment

    def watch(*arguments: Any) -> Any:
        segment = write(*arguments)
        found.append(segment is not None)
        return segment

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_segments, "write_column_segment", watch)
        yield found


def everything(data_root: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return all files of an export, and all that is remembered of it."""
    return syncing.visible(data_root / NAME), whole_state(data_root / NAME)


# --- any columns


def with_steps(batch: pa.RecordBatch, steps: list[int] | None, kind: pa.DataType) -> pa.Table:
    """Return a batch as a table; steps: for its rows, None for those that it has."""
    names = [*batch.schema.names]
    arrays = [*batch.columns]
    if steps is not None:
        kept = [index for index, name in enumerate(names) if name != "_step"]
        names = ["_step", *(names[index] for index in kept)]
        arrays = [pa.array(steps, kind), *(arrays[index] for index in kept)]
    return pa.Table.from_arrays(arrays, names=names)


def fits_in_parquet(batch: pa.RecordBatch) -> bool:
    """Say whether a batch has columns that Parquet can hold: no decimals of a negative scale."""
    try:
        through_parquet(batch, 1)
    except (pa.ArrowException, OSError):
        return False
    return bool(batch.num_columns)


@st.composite
def exports(draw: st.DrawFn, batches: st.SearchStrategy[pa.RecordBatch]) -> list[pa.Table]:
    """The files of a run; the steps of most rise from file to file."""
    found = draw(st.lists(batches.filter(fits_in_parquet), min_size=1, max_size=3))
    kind = draw(st.sampled_from([pa.int64(), pa.int64(), pa.float64(), pa.uint32()]))
    rising = draw(st.sampled_from([True, True, True, False]))
    steps = np.cumsum(
        draw(st.lists(st.integers(1, 3), min_size=sum(one.num_rows for one in found),
                      max_size=sum(one.num_rows for one in found)))
    ).tolist()  # fmt: skip
    tables, start = [], 0
    for one in found:
        tables.append(
            with_steps(one, steps[start : start + one.num_rows] if rising else None, kind)
        )
        start += one.num_rows
    return tables


def assert_same_files(tables: list[pa.Table]) -> None:
    count = sum(table.num_rows for table in tables)
    with TemporaryDirectory() as folder, small_files(), syncing.without_fsync():
        found = []
        for name in ("columns", "lines"):
            source = ExportingSource(Path(folder))
            source.add_run(RUN, line_count_offset=count)
            source.finish(RUN)
            source.tables[RUN] = tables
            if name == "lines":
                with as_lines():
                    syncing.sync(source, Path(folder, name), **ALONE)
            else:
                with watched() as stayed:
                    syncing.sync(source, Path(folder, name), **ALONE)
                event(f"stayed in columns: {all(stayed)}")
            found.append(everything(Path(folder, name)))
        assert found[0] == found[1]


@given(exports(arrow.ordinary_batches))
def test_columns_give_the_files_of_their_lines(tables: list[pa.Table]) -> None:
    assert_same_files(tables)


@given(exports(arrow.odd_batches))
def test_odd_columns_give_the_files_of_their_lines(tables: list[pa.Table]) -> None:
    assert_same_files(tables)


# --- any sequence of syncs

Step = Callable[[MemorySource], None]
IDS = ("b", "e", "d")


def log(run_id: str, count: int) -> Step:
    def step(source: MemorySource) -> None:
        for number in range(count):
            source.log(run_id, {"loss": number / 3, "text": "ü" * number})

    return step


def export(run_id: str) -> Step:
    return lambda source: source.export(run_id)


def rewind(run_id: str, to_step: int) -> Step:
    return lambda source: source.rewind(run_id, to_step)


def wait(source: MemorySource) -> None:
    source.advance(601)


ids = st.sampled_from(IDS)
steps = st.one_of(
    st.builds(log, ids, st.integers(1, 12)),
    st.builds(export, ids),
    st.builds(export, ids),
    st.builds(rewind, ids, st.integers(0, 6)),
    st.just(wait),
)
requests: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {},
        {},
        {"sync_mode": "full_reconcile"},
        {"sync_mode": "full_reconcile"},
        {"mode": "metadata"},
        {"history_selection": syncing.select("loss", min_step=1), "allow_narrower": True},
    ]
)


@given(st.lists(st.tuples(st.lists(steps, max_size=5), requests), max_size=3), st.integers(1, 3))
def test_export_synced_in_columns_is_as_one_synced_in_lines(
    syncs: list[tuple[list[Step], dict[str, Any]]], parts: int
) -> None:
    with TemporaryDirectory() as folder, small_files(), syncing.without_fsync():
        source = ExportingSource(Path(folder), parts=parts)
        for run_id in IDS:
            source.add_run(run_id)
            log(run_id, 5)(source)
            source.export(run_id)
        first: list[tuple[list[Step], dict[str, Any]]] = [([], {})]
        for happens, request in (*first, *syncs):
            for step in happens:
                step(source)
            done = []
            for name in ("columns", "lines"):
                again = syncing.twin(source)
                if name == "lines":
                    with as_lines():
                        syncing.sync(again, Path(folder, name), **{**ALONE, **request})
                else:
                    with watched() as stayed:
                        syncing.sync(again, Path(folder, name), **{**ALONE, **request})
                done.append(everything(Path(folder, name)))
            event(f"columns: {len(stayed)}, all: {all(stayed)}")
            assert done[0] == done[1]
        roots = [Path(folder, name) for name in ("columns", "lines")]
        lines = lines_in(roots[0] / NAME)
        for root in roots:
            request = {"mode": "metadata", "formats": ("jsonl",)}
            again = syncing.twin(source)
            syncing.sync(again, root, **request)
            assert not again.count_asked("read_history")
            assert syncing.visible(root / NAME)["history.jsonl"] == lines
        assert everything(roots[0]) == everything(roots[1])
