"""Describe artifacts: a table of versions, and a tree of what came from what.

Rules
- A tree goes both ways from a run or a version: what it came from, and what came of it.
- What was described above already is named again, but not followed: there may be circles.
- Versions that W&B made for itself are left aside unless they are wanted.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from dr_wandb.core.contract.artifacts import WandbArtifact
from dr_wandb.core.contract.nearest import did_you_mean
from dr_wandb.core.contract.wording import count, size_in_words, table

HEAD = ("version", "type", "aliases", "size", "files", "made by", "used by")
"""The columns of a table of versions."""

_NUMBERS = (3, 4)

MOST_RUNS = 3
"""The most runs that a table names of one version."""

Step = tuple["Node", str]
"""A neighbour in a tree, and what it was used as."""


class Node(NamedTuple):
    """A run, by its id, or a version, by its artifact id."""

    kind: str
    key: str


RUN, VERSION = "run", "version"


def name_of(record: WandbArtifact) -> str:
    """Return the name of a version as W&B has it, `collection:v3`."""
    number = "?" if record.version is None else f"v{record.version}"
    address = "" if not record.project else f"{record.project}/"
    return f"{address}{record.collection}:{number}"


def describe_versions(records: Iterable[WandbArtifact]) -> tuple[str, ...]:
    """Return the lines of a table of versions."""
    rows = [HEAD, *map(_row, records)]
    return table(rows, _NUMBERS)


def _row(record: WandbArtifact) -> tuple[str, ...]:
    return (
        name_of(record) + ("" if record.missing_since is None else " (gone)"),
        record.type or "",
        ", ".join(record.aliases),
        "" if record.size is None else size_in_words(record.size),
        "" if record.file_count is None else f"{record.file_count:,}",
        _few(record.created_by),
        _few([use.run_id for use in record.used_by]),
    )


def _few(run_ids: Sequence[str]) -> str:
    """Return the first runs, and the number of the others."""
    more = len(run_ids) - MOST_RUNS
    return ", ".join([*run_ids[:MOST_RUNS], *([f"{more:,} more"] if more > 0 else [])])


class Lineage:
    """The runs and versions of an export, and how they are linked."""

    def __init__(self, records: Iterable[WandbArtifact]) -> None:
        self._names: dict[str, list[str]] = {}
        self._found: dict[str, list[Node]] = {}
        self._made: dict[str, list[str]] = {}
        self._used: dict[str, list[tuple[str, str]]] = {}
        self._versions: dict[str, WandbArtifact] = {}
        for record in records:
            self._add(record)

    def _add(self, record: WandbArtifact) -> None:
        key = record.artifact_id
        first = key not in self._versions
        if first or record.source_collection is None:
            self._versions[key] = record
        names = self._names.setdefault(key, [])
        names.append(name_of(record))
        node = Node(VERSION, key)
        for name in (names[-1], *(f"{record.collection}:{alias}" for alias in record.aliases)):
            self._found.setdefault(name, []).append(node)
        if not first:
            return
        for run_id in record.created_by:
            self._made.setdefault(run_id, []).append(key)
        for use in record.used_by:
            self._used.setdefault(use.run_id, []).append((key, use.used_as or ""))

    @property
    def runs(self) -> set[str]:
        """Return the ids of all runs that logged or used a version."""
        return {*self._made, *self._used}

    def find(self, name: str) -> Node | None:
        """Return the run of an id, or the version of a name such as `data:v3` or `data:best`."""
        if name in self._found:
            return self._found[name][0]
        return Node(RUN, name) if name in self.runs else None

    def did_you_mean(self, name: str) -> str:
        """Return a question with names that are spelled nearly like one, "" if there is none."""
        return did_you_mean(name, [*self._found, *self.runs])

    def describe(self, node: Node) -> Iterator[str]:
        """Yield the lines of the tree of a run or a version."""
        yield self._label(node)
        before, after = self._before(node), self._after(node)
        yield "came from:" if before else "came from: nothing that is known"
        yield from self._tree(node, self._before)
        yield "and from it came:" if after else "nothing that is known came from it"
        yield from self._tree(node, self._after)

    def _before(self, node: Node) -> list[Step]:
        if node.kind == RUN:
            used = self._used.get(node.key, ())
            return [(Node(VERSION, key), used_as) for key, used_as in used]
        return [(Node(RUN, run_id), "") for run_id in self._versions[node.key].created_by]

    def _after(self, node: Node) -> list[Step]:
        if node.kind == RUN:
            return [(Node(VERSION, key), "") for key in self._made.get(node.key, ())]
        used_by = self._versions[node.key].used_by
        return [(Node(RUN, one.run_id), one.used_as or "") for one in used_by]

    def _tree(self, root: Node, neighbours: Callable[[Node], Sequence[Step]]) -> Iterator[str]:
        """Yield a line for each node, indented by its distance, without recursion."""
        seen = {root}
        waiting = [(1, step) for step in reversed(neighbours(root))]
        while waiting:
            depth, (node, used_as) = waiting.pop()
            again = node in seen
            seen.add(node)
            what = f" as {used_as}" if used_as else ""
            followed = neighbours(node)
            more = " (see above)" if again and followed else ""
            yield f"{'  ' * depth}{self._label(node)}{what}{more}"
            if not again:
                waiting += [(depth + 1, step) for step in reversed(followed)]

    def _label(self, node: Node) -> str:
        if node.kind == RUN:
            return f"run {node.key}"
        record = self._versions[node.key]
        own = name_of(record)
        others = sorted({*self._names[node.key]} - {own})
        kind = f" ({record.type})" if record.type else ""
        linked = f", linked as {', '.join(others)}" if others else ""
        gone = ", gone upstream" if record.missing_since is not None else ""
        return f"{own}{kind}{linked}{gone}"


def chosen(
    records: Iterable[WandbArtifact], type_name: str | None, *, internal: bool
) -> Iterator[WandbArtifact]:
    """Yield the versions of a type or, without one, all that W&B did not make for itself.

    internal: those too.
    """
    for record in records:
        wanted = internal or not record.internal if type_name is None else record.type == type_name
        if wanted:
            yield record


def describe_left_aside(left: int) -> str:
    """Say how many versions a table does not show."""
    return f"not shown: {count(left, 'version')} that W&B made for itself (--internal)"
