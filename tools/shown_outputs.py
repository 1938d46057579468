"""Run what the documents show, and compare or write what it prints.

Rules
- A block marked `console` is commands after `$ `, each followed by what it prints to stdout.
- A Python block that is followed by "It prints" and a block marked `text` prints that.
- All of them run in a folder with `fixtures` and three exports: `demo`, the same as Parquet below
  `columns`, and `kinds` of two syncs below `examples`.

`python -m tools.shown_outputs --write` writes the outputs of the commands into the documents.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
DOCUMENTS = [*map(ROOT.joinpath, PAGES), *sorted((ROOT / "docs").rglob("*.md"))]

CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PRINTS = re.compile(
    r"^```python\n(?P<code>[^`]*?)^```\n\nIt prints\n\n```text\n(?P<printed>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
DEMO = (
    "wandb-export demo-lab tiny-vision --name demo --mode history"
    " --source replay:fixtures/recorded/tiny-vision"
)
KINDS = (
    "wandb-export golden-lab every-kind --name kinds --mode history --data-root examples --source"
)
COLUMNS = f"{DEMO} --format parquet --data-root columns"
EXPORTS = (
    DEMO,
    COLUMNS,
    f"{KINDS} replay:fixtures/recorded/every-kind",
    f"{KINDS} replay:fixtures/recorded/every-kind-later",
)


def prepare(folder: Path) -> None:
    """Make the exports that the documents show."""
    (folder / "fixtures").symlink_to(ROOT / "fixtures")
    for command in EXPORTS:
        run(f"{command} --quiet", folder)


def run(command: str, folder: Path) -> str:
    """Return what a `wandb-export` command prints to stdout. Raises for one that says more."""
    name, *arguments = shlex.split(command)
    if name != "wandb-export":
        raise ValueError(f"not a command of this tool: {command}")
    return _stdout(["-m", "dr_wandb", *arguments], folder)


def run_python(code: str, folder: Path) -> str:
    """Return what a piece of Python prints. Raises for one that fails."""
    return _stdout(["-c", code], folder)


def _stdout(arguments: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    if done.stderr:
        raise RuntimeError(f"{arguments}: {done.stderr}")
    return done.stdout


def commands_in(block: str) -> Iterator[tuple[str, str]]:
    """Give the commands of a `console` block, each with what the document says it prints."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, printed = part.partition("\n")
        yield command, printed


def comparable(printed: str) -> str:
    """Return an output without what depends on the day: ages, and the columns they widen."""
    return re.sub(r" {2,}", "  ", re.sub(r"\d+ \w+ ago", "N ago", printed))


def main() -> None:
    """Write the outputs of the shown commands into the documents."""
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: python -m tools.shown_outputs --write")
    with tempfile.TemporaryDirectory() as name:
        prepare(Path(name))

        def rewrite(found: re.Match[str]) -> str:
            shown = "\n".join(
                f"$ {command}\n{run(command, Path(name))}" for command, _ in commands_in(found[1])
            )
            return f"```console\n{shown}```"

        for document in DOCUMENTS:
            text = document.read_text(encoding="utf-8")
            written = CONSOLE.sub(rewrite, text)
            if comparable(written) != comparable(text):
                document.write_text(written, encoding="utf-8")


if __name__ == "__main__":
    main()
