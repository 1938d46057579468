"""Laws of selections among themselves: which one covers another."""

from typing import Any

from hypothesis import assume, example, given
from hypothesis import strategies as st

from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection, HistoryWindow
from tests.support import strategies as some
from tests.support.selected_rows import leaves_of, selected_by_place


@given(some.runs_of_rows, some.selections, some.selections)
def test_covering_selection_admits_every_row_and_value_of_the_other(
    run: list[HistoryRow], wide: HistorySelection, narrow: HistorySelection
) -> None:
    assume(wide.covers(narrow))
    kept = selected_by_place(run, wide)
    for place, row in selected_by_place(run, narrow).items():
        assert leaves_of(row) <= leaves_of(kept[place])


@given(some.selections, some.selections, some.selections)
def test_covering_is_an_order(
    one: HistorySelection, two: HistorySelection, three: HistorySelection
) -> None:
    assert one.covers(one)
    assert EVERYTHING.covers(one)
    if one.covers(two) and two.covers(three):
        assert one.covers(three)


def window(**bounds: Any) -> HistorySelection:
    return HistorySelection(window=HistoryWindow(**bounds))


@given(st.sampled_from([window(min_step=0), window(max_step=9), window(max_records=3)]))
@example(HistorySelection(keys=("loss",)))
def test_no_selection_covers_everything(selection: HistorySelection) -> None:
    """Not even from step 0 on: a row may have a negative step."""
    assert not selection.covers(EVERYTHING)


def test_more_of_the_last_rows_cover_fewer_of_the_same_kind() -> None:
    three = HistorySelection(keys=("loss",), window=HistoryWindow(max_records=3))
    five = HistorySelection(keys=("loss",), window=HistoryWindow(max_records=5))
    of_two_keys = HistorySelection(keys=("acc", "loss"), window=HistoryWindow(max_records=5))
    assert five.covers(three)
    assert not three.covers(five)
    assert not of_two_keys.covers(three), "its last five rows may all have only the other key"
    assert HistorySelection(keys=("acc", "loss")).covers(three)
