"""The artifacts of a project from W&B: collections, their versions, manifests, and links to runs.

Rules
- One listing names all collections, with what moves if their versions do. Only the versions of
  collections that moved are listed, those of many collections in one request.
- Pages are read raw: the SDK drops versions whose project is null, and ends at a page without any
  usable one (wandb 0.31.0). Versions in every state are listed.
- The manifest of a committed version is downloaded unless it is known, from an address that was
  requested just before (manifests.py).
- A collection with a pending version has no mark, so that it is listed again.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from dr_wandb.core.contract.artifacts import COMMITTED, PENDING
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.shell.background import in_lanes
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.joint_queries import JointQueries
from dr_wandb.shell.sources.api.manifests import Manifests
from dr_wandb.shell.sources.api.queries import (
    COLLECTIONS,
    OPTIONAL_FIELDS,
    USED_AS,
    links_document,
    versions_document,
)
from dr_wandb.shell.sources.api.record_pages import RecordPages
from dr_wandb.shell.sources.datasets import Known, RawNode, RecordPage

COLLECTIONS_PER_PAGE = 500
"""The most collections in a page: of each one only a few short fields are requested."""

PER_PAGE = 50
"""The most versions of a collection, or links of a run, in one answer."""

TOGETHER = 20
"""The most collections, or runs, in one request."""

AT_ONCE = 10
"""wandb-core takes this many requests at a time (wandb 0.31.0)."""


class _Collection(NamedTuple):
    """A collection as it is listed: `mark` moves if its versions do."""

    name: str
    type: str | None
    total: int
    mark: str

    @property
    def node(self) -> dict[str, Any]:
        return {"name": self.name, "type": {"name": self.type}}


class _Links(NamedTuple):
    """The links of some runs, nodes of versions in other projects, and why runs have none."""

    links: dict[str, RawNode]
    beside: list[RawNode]
    unread: dict[str, RunFailure]


class Artifacts:
    """The artifacts of one project. names: the variables that name it."""

    def __init__(
        self,
        queries: JointQueries,
        pages: RecordPages,
        manifests: Manifests,
        names: Mapping[str, Any],
    ) -> None:
        self._queries = queries
        self._pages = pages
        self._manifests = manifests
        self._address = (names["entity"], names["project"])

    def read(self, known: Known) -> Iterator[RecordPage]:
        """List the versions of all collections whose mark is not known, and the links of runs."""
        collections, nulls = self._collections()
        moved = [one for one in collections if known.marks.get(one.name) != one.mark]
        same = [one.name for one in collections if known.marks.get(one.name) == one.mark]
        empty = RecordPage(nodes=(), total=sum(one.total for one in moved))
        yield RecordPage(nodes=(), total=empty.total, nulls=nulls, same=same)
        marks = {one.name: one.mark for one in collections}
        for start in range(0, len(moved), TOGETHER):
            for nodes, lost in self._versions(moved[start : start + TOGETHER]):
                wanted = [
                    node["artifact"]
                    for node in nodes
                    if not known.listing_only
                    and node["artifact"].get("state") == COMMITTED
                    and node["artifact"].get("id") not in known.contents
                ]
                read, unread = self._manifests.read(wanted)
                for node in nodes:
                    if node["artifact"].get("state") == PENDING:
                        marks.pop(node["collection"]["name"], None)
                    if (manifest := read.get(node["artifact"].get("id"))) is not None:
                        node["manifest"] = manifest
                yield RecordPage(nodes=nodes, total=empty.total, nulls=lost, unread=unread)
        for links, beside, unread in self._links(known.runs):
            yield RecordPage(nodes=(), total=empty.total, links=links, beside=beside, unread=unread)
        yield RecordPage(nodes=(), total=empty.total, marks=marks)

    def _collections(self) -> tuple[list[_Collection], int]:
        """List all collections. Returns them, and the number of those that are missing."""
        found: dict[str, _Collection] = {}
        counted = 0
        for page in self._pages.read(
            lambda _: COLLECTIONS, "a collection", per_page=COLLECTIONS_PER_PAGE
        ):
            counted = max(counted, page.total or 0)
            for node in page.nodes:
                total = (node.get("artifacts") or {}).get("totalCount")
                total = total if type(total) is int else 0
                name, moved = str(node.get("name")), node.get("updatedAt")
                of_type = (node.get("type") or {}).get("name")
                found[name] = _Collection(name, of_type, total, f"{moved} {total}")
        return list(found.values()), max(0, counted - len(found))

    def _versions(
        self, collections: Sequence[_Collection]
    ) -> Iterator[tuple[list[dict[str, Any]], int]]:
        """Yield the versions of some collections, and how many are null, a page of each at once."""
        cursors: dict[str, str | None] = {one.name: None for one in collections}
        by_name = {one.name: one for one in collections}
        while cursors:
            names = list(cursors)
            asked = [
                {"type": by_name[name].type, "name": name, "after": cursors[name]} for name in names
            ]
            answers = self._queries.ask("c", versions_document, asked, OPTIONAL_FIELDS, PER_PAGE)
            nodes: list[dict[str, Any]] = []
            nulls = 0
            for name, answer in zip(names, answers, strict=True):
                connection = ((answer or {}).get("artifactCollection") or {}).get("artifacts") or {}
                edges = [edge for edge in connection.get("edges") or () if edge]
                there = [edge for edge in edges if edge.get("node")]
                nulls += len(connection.get("edges") or ()) - len(there)
                nodes += [
                    {
                        "collection": by_name[name].node,
                        "version": edge.get("version"),
                        "artifact": edge["node"],
                    }
                    for edge in there
                ]
                _advance(cursors, name, connection)
            yield nodes, nulls

    def _links(self, run_ids: Sequence[str]) -> Iterator[_Links]:
        """Read what each run logged and used, many runs at once."""
        batches = [tuple(run_ids[at : at + TOGETHER]) for at in range(0, len(run_ids), TOGETHER)]
        for _, links in in_lanes([(batches, AT_ONCE)], self._links_of):
            yield links

    def _links_of(self, run_ids: Sequence[str]) -> _Links:
        found = {run_id: _RunLinks() for run_id in run_ids}
        unfinished: dict[str, dict[str, Any]] = {
            run_id: {"run": run_id, "outputs": None, "inputs": None} for run_id in run_ids
        }
        optional = OPTIONAL_FIELDS | {USED_AS}
        while unfinished:
            asked = list(unfinished.values())
            try:
                answers = self._queries.ask("r", links_document, asked, optional, PER_PAGE)
            except SourceError as error:
                if error.refused or len(asked) == len(run_ids) > 1:
                    raise
                return _Links({}, [], dict.fromkeys(run_ids, error.failure))
            for variables, answer in zip(asked, answers, strict=True):
                run_id = variables["run"]
                cursors = found[run_id].add(answer, variables)
                if cursors is None:
                    del unfinished[run_id]
                else:
                    unfinished[run_id] = {"run": run_id, **cursors}
        unread = {one: why for one, run in found.items() if (why := run.failure) is not None}
        beside = [node for run in found.values() for node in run.beside(self._address)]
        links = {one: run.links for one, run in found.items() if one not in unread}
        return _Links(links, beside, unread)


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


def _advance(cursors: dict[str, str | None], name: str, connection: Mapping[str, Any]) -> None:
    """Note the cursor of the next page of a collection, or that there is none."""
    info = connection.get("pageInfo") or {}
    cursor = info.get("endCursor")
    if info.get("hasNextPage") and cursor not in (None, cursors[name]):
        cursors[name] = cursor
    else:
        del cursors[name]
