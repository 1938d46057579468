"""How many live rows a page asks for, and so how many requests they take.

Rules
- The first page of a run expects to be half full. After each page the next one may have four times
  as many rows, at most `MOST_ROWS`, and no more than fit into `PAGE_BYTES`.
- A tail is one page. If it is full, it is split.
- Pages of small tails share requests, at most `MOST_RUNS` in one.

The readers of live rows use the same numbers. Everything here is total and pure.
"""

from collections.abc import Iterable, Iterator

FIRST_CAP = 1_000
MOST_ROWS = 10_000
PAGE_BYTES = 8 << 20
"""The size that an answer should not exceed."""

LEAST_ROWS = 10
"""A page of fewer rows would not be served either."""

GROWTH = 4

MOST_RUNS = 16
"""A document for 16 runs has 66 variables. More would save little, and a failure affects them all.
"""

SPARE_ROWS = 20
"""Room for the last rows of a run, whose steps may be denser than those before."""

IN_FLIGHT = 3
"""Requests for tails under way: at 20 ms an answer, 200 tails take as long with two; slower answers
leave time for a third."""

FILLED = 0.75
"""How full a shared request is on average: runs come one by one to be requested (measured with 200
tails, at 10 to 100 ms an answer: 20 to 23 requests)."""


def next_cap(cap: int, most_rows: int, rows: int, size: int) -> int:
    """Return how many rows the next page may have, after one with rows of `size` bytes together."""
    fitting = PAGE_BYTES * rows // max(1, size)
    return max(LEAST_ROWS, min(most_rows, GROWTH * cap, fitting))


def page_steps(steps: int, cap: int, expected: int) -> int:
    """Return a number of steps that should fill half a page."""
    return max(1, cap * steps // (2 * expected))


def tail_rows(line_count: int, last_step: int, steps: int) -> int:
    """Return how many rows to request for the last steps of a run: twice the expected, and some."""
    return SPARE_ROWS + 2 * line_count * steps // (last_step + 1)


def fits_with_others(most_rows: int) -> bool:
    """Say whether a page of at most this many rows may share a request."""
    return most_rows <= FIRST_CAP // 2


def pages_of_run(rows: int, row_bytes: int) -> int:
    """Return how many pages all rows of a run take, at least one."""
    rows -= FIRST_CAP // 2
    pages = 1
    for cap in _growing(row_bytes):
        if rows <= 0:
            return pages
        rows -= cap // 2
        pages += 1
    half = _steady_cap(row_bytes) // 2
    return pages + max(0, -(-rows // half))


def pages_of_tail(rows: int, row_bytes: int) -> int:
    """Return how many pages the tail of a run takes that gained this many rows."""
    pages = 1
    for cap in (FIRST_CAP, *_growing(row_bytes)):
        if rows < cap:
            return pages
        rows -= cap // 2
        pages += 2
    cap = _steady_cap(row_bytes)
    return pages + 2 * max(0, (rows - cap) // (cap // 2) + 1)


def _growing(row_bytes: int) -> Iterator[int]:
    """Yield the caps between the first one and the one that no longer changes."""
    cap, last = next_cap(FIRST_CAP, MOST_ROWS, 1, row_bytes), _steady_cap(row_bytes)
    while cap != last:
        yield cap
        cap = next_cap(cap, MOST_ROWS, 1, row_bytes)


def _steady_cap(row_bytes: int) -> int:
    """Return the cap of all further pages of rows of this size."""
    return next_cap(MOST_ROWS, MOST_ROWS, 1, row_bytes)


def shared_requests(tails: Iterable[int]) -> int:
    """Return how many requests small tails take together. tails: how many rows each asks for."""
    shares = sorted(max(1 / MOST_RUNS, rows / FIRST_CAP) for rows in tails)
    together = sum(shares[: max(0, len(shares) - IN_FLIGHT)]) / FILLED
    return min(len(shares), IN_FLIGHT) + -int(-together // 1)
