"""The environments of the two tools, made once and used again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec

CHECKOUT = Path(__file__).parents[1]
THIS_TOOL = "this tool"
OTHER_VERSION = "3.0.3"
PACKAGES = ("dr-wandb", "wandb", "protobuf", "pyarrow", "numpy", "msgspec", "pydantic")

_TELL = """
import importlib.metadata as m, json, platform, sys
def version(name):
    try:
        return m.version(name)
    except m.PackageNotFoundError:
        return None
found = {name: version(name) for name in sys.argv[1:]}
print(json.dumps({"python": platform.python_version(), **found}))
"""


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """One of the tools: the interpreter that has it, and its command."""

    name: str
    python: str
    command: list[str]
    versions: dict[str, str | None]


def tool_of(name: str, python: Path) -> Tool:
    """Return the tool that an interpreter has; the command is beside it, unless it is a module."""
    script = python.parent / "wandb-export"
    told = subprocess.run(
        [python, "-c", _TELL, *PACKAGES], capture_output=True, text=True, check=True
    )
    return Tool(
        name=name,
        python=str(python.absolute()),
        command=[str(script.absolute())]
        if script.exists()
        else [str(python.absolute()), "-m", "dr_wandb"],
        versions=json.loads(told.stdout),
    )


def make_this_tool(cache: Path) -> Tool:
    """Install the checkout as it is now, not editable."""
    folder = cache / "this-tool"
    if not (folder / "bin" / "python").exists():
        _make(folder)
    _install(folder, str(CHECKOUT))  # with what it needs by now
    _install(folder, "--force-reinstall", "--no-deps", str(CHECKOUT))
    return tool_of(THIS_TOOL, folder / "bin" / "python")


def make_other_tool(cache: Path, wandb: str | None) -> Tool:
    """Install dr-wandb 3.0.3, with the wandb that this tool has."""
    folder = cache / "dr-wandb-3.0.3"
    if not (folder / "bin" / "python").exists():
        _make(folder)
    _install(folder, f"dr-wandb=={OTHER_VERSION}", *([f"wandb=={wandb}"] if wandb else []))
    return tool_of(OTHER_VERSION, folder / "bin" / "python")


def _make(folder: Path) -> None:
    subprocess.run([find_python(), "-m", "venv", folder], check=True)


def _install(folder: Path, *what: str) -> None:
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--disable-pip-version-check", *what], check=True, stdout=sys.stderr)


def find_python() -> str:
    """Return a Python 3.12, which 3.0.3 needs; both tools run on it."""
    known = [sys.executable, shutil.which("python3.12")]
    versions = Path.home() / ".pyenv" / "versions"
    known += [str(path / "bin" / "python") for path in sorted(versions.glob("3.12*"))]
    for candidate in filter(None, known):
        told = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False)
        if told.stdout.startswith("Python 3.12."):
            return candidate
    raise SystemExit("dr-wandb 3.0.3 needs Python 3.12: put a python3.12 on the PATH")
