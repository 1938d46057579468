"""Laws of the Parquet files: their bytes depend on their cells, and give the lines back."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pyarrow.parquet as pq
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.columnar import files
from dr_wandb.core.columnar.cells import CellBatch
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.shell.store import parquet_files
from dr_wandb.shell.store.cell_columns import cells_as_arrow
from dr_wandb.shell.store.group_writer import WrittenFile
from dr_wandb.shell.store.parquet_files import (
    Changes,
    merge_pack,
    read_lines,
    read_run,
    read_runs,
    rows_of_part,
    write_cells,
    write_part,
)
from tests.support.cells import (
    any_rows,
    cells_of_rows,
    cuts_of_rows,
    divided,
    exactly,
    lines_of_rows,
)
from tests.support.strategies import RUN_ID, clean_texts

run_ids = st.sampled_from(["a", "b", "ab", "é", "0012", "\U0001f600"]) | clean_texts
some_rows = any_rows.filter(bool)
packs = st.dictionaries(run_ids, some_rows, max_size=4)
limits = st.tuples(st.integers(1, 12), st.integers(1, 12))


@contextmanager
def new_folder() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder)


def rows_of_runs(pack: dict[str, list[HistoryRow]]) -> dict[str, list[HistoryRow]]:
    return {
        run_id: [replace(row, run_id=run_id) for row in rows]
        for run_id, rows in sorted(pack.items())
    }


def cells_of(pack: dict[str, list[HistoryRow]]) -> list[tuple[str, CellBatch]]:
    return [(run_id, cells_of_rows(rows)) for run_id, rows in rows_of_runs(pack).items()]


def changes_of(cells: Iterable[tuple[str, CellBatch]]) -> Changes:
    return [(run_id, [cells_as_arrow(batch, run_id)]) for run_id, batch in cells]


def written(path: Path, pack: dict[str, list[HistoryRow]]) -> WrittenFile | None:
    return merge_pack(None, path, changes_of(cells_of(pack)))


@given(packs)
def test_pack_gives_the_cells_and_the_lines_of_its_runs_back(
    pack: dict[str, list[HistoryRow]],
) -> None:
    with new_folder() as folder:
        found = written(folder / "pack", pack)
        assert (found is None) == (not pack)
        if found is None:
            assert not (folder / "pack").exists()
            return
        assert found.bytes == (folder / "pack").stat().st_size
        runs = list(read_runs(folder / "pack"))
        assert [(run_id, exactly(cells)) for run_id, cells in runs] == [
            (run_id, exactly(cells)) for run_id, cells in cells_of(pack)
        ]
        assert found.rows == sum(files.size_of(cells).cells for _, cells in runs)
        lines = {run_id: rows.lines for run_id, rows in read_lines(folder / "pack")}
        assert lines == {run_id: lines_of_rows(rows) for run_id, rows in rows_of_runs(pack).items()}


@given(packs, run_ids, limits)
def test_run_is_found_in_its_pack(
    pack: dict[str, list[HistoryRow]], other: str, most: tuple[int, int]
) -> None:
    with new_folder() as folder, patch.multiple(files, MOST_CELLS=most[0], MOST_TEXT_BYTES=most[1]):
        if written(folder / "pack", pack):
            runs = dict(cells_of(pack))
            for run_id in {*pack, other}:
                found = read_run(folder / "pack", run_id)
                assert (found is None) == (run_id not in pack)
                assert found is None or exactly(found) == exactly(runs[run_id])


@given(some_rows, st.integers(0, 9))
def test_part_gives_its_lines_back(rows: list[HistoryRow], first: int) -> None:
    with new_folder() as folder:
        write_part(folder / "part", RUN_ID, cells_of_rows(rows, first))
        [(run_id, found)] = read_lines(folder / "part")
        [(_, cells)] = read_runs(folder / "part")
        assert rows_of_part(folder / "part") == range(first, first + len(rows))
    assert (run_id, found.lines) == (RUN_ID, lines_of_rows(rows))
    assert cells.first == first


@given(packs, limits, st.integers(1, 5), st.integers(1, 5), st.integers(1, 3))
def test_bytes_do_not_depend_on_how_cells_are_divided(
    pack: dict[str, list[HistoryRow]], most: tuple[int, int], one: int, other: int, pieces: int
) -> None:
    with (
        new_folder() as folder,
        patch.multiple(files, MOST_CELLS=most[0], MOST_TEXT_BYTES=most[1]),
        patch.object(parquet_files, "MOST_PIECES", pieces),
    ):
        for name, size in (("one", one), ("other", other)):
            batches = (cells_as_arrow(cells, run_id) for run_id, cells in cells_of(pack))
            write_cells(
                folder / name,
                (
                    batch.slice(start, size)
                    for batch in batches
                    for start in range(0, batch.num_rows, size)
                ),
            )
        assert (folder / "one").read_bytes() == (folder / "other").read_bytes()
        groups = pq.read_metadata(folder / "one")
        assert all(
            groups.row_group(index).num_rows <= most[0] for index in range(groups.num_row_groups)
        )


@given(packs, packs, st.sets(run_ids), limits, st.integers(1, 9))
def test_merged_pack_has_the_bytes_of_one_that_is_written_from_scratch(
    before: dict[str, list[HistoryRow]],
    changed: dict[str, list[HistoryRow]],
    dropped: set[str],
    most: tuple[int, int],
    read_at_once: int,
) -> None:
    changes = dict(changes_of(cells_of(changed)))
    changes |= dict.fromkeys(dropped, ())
    after = {
        run_id: rows for run_id, rows in {**before, **changed}.items() if run_id not in dropped
    }
    with (
        new_folder() as folder,
        patch.multiple(files, MOST_CELLS=most[0], MOST_TEXT_BYTES=most[1]),
        patch.object(parquet_files, "CELLS_AT_A_TIME", read_at_once),
    ):
        old, merged, fresh = folder / "old", folder / "merged", folder / "fresh"
        written(old, before)
        found = merge_pack(old if before else None, merged, sorted(changes.items()))
        assert found == written(fresh, after)
        assert merged.exists() == fresh.exists() == bool(after)
        if after:
            assert merged.read_bytes() == fresh.read_bytes()


@given(some_rows, cuts_of_rows)
def test_pack_does_not_depend_on_the_batches_of_its_rows(
    rows: list[HistoryRow], cuts: list[int]
) -> None:
    batches = list(cells_of_lines(map(lines_of_rows, divided(rows, cuts))))
    with new_folder() as folder:
        for name, parts in (("one", files.cut_parts(batches)), ("other", [cells_of_rows(rows)])):
            merge_pack(None, folder / name, changes_of([(RUN_ID, part) for part in parts]))
        assert (folder / "one").read_bytes() == (folder / "other").read_bytes()
