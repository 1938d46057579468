"""What runs logged and used, from W&B, many runs in one request.

Rules
- The links of a run are whole if as many different ones came as each page counts. A page that came
  twice counts once, and no connection or no count is a failure, never a run without links.
- What came before a failure is kept.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.sync.listing_plan import Answer, judge_answer
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.connections import Edge, read_connection
from dr_wandb.shell.sources.api.joint_queries import JointQueries
from dr_wandb.shell.sources.api.queries import OPTIONAL_FIELDS, USED_AS, links_document
from dr_wandb.shell.sources.datasets import RawNode


class LinksOfRuns(NamedTuple):
    """The links of some runs, versions in other projects, and why links of a run are missing."""

    links: dict[str, RawNode]
    beside: list[RawNode]
    unread: dict[str, RunFailure]


def read_links(
    queries: JointQueries, run_ids: Sequence[str], address: tuple[str, str], per_page: int
) -> LinksOfRuns:
    """Read all links of some runs. address: entity and project. Raises SourceError."""
    found = {run_id: _RunLinks() for run_id in run_ids}
    unfinished = list(run_ids)
    optional = OPTIONAL_FIELDS | {USED_AS}
    while unfinished:
        asked = [{"run": run_id, **found[run_id].cursors} for run_id in unfinished]
        try:
            answers = queries.ask("r", links_document, asked, optional, per_page)
        except SourceError as error:
            none_came = not any(run.answered for run in found.values())
            if error.refused or (none_came and len(run_ids) > 1):
                raise
            for run_id in unfinished:
                found[run_id].broken = error.failure
            break
        for run_id, answer in zip(unfinished, answers, strict=True):
            found[run_id].add(answer)
        unfinished = [run_id for run_id in unfinished if found[run_id].goes_on]
    unread = {one: why for one, run in found.items() if (why := run.failure) is not None}
    beside = [node for run in found.values() for node in run.beside(address)]
    links = {one: run.links for one, run in found.items() if one not in unread or run.some}
    return LinksOfRuns(links, beside, unread)


class _Connection:
    """What came of one connection of a run, page by page."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.edges: dict[tuple[str, str | None], Edge] = {}
        self.cursor: str | None = None
        self.goes_on = True
        self._pages: list[tuple[int | None, bool]] = []
        self._times: Counter[tuple[str, str | None]] = Counter()
        self._cursors: set[str | None] = {None}

    def add(self, connection: Any) -> None:
        """Add a page. A cursor that was there before leads nowhere."""
        page = read_connection(connection)
        self.cursor = None
        if page is None:
            self._pages.append((None, False))
        else:
            self._pages.append((page.total, False))
            came = [((str(edge["node"]["id"]), edge.get(USED_AS)), edge) for edge in page.edges]
            self.edges |= dict(came)
            self._times |= Counter(key for key, _ in came)
            self.cursor = None if page.cursor in self._cursors else page.cursor
            self._cursors.add(self.cursor)
        self.goes_on = self.cursor is not None

    @property
    def failure(self) -> RunFailure | None:
        """Say why it is not whole."""
        came = self._times.total()
        answer = judge_answer(self._pages, came)
        if answer == Answer.COMPLETE:
            return None
        reason = f"W&B gives no count of the {self.name} of the run"
        if answer == Answer.INCOMPLETE:
            counts = {total for total, _ in self._pages if total != came}
            most = max(total or 0 for total in counts)
            reason = f"W&B counts {most:,} {self.name} of the run, and gave {came:,}"
        return RunFailure(kind=RunFailureKind.UNUSABLE_ANSWER, reason=reason)


class _RunLinks:
    """The links of one run. broken: why no further page came."""

    def __init__(self) -> None:
        self._outputs, self._inputs = _Connection("outputs"), _Connection("inputs")
        self._both = self._outputs, self._inputs
        self._missing = False
        self.answered = False
        self.broken: RunFailure | None = None

    @property
    def cursors(self) -> dict[str, str | None]:
        """Return the cursor of the next page of each connection."""
        return {one.name: one.cursor for one in self._both}

    @property
    def goes_on(self) -> bool:
        """Say whether another page is to be requested."""
        return not self._missing and any(one.goes_on for one in self._both)

    def add(self, answer: Mapping[str, Any] | None) -> None:
        """Add a page of the connections that go on."""
        self.answered = True
        self._missing = answer is None
        for one in self._both:
            if answer is not None and one.goes_on:
                one.add(answer.get(f"{one.name.removesuffix('s')}Artifacts"))

    @property
    def failure(self) -> RunFailure | None:
        """Say why not all links are known."""
        if self._missing:
            reason = "W&B answered that there is no such run"
            return RunFailure(kind=RunFailureKind.NOT_FOUND, reason=reason)
        return self.broken or self._outputs.failure or self._inputs.failure

    @property
    def some(self) -> bool:
        """Say whether any link came."""
        return any(one.edges for one in self._both)

    @property
    def links(self) -> RawNode:
        """Return the ids of what the run logged, and of what it used as what."""
        return {
            "outputs": [artifact_id for artifact_id, _ in self._outputs.edges],
            "inputs": [{"id": one, "usedAs": used_as} for one, used_as in self._inputs.edges],
        }

    def beside(self, address: tuple[str, str]) -> Iterator[RawNode]:
        """Yield the used versions that are not certainly of the project at an address."""
        for edge in self._inputs.edges.values():
            sequence = edge["node"].get("artifactSequence") or {}
            project = sequence.get("project") or {}
            entity, name = project.get("entityName"), project.get("name")
            if (entity, name) != address:
                known = f"{entity}/{name}" if entity and name else ""
                collection = {"name": sequence.get("name"), "project": known}
                yield {"collection": collection, "version": None, "artifact": edge["node"]}
