"""LiveReader against a server that caps its pages without saying so."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.sync.live_pages import FIRST_CAP, PAGE_BYTES
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.live import LiveReader, fewer_rows


class Server:
    """Rows of one run, as texts; a page holds the first so many of a range of steps.

    most: it does not serve larger pages.
    """

    def __init__(self, steps: list[int], padding: int = 0, most: int = 10**9) -> None:
        self.rows = [(step, number) for number, step in enumerate(sorted(steps))]
        self.padding = "x" * padding
        self.pages: list[tuple[int, int, int, int]] = []
        self.largest = 0
        self.most = most
        self.refused = 0

    def read_page(self, low: int, high: int, cap: int) -> tuple[list[str], int]:
        while cap > self.most:
            cap = fewer_rows(cap)
            self.refused += 1
        found = [row for row in self.rows if low <= row[0] < high][:cap]
        texts = [
            json.dumps({"_step": step, "n": number, "pad": self.padding}) for step, number in found
        ]
        self.pages.append((low, high, cap, len(texts)))
        self.largest = max(self.largest, sum(map(len, texts)))
        return texts, cap

    def read(
        self, start: int, stop: int, expected: int | None, most_rows: int = 10_000
    ) -> list[tuple[int, int]]:
        reader = LiveReader(self.read_page, most_rows=most_rows)
        rows = [row for batch in reader.read(start, stop, expected) for row in batch.rows]
        assert reader.rows == len(rows)
        return [(row["_step"], row["n"]) for row in rows]


steps = st.lists(
    st.integers(0, 30) | st.sampled_from([7, 7, 7, 1_000, 2**31, 2**40 - 1]), max_size=60
)


@given(
    steps,
    st.integers(0, 20),
    st.integers(0, 40) | st.just(2**40),
    st.none() | st.integers(0, 100),
    st.integers(1, 12),
)
def test_every_row_of_the_range_comes_once(
    logged: list[int], start: int, stop: int, expected: int | None, most_rows: int
) -> None:
    """Also where many rows share one step, and the expected number is wrong."""
    server = Server(logged)
    if expected and stop > 1_000:
        expected = None  # a dense run is not read up to the end of all steps
    got = server.read(start, stop, expected, most_rows)
    wanted = [row for row in server.rows if start <= row[0] < stop]
    assert Counter(got) == Counter(wanted)


def test_full_page_is_never_taken_for_a_whole_one() -> None:
    server = Server([0] * 500 + [1] * 3 + list(range(2, 40)))
    assert len(server.read(0, 40, 541, most_rows=10)) == 541
    kept = [page for page in server.pages if page[3] < page[2]]
    assert sum(page[3] for page in kept) == 541


def test_sparse_steps_cost_few_pages() -> None:
    server = Server(list(range(0, 50_000_000, 10_000)))
    assert len(server.read(0, 50_000_000, 5_000)) == 5_000
    assert len(server.pages) < 20


def test_dense_steps_cost_few_pages() -> None:
    server = Server(list(range(50_000)))
    assert len(server.read(0, 50_000, 50_000)) == 50_000
    assert len(server.pages) < 30


def test_steps_that_are_dense_in_one_range_cost_few_pages() -> None:
    server = Server([*range(20_000), 10_000_000])
    assert len(server.read(0, 10_000_001, 20_001)) == 20_001
    assert len(server.pages) < 100


def test_large_rows_make_small_pages() -> None:
    """Once it is known how large rows are, an answer stays within what a page should hold."""
    server = Server(list(range(3_000)), padding=50_000)
    assert len(server.read(0, 3_000, 3_000)) == 3_000
    assert server.largest <= FIRST_CAP * 51_000
    later = [rows for *_, rows in server.pages[1:]]
    assert max(later) * 50_000 <= PAGE_BYTES


def test_small_rows_make_large_pages() -> None:
    server = Server(list(range(40_000)))
    server.read(0, 40_000, 40_000)
    assert max(rows for *_, rows in server.pages) > 2 * FIRST_CAP


@given(steps, st.integers(10, 70))
def test_every_row_comes_once_if_large_pages_are_not_served(logged: list[int], most: int) -> None:
    server = Server(logged, most=most)
    if max(Counter(logged).values(), default=0) >= 10:
        return
    assert Counter(server.read(0, 2**40, None, most_rows=80)) == Counter(server.rows)


def test_step_with_more_rows_than_can_be_served_is_named() -> None:
    server = Server([3] * 100, most=50)
    with pytest.raises(SourceError, match="step 3 has more rows than W&B can serve"):
        server.read(0, 5, None)


def test_pages_stay_below_what_could_not_be_served() -> None:
    server = Server(list(range(20_000)), most=300)
    assert len(server.read(0, 20_000, 20_000)) == 20_000
    assert server.refused <= 4
    assert len(server.pages) < 250


def test_pages_grow_again_after_trouble_that_passed() -> None:
    server = Server(list(range(50_000)), most=100)
    reader = LiveReader(server.read_page)
    batches = reader.read(0, 50_000, 50_000)
    rows = len(next(batches).rows)
    server.most = 10**9
    assert rows + sum(len(batch.rows) for batch in batches) == 50_000
    assert len(server.pages) < 300


def test_empty_range_costs_at_most_one_page() -> None:
    server = Server([])
    assert server.read(0, 2**40, None) == []
    assert server.read(5, 5, 10) == []
    assert len(server.pages) == 1


@pytest.mark.parametrize("text", ["", "{", "[1]", "null"])
def test_row_that_does_not_read_is_an_error_of_this_call(text: str) -> None:
    reader = LiveReader(lambda low, high, cap: ([text], cap))
    with pytest.raises(SourceError):
        list(reader.read(0, 10, 1))


def test_rows_without_an_integer_step_are_split_by_the_range() -> None:
    """The server knows where a row lies even if its text does not say."""
    texts: list[Any] = [json.dumps({"n": number}) for number in range(8)]

    def read_page(low: int, high: int, cap: int) -> tuple[list[str], int]:
        return texts[low:high][:cap], cap

    reader = LiveReader(read_page, most_rows=3)
    assert sorted(row["n"] for batch in reader.read(0, 8, None) for row in batch.rows) == [
        *range(8)
    ]
