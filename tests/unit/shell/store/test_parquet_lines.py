"""The lines of a run, from the Parquet files of an export."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from dr_wandb import DrWandbError
from dr_wandb.core.contract.codec import locate
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.parquet_lines import ParquetLines, parquet_lines
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
    written = held.write_run("long", known, tmp_path / "lines")
    lines = b"".join(held.lines_of("long"))
    assert (tmp_path / "lines").read_bytes() == lines
    assert known.of_cells
    assert written == replace(known, offset=0, length=len(lines))


def test_rows_that_are_not_those_of_the_state_are_an_error(
    held: ParquetLines, tmp_path: Path
) -> None:
    known = replace(stored(held, "small"), digest="0" * 32)
    with pytest.raises(DrWandbError, match="are not those that were stored"):
        held.write_run("small", known, tmp_path / "lines")


def test_run_without_rows_is_in_no_file(held: ParquetLines) -> None:
    runs = {**held.runs, "other": replace(held.runs["small"], run_id="other", created_at=None)}
    assert held._replace(runs=runs).paths_of("other") == []
