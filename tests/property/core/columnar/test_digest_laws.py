"""Law of the digest of cells: equal lines have equal digests, others have not."""

from hypothesis import example, given
from hypothesis import strategies as st

from dr_wandb.core.columnar.cells import joined
from dr_wandb.core.columnar.digest import (
    cells_digest,
    cells_digest_of_lines,
    contents_digest,
    run_digest,
)
from dr_wandb.core.columnar.files import cut_parts
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.core.contract.codec import digest
from dr_wandb.core.contract.part import is_of_cells
from dr_wandb.core.contract.records import HistoryRow
from tests.support.cells import any_rows, cells_of_rows, cuts_of_rows, divided, lines_of_rows
from tests.support.parquet_exports import small_files
from tests.support.strategies import RUN_ID, history_rows


def row(**metrics: object) -> HistoryRow:
    return HistoryRow(run_id=RUN_ID, metrics=metrics)


@given(st.lists(history_rows(), max_size=2), st.lists(history_rows(), max_size=2))
@example([row(a=1)], [row(a=True)])
@example([row(a="1")], [row(a=[1])])
@example([row(a=2**53)], [row(a=2.0**53)])
@example([row(a="xy"), row(a="z")], [row(a="x"), row(a="yz")])
@example([row(a="x", b="y")], [row(ax="y")])
@example([row()], [row(), row()])
def test_digests_are_equal_if_and_only_if_the_lines_are(
    rows: list[HistoryRow], others: list[HistoryRow]
) -> None:
    same = lines_of_rows(rows) == lines_of_rows(others)
    digests = [contents_digest(cells_of_rows(some)) for some in (rows, others)]
    assert (digests[0] == digests[1]) == same


@given(any_rows.filter(bool), cuts_of_rows, st.integers(0, 9))
def test_digest_does_not_depend_on_batches(
    rows: list[HistoryRow], cuts: list[int], first: int
) -> None:
    batches = list(cells_of_lines(map(lines_of_rows, divided(rows, cuts)), first))
    assert contents_digest(joined(batches)) == contents_digest(cells_of_rows(rows, first))
    assert contents_digest(cells_of_rows(rows)) != contents_digest(cells_of_rows(rows, 1))


@given(any_rows.filter(bool), cuts_of_rows, st.sampled_from([4, 20, None]))
def test_digest_of_a_run_is_that_of_its_parts_however_they_come(
    rows: list[HistoryRow], cuts: list[int], most_cells: int | None
) -> None:
    with small_files(most_cells):
        batches = list(cells_of_lines(map(lines_of_rows, divided(rows, cuts))))
        parts = [contents_digest(part) for part in cut_parts([cells_of_rows(rows)])]
        found = cells_digest(batches)
        assert found == run_digest(parts) == cells_digest_of_lines([lines_of_rows(rows)])
        assert is_of_cells(found)


@given(any_rows.filter(bool), any_rows.filter(bool))
def test_digests_of_runs_are_equal_if_and_only_if_the_lines_are(
    rows: list[HistoryRow], others: list[HistoryRow]
) -> None:
    lines = [lines_of_rows(some) for some in (rows, others)]
    digests = [cells_digest_of_lines([some]) for some in lines]
    assert (digests[0] == digests[1]) == (lines[0] == lines[1])
    assert not is_of_cells(digest(lines[0]))


def test_digest_stays_the_same() -> None:
    """It is for comparing with what an earlier version has written."""
    rows = [row(loss=0.5, note="é"), HistoryRow(run_id=RUN_ID, step=3, timestamp="1.5")]
    assert contents_digest(cells_of_rows(rows)) == (
        "1e2d9efd42422d28cd4920951009041b936f62933a192a810702eadd4d1fc32b"
    )
