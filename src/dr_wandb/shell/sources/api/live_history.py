"""Read the rows of a run that are not exported to Parquet yet.

Rules
- `history` is read page by page. It suffices to know which rows are live; the list of exports
  (`liveData`) has the same answer, but with an item for each live row, maybe many thousand.
- The list is read only if Parquet was, to start after its last row. Its items are objects or JSON
  text, with an integer, a double or no step.
- A row without a step may be missing in the list. A more careful read requests these rows too,
  which count as step 0.
- A page of a tail that is expected to be small may be requested together with those of other runs.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.normalize import whole_step
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.contract.values import decode_json
from dr_wandb.core.sync.live_pages import MOST_ROWS
from dr_wandb.shell.sources import RowBatch, SourceError
from dr_wandb.shell.sources.api.live import BEYOND, LiveReader, fewer_rows
from dr_wandb.shell.sources.api.queries import HISTORY_PAGE, LIVE_STEPS
from dr_wandb.shell.sources.api.session import Smaller
from dr_wandb.shell.sources.api.tail_pages import TailPage, tail_page

CAREFUL_ROWS = (MOST_ROWS, 1_000, 250)
"""Most rows in a page of live history, by attempt: a server may cap answers without notice."""


class AskRun(Protocol):
    """Sends a GraphQL document about one run, and returns the run in the answer.

    smaller: returns the variables of the next try if an answer may have been too large.
    """

    def __call__(
        self, document: str, variables: Mapping[str, Any], smaller: Smaller | None = None
    ) -> Mapping[str, Any]:
        """Raise SourceError if there is no such answer."""
        ...


class AskTogether(Protocol):
    """Does as `AskRun` for a page of a tail, perhaps in one request with those of other runs."""

    def __call__(
        self, document: str, variables: Mapping[str, Any], smaller: Smaller, page: TailPage
    ) -> Mapping[str, Any]:
        """Raise SourceError if there is no such answer."""
        ...


class LiveHistory:
    """The live rows of one project's runs. ask_together: None to request each page alone."""

    def __init__(self, ask_run: AskRun, ask_together: AskTogether | None = None) -> None:
        self._ask_run = ask_run
        self._ask_together = ask_together

    def read(
        self, run: RunListing, window: FetchWindow, attempt: int, start: int, exported: int = 0
    ) -> Iterator[RowBatch]:
        """Read the live rows of a window from a step on. exported: the number of rows in files.

        The first batch with rows has all of the rows at `start`, if there are any.
        """
        count = run.history_line_count
        expected = None if count is None else max(0, count - exported)
        last = BEYOND - 1 if run.last_step is None else run.last_step
        stop = last + 1 if window.stop is None else min(window.stop, last + 1)
        reader = LiveReader(
            lambda low, high, rows: self._read_page(run, low, high, rows),
            most_rows=CAREFUL_ROWS[min(attempt, len(CAREFUL_ROWS) - 1)],
        )
        yield from reader.read(start, stop, None if window.start else expected)
        end = BEYOND if window.stop is None else window.stop
        incomplete = expected is not None and reader.rows < expected
        if last + 1 < end and (incomplete or not window.whole):
            yield from reader.read(max(start, last + 1), end, None)

    def read_without_step(self, run: RunListing) -> Iterator[RowBatch]:
        """Read the live rows at step 0, and those without a step."""
        reader = LiveReader(lambda low, high, rows: self._read_page(run, low, high, rows))
        yield from reader.read(0, 1, None)

    def first_step(self, run: RunListing) -> int | None:
        """Return the smallest step of a row that is not exported, None if all are.

        Rows without a step count as step 0.
        """
        variables = {"runName": run.run_id, "liveKeys": ["_step"]}
        exports = self._ask_run(LIVE_STEPS, variables).get("parquetHistory")
        if not isinstance(exports, Mapping):
            reason = "W&B answered without a list of exports"
            raise SourceError(reason, RunFailureKind.UNUSABLE_ANSWER)
        return min(map(_step_of, exports.get("liveData") or ()), default=None)

    def _read_page(self, run: RunListing, low: int, high: int, rows: int) -> tuple[list[str], int]:
        """Read a page, with fewer rows at each further try. Returns the rows and the last cap."""
        asked = rows

        def smaller(variables: Mapping[str, Any]) -> Mapping[str, Any]:
            nonlocal asked
            asked = fewer_rows(asked)
            return {**variables, "pageSize": asked}

        variables = {"run": run.run_id, "minStep": low, "maxStep": high, "pageSize": rows}
        small = tail_page(run, low, high) if self._ask_together is not None else None
        if self._ask_together is None or small is None or small.most_rows > rows:
            answer = self._ask_run(HISTORY_PAGE, variables, smaller)
        else:
            answer = self._ask_together(HISTORY_PAGE, variables, smaller, small)
        texts = answer.get("history")
        if texts is None:
            raise SourceError("W&B answered without a history", RunFailureKind.UNUSABLE_ANSWER)
        return list(texts), asked


def has_step(batch: RowBatch, step: int) -> bool:
    """Say whether a batch has a row of this step."""
    return any(whole_step(row.get("_step")) == step for row in batch.rows)


def _step_of(entry: Any) -> int:
    row = decode_json(entry, "a live row") if isinstance(entry, str) else entry
    step = row.get("_step") if isinstance(row, Mapping) else None
    return whole_step(step) or 0
