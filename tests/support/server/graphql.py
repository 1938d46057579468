"""Read GraphQL documents, as far as W&B clients write them.

Guarantees:
- aliases, arguments, variables with defaults, named and inline fragments are understood;
- `@include` and `@skip` are obeyed, other directives are an error;
- field order is kept, and a field selected twice is merged into one;
- anything else raises GraphQLSyntaxError, so that no query is half understood.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from tests.support.server.document import Field, GraphQLSyntaxError, Operation, Spread, Variable

_TOKEN = re.compile(
    r"(?P<skip>[\s,\ufeff]+|\#[^\n]*)"
    r'|(?P<block>"""(?:.|\n)*?""")'
    r'|(?P<string>"(?:[^"\\\n]|\\.)*")'
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)"
    r"|(?P<name>[_A-Za-z]\w*)"
    r"|(?P<punct>\.\.\.|[!$&()\[\]:=@{|}])"
)


@lru_cache(maxsize=256)
def parse(document: str, operation_name: str = "") -> Operation:
    """Read a document and pick its operation, by name where there are several."""
    operations, fragments = _Parser(document).document()
    chosen = [one for one in operations if not operation_name or one.name == operation_name]
    if len(chosen) != 1:
        raise GraphQLSyntaxError(f"expected one operation, found {len(chosen)}")
    chosen[0].fragments.update(fragments)
    return chosen[0]


class _Parser:
    def __init__(self, document: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(document):
            match = _TOKEN.match(document, at)
            if match is None:
                raise GraphQLSyntaxError(f"unexpected {document[at : at + 20]!r}")
            at = match.end()
            if match.lastgroup != "skip":
                self._tokens.append((str(match.lastgroup), match.group()))
        self._tokens.append(("end", ""))
        self._at = 0

    def _peek(self) -> str:
        return self._tokens[self._at][1]

    def _next(self, expected: str | None = None) -> str:
        text = self._tokens[self._at][1]
        if expected is not None and text != expected:
            raise GraphQLSyntaxError(f"expected {expected!r}, found {text!r}")
        self._at += 1
        return text

    def _name(self) -> str:
        if self._tokens[self._at][0] != "name":
            raise GraphQLSyntaxError(f"expected a name, found {self._peek()!r}")
        return self._next()

    def _accept(self, text: str) -> bool:
        if self._peek() != text:
            return False
        self._at += 1
        return True

    def document(self) -> tuple[list[Operation], dict[str, list[Field | Spread]]]:
        operations: list[Operation] = []
        fragments: dict[str, list[Field | Spread]] = {}
        while self._tokens[self._at][0] != "end":
            if self._peek() == "{":
                operations.append(Operation("query", "", {}, self._selection(), {}))
                continue
            kind = self._name()
            if kind == "fragment":
                name = self._name()
                self._next("on")
                self._name()
                fragments[name] = self._selection()
            elif kind in ("query", "mutation", "subscription"):
                name = self._name() if self._peek() not in ("(", "{", "@") else ""
                defaults = self._variable_definitions()
                operations.append(Operation(kind, name, defaults, self._selection(), {}))
            else:
                raise GraphQLSyntaxError(f"unexpected {kind!r}")
        return operations, fragments

    def _variable_definitions(self) -> dict[str, Any]:
        defaults: dict[str, Any] = {}
        if not self._accept("("):
            return defaults
        while not self._accept(")"):
            self._next("$")
            name = self._name()
            self._next(":")
            self._type()
            if self._accept("="):
                defaults[name] = self._value()
        return defaults

    def _type(self) -> None:
        if self._accept("["):
            self._type()
            self._next("]")
        else:
            self._name()
        self._accept("!")

    def _selection(self) -> list[Field | Spread]:
        self._next("{")
        parts: list[Field | Spread] = []
        while not self._accept("}"):
            parts.append(self._spread() if self._accept("...") else self._field())
        if not parts:
            raise GraphQLSyntaxError("empty selection")
        return parts

    def _spread(self) -> Spread:
        if self._peek() not in ("on", "{", "@"):
            return Spread(self._name(), [], self._directives())
        if self._accept("on"):
            self._name()
        directives = self._directives()
        return Spread(None, self._selection(), directives)

    def _field(self) -> Field:
        key = name = self._name()
        if self._accept(":"):
            name = self._name()
        arguments = self._arguments()
        directives = self._directives()
        selection = self._selection() if self._peek() == "{" else []
        return Field(name, key, arguments, selection, directives)

    def _directives(self) -> list[tuple[str, dict[str, Any]]]:
        directives = []
        while self._accept("@"):
            name = self._name()
            directives.append((name, self._arguments()))
        return directives

    def _arguments(self) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        if self._accept("("):
            while not self._accept(")"):
                name = self._name()
                self._next(":")
                arguments[name] = self._value()
        return arguments

    def _value(self) -> Any:
        kind, text = self._tokens[self._at]
        self._at += 1
        if text == "$":
            return Variable(self._name())
        if text == "[":
            values = []
            while not self._accept("]"):
                values.append(self._value())
            return values
        if text == "{":
            members: dict[str, Any] = {}
            while not self._accept("}"):
                name = self._name()
                self._next(":")
                members[name] = self._value()
            return members
        if kind == "block":
            return text[3:-3]
        if kind in ("string", "number"):
            return json.loads(text)
        if kind == "name":
            return {"true": True, "false": False, "null": None}.get(text, text)
        raise GraphQLSyntaxError(f"unexpected value {text!r}")
