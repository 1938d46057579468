"""One request for the live rows of several runs, and the checks of its answer.

Rules
- Each run has an alias of its own, and its answer has its name: rows of another run are noticed.
- Only a page that is expected to be small is requested with others. Its number of rows is estimated
  by the density of the steps in the whole run.
- A page with as many rows as were requested may have been cut off.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.sync.live_pages import FIRST_CAP, LEAST_ROWS, PAGE_BYTES, tail_rows
from dr_wandb.shell.sources import SourceError

Answer = Mapping[str, Any]
"""The `data` of a GraphQL answer."""

Request = Callable[[], Answer]
"""Sends a query once."""


@dataclass(frozen=True, kw_only=True)
class TailPage:
    """A page of at most `most_rows` live rows with min_step <= step < max_step."""

    run_id: str
    min_step: int
    max_step: int
    most_rows: int


def tail_page(run: RunListing, min_step: int, max_step: int) -> TailPage | None:
    """Return a page of the rows that are expected, see `tail_rows`.

    None if the listing has no counts for an estimate.
    """
    if run.history_line_count is None or run.last_step is None:
        return None
    steps = max(0, min(max_step, run.last_step + 1) - min_step)
    most_rows = tail_rows(run.history_line_count, run.last_step, steps)
    return TailPage(run_id=run.run_id, min_step=min_step, max_step=max_step, most_rows=most_rows)


def pages_document(count: int) -> str:
    """Return the document that requests one page of each of several runs."""
    numbers = [{"n": number} for number in range(count)]
    return _DOCUMENT % {
        "variables": "".join(_VARIABLES % one for one in numbers),
        "runs": "".join(_RUN % one for one in numbers),
    }


def pages_variables(pages: Sequence[TailPage]) -> dict[str, Any]:
    """Return the variables of that document, except `entity` and `project`."""
    variables: dict[str, Any] = {}
    for number, page in enumerate(pages):
        variables[f"run{number}"] = page.run_id
        variables[f"minStep{number}"] = page.min_step
        variables[f"maxStep{number}"] = page.max_step
        variables[f"pageSize{number}"] = page.most_rows
    return variables


def answers_of(answer: Answer, pages: Sequence[TailPage]) -> list[Answer | None]:
    """Return the answer that each run would get alone, None if its page may be cut off.

    Raises SourceError unless all runs are there, with their rows.
    """
    project = answer.get("project")
    answers: list[Answer | None] = []
    for number, page in enumerate(pages):
        run = project.get(f"r{number}") if isinstance(project, Mapping) else None
        if not isinstance(run, Mapping) or run.get("name") != page.run_id:
            raise _unusable("W&B did not answer with the runs asked for")
        rows = run.get("history")
        if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
            raise _unusable("W&B answered without a history")
        cut_off = len(rows) >= page.most_rows
        answers.append(None if cut_off else {"project": {"run": run}})
    return answers


def _unusable(reason: str) -> SourceError:
    return SourceError(reason, RunFailureKind.UNUSABLE_ANSWER, answered=True)


def fitting_rows(answers: Iterable[Answer | None]) -> int | None:
    """Return how many rows of this size an answer may hold, None if there are no rows."""
    rows = [row for one in answers if one for row in one["project"]["run"]["history"]]
    if not rows:
        return None
    return max(LEAST_ROWS, min(FIRST_CAP, PAGE_BYTES * len(rows) // max(1, sum(map(len, rows)))))


_DOCUMENT = """
query HistoryPage($entity: String!, $project: String!%(variables)s) {
  project(name: $project, entityName: $entity) {%(runs)s
  }
}
"""

_VARIABLES = """,
    $run%(n)d: String!, $minStep%(n)d: Int64!, $maxStep%(n)d: Int64!, $pageSize%(n)d: Int!"""

_RUN = """
    r%(n)d: run(name: $run%(n)d) {
      name
      history(minStep: $minStep%(n)d, maxStep: $maxStep%(n)d, samples: $pageSize%(n)d)
    }"""
