"""What all records of a project have in common, and how their members are read."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.values import clean_text

SortKey = tuple[str | int | bool, ...]
"""Orders the records of one file."""


class Hashed(Protocol):
    """A digest in progress, as those of `hashlib`."""

    def update(self, content: bytes, /) -> None:
        """Add some bytes."""

    def hexdigest(self) -> str:
        """Return the digest in hex."""


Hashes = Mapping[str, Callable[[], Hashed]]
"""Hashes that `hashlib` does not have, by the name of the algorithm; the caller may have some."""

NO_HASHES: Hashes = {}


class ProjectRecord(Record, frozen=True, kw_only=True):
    """One record of a project. `known_by`: the fields whose texts identify it.

    `large`: the member that may be too large for memory, a list of records of `large_kind`. These
    hold no lists. By name it is neither the first nor the last member.
    """

    known_by: ClassVar[tuple[str, ...]]
    large: ClassVar[str | None] = None
    large_kind: ClassVar[Any] = None

    missing_since: str | None = None

    @property
    def identity(self) -> str:
        """Return the text by which the record is known."""
        return "/".join(getattr(self, name) for name in self.known_by)

    @property
    def sort_key(self) -> SortKey:
        """Return the key of its line in the file."""
        return (self.identity,)

    @property
    def as_listed(self) -> "ProjectRecord":
        """Return what a listing alone says of the record."""
        return self

    def lasts(self, content: Iterable[Sequence[Any]], hashes: Hashes = NO_HASHES) -> bool:
        """Say whether the record has content that never changes, and is as its source made it.

        content: the records of its large member, some at a time; the record is without them. What
        has a digest of a hash that is not among `hashes` is taken for right.
        """
        return False

    @property
    def of_project(self) -> bool:
        """Say whether a listing of the project shows the record."""
        return True

    @property
    def source_id(self) -> str:
        """Return the id by which a source knows it; several records may have the same."""
        return self.identity

    @property
    def content_id(self) -> str:
        """Return the text by which a source knows its content that never changes."""
        return self.source_id

    @property
    def group(self) -> str:
        """Return the name of the records that are listed together with it, "" if there is none."""
        return ""


class ArtifactUse(Record, frozen=True, kw_only=True):
    """A run that used a record such as an artifact version, and as what, if it said so."""

    run_id: str
    used_as: str | None = None


class LinkedRecord(ProjectRecord, frozen=True, kw_only=True):
    """A record that runs make and use: which ones is what the runs say, not its own listing."""

    created_by: tuple[str, ...] = ()
    used_by: tuple[ArtifactUse, ...] = ()

    def with_content_of(self, held: "LinkedRecord") -> "LinkedRecord":
        """Return the record with the content that never changes of a held one, if it is the same.

        held: a record that the source knows by the same id. Only for datasets that are `lasting`.
        """
        return self

    @property
    def has_content(self) -> bool:
        """Say whether it has the content that never changes, if its dataset is `lasting`."""
        return False

    @property
    def content_bytes(self) -> int | None:
        """Return about how many bytes that content takes in a line, None if there is none yet."""
        return None


def required_text(node: Mapping[str, Any], name: str) -> str:
    """Return a member as text. Raises ValueError if it is missing or empty."""
    value = text_of(node.get(name))
    if not value:
        raise ValueError(f"it has no {name}")
    return value


def text_of(value: Any) -> str | None:
    """Return a value as text, None if it is null."""
    return None if value is None else clean_text(str(value))


def count_of(value: Any) -> int | None:
    """Return an integer, None if the value is none."""
    return value if type(value) is int else None
