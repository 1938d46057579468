"""Read the live rows of a run: in pages of steps that are sure not to lose a row.

Rules (measured with wandb 0.31.0)
- A page is a range of steps, and a cap on rows; where the cap is reached rows are missing, so the
  range is split until it is not. The SDK's own scan has one number for both and loses rows that
  share a step.
- The range follows how dense the run's steps are, the cap how large its rows: sparse steps do not
  cost a request per thousand, large rows do not make one huge answer.
- A page that W&B cannot serve is asked for again with fewer rows. Later pages grow again, but at
  most to half of what could not be served, or to what was.
- `lastStep` can be stale: if rows are missing, steps beyond it are asked for too.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from dr_wandb.core.contract.normalize import whole_step
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.contract.values import decode_json
from dr_wandb.shell.sources import RowBatch, SourceError

BEYOND = 2**62
"""No run has steps from here on."""

FIRST_CAP = 1_000
MOST_ROWS = 10_000
PAGE_BYTES = 8 << 20
"""What one answer should hold at most."""

_ROWS = msgspec.json.Decoder(dict[str, Any])

LEAST_ROWS = 10
"""A page of fewer rows would not be served either."""

SHRINKING = 4
"""Five tries lead from 1,000 rows a page to 10."""

ReadPage = Callable[[int, int, int], tuple[Sequence[str], int]]
"""Asks for the rows with min_step <= step < max_step, at most so many.

Returns them, and how many were asked for in the end.
"""


def fewer_rows(rows: int) -> int:
    """Return how many rows to ask for after a page of `rows` could not be served."""
    return max(min(rows, LEAST_ROWS), rows // SHRINKING)


class LiveReader:
    """Reads one run's live rows. `rows` counts what came so far."""

    def __init__(self, read_page: ReadPage, *, most_rows: int = MOST_ROWS) -> None:
        self._read_page = read_page
        self._most_rows = most_rows
        self._cap = min(FIRST_CAP, most_rows)
        self._most_served = 0
        self.rows = 0

    def read(self, start: int, stop: int, expected: int | None) -> Iterator[RowBatch]:
        """Read all rows with start <= step < stop, of which about `expected` are to come."""
        at = start
        while at < stop:
            width = self._width(stop - start, expected)
            end = min(stop, at + width)
            yield from self._read_range(at, end)
            at = end

    def _width(self, span: int, expected: int | None) -> int:
        """Return how many steps should bring half of what a page may hold."""
        if not expected:
            return max(1, span)
        return max(1, self._cap * span // (2 * expected))

    def _read_range(self, start: int, stop: int) -> Iterator[RowBatch]:
        """Read a range, in halves where it holds more than a page may."""
        waiting = [(start, stop)]
        while waiting:
            low, high = waiting.pop()
            texts, cap = self._served_page(low, high, self._cap)
            while len(texts) >= cap and high - low == 1:
                asked = 10 * cap
                texts, cap = self._served_page(low, high, asked)
                if len(texts) >= cap < asked:
                    reason = f"step {low} has more rows than W&B can serve: {cap} or more"
                    raise SourceError(reason, RunFailureKind.UNUSABLE_ANSWER, retryable=False)
            rows = _decode_all(texts)
            if len(texts) >= cap:
                middle = _middle(rows, low, high)
                waiting += [(middle, high), (low, middle)]
                continue
            self._adapt(texts)
            self.rows += len(rows)
            yield RowBatch(rows=rows, live=True)

    def _served_page(self, low: int, high: int, cap: int) -> tuple[Sequence[str], int]:
        """Read a page, and remember if W&B served it only with fewer rows."""
        texts, served = self._read_page(low, high, cap)
        self._most_served = max(self._most_served, len(texts))
        if served < cap:
            self._most_rows = min(self._most_rows, max(self._most_served, cap // 2))
            self._cap = served
        return texts, served

    def _adapt(self, texts: Sequence[str]) -> None:
        """Let the next page hold more rows, or fewer, by the size of these."""
        if texts:
            fitting = PAGE_BYTES * len(texts) // max(1, sum(map(len, texts)))
            self._cap = max(LEAST_ROWS, min(self._most_rows, 4 * self._cap, fitting))


def _decode_all(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Decode row by row only where it does not work at once."""
    together = "\n".join(texts)
    if together.count("\n") == len(texts) - 1:
        with suppress(ValueError, RecursionError):
            rows = _ROWS.decode_lines(together)
            if len(rows) == len(texts):
                return rows
    return [_decode(text) for text in texts]


def _decode(text: str) -> dict[str, Any]:
    try:
        row = decode_json(text, "a history row")
    except ValueError as error:
        raise SourceError(str(error), RunFailureKind.UNREADABLE) from error
    if not isinstance(row, dict):
        raise SourceError("a history row is not an object", RunFailureKind.UNREADABLE)
    return row


def _middle(rows: Sequence[dict[str, Any]], low: int, high: int) -> int:
    """Return a step that splits the range about where half of its rows are."""
    steps = sorted(step for row in rows if (step := whole_step(row.get("_step"))) is not None)
    middle = steps[len(steps) // 2] if steps else (low + high) // 2
    return middle if low < middle < high else (low + high) // 2
