"""The parts of a GraphQL document, and how a selection is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


class GraphQLSyntaxError(Exception):
    """A document that this reader does not understand."""


@dataclass(frozen=True)
class Variable:
    """A reference to a variable, resolved when the field is executed."""

    name: str


@dataclass
class Field:
    """One selected field; `key` is the alias or the name."""

    name: str
    key: str
    arguments: dict[str, Any]
    selection: list[Field | Spread]
    directives: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@dataclass
class Spread:
    """A fragment to include: by name, or inline with its own selection."""

    name: str | None
    selection: list[Field | Spread]
    directives: list[tuple[str, dict[str, Any]]] = field(default_factory=list)


@dataclass
class Operation:
    """One operation with the fragments of its document."""

    kind: str
    name: str
    defaults: dict[str, Any]
    selection: list[Field | Spread]
    fragments: dict[str, list[Field | Spread]]

    def fields(self, selection: list[Field | Spread], variables: Mapping[str, Any]) -> list[Field]:
        """Flatten a selection: fragments opened, skipped fields left out, doubles merged."""
        merged: dict[str, Field] = {}
        for part in selection:
            if not _included(part.directives, variables):
                continue
            if isinstance(part, Field):
                found = [part]
            else:
                found = self.fields(self._opened(part), variables)
            for one in found:
                known = merged.get(one.key)
                if known is None:
                    merged[one.key] = one
                else:
                    both = [*known.selection, *one.selection]
                    merged[one.key] = Field(one.name, one.key, one.arguments, both)
        return list(merged.values())

    def _opened(self, spread: Spread) -> list[Field | Spread]:
        if spread.name is None:
            return spread.selection
        if spread.name not in self.fragments:
            raise GraphQLSyntaxError(f"fragment {spread.name} is not defined")
        return self.fragments[spread.name]


def substitute(value: Any, variables: Mapping[str, Any]) -> Any:
    """Replace variables in an argument by their values; one that was not sent is null."""
    if isinstance(value, Variable):
        return variables.get(value.name)
    if isinstance(value, list):
        return [substitute(one, variables) for one in value]
    if isinstance(value, dict):
        return {key: substitute(one, variables) for key, one in value.items()}
    return value


def _included(directives: list[tuple[str, dict[str, Any]]], variables: Mapping[str, Any]) -> bool:
    for name, arguments in directives:
        condition = bool(substitute(arguments.get("if"), variables))
        if name not in ("include", "skip"):
            raise GraphQLSyntaxError(f"directive @{name} is not known")
        if condition is (name == "skip"):
            return False
    return True
