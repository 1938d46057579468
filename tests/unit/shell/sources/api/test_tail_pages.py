"""How many rows a page of a tail asks for, by what the listing says of the run."""

from __future__ import annotations

import pytest

from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.sync.live_pages import SPARE_ROWS
from dr_wandb.shell.sources.api.tail_pages import (
    TailPage,
    pages_document,
    pages_variables,
    tail_page,
)


def rows_of(count: int | None, last_step: int | None, low: int, high: int) -> int | None:
    run = RunListing(run_id="a", history_line_count=count, last_step=last_step)
    page = tail_page(run, low, high)
    return None if page is None else page.most_rows


@pytest.mark.parametrize(
    ("count", "last_step", "low", "expected"),
    [(220, 219, 199, 21), (23, 219, 199, 3), (440, 219, 199, 42), (220, 219, 219, 1)],
    ids=["a row a step", "ten steps a row", "two rows a step", "nothing new"],
)
def test_page_asks_for_twice_the_rows_that_are_expected(
    count: int, last_step: int, low: int, expected: int
) -> None:
    rows = rows_of(count, last_step, low, last_step + 1)
    assert rows is not None
    assert 2 * expected - 2 <= rows - SPARE_ROWS <= 2 * expected + 2


def test_page_expects_no_rows_beyond_the_last_step_that_is_listed() -> None:
    assert rows_of(100, 99, 90, 2**62) == rows_of(100, 99, 90, 100)
    assert rows_of(100, 99, 150, 2**62) == SPARE_ROWS


def test_page_is_not_shared_when_the_listing_does_not_say_how_many_rows_there_are() -> None:
    assert rows_of(None, 99, 90, 100) is None
    assert rows_of(100, None, 90, 100) is None


def test_document_declares_each_variable_that_it_is_sent_with() -> None:
    pages = [TailPage(run_id=str(n), min_step=n, max_step=n + 1, most_rows=n) for n in range(16)]
    document = pages_document(len(pages))
    variables = {*pages_variables(pages), "entity", "project"}
    assert {name for name in variables if f"${name}: " in document} == variables
    assert {name for name in variables if f": ${name}" in document} == variables
    assert document.count("$") == 2 * len(variables)
