"""Law of the digest of cells: equal lines have equal digests, others have not."""

from hypothesis import example, given
from hypothesis import strategies as st

from dr_wandb.core.columnar.cells import joined
from dr_wandb.core.columnar.digest import contents_digest
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.core.contract.records import HistoryRow
from tests.support.cells import any_rows, cells_of_rows, cuts_of_rows, divided, lines_of_rows
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


def test_digest_stays_the_same() -> None:
    """It is for comparing with what an earlier version has written."""
    rows = [row(loss=0.5, note="é"), HistoryRow(run_id=RUN_ID, step=3, timestamp="1.5")]
    assert contents_digest(cells_of_rows(rows)) == (
        "1e2d9efd42422d28cd4920951009041b936f62933a192a810702eadd4d1fc32b"
    )
