"""Read the console of a run, line by line.

Rules
- Pages are requested from the first line on, until W&B says that there are no more and the numbers
  reach its own count: it cuts answers that are too large (by its own client, wandb 0.31.0).
- A tail is one request for the last lines. If it does not reach back as far as the window, or has
  lines of more programs than the window overlaps for, all lines are read.
- A server that does not know these pages gives the last lines only, at most 10,000.
- One page of a run is held at a time.
- A missing line, or a page that gets no further, is no error here: the judge sees the count.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import count, islice
from operator import lt
from typing import Any, NamedTuple

from dr_wandb.core.contract.console import line_number
from dr_wandb.core.contract.dataset import (
    CHANGING_LINES,
    CONSOLE,
    LINES_PER_ANSWER,
    MOST_WRITERS,
)
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.sources import RowBatch, SourceError
from dr_wandb.shell.sources.api.live_history import AskRun

CONSOLE_PAGE = """
query RunConsoleLogPage($entity: String!, $project: String!, $run: String!, $first: Int!,
    $after: String) {
  project(name: $project, entityName: $entity) {
    run(name: $run) {
      logLineCount
      logLines(first: $first, after: $after, useImprovedPagination: true) {
        edges { node { number timestamp level label line } }
        pageInfo { endCursor hasNextPage }
      }
    }
  }
}
"""
"""Lines of a console, oldest first: W&B servers since 0.77."""

CONSOLE_TAIL = """
query RunConsoleLogTail($entity: String!, $project: String!, $run: String!, $last: Int!) {
  project(name: $project, entityName: $entity) {
    run(name: $run) {
      logLineCount
      logLines(last: $last) {
        edges { node { number timestamp level label line } }
      }
    }
  }
}
"""
"""The last lines of a console, oldest first: all servers."""

PAGE_ARGUMENT = "useImprovedPagination"
"""The argument of pages that older servers do not know."""

CAREFUL_LINES = (LINES_PER_ANSWER, 1_000, 250)
"""Most lines in a page, by attempt."""

SPARE_LINES = 200
"""A tail asks for this many lines more, for those that are written meanwhile."""

LINES_AT_ONCE = 1_000
"""The most lines in a batch: a page of them is held as it came, but not encoded as a whole."""

SHRINKING = 4

MOST_EMPTY = 3
"""Pages in a row that may bring no later line: some servers send the same one for ever."""

NO_PAGES = (
    "%s is a W&B server before 0.77: of a console with more than %s lines, only the last are given"
)


class _Page(NamedTuple):
    """An answer: its lines by their numbers, W&B's count, and the cursor of the next page."""

    lines: Sequence[dict[str, Any]]
    listed: int | None
    cursor: str | None
    more: bool

    @property
    def complete(self) -> bool:
        """Say whether the numbers reach the count."""
        last = self.lines[-1]["_step"] if self.lines else -1
        return self.listed is None or last + 1 >= self.listed


class ConsoleReader:
    """The consoles of one project's runs. Several threads may call it at once."""

    def __init__(self, ask_run: AskRun, host: str) -> None:
        self._ask_run = ask_run
        self._host = host
        self._has_pages = True

    def read(self, run: RunListing, window: FetchWindow, attempt: int) -> Iterator[RowBatch]:
        """Read the lines whose number is in the window, oldest first."""
        tail = self._read_tail(run, window) if window.start and attempt == 0 else None
        pages = self._pages(run, attempt) if tail is None else iter((tail.lines,))
        numbers = count()
        for lines in pages:  # `enumerate` would hold a page while the next one comes
            number = next(numbers)
            inside = [line for line in lines if window.has(line["_step"])]
            del lines
            for start in range(0, len(inside), LINES_AT_ONCE):
                some = inside[start : start + LINES_AT_ONCE]
                yield RowBatch(rows=some, live=False, file=number)
            del inside

    def _read_tail(self, run: RunListing, window: FetchWindow) -> _Page | None:
        """Read the last lines, None if they do not answer the question."""
        count = run.counts_of(CONSOLE).line_count
        assert window.start is not None
        wanted = SPARE_LINES + max(0, (count or 0) - window.start)
        if count is None or wanted > LINES_PER_ANSWER:
            return None
        page = self._last(run, wanted)
        reaches = bool(page.lines) and page.lines[0]["_step"] <= window.start
        writers = {line.get("label") for line in page.lines}
        return page if reaches and len(writers) <= MOST_WRITERS else None

    def _pages(self, run: RunListing, attempt: int) -> Iterator[Sequence[dict[str, Any]]]:
        """Yield the lines of each page, one page in memory at a time."""
        cursor: str | None = None
        seen: set[str | None] = {None}
        most = CAREFUL_LINES[min(attempt, len(CAREFUL_LINES) - 1)]
        previous, empty = -1, 0
        while self._has_pages and empty < MOST_EMPTY:
            try:
                page = self._page(run, most, cursor, previous)
            except SourceError as error:
                if PAGE_ARGUMENT not in str(error):
                    raise
                self._has_pages = False
                LOGGER.warning(NO_PAGES, self._host, f"{LINES_PER_ANSWER:,}")
                break
            last = page.lines[-1]["_step"] if page.lines else previous
            empty = 0 if last > previous else empty + 1
            previous = max(previous, last)
            cursor = page.cursor
            goes_on = page.more or not page.complete
            yield page.lines
            del page
            if cursor in seen or not goes_on:
                return
            seen.add(cursor)
        if not self._has_pages:
            yield self._last(run, LINES_PER_ANSWER).lines

    def _page(self, run: RunListing, most: int, cursor: str | None, previous: int) -> _Page:
        variables = {"run": run.run_id, "first": most, "after": cursor}
        answer = self._ask_run(CONSOLE_PAGE, variables, _smaller)
        return _read(answer, previous + 1)

    def _last(self, run: RunListing, lines: int) -> _Page:
        answer = self._ask_run(CONSOLE_TAIL, {"run": run.run_id, "last": lines})
        edges = (answer.get("logLines") or {}).get("edges") or ()
        count = _count(answer)
        return _read(answer, 0 if count is None else max(0, count - len(edges)))


def _smaller(variables: Mapping[str, Any]) -> Mapping[str, Any]:
    least = CHANGING_LINES
    return {**variables, "first": max(least, variables["first"] // SHRINKING)}


def _count(answer: Mapping[str, Any]) -> int | None:
    count = answer.get("logLineCount")
    return count if type(count) is int and count > 0 else None


def _read(answer: Mapping[str, Any], first: int) -> _Page:
    """Return the page in an answer. first: the number of its first line, if that has none.

    A run without output has no connection at all. Of lines with one number the last counts.
    """
    found = answer.get("logLines") or {}
    after = found.get("pageInfo") or {}
    edges = found.get("edges") or ()
    lines = _rising(edges) or _numbered(edges, first)
    return _Page(
        lines, _count(answer), after.get("endCursor") or None, bool(after.get("hasNextPage"))
    )


def _rising(edges: Sequence[Any]) -> Sequence[dict[str, Any]] | None:
    """Return the lines if their numbers rise, as they do in nearly all answers; None otherwise.

    The lines are those of the answer, not copies.
    """
    try:
        lines: list[dict[str, Any]] = [edge["node"] for edge in edges]
        numbers = [line["number"] for line in lines]
    except (KeyError, TypeError):
        return None
    if {*map(type, numbers)} != {int} or not all(map(lt, numbers, islice(numbers, 1, None))):
        return None
    if None in map(line_number, (numbers[0], numbers[-1])):
        return None
    for line, number in zip(lines, numbers, strict=True):
        line["_step"] = number
        del line["number"]
    return lines


def _numbered(edges: Sequence[Any], first: int) -> Sequence[dict[str, Any]]:
    """Return the lines by number; one without a number follows the one before it."""
    lines: dict[int, dict[str, Any]] = {}
    number = first
    for edge in edges:
        node = (edge or {}).get("node")
        if node is None:
            number += 1
            continue
        known = line_number(node.get("number"))
        number = number if known is None else known
        members = {key: value for key, value in node.items() if key != "number"}
        lines[number] = {"_step": number, **members}
        number += 1
    return [lines[number] for number in sorted(lines)]
