"""Read the live rows of a run, in pages of steps that cannot lose a row.

Rules (measured with wandb 0.31.0)
- A page is a range of steps, and a cap on rows. If the cap is reached, rows may be missing, so the
  range is split until it is not. The SDK's own scan has one number for both and loses rows that
  share a step.
- The range depends on the density of the run's steps, the cap on the size of its rows: sparse steps
  do not cost a request per thousand, large rows do not make one huge answer.
- A page that W&B cannot serve is requested again with fewer rows. Later pages grow again, to at
  most half of the size that failed, or to the largest that was served.
- `lastStep` can be stale: if rows are missing, steps beyond it are requested too.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from dr_wandb.core.contract.normalize import whole_step
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.contract.values import decode_json
from dr_wandb.core.sync.live_pages import (
    FIRST_CAP,
    LEAST_ROWS,
    MOST_ROWS,
    next_cap,
    page_steps,
)
from dr_wandb.shell.sources import RowBatch, SourceError

BEYOND = 2**62
"""No run has this step or a later one."""

_ROWS = msgspec.json.Decoder(dict[str, Any])

SHRINKING = 4
"""Five tries lead from 1,000 rows a page to 10."""

ReadPage = Callable[[int, int, int], tuple[Sequence[str], int]]
"""Takes min_step, max_step and a cap; requests at most that number of rows of these steps.

The range is min_step <= step < max_step. Returns the rows, and the cap of the last try.
"""


def fewer_rows(rows: int) -> int:
    """Return how many rows to request after a page of `rows` could not be served."""
    return max(min(rows, LEAST_ROWS), rows // SHRINKING)


class LiveReader:
    """Reads one run's live rows. `rows` is the number of rows that came so far."""

    def __init__(self, read_page: ReadPage, *, most_rows: int = MOST_ROWS) -> None:
        self._read_page = read_page
        self._most_rows = most_rows
        self._cap = min(FIRST_CAP, most_rows)
        self._most_served = 0
        self.rows = 0

    def read(self, start: int, stop: int, expected: int | None) -> Iterator[RowBatch]:
        """Read all rows with start <= step < stop. expected: about how many, None if unknown."""
        at = start
        while at < stop:
            width = self._width(stop - start, expected)
            end = min(stop, at + width)
            yield from self._read_range(at, end)
            at = end

    def _width(self, span: int, expected: int | None) -> int:
        """Return a number of steps that should fill half a page."""
        return page_steps(span, self._cap, expected) if expected else max(1, span)

    def _read_range(self, start: int, stop: int) -> Iterator[RowBatch]:
        """Read a range, split in two while it holds more rows than a page may."""
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
        """Read a page, and remember the smaller cap if W&B served it only with fewer rows."""
        texts, served = self._read_page(low, high, cap)
        self._most_served = max(self._most_served, len(texts))
        if served < cap:
            self._most_rows = min(self._most_rows, max(self._most_served, cap // 2))
            self._cap = served
        return texts, served

    def _adapt(self, texts: Sequence[str]) -> None:
        """Adapt the cap of the next page to the size of these rows."""
        if texts:
            self._cap = next_cap(self._cap, self._most_rows, len(texts), sum(map(len, texts)))


def _decode_all(texts: Sequence[str]) -> list[dict[str, Any]]:
    """Decode all rows at once, or one by one if that fails."""
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
    """Return a step that splits the range into parts of about as many rows."""
    steps = sorted(step for row in rows if (step := whole_step(row.get("_step"))) is not None)
    middle = steps[len(steps) // 2] if steps else (low + high) // 2
    return middle if low < middle < high else (low + high) // 2
