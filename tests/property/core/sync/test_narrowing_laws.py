"""Laws of a narrower selection: how many held rows it takes, or takes values from."""

from hypothesis import assume, example, given
from hypothesis import strategies as st

from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection, HistoryWindow
from dr_wandb.core.sync.narrowing import NarrowedRows, count_removed
from tests.support import strategies as some
from tests.support.selected_rows import leaves_of, selected_by_place

STORED = ByteRange(offset=0, length=0, rows=0, digest="")
LOSS, ACC = HistorySelection(keys=("loss",)), HistorySelection(keys=("acc",))
LAST = HistorySelection(window=HistoryWindow(max_records=1))


def counted(
    run: list[HistoryRow], before: HistorySelection, now: HistorySelection, listed: int | None
) -> int:
    held = [encode_line(row) for row in selected_by_place(run, before).values()]
    return count_removed(held, NarrowedRows("run", "history", STORED, before, now), listed)


def lost(run: list[HistoryRow], before: HistorySelection, now: HistorySelection) -> int:
    """Count the rows that are dropped or lose values when the run is read again."""
    after = selected_by_place(run, now)
    return sum(
        place not in after or not leaves_of(row) <= leaves_of(after[place])
        for place, row in selected_by_place(run, before).items()
    )


def row(step: int, **metrics: int) -> HistoryRow:
    return normalize_row({"_step": step, **metrics}, some.RUN_ID)


@given(some.runs_of_rows, some.selections, some.selections, st.booleans())
@example([row(0, loss=1, acc=2)], LOSS, ACC, True)
@example([row(0, loss=1, acc=2), row(1, acc=2)], LOSS, HistorySelection(window=LAST.window), True)
def test_no_fewer_rows_are_counted_than_are_lost(
    run: list[HistoryRow], before: HistorySelection, now: HistorySelection, listed: bool
) -> None:
    # A key that names both a metric and an object selects otherwise in a part of the row.
    names = {name for row in run for name in row.metrics}
    assume(not any(other.startswith(f"{name}.") for name in names for other in names))
    assert counted(run, before, now, len(run) if listed else None) >= lost(run, before, now)


@given(some.runs_of_rows, some.selections, st.booleans())
@example([row(0, loss=1, acc=2), row(1, loss=3)], LOSS, True)
@example([row(0, loss=1), row(1, loss=3)], LAST, False)
@example([row(0, **{"": 1})], HistorySelection(keys=("_step",)), False)
def test_number_is_exact_if_everything_was_held(
    run: list[HistoryRow], now: HistorySelection, listed: bool
) -> None:
    wanted = lost(run, EVERYTHING, now)
    assert counted(run, EVERYTHING, now, len(run) if listed else None) == wanted


@given(some.runs_of_rows, some.selections, some.selections)
@example([row(-1)], EVERYTHING, HistorySelection(window=HistoryWindow(min_step=0)))
def test_nothing_is_counted_under_a_selection_that_covers_the_held_one(
    run: list[HistoryRow], before: HistorySelection, now: HistorySelection
) -> None:
    assume(now.covers(before))
    assert lost(run, before, now) == 0


def test_rows_between_the_held_ones_may_push_them_out() -> None:
    """Ten rows have the new key: the last two of them may be none of the held ones."""
    now = HistorySelection(keys=("acc", "loss"), window=HistoryWindow(max_records=2))
    run = [row(0, loss=1), row(1, loss=1), *(row(step, acc=1) for step in range(2, 12))]
    assert lost(run, LOSS, now) == 2
    assert counted(run, LOSS, now, listed=12) == 2
    assert counted(run, LOSS, now, listed=3) == 1
    assert counted(run, LOSS, now, listed=2) == 0
    assert counted(run, LOSS, now, listed=None) == 2
