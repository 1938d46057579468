"""Laws of the parts of a run: they depend on its rows alone, and grow at their end."""

from typing import Any
from unittest.mock import patch

from hypothesis import assume, given
from hypothesis import strategies as st

from dr_wandb.core.columnar import files
from dr_wandb.core.columnar.files import cut_parts, files_of_run, size_of
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.core.columnar.to_lines import lines_of
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.records import HistoryRow
from tests.support.cells import cells_of_rows, cuts_of_rows, divided, exactly, lines_of_rows
from tests.support.strategies import RUN_ID, raw_rows, runs_of_rows

limits = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(runs_of_rows, cuts_of_rows, limits)
def test_parts_do_not_depend_on_batches_and_are_as_large_as_they_may_be(
    rows: list[HistoryRow], cuts: list[int], most: tuple[int, int]
) -> None:
    batches = list(cells_of_lines(map(lines_of_rows, divided(rows, cuts))))
    with patch.multiple(files, MOST_CELLS=most[0], MOST_TEXT_BYTES=most[1]):
        parts = list(cut_parts(batches))
        whole = list(cut_parts([cells_of_rows(rows)])) if rows else []
    assert list(map(exactly, parts)) == list(map(exactly, whole))
    assert b"".join(lines_of(part, RUN_ID).lines for part in parts) == lines_of_rows(rows)
    sizes = [size_of(cells_of_rows([row])) for row in rows]
    for part in parts:
        inside = sizes[part.first : part.first + part.row_count]
        assert fits(inside, most) or len(inside) == 1
        after = sizes[part.first : part.first + part.row_count + 1]
        assert len(after) == len(inside) or not fits(after, most)


def fits(sizes: list[files.Size], most: tuple[int, int]) -> bool:
    return (
        sum(size.cells for size in sizes) <= most[0]
        and sum(size.text_bytes for size in sizes) <= most[1]
    )


@given(runs_of_rows, limits, st.integers(0, 6))
def test_more_rows_change_no_part_but_the_last_one(
    rows: list[HistoryRow], most: tuple[int, int], before: int
) -> None:
    with patch.multiple(files, MOST_CELLS=most[0], MOST_TEXT_BYTES=most[1]):
        earlier = list(cut_parts([cells_of_rows(rows[:before])])) if rows[:before] else []
        later = list(cut_parts([cells_of_rows(rows)])) if rows else []
    assert list(map(exactly, earlier[:-1])) == list(map(exactly, later))[: max(0, len(earlier) - 1)]


@given(runs_of_rows, limits)
def test_run_has_own_files_if_it_reaches_a_limit(
    rows: list[HistoryRow], most: tuple[int, int]
) -> None:
    assume(rows)
    with patch.multiple(files, MOST_CELLS=most[0], MOST_TEXT_BYTES=most[1]):
        cells = cells_of_rows(rows)
        found = list(files_of_run(RUN_ID, None, [cells]))
        parts = list(cut_parts([cells]))
        reached = size_of(cells).cells >= most[0] or size_of(cells).text_bytes >= most[1]
    names = [files.pack_name(RUN_ID, None)]
    if reached:
        names = [files.part_name(RUN_ID, None, number) for number in range(len(parts))]
    assert [name for name, _ in found] == names
    assert [exactly(part) for _, part in found] == list(map(exactly, parts))


@given(runs_of_rows, limits)
def test_rows_behind_a_part_give_the_files_behind_it(
    rows: list[HistoryRow], most: tuple[int, int]
) -> None:
    with patch.multiple(files, MOST_CELLS=most[0], MOST_TEXT_BYTES=most[1]):
        cells = cells_of_rows(rows)
        found = list(files_of_run(RUN_ID, None, [cells]))
        for below in range(1, len(found)):
            _, part = found[below]
            rest = cells.between(part.first, cells.row_count)
            again = list(files_of_run(RUN_ID, None, [rest], below))
            assert [name for name, _ in again] == [name for name, _ in found[below:]]
            for (_, one), (_, other) in zip(again, found[below:], strict=True):
                assert exactly(one) == exactly(other)


def test_small_run_is_in_its_pack() -> None:
    cells = cells_of_rows([HistoryRow(run_id=RUN_ID, step=1)])
    assert [name for name, _ in files_of_run(RUN_ID, None, [cells])] == ["unknown-a.parquet"]


def test_run_without_rows_has_no_file() -> None:
    assert list(files_of_run(RUN_ID, None, [])) == []
    assert list(files_of_run(RUN_ID, None, [cells_of_rows([])])) == []


@given(st.lists(raw_rows, min_size=1, max_size=3))
def test_text_bytes_are_those_of_utf_8(raw: list[dict[str, Any]]) -> None:
    batch = cells_of_rows([normalize_row(row, RUN_ID) for row in raw])
    texts = [text for cells in batch.columns.values() for text in cells.texts]
    assert size_of(batch).text_bytes == sum(len(text.encode()) for text in texts)
