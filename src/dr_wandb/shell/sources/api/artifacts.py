"""The artifacts of a project from W&B: collections, their versions, manifests, and links to runs.

Rules
- One listing names all collections, with what moves if their versions do. Only the versions of
  collections that moved are listed, those of many collections in one request.
- Pages are read raw: the SDK drops versions whose project is null, and ends at a page without any
  usable one (wandb 0.31.0). Versions in every state are listed.
- The manifest of a committed version is downloaded unless it is known, from an address that was
  requested just before (manifests.py).
- The versions of the next collections are requested while manifests are downloaded, and the links
  of runs then, too: about as many requests are always under way. Pages come in the same order.
- A collection with a pending version has no mark, so that it is listed again. Nor has one of which
  W&B does not say when it moved and how many versions it has.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from typing import Any, NamedTuple

from msgspec.structs import replace

from dr_wandb.core.contract.artifacts import COMMITTED, PENDING, manifest_id
from dr_wandb.core.contract.dataset import RUNS_PER_REQUEST
from dr_wandb.shell.background import DaemonThreads, InOrder
from dr_wandb.shell.sources import WORKERS
from dr_wandb.shell.sources.api.connections import read_connection
from dr_wandb.shell.sources.api.joint_queries import JointQueries
from dr_wandb.shell.sources.api.manifests import Manifests, PageOfManifests
from dr_wandb.shell.sources.api.queries import COLLECTIONS, OPTIONAL_FIELDS, versions_document
from dr_wandb.shell.sources.api.record_pages import RecordPages
from dr_wandb.shell.sources.api.run_links import read_links
from dr_wandb.shell.sources.datasets import Known, RecordPage

COLLECTIONS_PER_PAGE = 500
"""The most collections in a page: of each one only a few short fields are requested."""

PER_PAGE = 50
"""The most versions of a collection, or links of a run, in one answer."""

TOGETHER = 20
"""The most collections in one request."""

PAGES_AHEAD = 2
"""The most pages of versions whose manifests are downloaded or wait for it: each has a file."""


class _Collection(NamedTuple):
    """A collection as it is listed: `mark` moves if its versions do, None if that is not known."""

    name: str
    type: str | None
    total: int | None
    mark: str | None

    @property
    def node(self) -> dict[str, Any]:
        return {"name": self.name, "type": {"name": self.type}}


class _Page(NamedTuple):
    """A page of versions, how many are null, its manifests, and the cursors of the next page.

    A collection whose versions are null counts as one of them.
    """

    nodes: list[dict[str, Any]]
    nulls: int
    manifests: PageOfManifests
    rest: dict[str, str | None]


class _Started:
    """The versions whose manifests are read, or need not be, and the pages that were asked for.

    Pages are read on several threads.
    """

    def __init__(self, known: Known) -> None:
        self._known = known
        self._ids: set[str] = set()
        self._cursors: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    def take(self, versions: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Return the versions whose manifests are still to be read; a link has that of its own."""
        if self._known.listing_only:
            return []
        with self._lock:
            wanted = {
                str(one.get("id")): one
                for one in versions
                if one.get("state") == COMMITTED
                and str(one.get("id")) not in self._ids
                and manifest_id(one.get("id"), one.get("digest")) not in self._known.contents
            }
            self._ids |= wanted.keys()
        return list(wanted.values())

    def is_new(self, name: str, cursor: str) -> bool:
        """Say whether a page of a collection was not asked for before; it is, from now on."""
        with self._lock:
            before = (name, cursor) in self._cursors
            self._cursors.add((name, cursor))
        return not before


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
        collections, counted, nulls = self._collections()
        marks = {one.name: one.mark for one in collections if one.mark is not None}
        same = [name for name, mark in marks.items() if known.marks.get(name) == mark]
        moved = [one for one in collections if one.name not in {*same}]
        totals = [one.total for one in moved if one.total is not None]
        counted = counted and len(totals) == len(moved)
        empty = RecordPage(nodes=(), total=sum(totals) if counted else None)
        yield replace(empty, nulls=nulls, same=same)
        with ExitStack() as files, ExitStack() as stack:
            threads = DaemonThreads(WORKERS)
            stack.callback(threads.shutdown, wait=False, cancel_futures=True)
            yield from self._read_moved(moved, known, empty, marks, threads, files)
        yield replace(empty, marks=marks)

    def _read_moved(
        self,
        moved: Sequence[_Collection],
        known: Known,
        empty: RecordPage,
        marks: dict[str, str],
        threads: Executor,
        files: ExitStack,
    ) -> Iterator[RecordPage]:
        """Read the versions of some collections, and the links of runs. Removes unsure marks."""
        by_name = {one.name: one for one in moved}
        started = _Started(known)
        first: list[dict[str, str | None]] = [
            {one.name: None for one in moved[at : at + TOGETHER]}
            for at in range(0, len(moved), TOGETHER)
        ]
        pages = InOrder(
            threads,
            lambda cursors: self._versions(by_name, cursors, started, threads, files),
            first,
            PAGES_AHEAD,
        )
        most = RUNS_PER_REQUEST
        links = InOrder(
            threads,
            lambda run_ids: read_links(self._queries, run_ids, self._address, PER_PAGE),
            [known.runs[at : at + most] for at in range(0, len(known.runs), most)],
            2 * WORKERS,
        )
        for page in pages:
            if page.rest:
                pages.insert(page.rest)
            elif pages.exhausted:
                links.start()
            with page.manifests:
                contents, unread = page.manifests.result()
                for node in page.nodes:
                    if node["artifact"].get("state") == PENDING:
                        marks.pop(node["collection"]["name"], None)
                yield replace(
                    empty, nodes=page.nodes, nulls=page.nulls, contents=contents, unread=unread
                )
        for found, beside, unread in links:
            yield replace(empty, links=found, beside=beside, unread=unread)

    def _collections(self) -> tuple[list[_Collection], bool, int]:
        """List all collections. Returns them, whether W&B counts them, and how many are missing."""
        found: dict[str, _Collection] = {}
        counts: list[int | None] = []
        nulls = 0
        for page in self._pages.read(
            lambda _: COLLECTIONS, "a collection", per_page=COLLECTIONS_PER_PAGE
        ):
            counts.append(page.total)
            nulls += page.nulls
            for node in page.nodes:
                total = (node.get("artifacts") or {}).get("totalCount")
                total = total if type(total) is int else None
                name, moved = str(node.get("name")), node.get("updatedAt")
                of_type = (node.get("type") or {}).get("name")
                mark = None if moved is None or total is None else f"{moved} {total}"
                found[name] = _Collection(name, of_type, total, mark)
        missing = max(count or 0 for count in counts) - len(found)
        return list(found.values()), None not in counts, max(nulls, missing)

    def _versions(
        self,
        by_name: Mapping[str, _Collection],
        cursors: Mapping[str, str | None],
        started: "_Started",
        threads: Executor,
        files: ExitStack,
    ) -> _Page:
        """Request a page of versions of each of some collections, and start their manifests."""
        asked = [
            {"type": by_name[name].type, "name": name, "after": after}
            for name, after in cursors.items()
        ]
        answers = self._queries.ask("c", versions_document, asked, OPTIONAL_FIELDS, PER_PAGE)
        nodes: list[dict[str, Any]] = []
        nulls, rest = 0, dict(cursors)
        for name, answer in zip(cursors, answers, strict=True):
            page = read_connection(
                ((answer or {}).get("artifactCollection") or {}).get("artifacts")
            )
            if page is None:
                nulls += 1
                del rest[name]
                continue
            nulls += page.nulls
            nodes += [
                {
                    "collection": by_name[name].node,
                    "version": edge.get("version"),
                    "artifact": edge["node"],
                }
                for edge in page.edges
            ]
            if page.cursor is not None and started.is_new(name, page.cursor):
                rest[name] = page.cursor
            else:
                del rest[name]
        wanted = started.take([node["artifact"] for node in nodes])
        return _Page(nodes, nulls, self._manifests.start(wanted, threads, files), rest)
