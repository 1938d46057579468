"""Segments of files of W&B: found again by the same question only, and only if they are whole."""

from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from msgspec.structs import replace

from dr_wandb.core.columnar.digest import cells_digest_of_lines
from dr_wandb.core.contract.codec import digest
from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.parquet import ParquetFiles
from dr_wandb.shell.sync import column_segments
from dr_wandb.shell.sync.column_segments import (
    ColumnSegment,
    find_column_segment,
    write_column_segment,
)
from dr_wandb.shell.sync.segment_writer import write_segment_of_files
from dr_wandb.shell.sync.segments import find_segment, segment_path
from tests.support.syncing import select
from tests.support.written_segments import HEADER, RUN

COLUMNS = {"_step": [0, 1, 4], "_timestamp": [100.5, 101.5, 102.0], "loss": [0.5, None, 1e300]}
MORE = {"_step": [5, 6], "_timestamp": [103.0, 104.5], "text": ["é", "x"]}


def files_of(folder: Path, *tables: dict[str, Any]) -> ParquetFiles:
    place = folder / "downloaded"
    place.mkdir(exist_ok=True)
    paths = [place / f"{number}.parquet" for number in range(len(tables))]
    for path, columns in zip(paths, tables, strict=True):
        pq.write_table(pa.table(columns), path)
    return ParquetFiles(paths=paths[::-1], window=FetchWindow())


def written(folder: Path, *tables: dict[str, Any]) -> ColumnSegment:
    found = write_column_segment(folder, HEADER, files_of(folder, *(tables or (COLUMNS, MORE))))
    assert found is not None
    return found


def lines_of(folder: Path, *tables: dict[str, Any]) -> list[bytes]:
    other = folder / "lines"
    other.mkdir()
    return list(write_segment_of_files(other, HEADER, files_of(folder, *tables)).lines())


def test_segment_has_the_rows_of_its_files(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, COLUMNS, MORE)
    segment = written(tmp_path)
    assert list(segment.lines()) == lines
    assert segment.digest == cells_digest_of_lines([b"".join(lines)])
    assert (segment.rows, len(segment.files)) == (5, 2)
    received = segment.received
    assert (received.rows, received.last_step, received.last_timestamp) == (5, 6, "104.5")
    assert (received.boundary_rows, received.without_step) == (1, 0)
    assert segment.byte_range == ByteRange(offset=0, length=0, rows=5, digest=segment.digest)
    assert find_column_segment(tmp_path, HEADER) == segment


def test_files_are_taken_and_no_name_ends_in_parquet(tmp_path: Path) -> None:
    segment = written(tmp_path, COLUMNS)
    assert not [*tmp_path.rglob("0.parquet")]
    assert Path(segment.path).suffix == ".segment"
    assert {path.suffix for path in tmp_path.iterdir()} == {".segment", ""}


def test_segment_is_none_of_lines(tmp_path: Path) -> None:
    """An earlier build would take the bytes of Parquet for rows."""
    segment = written(tmp_path)
    assert find_segment(tmp_path, HEADER) is None
    Path(segment.path).rename(segment_path(tmp_path, HEADER))
    assert find_segment(tmp_path, HEADER) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"run": replace(RUN, history_line_count=4)},
        {"window": FetchWindow(start=1)},
        {"selection": select("loss")},
        {"source": "api"},
    ],
    ids=str,
)
def test_another_question_is_not_answered(tmp_path: Path, changed: dict[str, Any]) -> None:
    segment = written(tmp_path)
    other = replace(HEADER, **changed)
    assert find_column_segment(tmp_path, other) is None
    stem = segment_path(tmp_path, other).stem
    Path(segment.path).rename(tmp_path / f"{stem}-columns.segment")
    assert find_column_segment(tmp_path, other) is None


def test_cut_segment_is_not_used(tmp_path: Path) -> None:
    path = Path(written(tmp_path).path)
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        assert find_column_segment(tmp_path, HEADER) is None, length
    path.write_bytes(content)
    assert find_column_segment(tmp_path, HEADER) is not None


def test_segment_whose_rows_are_others_is_not_used(tmp_path: Path) -> None:
    """After a power cut a file may have its length and not its content."""
    segment = written(tmp_path, COLUMNS)
    path = Path(segment.path)
    content = path.read_bytes()
    for place in range(0, segment.length, 11):
        path.write_bytes(content[:place] + bytes(8) + content[place + 8 :])
        found = find_column_segment(tmp_path, HEADER)
        assert found is None or list(found.lines()) == list(segment.lines())
    path.write_bytes(bytes(segment.length) + content[segment.length :])
    assert find_column_segment(tmp_path, HEADER) is None


@pytest.mark.parametrize(
    "tables",
    [
        [{**COLUMNS, "_step": [0, 4, 1]}],
        [{**COLUMNS, "_step": [0, 1, 1]}],
        [{**COLUMNS, "_step": [0, None, 1]}],
        [{**COLUMNS, "_step": [0.0, 0.5, 1.0]}],
        [{**COLUMNS, "_step": ["0", "1", "2"]}],
        [{**COLUMNS, "_step": pa.array([1, 2, 2**63], pa.uint64())}],
        [{"loss": [0.5]}],
        [COLUMNS, {**MORE, "_step": [4, 5]}],
        [{"_step": pa.array([], pa.int64())}],
    ],
)
def test_rows_that_do_not_rise_have_to_be_lines(
    tmp_path: Path, tables: list[dict[str, Any]]
) -> None:
    files = files_of(tmp_path, *tables)
    assert write_column_segment(tmp_path, HEADER, files) is None
    assert all(path.exists() for path in files.paths)
    assert {path.name for path in tmp_path.iterdir()} == {"downloaded"}


def test_rows_in_very_many_files_become_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(column_segments, "MOST_FILES", 1)
    assert write_column_segment(tmp_path, HEADER, files_of(tmp_path, COLUMNS, MORE)) is None
    assert write_column_segment(tmp_path, HEADER, files_of(tmp_path, COLUMNS)) is not None


def test_file_that_does_not_read_fails_its_run(tmp_path: Path) -> None:
    files = files_of(tmp_path, COLUMNS)
    content = files.paths[0].read_bytes()
    files.paths[0].write_bytes(content[: len(content) // 2])
    with pytest.raises(SourceError, match="cannot be read"):
        write_column_segment(tmp_path, HEADER, files)


def test_rows_that_no_longer_read_are_damage(tmp_path: Path) -> None:
    segment = written(tmp_path, COLUMNS)
    Path(segment.path).write_bytes(bytes(Path(segment.path).stat().st_size))
    with pytest.raises(DrWandbError, match="sync again"):
        list(segment.cells())


def test_first_rows_are_compared_in_either_kind_of_digest(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, COLUMNS, MORE)
    segment = written(tmp_path)
    for rows in range(1, 6):
        first = b"".join(islice(lines, rows))
        assert segment.begins_with(rows, digest(first))
        assert segment.begins_with(rows, cells_digest_of_lines([first]))
        assert not segment.begins_with(rows, digest(first + b" "))
        assert not segment.begins_with(rows, cells_digest_of_lines([lines[-1] * rows]))
    assert segment.begins_with(0, "")
    assert not segment.begins_with(6, segment.digest)
