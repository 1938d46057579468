"""Laws of acceptance: nothing is erased by an answer that cannot be true."""

from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.contract.fetch_window import FetchWindow, Received
from dr_wandb.core.contract.listing import HistoryCounts, RunListing
from dr_wandb.core.contract.request import EVERYTHING, HistorySelection
from dr_wandb.core.contract.state import ByteRange, HistoryPosition, RunTracking
from dr_wandb.core.sync.accept import SHORT_SYNCS, Accepted, ReadWhole, Rejected, Verdict, judge
from tests.property import strategies as some

WHOLE = FetchWindow()
counts = st.integers(0, 12)
befores = st.none() | some.trackings(st.just("a"))
states = st.sampled_from(["running", "finished", "crashed"])


def listing_of(count: int | None, last_step: int | None, state: str = "finished") -> RunListing:
    return RunListing(run_id="a", state=state, history_line_count=count, last_step=last_step)


def position_of(rows: int, *, count: int | None = None, **fields: Any) -> HistoryPosition:
    last_step = rows - 1 if rows else None
    listed = HistoryCounts(line_count=rows if count is None else count, last_step=last_step)
    fields = {"boundary": "d" if rows else "", "boundary_rows": min(rows, 1), **fields}
    return HistoryPosition(rows=rows, last_step=last_step, listed=listed, **fields)


def tracking_of(position: HistoryPosition | None, **fields: Any) -> RunTracking:
    return RunTracking(run_id="a", position=position, **fields)


def whole_answer(rows: int) -> Received:
    return Received(
        rows=rows,
        last_step=rows - 1 if rows else None,
        boundary="d" if rows else "",
        boundary_rows=min(rows, 1),
    )


def judge_whole(
    listing: RunListing, received: Received, before: RunTracking | None = None
) -> Verdict:
    return judge(WHOLE, listing, received, tail=False, selection=EVERYTHING, before=before)


@given(some.fetch_windows, some.listings, some.received, st.booleans(), some.selections, befores)
def test_judging_is_total_and_its_verdict_can_be_printed(
    window: FetchWindow,
    listing: RunListing,
    received: Received,
    tail: bool,
    selection: HistorySelection,
    before: RunTracking | None,
) -> None:
    verdict = judge(window, listing, received, tail=tail, selection=selection, before=before)
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict
    if isinstance(verdict, Accepted):
        position = verdict.position
        assert position.selection == selection
        assert position.listed == listing.counts
        assert position.rows >= 0
        assert position.boundary == received.boundary
        assert position.last_step == received.last_step
    else:
        assert verdict.reason


@given(
    some.fetch_windows.filter(lambda window: window.stop is None or window.stop > 0),
    some.listings,
    befores,
    some.selections,
)
def test_an_empty_answer_where_rows_are_listed_is_never_accepted_at_once(
    window: FetchWindow,
    listing: RunListing,
    before: RunTracking | None,
    selection: HistorySelection,
) -> None:
    """Promised: a last step in the window or, for a whole fetch, a count."""
    last = listing.last_step
    in_window = (
        last is not None
        and last >= (window.start or 0)
        and (window.stop is None or last < window.stop)
    )
    assume(in_window or (window.whole and (listing.history_line_count or 0) > 0))
    if before is not None:
        before = replace(before, short_streak=0, position=None)
    verdict = judge(window, listing, Received(), tail=False, selection=selection, before=before)
    assert not isinstance(verdict, Accepted)


@given(st.integers(1, 6), some.listings.filter(lambda run: run.history_line_count != 0), befores)
def test_a_bounded_window_that_comes_back_empty_proves_nothing(
    stop: int, listing: RunListing, before: RunTracking | None
) -> None:
    window = FetchWindow(stop=stop)
    verdict = judge(window, listing, Received(), tail=False, selection=EVERYTHING, before=before)
    assert isinstance(verdict, ReadWhole | Rejected)
    if listing.last_step is None or listing.last_step >= stop:
        assert isinstance(verdict, ReadWhole)


@given(
    some.listings, some.received, some.positions, st.integers(0, 5), st.none() | some.byte_ranges
)
@example(listing_of(5, 1), replace(whole_answer(5), rows=5), position_of(9, whole=False), 0, None)
@example(listing_of(50, 4), whole_answer(5), position_of(9, count=50, whole=False), 2, None)
def test_a_whole_fetch_leaves_fewer_rows_only_where_the_listed_count_shrank(
    listing: RunListing,
    received: Received,
    position: HistoryPosition,
    streak: int,
    history: ByteRange | None,
) -> None:
    before = tracking_of(position, short_streak=streak, history=history)
    verdict = judge_whole(listing, received, before)
    if isinstance(verdict, Accepted) and received.rows < position.rows:
        count = listing.history_line_count
        assert count is not None
        known = position.expected_line_count if position.whole else position.listed.line_count
        assert count < max(known or 0, position.rows)


@given(st.integers(1, 6), st.integers(0, 11), st.integers(0, 6), st.integers(0, 5))
@example(5, 5, 0, 2)
@example(10, 0, 0, 2)
def test_stored_rows_without_a_position_are_not_lost_while_the_count_promises_them(
    lost: int, rows: int, more: int, streak: int
) -> None:
    """An export that another tool wrote has rows and no position; they may be deleted upstream."""
    stored = rows + lost
    count = stored + more
    history = ByteRange(offset=0, length=1, rows=stored, digest="d")
    before = tracking_of(None, short_streak=streak, history=history)
    listing = listing_of(count, rows - 1 if rows else None)
    assert not isinstance(judge_whole(listing, whole_answer(rows), before), Accepted)


@given(st.integers(1, 6), st.integers(0, 6), st.integers(0, 4), st.booleans())
def test_a_bounded_fetch_leaves_fewer_rows_only_where_the_listed_count_shrank(
    lost: int, rows: int, room: int, whole: bool
) -> None:
    """Rows of one window under one selection, with a server whose count did not shrink."""
    stored = rows + lost
    stop = stored + room
    selection = HistorySelection(window=some.HistoryWindow(max_step=stop))
    position = position_of(20 if whole else stored, count=20, whole=whole, selection=selection)
    history = ByteRange(offset=0, length=1, rows=stored, digest="d")
    verdict = judge(
        FetchWindow(stop=stop),
        listing_of(21, 20),
        whole_answer(rows),
        tail=False,
        selection=selection,
        before=tracking_of(position, history=history),
    )
    assert not isinstance(verdict, Accepted)


@given(counts, st.none() | counts, states, befores)
def test_a_fetch_that_does_not_reach_the_listed_last_step_is_rejected(
    last: int, reached: int | None, state: str, before: RunTracking | None
) -> None:
    assume(reached is None or reached < last)
    received = Received(rows=0 if reached is None else reached + 1, last_step=reached)
    verdict = judge_whole(listing_of(last + 1, last, state), received, before)
    assert isinstance(verdict, Rejected)
    assert not verdict.short


@given(counts, states)
def test_a_fetch_that_accounts_for_what_is_listed_is_accepted(rows: int, state: str) -> None:
    received = whole_answer(rows)
    verdict = judge_whole(listing_of(rows, received.last_step, state), received)
    assert isinstance(verdict, Accepted)
    assert verdict.notice is None
    position = verdict.position
    assert (position.rows, position.whole) == (rows, True)
    assert position.short_by == 0
    assert position.accounts_for(listing_of(rows, received.last_step).counts)


@given(st.integers(1, 9), st.integers(1, 5), states)
def test_three_short_syncs_in_a_row_are_accepted_and_said_aloud(
    rows: int, short_by: int, state: str
) -> None:
    listing = listing_of(rows + short_by, rows - 1, state)
    before = RunTracking(run_id="a")
    for streak in range(SHORT_SYNCS - 1):
        verdict = judge_whole(listing, whole_answer(rows), replace(before, short_streak=streak))
        assert isinstance(verdict, Rejected)
        assert verdict.short
    verdict = judge_whole(
        listing, whole_answer(rows), replace(before, short_streak=SHORT_SYNCS - 1)
    )
    assert isinstance(verdict, Accepted)
    assert verdict.notice is not None
    assert verdict.position.short_by == short_by
    assert verdict.position.expected_line_count == listing.history_line_count


@given(st.integers(1, 9), st.integers(-3, 3), st.integers(0, 4), states)
def test_a_constant_offset_between_count_and_rows_is_learned_once(
    rows: int, offset: int, grown: int, state: str
) -> None:
    """Once learned, growth is measured against it: whole fetches and tails are believed at once.

    Also a count that is too low, where no row came that is newer than the listing.
    """
    assume(rows + offset >= 0)
    listing = listing_of(rows + offset, rows - 1, state)
    before = tracking_of(None, short_streak=SHORT_SYNCS - 1)
    first = judge_whole(listing, whole_answer(rows), before)
    assert isinstance(first, Accepted)
    after = tracking_of(first.position)
    later = listing_of(rows + grown + offset, rows + grown - 1, state)
    again = judge_whole(later, whole_answer(rows + grown), after)
    assert isinstance(again, Accepted)
    assert again.notice is None
    tail = judge(
        FetchWindow(start=rows - 1),
        later,
        Received(
            rows=grown + 1,
            last_step=rows + grown - 1,
            boundary="e",
            boundary_rows=1,
            start_boundary=first.position.boundary,
            start_rows=1,
        ),
        tail=True,
        selection=EVERYTHING,
        before=after,
    )
    assert isinstance(tail, Accepted)
    assert tail.position.rows == rows + grown
    assert tail.position.expected_line_count == later.history_line_count


@given(
    st.integers(1, 9),
    st.integers(0, 4),
    st.integers(-3, 4),
    st.sampled_from(["d", "other", ""]),
    states,
)
def test_a_tail_whose_boundary_or_growth_does_not_match_is_read_whole(
    held: int, gained: int, late: int, boundary: str, state: str
) -> None:
    assume(gained + late >= 0)
    listing = listing_of(held + gained + late, held + gained - 1, state)
    received = Received(
        rows=gained + 1,
        last_step=held + gained - 1,
        boundary="e",
        boundary_rows=1,
        start_boundary=boundary,
        start_rows=1,
    )
    verdict = judge(
        FetchWindow(start=held - 1),
        listing,
        received,
        tail=True,
        selection=EVERYTHING,
        before=tracking_of(position_of(held)),
    )
    if boundary == "d" and late == 0:
        assert isinstance(verdict, Accepted)
        assert verdict.position.rows == held + gained
    else:
        assert isinstance(verdict, ReadWhole)


@given(some.listings, some.received)
def test_a_tail_without_a_position_is_never_accepted(
    listing: RunListing, received: Received
) -> None:
    for before in (None, RunTracking(run_id="a")):
        verdict = judge(
            FetchWindow(start=3),
            listing,
            received,
            tail=True,
            selection=EVERYTHING,
            before=before,
        )
        assert not isinstance(verdict, Accepted)


@given(st.none() | st.integers(0, 5), st.none() | st.integers(0, 5))
def test_a_window_is_whole_where_nothing_bounds_it(start: int | None, stop: int | None) -> None:
    assert FetchWindow(start=start, stop=stop).whole == (start in (None, 0) and stop is None)


@pytest.mark.parametrize("state", ["running", "finished"])
def test_an_empty_history_can_be_accepted(state: str) -> None:
    verdict = judge_whole(listing_of(0, None, state), Received())
    assert isinstance(verdict, Accepted)
    assert verdict.position.rows == 0


@given(some.positions, some.history_counts)
def test_a_position_accounts_for_the_counts_it_was_accepted_under(
    position: HistoryPosition, listed: HistoryCounts
) -> None:
    held = replace(
        position,
        rows=listed.line_count or 0,
        last_step=listed.last_step,
        short_by=0,
        listed=listed,
    )
    assert held.accounts_for(listed)
    assert not held.accounts_for(replace(listed, line_count=(listed.line_count or 0) + 1000))


def test_a_position_beyond_what_was_listed_does_not_account_for_the_same_listing() -> None:
    """Rows that were logged while the fetch ran may be taken back by a rewind to the listing."""
    listed = HistoryCounts(line_count=4, last_step=3, last_logged_at="2")
    held = HistoryPosition(rows=6, last_step=5, last_timestamp="3", boundary="d", listed=listed)
    assert not held.accounts_for(listed)
    assert held.accounts_for(HistoryCounts(line_count=6, last_step=5, last_logged_at="3"))
