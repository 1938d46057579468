"""What a power cut leaves: a model of a disk on which only fsync makes anything last.

Rules
- The bytes of a file last once it was fsynced. What is written to it later may be there, or not, or
  in part, or as zeros.
- A name that is made, changed or removed lasts once its folder was fsynced. Until then each of
  these changes may have happened or not, whatever their order was. That is less than file systems
  with a journal promise, and all that POSIX does.
- A rename, or an exchange of two names, is one change: it never leaves both names, or none.

The model looks at the folder ahead of each operation, so it does not depend on how the names and
bytes were changed.
"""

import hashlib
import os
import random
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.operations import Operation, observed

Tree = dict[str, bytes | None]
"""Files with their bytes, and folders, by path."""


@dataclass(eq=False)
class Node:
    """A file or a folder, whatever its name is. `lasting`: the bytes that were fsynced."""

    is_folder: bool
    now: bytes = b""
    lasting: bytes = b""

    def torn(self) -> bytes:
        """Return the bytes if half of those that do not last are there."""
        if self.now.startswith(self.lasting):
            return self.now[: (len(self.now) + len(self.lasting)) // 2]
        return self.now[: len(self.now) // 2]

    def zeros(self) -> bytes:
        """Return the bytes if the length lasts, but not what was written."""
        kept = self.lasting if self.now.startswith(self.lasting) else b""
        return kept + bytes(len(self.now) - len(kept))


Name = tuple[Node, str]
"""A folder, and a name in it."""


@dataclass(eq=False)
class Change:
    """Names that get another file or folder, or none, all at once."""

    names: Mapping[Name, Node | None]
    lasts: bool = False


@dataclass
class Disk:
    """The folder of a test, with everything that happened to it."""

    root: Path
    top: Node = field(default_factory=lambda: Node(is_folder=True))
    changes: list[Change] = field(default_factory=list)
    names: dict[Name, Node] = field(default_factory=dict)
    nodes: dict[int, Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.look()
        self.before = dict(self.names)
        self.changes.clear()
        for node in self.nodes.values():
            node.lasting = node.now

    def look(self) -> None:
        """Notice what has changed."""
        found: dict[Name, Node] = {}
        nodes: dict[int, Node] = {self.root.stat().st_ino: self.top}
        self._look_into(self.root, self.top, found, nodes)
        self.changes += _changes(self.names, found)
        self.names, self.nodes = found, nodes

    def _look_into(
        self, folder: Path, at: Node, found: dict[Name, Node], nodes: dict[int, Node]
    ) -> None:
        for entry in sorted(os.scandir(folder), key=lambda one: one.name):
            status = entry.stat(follow_symlinks=False)
            is_folder = stat.S_ISDIR(status.st_mode)
            node = nodes.get(status.st_ino) or self.nodes.get(status.st_ino)
            if node is None or node.is_folder != is_folder:
                node = Node(is_folder)
            nodes[status.st_ino] = found[at, entry.name] = node
            if is_folder:
                self._look_into(Path(entry.path), node, found, nodes)
            else:
                node.now = Path(entry.path).read_bytes()

    def fsync(self, descriptor: int) -> None:
        """Make a file or the names in a folder last."""
        self.look()
        node = self.nodes.get(os.fstat(descriptor).st_ino)
        if node is None:
            return
        node.lasting = node.now
        for change in self.changes:
            change.lasts |= any(folder is node for folder, _ in change.names)

    def surely(self) -> Tree:
        """Return what is there after any power cut."""
        return self.after(lambda: False, lambda node: node.lasting)

    def after(self, is_kept: Callable[[], bool], bytes_of: Callable[[Node], bytes]) -> Tree:
        """Return what a power cut leaves. is_kept: whether the next change that need not last does.

        bytes_of: which bytes of a file are there.
        """
        names: dict[Name, Node | None] = dict(self.before)
        for change in self.changes:
            if change.lasts or is_kept():
                names |= change.names
        inside: dict[Node, dict[str, Node]] = {}
        for (folder, name), node in names.items():
            if node is not None:
                inside.setdefault(folder, {})[name] = node
        return dict(_below(self.top, inside, bytes_of, ""))


def _changes(old: Mapping[Name, Node], new: Mapping[Name, Node]) -> Iterator[Change]:
    """Return the changes between two looks: one for all names that a file has moved between."""
    differing = [name for name in {**old, **new} if old.get(name) is not new.get(name)]
    groups: list[tuple[set[Node], list[Name]]] = []
    for name in differing:
        moved = {node for node in (old.get(name), new.get(name)) if node is not None}
        joined = ([*moved], [name])
        for group in [one for one in groups if one[0] & moved]:
            groups.remove(group)
            joined = ([*joined[0], *group[0]], [*group[1], *joined[1]])
        groups.append(({*joined[0]}, joined[1]))
    return (Change({name: new.get(name) for name in names}) for _, names in groups)


def _below(
    folder: Node,
    inside: Mapping[Node, Mapping[str, Node]],
    bytes_of: Callable[[Node], bytes],
    path: str,
) -> Iterator[tuple[str, bytes | None]]:
    for name, node in sorted(inside.get(folder, {}).items()):
        yield path + name, None if node.is_folder else bytes_of(node)
        yield from _below(node, inside, bytes_of, f"{path}{name}/")


def write_tree(tree: Tree, folder: Path) -> None:
    """Write what a power cut left into a folder."""
    folder.mkdir()
    for name, content in tree.items():
        if content is None:
            (folder / name).mkdir()
        else:
            (folder / name).write_bytes(content)


@dataclass
class Cuts:
    """What power cuts leave at each operation, each content once, with the moment."""

    disk: Disk
    randomly: int
    at_all: int = 0
    found: dict[bytes, tuple[str, Tree]] = field(default_factory=dict)

    def cut(self, moment: str) -> None:
        """Note what a power cut leaves now: at worst, at best, in between, and at random."""
        self.disk.look()
        chance = random.Random(f"{self.at_all} {moment}")
        number = len(self.disk.changes)
        ways: dict[str, tuple[Callable[[], bool], Callable[[Node], bytes]]] = {
            "nothing more": (lambda: False, lambda node: node.lasting),
            "all names, no bytes": (lambda: True, lambda node: node.lasting),
            "all names, half of the bytes": (lambda: True, Node.torn),
            "no names, all bytes": (lambda: False, lambda node: node.now),
        }

        def some_bytes(node: Node) -> bytes:
            return chance.choice([node.lasting, node.now, node.torn(), node.zeros()])

        for _ in range(self.randomly):
            left = iter([True] * chance.randrange(number + 1) + [False] * number)
            ways[f"the first names {_}"] = (left.__next__, some_bytes)
            ways[f"some names {_}"] = (lambda: chance.random() < 0.5, some_bytes)
        for way, (is_kept, bytes_of) in ways.items():
            self.at_all += 1
            tree = self.disk.after(is_kept, bytes_of)
            digest = hashlib.sha256(repr([*tree.items()]).encode()).digest()
            self.found.setdefault(digest, (f"{moment}: {way}", tree))


@contextmanager
def power_cuts(root: Path, randomly: int) -> Iterator[Cuts]:
    """Note what power cuts leave below a folder, before each operation that changes anything.

    randomly: how many ways are tried at random at each moment, twice.
    """
    cuts = Cuts(Disk(root), randomly)

    def before(operation: Operation) -> None:
        if operation.kind != "look":
            cuts.cut(f"before {operation}")

    with observed(before), pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", cuts.disk.fsync)
        yield cuts
        cuts.cut("at the end")
