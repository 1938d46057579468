"""Held and received rows, paired: which are the same, and which have no partner."""

from collections.abc import Iterable

import pytest

from dr_wandb.core.contract.codec import encode_line, row_key
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection, HistoryWindow
from dr_wandb.core.sync.row_pairs import (
    MOST_AT_A_STEP,
    Comparison,
    admitted_rows,
    compare_rows,
    pair_rows,
    unite_rows,
)

TIME = 1700000000.5
NEAR = "1700000000.5000002"
"""Less than a microsecond after TIME, as an export may spell it."""


def line(step: int | None, timestamp: str | float | None = TIME, **metrics: object) -> bytes:
    moment = None if timestamp is None else str(timestamp)
    return encode_line(
        HistoryRow(run_id="run", step=step, timestamp=moment, metrics=metrics or {"loss": 1})
    )


def lines(steps: Iterable[int]) -> list[bytes]:
    return [line(step) for step in steps]


# Pairs


def test_same_row_is_the_same_step_and_time_whatever_it_holds() -> None:
    held, came = line(1, loss=1), line(1, loss=1, acc=2)
    assert list(pair_rows([held], [came])) == [(held, came)]


def test_rows_that_one_side_does_not_have_come_in_stored_order() -> None:
    held, came = lines([0, 1, 3]), lines([1, 2, 3, 4])
    assert list(pair_rows(held, came)) == [
        (held[0], None),
        (held[1], came[0]),
        (None, came[1]),
        (held[2], came[2]),
        (None, came[3]),
    ]


@pytest.mark.parametrize("step", [None, 1])
def test_row_without_a_time_is_the_same_only_with_the_same_content(step: int | None) -> None:
    one, other = line(step, None, loss=1), line(step, None, loss=2)
    assert list(pair_rows([one], [one])) == [(one, one)]
    assert list(pair_rows([one], [other])) == [(one, None), (None, other)]


def test_row_without_a_step_is_the_same_only_with_the_same_content() -> None:
    one, other = line(None, loss=1), line(None, loss=2)
    assert list(pair_rows([one], [other])) == [(one, None), (None, other)]


def test_times_of_one_step_within_a_microsecond_are_one_row() -> None:
    held, came = line(1), line(1, NEAR)
    assert list(pair_rows([held], [came])) == [(held, came)]
    assert list(pair_rows([came], [held])) == [(came, held)]


def test_times_of_one_step_a_microsecond_apart_are_two_rows() -> None:
    held, came = line(1), line(1, "1700000000.500002")
    assert list(pair_rows([held], [came])) == [(held, None), (None, came)]


def test_near_times_of_two_steps_are_two_rows() -> None:
    held, came = line(1), line(2, NEAR)
    assert list(pair_rows([held], [came])) == [(held, None), (None, came)]


def test_equal_times_are_paired_before_near_ones() -> None:
    early, late = line(1), line(1, NEAR)
    assert list(pair_rows([late], [early, late])) == [(None, early), (late, late)]
    assert list(pair_rows([early, late], [late])) == [(early, None), (late, late)]


def test_near_times_are_paired_in_order() -> None:
    held = [line(1, f"1700000000.{digits}") for digits in ("5", "6")]
    came = [line(1, f"1700000000.{digits}") for digits in ("5000002", "55", "6000002")]
    assert list(pair_rows(held, came)) == [
        (held[0], came[0]),
        (None, came[1]),
        (held[1], came[2]),
    ]


def test_each_row_is_paired_once() -> None:
    twin = line(1)
    assert list(pair_rows([twin, twin], [twin])) == [(twin, twin), (twin, None)]
    assert list(pair_rows([twin], [twin, twin])) == [(twin, twin), (None, twin)]


def test_only_equal_times_are_one_row_at_a_step_with_very_many_rows() -> None:
    # The times are a millisecond apart, and those that came a fraction of a microsecond later.
    held = [line(1, 1000 + number / 1024) for number in range(MOST_AT_A_STEP)]
    came = [line(1, 1000 + number / 1024 + 2**-21) for number in range(MOST_AT_A_STEP)]
    assert compare_rows(held[:-1], came[:-1]) == Comparison()
    assert compare_rows(held, held) == Comparison()
    assert compare_rows(held, came).missing_rows == MOST_AT_A_STEP
    assert compare_rows([*held, *lines([2])], lines([2])).missing_rows == MOST_AT_A_STEP


def test_rows_of_a_step_with_very_many_rows_are_all_paired() -> None:
    held = [line(1, 1000 + number, loss=1) for number in range(MOST_AT_A_STEP + 50)]
    came = [line(1, 1000 + number, loss=2) for number in range(MOST_AT_A_STEP + 50)]
    assert list(pair_rows(held, came)) == list(zip(held, came, strict=True))
    assert compare_rows(held, came[:-1]).missing_rows == 1
    assert compare_rows(held[:-1], came).adds == 1


# Comparisons


def test_comparison_counts_the_rows_missing_on_each_side() -> None:
    found = compare_rows(lines([0, 1, 2]), lines([1, 3, 4, 5]))
    assert (found.missing_rows, found.adds, found.conflicts) == (2, 3, False)


def test_comparison_of_the_same_rows_finds_nothing() -> None:
    assert compare_rows(lines([0, 1, 2]), lines([0, 1, 2])) == Comparison()
    assert compare_rows([], []) == Comparison()


def test_missing_rows_are_digested_alike_whatever_came_beside_them() -> None:
    held = lines([0, 1, 2])
    one, other = compare_rows(held, lines([0])), compare_rows(held, lines([0, 7]))
    assert one.missing_digest == other.missing_digest != ""
    one, other = compare_rows(held, lines([0, 1])), compare_rows(held, lines([0, 2]))
    assert one.missing_digest != other.missing_digest


def test_step_conflicts_when_each_side_has_a_row_there_that_the_other_has_not() -> None:
    assert compare_rows([line(1, 1.5)], [line(1, 2.5)]).conflicts
    assert compare_rows([line(1, 1.5)], [line(1, None)]).conflicts
    assert not compare_rows([line(1, 1.5)], [line(1, 1.5), line(1, 2.5)]).conflicts
    assert not compare_rows([line(1, 1.5)], [line(2, 2.5)]).conflicts


def test_step_conflicts_though_a_row_of_it_is_on_both_sides() -> None:
    held = [line(1, 1.5), line(1, 2.5)]
    assert compare_rows(held, [line(1, 2.5), line(1, 3.5)]).conflicts


def test_rows_without_a_step_are_in_no_conflict() -> None:
    assert not compare_rows([line(None, loss=1)], [line(None, loss=2)]).conflicts


@pytest.mark.parametrize(
    ("last_step", "beyond"), [(3, True), (4, False), (5, False), (None, False)]
)
def test_missing_rows_are_beyond_the_listed_step_when_all_of_them_are(
    last_step: int | None, beyond: bool
) -> None:
    held = lines([0, 4, 5])
    assert compare_rows(held, lines([0]), last_step=last_step).beyond is beyond


def test_missing_row_without_a_step_is_beyond_no_step() -> None:
    held = [*lines([0, 4]), line(None)]
    assert not compare_rows(held, lines([0]), last_step=3).beyond


def test_older_rows_are_no_news_when_only_the_last_ones_are_held() -> None:
    held, came = lines([3, 4]), lines([1, 2, 3, 4, 5])
    assert compare_rows(held, came, most_held=2).adds == 1
    assert compare_rows(held, came, most_held=3).adds == 3
    assert compare_rows(held, came).adds == 3


def test_row_that_came_without_a_value_that_is_held_is_another_row() -> None:
    """A lost file of a split row took its values with it, and nothing counts these."""
    whole, part = line(1, "1", a=1, b=2), line(1, "1", a=1)
    lost = compare_rows([whole], [part])
    assert (lost.missing_rows, lost.adds, lost.conflicts) == (1, 1, True)
    gained = compare_rows([part], [whole])
    assert (gained.missing_rows, gained.adds, gained.conflicts) == (0, 0, False)


# Unions


def test_union_has_the_rows_of_both_sides_as_they_came() -> None:
    held = [line(0), line(1), line(3)]
    came = [line(1, NEAR), line(2)]
    assert list(unite_rows(held, came)) == [line(0), line(1, NEAR), line(2), line(3)]


# Rows under another selection


def test_rows_under_a_narrower_selection_are_those_that_it_admits() -> None:
    late = HistorySelection(window=HistoryWindow(min_step=2))
    assert list(admitted_rows(lines([0, 1, 2, 3]), EVERYTHING, late)) == lines([2, 3])


def test_rows_under_a_selection_of_keys_lose_the_other_values() -> None:
    held = [line(0, loss=1, acc=2), line(1, acc=2)]
    loss = HistorySelection(keys=("loss",))
    assert list(admitted_rows(held, EVERYTHING, loss)) == [line(0, loss=1)]


def test_rows_that_only_content_identifies_are_left_out_when_it_may_be_another_one_now() -> None:
    loss, both = HistorySelection(keys=("loss",)), HistorySelection(keys=("loss", "acc"))
    held = [line(0, loss=1), line(1, None, loss=1)]
    assert list(admitted_rows(held, loss, both)) == held[:1]
    assert list(admitted_rows(held, loss, EVERYTHING)) == held[:1]
    assert list(admitted_rows(held, both, loss)) == held
    assert list(admitted_rows(held, EVERYTHING, loss)) == held


def test_key_of_a_line_orders_rows_without_a_step_last() -> None:
    rows = [line(0), line(5), line(None)]
    pairs = list(pair_rows([rows[0], rows[2]], [rows[1]]))
    assert [one or other for one, other in pairs] == rows
    assert row_key(None, None) > row_key(5, None)
