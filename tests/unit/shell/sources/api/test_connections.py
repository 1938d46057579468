"""Pages of connections are read with their nulls, and nothing is taken for an empty list."""

from typing import Any

import pytest

from dr_wandb.shell.sources.api.connections import ConnectionPage, read_connection


@pytest.mark.parametrize("answer", [None, [], {}, {"edges": None, "totalCount": 0}])
def test_no_connection_is_no_page(answer: Any) -> None:
    """A null was taken for a list without an end, and erased what was known."""
    assert read_connection(answer) is None


def test_nulls_are_counted() -> None:
    edges = [None, {"node": None}, {"node": {"id": "a"}}]
    page = read_connection({"edges": edges, "totalCount": 3})
    assert page == ConnectionPage([{"node": {"id": "a"}}], 2, 3, None)
    assert page.nodes == [{"id": "a"}]


@pytest.mark.parametrize("total", [None, "3", True])
def test_what_is_no_number_is_no_count(total: Any) -> None:
    page = read_connection({"edges": [], "totalCount": total})
    assert page is not None
    assert page.total is None


@pytest.mark.parametrize(
    ("edges", "info", "cursor"),
    [
        ([{"cursor": "b"}], {"endCursor": "a", "hasNextPage": True}, "a"),
        ([{"cursor": "b"}], {"hasNextPage": True}, "b"),
        ([{"cursor": "b"}, None], {"hasNextPage": True}, None),
        ([{"cursor": "b"}], {"endCursor": "a", "hasNextPage": False}, None),
        ([], {"hasNextPage": True}, None),
        ([], None, None),
    ],
)
def test_next_page_begins_at_the_end_of_this_one(edges: Any, info: Any, cursor: str) -> None:
    page = read_connection({"edges": edges, "pageInfo": info})
    assert page is not None
    assert page.cursor == cursor
