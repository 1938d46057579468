"""What runs logged and used, from W&B, many runs in one request."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.shell.sources import SourceError
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
    unfinished: dict[str, dict[str, Any]] = {
        run_id: {"run": run_id, "outputs": None, "inputs": None} for run_id in run_ids
    }
    optional = OPTIONAL_FIELDS | {USED_AS}
    while unfinished:
        asked = list(unfinished.values())
        try:
            answers = queries.ask("r", links_document, asked, optional, per_page)
        except SourceError as error:
            if error.refused or len(asked) == len(run_ids) > 1:
                raise
            return LinksOfRuns({}, [], dict.fromkeys(run_ids, error.failure))
        for variables, answer in zip(asked, answers, strict=True):
            run_id = variables["run"]
            cursors = found[run_id].add(answer, variables)
            if cursors is None:
                del unfinished[run_id]
            else:
                unfinished[run_id] = {"run": run_id, **cursors}
    unread = {one: why for one, run in found.items() if (why := run.failure) is not None}
    beside = [node for run in found.values() for node in run.beside(address)]
    links = {one: run.links for one, run in found.items() if one not in unread or run.some}
    return LinksOfRuns(links, beside, unread)


class _RunLinks:
    """The links of one run, page by page."""

    def __init__(self) -> None:
        self._edges: dict[str, list[Mapping[str, Any]]] = {"outputs": [], "inputs": []}
        self._totals: dict[str, int | None] = {}
        self._missing = False

    def add(
        self, answer: Mapping[str, Any] | None, asked: Mapping[str, Any]
    ) -> dict[str, str | None] | None:
        """Add a page of both connections; return the cursors to go on from, None at the end."""
        if answer is None:
            self._missing = True
            return None
        cursors: dict[str, str | None] = {}
        more = False
        for name in self._edges:
            connection = answer.get(f"{name.removesuffix('s')}Artifacts") or {}
            if name in self._totals and asked[name] is None:
                cursors[name] = None
                continue
            self._totals[name] = connection.get("totalCount")
            self._edges[name] += [edge for edge in connection.get("edges") or () if edge]
            info = connection.get("pageInfo") or {}
            cursors[name] = info.get("endCursor") if info.get("hasNextPage") else None
            more = more or cursors[name] not in (None, asked[name])
        return cursors if more else None

    def _there(self, name: str) -> list[Mapping[str, Any]]:
        return [edge for edge in self._edges[name] if edge.get("node")]

    @property
    def failure(self) -> RunFailure | None:
        """Say why not all links are known."""
        if self._missing:
            reason = "W&B answered that there is no such run"
            return RunFailure(kind=RunFailureKind.NOT_FOUND, reason=reason)
        for name in self._edges:
            came, total = len(self._there(name)), self._totals.get(name)
            if total is not None and came < total:
                reason = f"W&B counts {total:,} {name} of the run, and gave {came:,}"
                return RunFailure(kind=RunFailureKind.UNUSABLE_ANSWER, reason=reason)
        return None

    @property
    def some(self) -> bool:
        """Say whether any link came."""
        return any(self._there(name) for name in self._edges)

    @property
    def links(self) -> RawNode:
        """Return the ids of what the run logged, and of what it used as what."""
        return {
            "outputs": [edge["node"]["id"] for edge in self._there("outputs")],
            "inputs": [
                {"id": edge["node"]["id"], "usedAs": edge.get(USED_AS)}
                for edge in self._there("inputs")
            ],
        }

    def beside(self, address: tuple[str, str]) -> Iterator[RawNode]:
        """Yield the used versions that are not certainly of the project at an address."""
        for edge in self._there("inputs"):
            sequence = edge["node"].get("artifactSequence") or {}
            project = sequence.get("project") or {}
            entity, name = project.get("entityName"), project.get("name")
            if (entity, name) != address:
                known = f"{entity}/{name}" if entity and name else ""
                collection = {"name": sequence.get("name"), "project": known}
                yield {"collection": collection, "version": None, "artifact": edge["node"]}
