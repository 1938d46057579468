"""Laws of the page size."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.sync.paging import (
    FIRST_RUNS,
    GROWTH,
    LONGEST_STAY,
    PAGE_BYTES,
    PageSize,
    first_page,
    note_capped,
    note_refused,
    note_served,
)

MOST = st.integers(1, 999)
RUN_BYTES = st.integers(1, 20_000_000)
EVENTS = st.lists(st.none() | RUN_BYTES, max_size=60)


def follow(size: PageSize, events: list[int | None]) -> PageSize:
    """Return the size after pages that were refused (None), or served with runs of some bytes."""
    for run_bytes in events:
        if run_bytes is None:
            size = note_refused(size) or size
        else:
            size = note_served(size, size.runs, size.runs * run_bytes)
    return size


@given(MOST, EVENTS)
def test_page_has_at_least_one_run_and_at_most_what_was_asked(
    most: int, events: list[int | None]
) -> None:
    size = follow(first_page(most), events)
    assert 1 <= size.runs <= most
    assert size.runs == 1 or not size.alone


@given(MOST, EVENTS, st.integers(1, 500), RUN_BYTES)
def test_page_follows_the_bytes_of_the_one_before(
    most: int, events: list[int | None], runs: int, run_bytes: int
) -> None:
    size = note_served(follow(first_page(most), events), runs, runs * run_bytes)
    assert (size.runs + 1) * run_bytes <= PAGE_BYTES or size.runs == 1
    assert size.alone or 2 * run_bytes <= PAGE_BYTES


@given(MOST, EVENTS, st.integers(0, 999), RUN_BYTES)
def test_page_is_not_much_larger_than_what_came(
    most: int, events: list[int | None], runs: int, run_bytes: int
) -> None:
    before = follow(first_page(most), events)
    after = note_served(before, runs, runs * run_bytes)
    assert after.runs <= max(before.runs, GROWTH * runs)


@given(MOST, EVENTS)
def test_page_that_is_refused_is_halved_down_to_one_run_alone(
    most: int, events: list[int | None]
) -> None:
    size = follow(first_page(most), events)
    steps = 0
    while (smaller := note_refused(size)) is not None:
        assert smaller.runs == max(1, size.runs // 2)
        size, steps = smaller, steps + 1
    assert (size.runs, size.alone) == (1, True)
    assert steps <= 11


@given(MOST, EVENTS)
def test_pages_grow_again_to_the_largest(most: int, events: list[int | None]) -> None:
    size = follow(first_page(most), events)
    for _ in range(LONGEST_STAY + 12):
        size = note_served(size, size.runs, size.runs)
    assert size.runs == most
    assert not size.alone


def test_first_pages_are_small_and_full_ones_come_soon() -> None:
    sizes = [first_page(500)]
    for _ in range(2):
        sizes.append(note_served(sizes[-1], sizes[-1].runs, sizes[-1].runs * 2_000))
    assert [size.runs for size in sizes] == [FIRST_RUNS, 32, 500]


def test_server_with_a_limit_is_asked_beyond_it_ever_more_rarely() -> None:
    size, refused_at = first_page(500), []
    for number in range(200):
        if size.runs > 100:
            refused_at.append(number)
            size = note_refused(size) or size
        else:
            size = note_served(size, size.runs, size.runs * 2_000)
    gaps = [later - earlier for earlier, later in pairwise(refused_at)]
    assert max(gaps) >= 60
    assert len(refused_at) <= 12


def test_large_runs_come_one_by_one_and_small_ones_in_full_pages_again() -> None:
    size = note_served(first_page(500), 1, PAGE_BYTES)
    assert (size.runs, size.alone) == (1, True)
    size = note_served(size, 1, 1_000)
    assert (size.runs, size.alone) == (GROWTH, False)


def test_server_that_gives_one_run_a_page_is_asked_for_one() -> None:
    size = note_capped(first_page(500))
    for _ in range(LONGEST_STAY):
        assert (size.runs, size.alone) == (1, True)
        size = note_served(size, 1, 1_000)
