"""The lines of a run, from the Parquet files of an export."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dr_wandb import DrWandbError
from dr_wandb.core.columnar.cells import joined
from dr_wandb.core.columnar.digest import contents_digest
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.core.contract.codec import digest, locate
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.shell.store import parquet_files
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.parquet_files import read_run
from dr_wandb.shell.store.parquet_lines import ParquetLines, parquet_lines
from dr_wandb.shell.sync.parquet_packs import NewRows, RunRows
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.parquet_exports import small_files
from tests.support.syncing import NAME

ROWS = 40


@pytest.fixture
def held(tmp_path: Path) -> ParquetLines:
    source = MemorySource()
    for run_id, rows in (("long", ROWS), ("small", 2)):
        source.add_run(run_id)
        for number in range(rows):
            source.log(run_id, {"loss": number})
        source.log(run_id, {"loss": 0.5}, step=None)
    with small_files(most_cells=30):
        syncing.sync(source, tmp_path, formats=("parquet",))
    store = ExportStore(name=NAME, data_root=tmp_path)
    state = store.load_state(entity="entity", project="project")
    return parquet_lines(store.export_dir, store.load_manifest(), state.runs)


def steps(held: ParquetLines, run_id: str, start: int | None = None) -> list[int | None]:
    return [locate(line)[1] for line in held.lines_of(run_id, start)]


def stored(held: ParquetLines, run_id: str) -> ByteRange:
    byte_range = held.runs[run_id].part(HISTORY).stored
    assert byte_range is not None
    return byte_range


def test_lines_come_in_the_order_of_the_rows(held: ParquetLines) -> None:
    assert steps(held, "long") == [*range(ROWS), None]
    assert steps(held, "small") == [0, 1, None]


def test_parts_below_a_step_are_not_read(held: ParquetLines) -> None:
    assert len(held.paths_of("long")) == 5
    assert steps(held, "long", start=ROWS - 3) == [*range(30, ROWS), None]
    assert steps(held, "long", start=ROWS) == [None]


def test_run_is_written_as_it_was_stored(held: ParquetLines, tmp_path: Path) -> None:
    known = stored(held, "long")
    written, before = held.write_run("long", known, tmp_path / "lines")
    lines = b"".join(held.lines_of("long"))
    assert (tmp_path / "lines").read_bytes() == lines
    assert known.of_cells
    assert (written, before) == (replace(known, offset=0, length=len(lines)), 0)


def test_end_of_a_run_is_written_without_reading_its_first_files(
    held: ParquetLines, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file of a run with a million rows was read for a tail of a few."""
    known, paths, read = stored(held, "long"), held.paths_of("long"), []

    def watched(path: Path, run_id: str) -> Any:
        read.append(path)
        return read_run(path, run_id)

    monkeypatch.setattr(parquet_files, "read_run", watched)
    written, before = held.write_run("long", known, tmp_path / "lines", start=ROWS - 3)
    assert read == paths[2:]
    assert (before, before + written.rows) == (20, known.rows)
    lines = (tmp_path / "lines").read_bytes()
    assert [locate(line)[1] for line in lines.splitlines()] == [*range(20, ROWS), None]
    old = replace(known, digest=digest(b"".join(held.lines_of("long"))))
    assert held.write_run("long", old, tmp_path / "lines", start=ROWS - 3)[1] == 0


@pytest.mark.parametrize("first", [0, 3, 20, 35])
def test_cells_of_a_run_are_those_of_its_lines_wherever_these_are(
    held: ParquetLines, tmp_path: Path, first: int
) -> None:
    """The first rows are read again if the files of a run have other names than before."""
    written, before = held.write_run("long", stored(held, "long"), tmp_path / "x", start=ROWS - 3)
    assert before == 20
    whole = [*held.lines_of("long")]
    rows = RunRows("long", held.runs["long"].created_at, stored(held, "long"))
    new = NewRows(tmp_path / "x", at={"long": written}, held=held, before={"long": before})
    found = joined([*new.cells_of(rows, first)])
    expected = joined([*cells_of_lines([b"".join(whole[first:])], first)])
    assert contents_digest(found) == contents_digest(expected)


def test_rows_that_are_not_those_of_the_state_are_an_error(
    held: ParquetLines, tmp_path: Path
) -> None:
    known = replace(stored(held, "small"), digest="0" * 32)
    with pytest.raises(DrWandbError, match="are not those that were stored"):
        held.write_run("small", known, tmp_path / "lines")
    known = replace(stored(held, "long"), digest="0" * 64)
    with pytest.raises(DrWandbError, match="are not those that were stored"):
        held.write_run("long", known, tmp_path / "lines", start=ROWS - 3)


def test_run_without_rows_is_in_no_file(held: ParquetLines) -> None:
    runs = {**held.runs, "other": replace(held.runs["small"], run_id="other", created_at=None)}
    assert held._replace(runs=runs).paths_of("other") == []
