"""Pages of a console in memory."""

import weakref
from collections.abc import Iterator, Mapping
from typing import Any

from dr_wandb.core.contract.dataset import CONSOLE, Counts
from dr_wandb.core.contract.fetch_window import WHOLE_RUN
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.shell.sources import RowBatch
from dr_wandb.shell.sources.api.console import LINES_AT_ONCE, ConsoleReader

PAGES, LINES = 3, 2 * LINES_AT_ONCE + 1


class Line(dict[str, Any]):
    """A line of which it can be seen whether it is still held."""


class Server:
    """Answers pages of lines. held: how many lines of earlier pages there were at each request."""

    def __init__(self) -> None:
        self.held: list[int] = []
        self._lines: list[weakref.ref[Line]] = []

    def ask(
        self, document: str, variables: Mapping[str, Any], smaller: Any = None
    ) -> Mapping[str, Any]:
        self.held.append(sum(line() is not None for line in self._lines))
        first = int(variables["after"] or 0)
        lines = [
            Line(number=number, timestamp=None, level="", label="", line="x")
            for number in range(first, first + LINES)
        ]
        self._lines += map(weakref.ref, lines)
        end = first + LINES
        more = {"endCursor": str(end), "hasNextPage": end < PAGES * LINES}
        edges = [{"node": line} for line in lines]
        return {"logLineCount": PAGES * LINES, "logLines": {"edges": edges, "pageInfo": more}}


def read(server: Server) -> Iterator[RowBatch]:
    counts = {CONSOLE: Counts(line_count=PAGES * LINES)}
    run = RunListing(run_id="r", other_counts=counts)
    return ConsoleReader(server.ask, "host").read(run, WHOLE_RUN, 0)


def test_only_the_last_lines_of_a_page_are_held_while_the_next_one_comes() -> None:
    server = Server()
    sizes = [(batch.file, len(batch.rows)) for batch in read(server)]
    assert sizes == [
        (page, size) for page in range(PAGES) for size in (LINES_AT_ONCE, LINES_AT_ONCE, 1)
    ]
    assert len(server.held) == PAGES
    assert max(server.held) <= 1


def test_number_of_more_than_64_bits_is_none() -> None:
    numbers = [3, 2**63, 2**70]
    edges = [{"node": {"number": number, "line": "x"}} for number in numbers]
    answer = {"logLineCount": 3, "logLines": {"edges": edges}}
    counts = {CONSOLE: Counts(line_count=3)}
    reader = ConsoleReader(lambda *_: answer, "host")
    batches = reader.read(RunListing(run_id="r", other_counts=counts), WHOLE_RUN, 0)
    assert [row["_step"] for batch in batches for row in batch.rows] == [3, 4, 5]
