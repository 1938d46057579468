"""The problems of a request: all of them at once, in words."""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from dr_wandb.core.contract.failures import DrWandbError, InvalidRequest
from dr_wandb.core.contract.values import clean_text

_T = TypeVar("_T")


class InvalidRequestError(DrWandbError, ValueError):
    """The request contradicts itself, holds a bad value, or does not fit the export.

    `problems` has one sentence for each, in the order of the fields. Decoding a value for which the
    constructor would raise this raises `msgspec.ValidationError`, as for every ValueError.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__(InvalidRequest(problems=self.problems))
        self.args = ("; ".join(self.problems),)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.problems,))


@contextmanager
def all_problems() -> Iterator[Callable[[Callable[[], _T]], "_T | None"]]:
    """Make several parts of a request, and raise the problems of all of them together.

    Gives a function that calls another one, and returns None if that raises InvalidRequestError.
    """
    problems: list[str] = []

    def attempt(make: Callable[[], _T]) -> "_T | None":
        try:
            return make()
        except InvalidRequestError as error:
            problems.extend(error.problems)
            return None

    yield attempt
    if problems:
        raise InvalidRequestError(problems)


def name_problems(name: str, value: Any) -> list[str]:
    """Say what is wrong with an entity, a project, or the name of an export ("name")."""
    if not isinstance(value, str):
        return [f"{name} must be text, not {value!r}"]
    if not value.strip():
        return [f"{name} must not be blank"]
    if "/" in value or "\\" in value:
        return [f"{name} must not have a path separator: {value!r}"]
    if any(ord(letter) < 32 for letter in value):
        return [f"{name} must not have control characters: {value!r}"]
    if clean_text(value) != value:
        return [f"{name} must be valid text, not {value!r}"]
    if name != "name":
        return []
    if value in {".", ".."}:
        return [f"name must be a folder name of its own, not {value!r}"]
    if len(value.encode()) > 200:
        return ["name must not be longer than 200 bytes"]
    return []


def is_count(value: Any, least: int) -> bool:
    """Say whether a value is an integer, not a boolean, of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def is_rate(value: Any) -> bool:
    """Say whether a value is a finite number above 0."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > 0
