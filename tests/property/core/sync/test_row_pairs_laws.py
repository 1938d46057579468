"""Laws of pairing: no row is left out or used twice, and the order is the stored one."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from dr_wandb.core.contract.codec import decode_row, encode_line, run_and_key
from dr_wandb.core.contract.evidence import SAME_MOMENT
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.sync.row_pairs import (
    Comparison,
    compare_rows,
    holds_members,
    pair_rows,
    unite_rows,
)
from tests.support import strategies as some
from tests.support.arrived_rows import stored_order

TIME = 1.7e9
"""Times close to it differ by multiples of 2.4e-7 s, as recorded."""


def stored(rows: Iterable[HistoryRow]) -> list[bytes]:
    return sorted(map(encode_line, rows), key=stored_order)


@st.composite
def close_rows(draw: Any) -> HistoryRow:
    """Rows of few steps whose times are often equal, and often less than a microsecond apart."""
    moment = draw(st.sampled_from([TIME, TIME + 3e-7, TIME + 6e-7, TIME + 1.5e-6, TIME + 1]))
    return HistoryRow(
        run_id=some.RUN_ID,
        step=draw(st.integers(0, 2)),
        timestamp=repr(moment),
        metrics={"loss": draw(st.integers(0, 1))},
    )


rows = some.history_rows() | close_rows()
sides = st.lists(rows, max_size=8).map(stored)
distinct_sides = st.lists(
    rows, max_size=8, unique_by=lambda row: (row.step, row.timestamp or repr(row.metrics))
).map(stored)
close_sides = st.lists(close_rows(), max_size=6).map(stored)


def moment_of(line: bytes) -> float:
    row = decode_row(line).unwrap()
    assert row.timestamp is not None
    return float(row.timestamp)


@given(sides, sides)
def test_each_line_of_both_sides_is_in_one_pair(held: list[bytes], came: list[bytes]) -> None:
    pairs = list(pair_rows(held, came))
    assert Counter(ours for ours, _ in pairs if ours) == Counter(held)
    assert Counter(theirs for _, theirs in pairs if theirs) == Counter(came)
    assert (None, None) not in pairs


@given(sides, sides)
def test_pairs_come_in_stored_order(held: list[bytes], came: list[bytes]) -> None:
    given_lines = [theirs or ours for ours, theirs in pair_rows(held, came)]
    keys = [stored_order(line) for line in given_lines if line is not None]
    assert keys == sorted(keys)


@given(sides, sides)
def test_two_lines_of_a_pair_are_one_row(held: list[bytes], came: list[bytes]) -> None:
    for ours, theirs in pair_rows(held, came):
        if ours is None or theirs is None or ours == theirs:
            continue
        one, other = decode_row(ours).unwrap(), decode_row(theirs).unwrap()
        assert one.step == other.step is not None
        assert abs(moment_of(ours) - moment_of(theirs)) < SAME_MOMENT


@given(close_sides, close_sides)
def test_equal_times_of_a_step_are_paired_first(held: list[bytes], came: list[bytes]) -> None:
    pairs = list(pair_rows(held, came))
    ours, theirs = (Counter(run_and_key(line) for line in side) for side in (held, came))
    equal = Counter(
        run_and_key(one)
        for one, other in pairs
        if one and other and run_and_key(one) == run_and_key(other)
    )
    assert equal == ours & theirs


@given(close_sides, close_sides)
def test_no_near_rows_are_left_alone_on_both_sides(held: list[bytes], came: list[bytes]) -> None:
    pairs = list(pair_rows(held, came))
    alone = [ours for ours, theirs in pairs if ours and not theirs]
    others = [theirs for ours, theirs in pairs if theirs and not ours]
    for one in alone:
        for other in others:
            same_step = run_and_key(one)[1][:2] == run_and_key(other)[1][:2]
            assert not same_step or abs(moment_of(one) - moment_of(other)) >= SAME_MOMENT


@given(sides)
def test_rows_compared_with_themselves_differ_in_nothing(side: list[bytes]) -> None:
    assert compare_rows(side, side) == Comparison()
    assert list(unite_rows(side, side)) == side


@given(sides, sides)
def test_comparison_counts_the_pairs_with_one_side(held: list[bytes], came: list[bytes]) -> None:
    found = compare_rows(held, came)
    pairs = list(pair_rows(held, came))
    less = sum(bool(ours and theirs and not holds_members(theirs, ours)) for ours, theirs in pairs)
    assert found.missing_rows == less + sum(theirs is None for _, theirs in pairs)
    assert found.adds == less + sum(ours is None for ours, _ in pairs)
    assert bool(found.missing_digest) == bool(found.missing_rows)


@given(sides, st.data())
def test_row_that_is_there_twice_is_paired_with_two_rows(
    side: list[bytes], data: st.DataObject
) -> None:
    if not side:
        return
    at = data.draw(st.integers(0, len(side) - 1))
    fewer = [*side[:at], *side[at + 1 :]]
    assert compare_rows(side, fewer).missing_rows == 1
    assert compare_rows(side, fewer).adds == 0
    assert compare_rows(fewer, side).adds == 1


@given(sides, sides)
def test_union_is_sorted_and_has_each_row_of_both_once(
    held: list[bytes], came: list[bytes]
) -> None:
    assume(not compare_rows(held, came).conflicts)  # then they are never united
    united = list(unite_rows(held, came))
    assert united == sorted(united, key=stored_order)
    assert not Counter(came) - Counter(united)
    again = compare_rows(held, united)
    assert (again.missing_rows, again.adds) == (0, len(united) - len(held))
    found = compare_rows(held, came)
    assert len(united) == len(came) + found.missing_rows
    stepless = sum(run_and_key(line)[1][0] for line in came) + found.missing_without_step
    assert sum(run_and_key(line)[1][0] for line in united) == stepless


@given(distinct_sides, distinct_sides)
def test_union_with_what_came_again_is_the_same(held: list[bytes], came: list[bytes]) -> None:
    united = list(unite_rows(held, came))
    assert list(unite_rows(united, came)) == united
