"""Listings from W&B, page by page.

Rules
- `core.sync.paging` decides how many runs a page asks for. A page that cannot be served is not
  waited for: it is requested again at once with fewer runs, also after GraphQL errors if fewer runs
  might help. Only a page of one run is tried as often as any other request.
- W&B's cursors are offsets in disguise: if a run is deleted meanwhile, paging skips another one. So
  each page begins with the last run of the one before. A page of one large run asks only for the
  name of that last run, in the same request.
- A run that cannot be served even alone is named by a page that asks only for its name, and stays
  unread; the listing continues after it. If even the name cannot be served, only the cursor is
  requested: the run is then counted but not listed, like one that W&B returns as null.
- If a server's pages get no further, it has no more to list.
- `core.sync.left_out` decides which fields are left out, before the first page of an answer.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import quote

from returns.pipeline import is_successful

from dr_wandb.core.contract.failures import DrWandbError, NoProject, ServerTooOld
from dr_wandb.core.contract.listing import ListingQuery, scope_of
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.sync.left_out import COUNTS, is_counter, leave_out, listed_fields
from dr_wandb.core.sync.paging import (
    MOST_UNREAD,
    first_page,
    note_capped,
    note_refused,
    note_served,
)
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.sources import RunPage, SourceError
from dr_wandb.shell.sources.api.filters import query_filters, scope_filters
from dr_wandb.shell.sources.api.pacing import ATTEMPTS, PassingError
from dr_wandb.shell.sources.api.queries import runs_document
from dr_wandb.shell.sources.api.session import ApiSession
from dr_wandb.shell.sources.api.translation import TooMuchError, UnknownFieldsError, UnservedError

NAMING_ATTEMPTS = 2
"""Tries to get the name of a run that could not be served; few, to notice soon if W&B is down."""

MOST_STALLED = 3
"""Pages in a row that may get no further: a server that ignores cursors sends them for ever."""

UNKNOWN_FIELDS = "%s does not know %s of a run: not exported, and stored runs keep their values"
UNKNOWN_COUNTERS = (
    "%s does not know %s of a run: that dataset is read again whenever anything of a run moves"
)
UNCOUNTED = "%s does not count runs: nothing proves that a listing is complete"


class _Start(NamedTuple):
    """The start of a page: after `cursor`; `before` is the cursor of the run before that.

    last: the id of the run at `cursor`, None if W&B gave none. All are None at the beginning.
    """

    cursor: str | None = None
    before: str | None = None
    last: str | None = None


class _Answer(NamedTuple):
    """A page of W&B: `edges` after the cursor `after`, and whether there are more.

    again: the first edge should be the last run of the page before. first: the name of the run now
    at that position. unread: why the run of this page could not be read.
    """

    project: Mapping[str, Any]
    edges: Sequence[Mapping[str, Any]]
    more: bool
    after: str | None
    again: bool = False
    first: str | None = None
    unread: RunFailure | None = None

    @property
    def runs(self) -> list[Mapping[str, Any]]:
        """Return the runs of the page that are not null."""
        return [edge["node"] for edge in self.edges if edge.get("node")]

    @property
    def cursors(self) -> list[object]:
        """Return the cursors of the runs, null or not."""
        return [edge.get("cursor") for edge in self.edges]

    @property
    def start(self) -> _Start:
        """Return the start of the next page. Raises SourceError if W&B gave no cursor."""
        cursor = self.edges[-1].get("cursor")
        if not cursor:
            reason = "W&B answered with a page that does not say where it ends"
            raise SourceError(reason, RunFailureKind.UNUSABLE_ANSWER)
        before = self.edges[-2].get("cursor") if len(self.edges) > 1 else self.after
        return _Start(cursor, before, _name_of(self.edges[-1]))


class RunPages:
    """The listings of one project. Not for several threads at once.

    datasets: those of which the listings have the counters.
    """

    def __init__(
        self,
        session: ApiSession,
        entity: str,
        project: str,
        most: int,
        datasets: Collection[str] = (),
    ) -> None:
        self._session = session
        self._datasets = tuple(datasets)
        self._not_names = frozenset(listed_fields(datasets)) - {"id", "name"}
        self._names = {"entity": entity, "project": project}
        self._size = first_page(most)
        self._left_out: frozenset[str] = frozenset()
        self._unread: set[str] = set()

    def read(self, query: ListingQuery) -> Iterator[RunPage]:
        """Answer a query page by page, oldest first, with W&B's own counts."""
        fixed = {
            **self._names,
            "order": "+created_at",
            "filters": json.dumps(query_filters(query)),
            "scope": json.dumps(scope_filters(scope_of(query))),
        }
        start: _Start = _Start()
        more, unread, stalled = True, 0, 0
        cursors: set[object] = set()
        while more:
            answer = self._ask(fixed, start)
            page = self._page(answer, start)
            stalled = stalled + 1 if cursors.issuperset(answer.cursors) else 0
            cursors.update(answer.cursors)
            if not page.unread:
                unread = 0
            elif not self._unread.issuperset(page.unread):  # not one that is requested once more
                self._unread.update(page.unread)
                unread += 1
            if unread > MOST_UNREAD and answer.unread is not None:
                raise SourceError(
                    f"{unread} runs in a row could not be served, even one at a time: "
                    f"{answer.unread.reason}",
                    answer.unread.kind,
                    retryable=False,
                    answered=True,
                )
            yield page
            behind = len(answer.edges) > (answer.again and not page.disturbed)
            more = answer.more and behind and stalled < MOST_STALLED
            if answer.more and answer.again and not behind:
                self._size, more = note_capped(self._size), True
            elif more:
                start = answer.start

    def _page(self, answer: _Answer, start: _Start) -> RunPage:
        project, nodes = answer.project, answer.runs
        disturbed = start.last is not None and answer.first != start.last
        new = nodes[1:] if answer.again and not disturbed else nodes
        return RunPage(
            runs=[] if answer.unread else [self._with_url(node) for node in new],
            unread={str(node["name"]): answer.unread for node in new} if answer.unread else {},
            matching=_count(project.get("matching")),
            total=_count(project.get("total")),
            disturbed=disturbed,
            left_out=tuple(sorted(self._left_out - {COUNTS})),
        )

    def _ask(self, fixed: Mapping[str, Any], start: _Start) -> _Answer:
        """Ask for the next page, with fewer and fewer runs until one is served."""
        while True:
            size = self._size
            again = start.last is not None and not size.alone
            page = {**fixed, "cursor": start.cursor, "perPage": size.runs}
            if again:
                page |= {"cursor": start.before, "perPage": size.runs + 1}
            elif start.last is not None:
                page["before"] = start.before
            try:
                document, length = self._send(page, start, ATTEMPTS if size.alone else 1)
            except SourceError as error:
                if not (isinstance(error, UnservedError) or _is_too_much(error)):
                    raise
                smaller = note_refused(size)
                if smaller is None:
                    return self._name_unread(page, error)
                self._size = smaller
                continue
            answer = self._read(document, page["cursor"], again=again)
            self._size = note_served(size, len(answer.edges), length)
            return answer

    def _send(
        self, page: Mapping[str, Any], start: _Start, attempts: int
    ) -> tuple[dict[str, Any], int]:
        """Send a page, and again without the fields that W&B turns out not to know."""
        while True:
            try:
                document = self._document(self._left_out, name_before="before" in page)
                return self._tried(document, page, attempts)
            except UnknownFieldsError as error:
                if start.cursor is not None:  # one answer leaves out the same fields on each page
                    self._leave_out(error)
                    raise SourceError(str(error), error.failure.kind) from error
                self._leave_out(error)

    def _document(
        self, left_out: Collection[str], *, name_before: bool, cursors_only: bool = False
    ) -> str:
        return runs_document(
            left_out,
            datasets=self._datasets,
            name_before=name_before,
            cursors_only=cursors_only,
        )

    def _tried(
        self, document: str, page: Mapping[str, Any], attempts: int
    ) -> tuple[dict[str, Any], int]:
        """Send a page; after trouble that fewer runs cannot help, try as any other request."""
        try:
            return self._session.measured(document, page, attempts)
        except SourceError as error:
            cause = error.__cause__
            if attempts > 1 or not isinstance(cause, PassingError):
                raise
            if isinstance(cause, TooMuchError):
                raise
        return self._session.measured(document, page, ATTEMPTS)

    def _leave_out(self, error: UnknownFieldsError) -> None:
        host, before = self._session.host, self._left_out
        decided = leave_out(before, error.fields)
        if not is_successful(decided):
            raise DrWandbError(ServerTooOld(host=host, fields=decided.failure())) from error
        self._left_out = decided.unwrap()
        new = self._left_out - before
        if not new:
            raise error
        if COUNTS in new:
            LOGGER.warning(UNCOUNTED, host)
        counters = sorted(field for field in new - {COUNTS} if is_counter(field))
        if fields := sorted(new - {COUNTS, *counters}):
            LOGGER.warning(UNKNOWN_FIELDS, host, ", ".join(fields))
        if counters:
            LOGGER.warning(UNKNOWN_COUNTERS, host, ", ".join(counters))

    def _name_unread(self, page: Mapping[str, Any], error: SourceError) -> _Answer:
        """Return an answer that names the run which could not be served alone, and why."""
        before = "before" in page
        document = self._document(self._left_out | self._not_names, name_before=before)
        try:
            try:
                named, _ = self._session.measured(document, page, NAMING_ATTEMPTS)
            except UnservedError:
                document = self._document(self._left_out, name_before=before, cursors_only=True)
                named, _ = self._session.measured(document, page, NAMING_ATTEMPTS)
        except SourceError as why:
            raise SourceError(
                f"not even one run could be listed: {error}",
                error.failure.kind,
                retryable=why.retryable,
                answered=error.answered,
            ) from error
        reason = f"W&B could not serve this run, even alone: {error}"
        unread = RunFailure(kind=error.failure.kind, reason=reason)
        return self._read(named, page["cursor"], again=False)._replace(unread=unread)

    def _read(self, document: Mapping[str, Any], after: str | None, *, again: bool) -> _Answer:
        project = document.get("project")
        if project is None:
            raise DrWandbError(NoProject(**self._names))
        runs = project.get("runs")
        if not isinstance(runs, Mapping):
            reason, kind = "W&B answered without a listing", RunFailureKind.UNUSABLE_ANSWER
            raise SourceError(reason, kind, answered=True)
        edges = _edges(runs)
        firsts = edges if again else _edges(project.get("before") or {})
        first = _name_of(firsts[0]) if firsts else None
        more = bool((runs.get("pageInfo") or {}).get("hasNextPage"))
        return _Answer(project, edges, more, after, again=again, first=first)

    def _with_url(self, node: Mapping[str, Any]) -> dict[str, Any]:
        return {**node, "url": self._runs_url + quote(str(node.get("name")), safe="")}

    @cached_property
    def _runs_url(self) -> str:
        """Return the address below which the project's runs have their pages."""
        names = (self._names["entity"], self._names["project"])
        project = "/".join(quote(part, safe="") for part in names)
        return f"{self._session.app_url}{project}/runs/"


def _is_too_much(error: SourceError) -> bool:
    """Say whether the last try might have succeeded with fewer runs."""
    return isinstance(error.__cause__, TooMuchError)


def _edges(runs: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [edge for edge in runs.get("edges") or () if edge]


def _name_of(edge: Mapping[str, Any]) -> str | None:
    node = edge.get("node")
    return node["name"] if node else None


def _count(value: Any) -> int | None:
    return value if type(value) is int else None
