"""Values that resolvers exchange."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.server.document import Operation
    from tests.support.server.faults import Action
    from tests.support.server.stand_in import StandInServer


class UnknownFieldError(Exception):
    """An operation or field that the stand-in does not know."""


class Raw(str):
    """A piece of a response that is JSON already."""


@dataclass(frozen=True)
class Node:
    """An object of a GraphQL type, of which fields are selected."""

    kind: str
    value: Any


@dataclass(frozen=True)
class Context:
    """What resolvers may need besides their parent and arguments.

    parts: actions for parts of the answer, by their path. errors: of the answer, so far.
    """

    server: StandInServer
    operation: Operation
    variables: Mapping[str, Any]
    action: Action | None
    parts: Mapping[str, Action] = field(default_factory=dict)
    path: str = ""
    errors: list[dict[str, Any]] = field(default_factory=list)

    def below(self, key: str) -> Context:
        """Return what is needed for a field, by its key in the answer."""
        path = f"{self.path}/{key}"
        return replace(self, path=path, action=self.parts.get(path, self.action))


def encode(value: Any) -> str:
    """Encode a response; Raw strings go in as they are."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, dict):
        members = [f"{json.dumps(key)}:{encode(one)}" for key, one in value.items()]
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join([encode(one) for one in value]) + "]"
    return json.dumps(value)
