"""Read a page of a connection, which is how W&B's GraphQL gives a long list.

Rules
- A null in it is counted, never passed over: the SDK loses such a record (wandb 0.31.0).
- No connection, or one without edges, is no page, and never an empty one.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

Edge = Mapping[str, Any]


class ConnectionPage(NamedTuple):
    """The edges with a node, how many others there are, and W&B's count of all pages.

    cursor: that of the next page, None if there is no more.
    """

    edges: list[Edge]
    nulls: int
    total: int | None
    cursor: str | None

    @property
    def nodes(self) -> list[Any]:
        """Return what the edges lead to."""
        return [edge["node"] for edge in self.edges]


def read_connection(connection: Any) -> ConnectionPage | None:
    """Read a connection of an answer, None if there is none."""
    edges = connection.get("edges") if isinstance(connection, Mapping) else None
    if not isinstance(edges, list):
        return None
    there = [edge for edge in edges if edge and edge.get("node")]
    total, info = connection.get("totalCount"), connection.get("pageInfo") or {}
    last = edges[-1] if edges else None
    cursor = info.get("endCursor") or (last or {}).get("cursor")
    return ConnectionPage(
        edges=there,
        nulls=len(edges) - len(there),
        total=total if type(total) is int else None,
        cursor=cursor if info.get("hasNextPage") else None,
    )
