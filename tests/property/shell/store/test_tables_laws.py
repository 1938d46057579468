"""From the table of a dataset its lines can be had back, whatever they are."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.columnar import files
from dr_wandb.core.columnar.cells import joined
from dr_wandb.core.columnar.samples import cells_of_samples, lines_of_samples
from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.dataset import CONSOLE, FILES, SYSTEM
from dr_wandb.core.contract.records import ConsoleLine, RunFile, SystemSample
from dr_wandb.core.contract.system import system_sample
from dr_wandb.core.contract.values import json_safe
from dr_wandb.shell.store import cell_columns, disk, parquet_files
from dr_wandb.shell.store import tables as table_files
from dr_wandb.shell.store.tables import FORMS, read_table, write_table
from tests.support.cells import exactly
from tests.support.strategies import RUN_ID, clean_texts, json_values

INT64 = st.integers(-(2**63), 2**63 - 1)

names = st.sampled_from(
    ["system.cpu", "system.gpu.0.gpu", "_timestamp", "_runtime", "_step", "", "a.b", "system.ü"]
)
raw_samples = st.dictionaries(names | clean_texts, json_values, max_size=6)
samples = st.one_of(
    raw_samples.map(lambda raw: system_sample(json_safe(raw), RUN_ID)),
    st.builds(
        SystemSample,
        run_id=st.just(RUN_ID),
        timestamp=st.none() | st.floats(0, 2e9).map(repr) | clean_texts,
        runtime=st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
        metrics=st.dictionaries(names, st.integers() | st.floats(0, 1) | st.booleans(), max_size=4),
    ),
)
lines_of_console = st.builds(
    ConsoleLine,
    run_id=st.just(RUN_ID),
    number=INT64,
    timestamp=st.none() | clean_texts,
    level=st.sampled_from([None, "error", ""]),
    label=st.none() | clean_texts,
    content=clean_texts,
)
files_of_run = st.builds(
    RunFile,
    run_id=st.just(RUN_ID),
    path=clean_texts,
    size=st.none() | st.integers(0, 2**63 - 1),
    md5=st.none() | clean_texts,
    sha256=st.none() | clean_texts,
    mimetype=st.none() | clean_texts,
    updated_at=st.none() | clean_texts,
    absent=st.none() | st.sampled_from(["gone", "too large"]),
    newer=st.none() | st.sampled_from(["gone", "failed"]),
)
ROWS: dict[str, st.SearchStrategy[Any]] = {
    SYSTEM: samples,
    CONSOLE: lines_of_console,
    FILES: files_of_run,
}


@st.composite
def tables(draw: Any) -> tuple[str, dict[str, list[bytes]]]:
    """A dataset, and the lines of its runs."""
    dataset = draw(st.sampled_from(sorted(ROWS)))
    runs = draw(st.dictionaries(clean_texts, st.lists(ROWS[dataset], min_size=1), max_size=4))
    return dataset, {
        run_id: [_line_of(row, run_id) for row in rows] for run_id, rows in sorted(runs.items())
    }


def _line_of(row: Any, run_id: str) -> bytes:
    return encode_line(
        {**{name: getattr(row, name) for name in row.__struct_fields__}, "run_id": run_id}
    )


@contextmanager
def new_folder() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder)


def split(lines: list[bytes], at: int) -> Iterator[bytes]:
    """Give the lines in batches of a few."""
    return (b"".join(lines[start : start + at]) for start in range(0, len(lines), at))


@given(st.lists(samples, min_size=1), st.integers(1, 4))
def test_samples_are_the_same_cells_however_they_are_divided_and_give_their_lines_back(
    rows: list[SystemSample], at: int
) -> None:
    lines = [encode_line(row) for row in rows]
    batches = list(cells_of_samples(split(lines, at)))
    assert exactly(joined(batches)) == exactly(joined([*cells_of_samples([b"".join(lines)])]))
    assert b"".join(lines_of_samples(batch, RUN_ID) for batch in batches) == b"".join(lines)


@given(tables(), st.integers(1, 12), st.integers(1, 40), st.integers(1, 200))
def test_table_gives_the_lines_of_its_runs_back(
    table: tuple[str, dict[str, list[bytes]]], most_cells: int, most_text: int, chunk: int
) -> None:
    dataset, runs = table
    with (
        new_folder() as folder,
        patch.multiple(files, MOST_CELLS=most_cells, MOST_TEXT_BYTES=most_text),
        patch.object(disk.gathered, "__defaults__", (chunk,)),
    ):
        written = write_table(folder / "table", FORMS[dataset], runs.items())
        again = write_table(folder / "again", FORMS[dataset], runs.items())
        assert written == again
        assert written.bytes == (folder / "table").stat().st_size
        found: dict[str, list[bytes]] = {}
        order = []
        for run_id, lines in read_table(folder / "table", FORMS[dataset]):
            found.setdefault(run_id, []).append(lines)
            order.append(run_id)
        assert {run_id: b"".join(lines) for run_id, lines in found.items()} == {
            run_id: b"".join(lines) for run_id, lines in runs.items()
        }
        assert order == sorted(order)
        read = pq.read_table(folder / "table")
        assert read.num_rows == written.rows
        assert read.schema.names == FORMS[dataset].schema.names


@pytest.mark.parametrize("dataset", FORMS)
def test_small_runs_are_joined_as_they_come(
    dataset: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pack of 30,000 runs with three lines each took 400 MB: each run is some kilobytes."""
    row = {
        SYSTEM: SystemSample(run_id="", timestamp="1", runtime=2, metrics={"system.cpu": 0.5}),
        CONSOLE: ConsoleLine(run_id="", number=0, content="line"),
        FILES: RunFile(run_id="", path="a", mimetype="text/plain"),
    }[dataset]
    runs = {f"run-{number:02d}": [_line_of(row, f"run-{number:02d}")] for number in range(20)}
    expected = write_table(tmp_path / "at once", FORMS[dataset], runs.items())
    pieces: list[int] = []

    def one_table(batches: list[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
        pieces.append(len(batches))
        return cell_columns.one_table(batches, schema)

    for module in (table_files, parquet_files):
        monkeypatch.setattr(module, "one_table", one_table)
    monkeypatch.setattr(table_files, "MOST_PIECES", 4)
    assert write_table(tmp_path / "joined", FORMS[dataset], runs.items()) == expected
    assert max(pieces) == 5


def test_group_ends_by_the_length_of_its_labels_too(tmp_path: Path) -> None:
    """A program may give itself any label: 200 MB of them were held at once."""
    labels = [str(number) * 50 for number in range(9)]
    lines = [
        encode_line(ConsoleLine(run_id=RUN_ID, number=number, label=label))
        for number, label in enumerate(labels)
    ]
    with (
        patch.multiple(files, MOST_TEXT_BYTES=200),
        patch.object(disk.gathered, "__defaults__", (1,)),
    ):
        write_table(tmp_path / "table", FORMS[CONSOLE], [(RUN_ID, lines)])
    assert pq.ParquetFile(tmp_path / "table").num_row_groups == 3
