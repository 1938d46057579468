"""Laws of the estimate of a plan: it follows the pages that the readers of live rows ask for."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

from hypothesis import example, given
from hypothesis import strategies as st

from dr_wandb.core.contract.dataset import DATASETS, Counts
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.sync.estimate import (
    OPENING,
    ROW_BYTES,
    Reading,
    estimate,
    is_exported,
    listing_requests,
    row_bytes_in,
    space_needed,
)
from dr_wandb.core.sync.live_pages import (
    FIRST_CAP,
    IN_FLIGHT,
    MOST_RUNS,
    pages_of_run,
    pages_of_tail,
    shared_requests,
)
from dr_wandb.shell.sources.api.live import LiveReader
from tests.support import strategies as some

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dr_wandb.core.contract.state import ExportState

readings = st.builds(
    Reading,
    dataset=st.sampled_from(sorted(DATASETS)),
    counts=st.builds(
        Counts,
        line_count=st.none() | st.integers(0, 50_000),
        last_step=st.none() | st.integers(0, 50_000),
    ),
    exported=st.booleans(),
    row_bytes=st.integers(1, 20_000),
    start=st.none() | st.integers(1, 50_000),
    held=st.integers(0, 50_000),
    other_keys=st.booleans(),
)


class Pages:
    """Serves rows of one step each, and counts the pages that are asked for."""

    def __init__(self, size: int) -> None:
        self.asked = 0
        self._padding = "x" * max(0, size - len('{"_step": 1000, "t": ""}'))

    def __call__(self, low: int, high: int, rows: int) -> tuple[Sequence[str], int]:
        self.asked += 1
        steps = range(low, min(high, low + rows))
        return [json.dumps({"_step": step, "t": self._padding}) for step in steps], rows


def row_bytes_of(size: int) -> int:
    return max(size, len('{"_step": 1000, "t": ""}'))


@given(st.integers(1, 9_000), st.sampled_from([40, 900, 4_000]))
@example(500, 40)
@example(501, 40)
@example(2_500, 40)
@example(7_501, 40)
def test_pages_of_a_run_are_those_that_its_reader_asks_for(rows: int, size: int) -> None:
    if rows * size > 4_000_000:
        rows = 4_000_000 // size
    pages = Pages(size)
    read = sum(len(batch.rows) for batch in LiveReader(pages).read(0, rows, rows))
    assert read == rows
    assert abs(pages.asked - pages_of_run(rows, row_bytes_of(size))) <= 1


@given(st.integers(1, 9_000), st.sampled_from([40, 900, 4_000]))
@example(999, 40)
@example(1_000, 40)
@example(4_500, 40)
def test_pages_of_a_tail_are_those_that_its_reader_asks_for(rows: int, size: int) -> None:
    if rows * size > 4_000_000:
        rows = 4_000_000 // size
    pages = Pages(size)
    read = sum(len(batch.rows) for batch in LiveReader(pages).read(0, rows, None))
    assert read == rows
    estimated = pages_of_tail(rows, row_bytes_of(size))
    assert max(estimated, pages.asked) <= 1.5 * min(estimated, pages.asked) + 1


@given(st.integers(0, 10**18), st.integers(0, 10**6), st.integers(1, 10**9))
def test_more_rows_take_no_fewer_pages(rows: int, more: int, row_bytes: int) -> None:
    assert 1 <= pages_of_run(rows, row_bytes) <= pages_of_run(rows + more, row_bytes)


@given(st.integers(0, 10**18), st.integers(0, 10**6), st.integers(1, 10**9))
@example(10**18, 1, 10**9)  # a count that nobody believes costs no time
def test_longer_tail_takes_no_fewer_pages(rows: int, more: int, row_bytes: int) -> None:
    assert 1 <= pages_of_tail(rows, row_bytes) <= pages_of_tail(rows + more, row_bytes)


@given(st.lists(st.integers(0, FIRST_CAP // 2), max_size=300))
def test_tails_share_requests_as_far_as_they_fit(tails: list[int]) -> None:
    together = shared_requests(tails)
    assert math.ceil(len(tails) / MOST_RUNS) <= together <= len(tails)
    assert together * FIRST_CAP >= sum(tails) - IN_FLIGHT * FIRST_CAP
    assert shared_requests([*tails, 20]) >= together


@given(st.lists(readings, max_size=9))
def test_estimates_of_several_runs_add_up_but_for_shared_requests(all_of: list[Reading]) -> None:
    together = estimate(all_of)
    alone = [estimate([reading]) for reading in all_of]
    assert together.rows == sum(one.rows for one in alone)
    assert together.bytes == sum(one.bytes for one in alone)
    assert together.requests <= sum(one.requests for one in alone)
    assert all(one.requests == reading.requests for one, reading in zip(alone, all_of, strict=True))
    assert together.requests >= sum(
        reading.requests for reading in all_of if reading.shared_rows is None
    )


@given(readings)
def test_reading_brings_what_is_listed_and_not_held(reading: Reading) -> None:
    listed = reading.counts.line_count or 0
    whole = reading._replace(start=None)
    assert whole.rows == listed
    assert reading.rows <= listed
    assert reading.bytes >= reading.rows * reading.row_bytes
    assert reading._replace(other_keys=True).bytes >= reading.rows * ROW_BYTES


@given(st.integers(0, 3_000), st.integers(1, 1_200))
def test_listing_takes_at_least_the_pages_that_its_runs_fill(runs: int, per_page: int) -> None:
    requests = listing_requests(runs, per_page)
    assert OPENING + max(1, math.ceil(runs / per_page)) <= requests
    assert requests <= OPENING + 4 + math.ceil(runs / per_page)
    assert listing_requests(runs + 1, per_page) >= requests


@given(some.export_states)
def test_size_of_a_row_is_the_average_of_the_held_ones(state: ExportState) -> None:
    stored = [run.part("history").stored for run in state.runs.values()]
    rows = sum(one.rows for one in stored if one is not None)
    size = sum(one.length for one in stored if one is not None)
    assert row_bytes_in(state.runs, "history") == (max(1, size // rows) if rows else ROW_BYTES)


@given(some.listings, some.times | st.none())
def test_only_runs_that_ended_are_expected_to_be_exported(run: RunListing, now: str | None) -> None:
    assert run.terminal or not is_exported(run, now)
    assert is_exported(run, None) == run.terminal


def test_run_that_ended_just_now_is_not_expected_to_be_exported() -> None:
    run = RunListing(run_id="a", state="finished", heartbeat_at="2026-01-01T00:00:00Z")
    assert not is_exported(run, "2026-01-01T03:59:59Z")
    assert is_exported(run, "2026-01-01T04:00:00Z")


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_space_is_needed_only_for_new_rows(new: int, held: int) -> None:
    needed = space_needed(new, held)
    assert needed == 0 if new == 0 else needed == held + 2 * new
