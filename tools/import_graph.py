"""Draw which room of the source imports which: `python -m tools.import_graph [--write]`.

Prints the graph; `--write` puts it into docs/architecture.md. The rooms and their order are the
layers that pyproject.toml gives to import-linter. Needs nothing but the standard library.
"""

import ast
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "dr_wandb"
DOCUMENT = ROOT / "docs" / "architecture.md"
BLOCK = re.compile(r"(<!-- import graph -->\n```text\n)(.*?)(```\n)", re.DOTALL)
WIDTH = 80

Room = str
"""A package or a module by its path below `dr_wandb`, as in `core.contract`."""


@cache
def rooms() -> tuple[Room, ...]:
    """Return the rooms, those that import first."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    layers = [one for one in tools["importlinter"]["contracts"] if one["type"] == "layers"]
    [sides] = (one["layers"] for one in layers if "containers" not in one)
    inside = {one["containers"][0]: one["layers"] for one in layers if "containers" in one}
    names = [
        name if room is None else f"{name}.{room.strip()}"
        for name in sides
        for layer in inside.get(name, [None])
        for room in ([None] if layer is None else layer.split("|"))
    ]
    return tuple(name.removeprefix("dr_wandb.") for name in names)


def room_of(module: str) -> Room | None:
    """Return the room of a module or of something in it; None if it is in none."""
    below = module.removeprefix("dr_wandb.")
    return next((room for room in rooms() if f"{below}.".startswith(f"{room}.")), None)


def modules() -> dict[Room, list[Path]]:
    """Return the modules of each room, but for the `__init__` of packages."""
    found: dict[Room, list[Path]] = {room: [] for room in rooms()}
    for path in sorted(SOURCE.rglob("*.py")):
        room = room_of(".".join(_parts(path.with_suffix(""))))
        if room is not None and path.name != "__init__.py":
            found[room].append(path)
    return found


def imports_of(path: Path) -> Iterator[str]:
    """Give the modules of this project that a module imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dr_wandb."):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (one.name for one in node.names if one.name.startswith("dr_wandb."))


def arrows() -> dict[Room, list[Room]]:
    """Return for each room the others that it imports, in the order of `rooms`."""
    found = {}
    for room in rooms():
        folder = SOURCE.joinpath(*room.split("."))
        paths = folder.rglob("*.py") if folder.is_dir() else [folder.with_suffix(".py")]
        imported = {room_of(name) for path in paths for name in imports_of(path)}
        found[room] = [other for other in rooms() if other in imported and other != room]
    return found


def draw() -> str:
    """Return the graph as text: a box for each room, and below it where its arrows lead."""
    lines = []
    counted = modules()
    for room, others in arrows().items():
        number = len(counted[room])
        title, size = _title(room, counted[room]), f"{number} module" + "s" * (number != 1)
        edge = f"+{'-' * (WIDTH - 2)}+"
        lines += [edge, f"| {title}{size:>{WIDTH - 4 - len(title)}} |", edge]
        sides: dict[str, list[str]] = {}
        for other in others:
            side, _, name = other.rpartition(".")
            sides.setdefault(side, []).append(name)
        lines += [f"    +--> {side}: {', '.join(names)}" for side, names in sides.items()]
        lines.append("")
    return "\n".join(lines)


def _title(room: Room, paths: list[Path]) -> str:
    """Return the name of a room, and how many modules each folder in it has."""
    depth = len(room.split("."))
    folders = Counter(parts[depth] for path in paths if len(parts := _parts(path)) > depth + 1)
    inside = ", ".join(f"{name} {number}" for name, number in sorted(folders.items()))
    return room.replace(".", "/") + (f" ({inside})" if inside else "")


def _parts(path: Path) -> tuple[str, ...]:
    return path.relative_to(SOURCE).parts


def main() -> None:
    """Print the graph, or write it into the document."""
    if sys.argv[1:] != ["--write"]:
        print(draw(), end="")
        return
    document = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(BLOCK.sub(lambda found: found[1] + draw() + found[3], document), "utf-8")


if __name__ == "__main__":
    main()
