"""Listings of records of a project from W&B, page by page.

Rules
- Pages are read raw: the SDK's paginators end at the first page that has no usable node, and lose a
  page with a null in it (wandb 0.31.0).
- A page that cannot be served is requested again at once with half as many records, down to one.
- A page without a cursor to go on from ends the listing, and so do pages that bring no other cursor
  three times in a row: such a server would send them for ever.
- Optional fields that the server does not know are skipped for the session.
- No project, or no connection, is an error, never an empty listing.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from dr_wandb.core.contract.failures import DrWandbError, NoProject
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.connections import read_connection
from dr_wandb.shell.sources.api.optional_fields import OptionalFields
from dr_wandb.shell.sources.api.pacing import ATTEMPTS, PassingError
from dr_wandb.shell.sources.api.queries import Document
from dr_wandb.shell.sources.api.run_pages import MOST_STALLED
from dr_wandb.shell.sources.api.session import ApiSession
from dr_wandb.shell.sources.api.translation import TooMuchError, UnservedError
from dr_wandb.shell.sources.datasets import RecordPage

RECORDS_PER_PAGE = 100
"""The most records in a page: a config or a spec may be large."""


class RecordPages:
    """The listings of one project. names: the variables that name it."""

    def __init__(self, session: ApiSession, names: Mapping[str, Any]) -> None:
        self._session = session
        self._names = names
        self._fields = OptionalFields(session.host)

    def read(
        self,
        document: Document,
        what: str,
        optional: Collection[str] = (),
        per_page: int = RECORDS_PER_PAGE,
    ) -> Iterator[RecordPage]:
        """Read all pages of a connection that the document calls `records`.

        Its count is called `total` beside it, or `totalCount` inside it.
        what: one of the records, in words. optional: fields of it that a server may not know.
        """
        size, cursor, stalled = per_page, None, 0
        seen: set[object] = set()
        while True:
            try:
                answer, size = self._ask(document(self._fields.skipped(what)), cursor, size)
            except SourceError as error:
                if self._fields.skip(error, what, optional):
                    continue
                raise
            page = read_connection(answer.get("records"))
            if page is None:
                reason, kind = "W&B answered without a listing", RunFailureKind.UNUSABLE_ANSWER
                raise SourceError(reason, kind, answered=True)
            total = answer.get("total", page.total)
            yield RecordPage(
                nodes=page.nodes, total=total if type(total) is int else None, nulls=page.nulls
            )
            cursor = page.cursor
            stalled = stalled + 1 if cursor in seen else 0
            seen.add(cursor)
            if cursor is None or stalled >= MOST_STALLED:
                return

    def _ask(self, document: str, cursor: str | None, size: int) -> tuple[Mapping[str, Any], int]:
        """Return the project in the answer, and the number of records that was requested."""
        attempts = 1
        while True:
            page = {**self._names, "cursor": cursor, "perPage": size}
            try:
                answer, _ = self._session.measured(document, page, attempts)
            except SourceError as error:
                cause = error.__cause__
                if isinstance(cause, TooMuchError) or isinstance(error, UnservedError):
                    if size == 1:
                        raise
                    size //= 2
                elif attempts > 1 or not isinstance(cause, PassingError):
                    raise
                else:
                    attempts = ATTEMPTS
                attempts = ATTEMPTS if size == 1 else attempts
                continue
            project = answer.get("project")
            if not isinstance(project, Mapping):
                raise DrWandbError(
                    NoProject(entity=self._names["entity"], project=self._names["project"])
                )
            return project, size
