"""Requests for several things at once, by aliases in one GraphQL document.

Rules
- A request that cannot be served is sent again at once in halves, down to one thing.
- Optional fields that the server does not know are skipped for the session.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from dr_wandb.core.contract.failures import DrWandbError, NoProject
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.optional_fields import OptionalFields
from dr_wandb.shell.sources.api.pacing import ATTEMPTS, PassingError
from dr_wandb.shell.sources.api.session import ApiSession
from dr_wandb.shell.sources.api.translation import TooMuchError, UnservedError

Document = Callable[[int, Collection[str]], str]
"""Makes the document for a number of things, without some fields."""

Answer = Mapping[str, Any] | None

AN_ARTIFACT = "an artifact"


class JointQueries:
    """Sends the joint requests of one project. names: the variables that name it."""

    def __init__(self, session: ApiSession, names: Mapping[str, Any]) -> None:
        self._session = session
        self._names = names
        self._fields = OptionalFields(session.host)

    def ask(
        self,
        alias: str,
        document: Document,
        asked: Sequence[Mapping[str, Any]],
        optional: Collection[str] = (),
        per_page: int | None = None,
    ) -> list[Answer]:
        """Return the answer for each of `asked`, its variables without their number.

        alias: the letter before the number in the names of the answers. Raises SourceError.
        """
        try:
            return self._send(alias, document, asked, per_page)
        except SourceError as error:
            if self._fields.skip(error, AN_ARTIFACT, optional):
                return self.ask(alias, document, asked, optional, per_page)
            too_much = isinstance(error.__cause__, TooMuchError) or isinstance(error, UnservedError)
            if len(asked) == 1 or not too_much:
                raise
        half = len(asked) // 2
        return [
            *self.ask(alias, document, asked[:half], optional, per_page),
            *self.ask(alias, document, asked[half:], optional, per_page),
        ]

    def _send(
        self,
        alias: str,
        document: Document,
        asked: Sequence[Mapping[str, Any]],
        per_page: int | None,
    ) -> list[Answer]:
        variables = {} if per_page is None else {**self._names, "perPage": per_page}
        for number, one in enumerate(asked):
            variables |= {f"{name}{number}": value for name, value in one.items()}
        text = document(len(asked), self._fields.skipped(AN_ARTIFACT))
        attempts = 1 if len(asked) > 1 else ATTEMPTS
        try:
            answer, _ = self._session.measured(text, variables, attempts)
        except SourceError as error:
            cause = error.__cause__
            passing = isinstance(cause, PassingError) and not isinstance(cause, TooMuchError)
            if attempts > 1 or not passing:
                raise
            answer, _ = self._session.measured(text, variables, ATTEMPTS)
        if per_page is not None:
            project = answer.get("project")
            if not isinstance(project, Mapping):
                entity, name = self._names["entity"], self._names["project"]
                raise DrWandbError(NoProject(entity=entity, project=name))
            answer = dict(project)
        return [answer.get(f"{alias}{number}") for number in range(len(asked))]
