"""Values at paths, as wandb-core keeps a row, a config and a summary (measured with 0.19 to 0.31).

Rules
- Setting a path replaces the values at it, inside of it, and on the way to it.
- A value is a leaf, even if it is an object: nothing is set in or removed from its inside. `spread`
  makes each member of an object a leaf instead; an object without members leaves nothing.
- A branch that has lost its last leaf is removed.
"""

from collections.abc import Iterable, Iterator
from typing import Any

Path = tuple[str, ...]
"""The keys that lead to a value, from the outside in. A key with a dot in it is one key."""

Leaf = tuple[Path, Any]


class _Branch(dict[str, Any]):
    """An inner node; a plain dict is a leaf."""


class Tree:
    """Leaves at paths."""

    def __init__(self, leaves: Iterable[Leaf] = ()) -> None:
        self._root = _Branch()
        for path, value in leaves:
            self.set(path, value)

    def set(self, path: Path, value: Any) -> None:
        """Set a leaf."""
        branch = self._root
        for key in path[:-1]:
            inner = branch.get(key)
            if type(inner) is not _Branch:
                inner = branch[key] = _Branch()
            branch = inner
        branch[path[-1]] = value

    def spread(self, path: Path, value: Any) -> None:
        """Set a leaf, or for an object the leaves of its members, at any depth."""
        waiting: list[Leaf] = [(path, value)]
        while waiting:
            at, found = waiting.pop()
            if isinstance(found, dict):
                members = [((*at, key), member) for key, member in found.items()]
                waiting.extend(reversed(members))
            else:
                self.set(at, found)

    def remove(self, path: Path) -> None:
        """Remove the leaf at a path, or all leaves below it."""
        branches = [self._root]
        for key in path[:-1]:
            inner = branches[-1].get(key)
            if type(inner) is not _Branch:
                return
            branches.append(inner)
        for branch, key in zip(reversed(branches), reversed(path), strict=True):
            branch.pop(key, None)
            if branch:
                return

    def leaves(self) -> Iterator[Leaf]:
        """Give all leaves, in the order in which they were first set."""
        waiting: list[Leaf] = [((), self._root)]
        while waiting:
            path, found = waiting.pop()
            if type(found) is _Branch:
                waiting.extend(((*path, key), inner) for key, inner in reversed(found.items()))
            else:
                yield path, found

    def members(self) -> dict[str, Any]:
        """Return the leaves as an object of objects."""
        return as_object(self.leaves())


def as_object(leaves: Iterable[Leaf]) -> dict[str, Any]:
    """Return leaves, none inside of another, as an object of objects."""
    members: dict[str, Any] = {}
    for path, value in leaves:
        inner = members
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = value
    return members


def in_order(leaves: Iterable[Leaf]) -> tuple[Leaf, ...]:
    """Return leaves in the order of their paths."""
    return tuple(sorted(leaves, key=_path_of))


def _path_of(leaf: Leaf) -> Path:
    return leaf[0]
