"""The help of the command: groups of flags, and what stands below them."""

from collections.abc import Callable, Mapping
from inspect import cleandoc
from typing import TypeVar

from cyclopts import Group, Parameter

_F = TypeVar("_F", bound=Callable[..., object])

EXPORT = Parameter(group=Group("What to export", sort_key=1))
ROWS = Parameter(group=Group("Which rows", sort_key=2))
RUNS = Parameter(group=Group("Which runs", sort_key=3))
SOURCE = Parameter(group=Group("Source", sort_key=4))
SYNC = Parameter(group=Group("What a sync may do", sort_key=5))
REQUESTS = Parameter(group=Group("Requests", sort_key=6))
OUTPUT = Parameter(group=Group("Output", sort_key=7))

USAGE = """\
Usage: wandb-export ENTITY PROJECT --name NAME [FLAGS]
       wandb-export COMMAND [FLAGS]"""

EPILOGUE = """\
Examples:
  wandb-export ENTITY PROJECT --name my-export --mode history
  wandb-export ENTITY PROJECT --name my-export --mode history --dry-run
  wandb-export sync --all
  wandb-export my-team my-project --name runs --source offline:./wandb --mode history

Environment:
  WANDB_API_KEY       the key, if `wandb login` stored none
  WANDB_BASE_URL      the W&B server, if it is not W&B's own cloud
  DR_WANDB_LOG_LEVEL  DEBUG, INFO (the default), WARNING, ...

Exit codes:
  0  up to date             6  a damaged or newer file, or no such export
  1  a bug                  7  another sync is at work
  2  usage                  8  not in the recording
  3  some runs not read     9  the disk refuses
  4  no access             10  would lose runs or rows
  5  W&B gives no answer   11  doctor: something is missing

`wandb-export COMMAND --help` says more about a command, docs/errors.md about the codes.
"""


def short_help(about: str, commands: Mapping[str, Callable[..., object]]) -> str:
    """Return what is shown without arguments: the help without the flags, and faster."""
    width = max(map(len, commands))
    lines = [
        f"  {name:{width}}  {(command.__doc__ or '').partition(chr(10))[0]}"
        for name, command in commands.items()
    ]
    listed = "\n".join(lines)
    return f"{USAGE}\n\n{about}\n\nCommands:\n{listed}\n\nAll flags: wandb-export --help\n"


def with_whole_lines(function: _F) -> _F:
    """Return a function with each paragraph of its docstring in one line.

    The help breaks lines to the width of the terminal, but keeps those of the source.
    """
    lines: list[str] = []
    names_follow = False
    for line in cleandoc(function.__doc__ or "").splitlines():
        names_follow = names_follow or line.startswith("---")
        goes_on = bool(lines and lines[-1].strip() and line.strip())
        inside = line.startswith(_INDENT) and lines[-1:] and lines[-1].startswith(_INDENT)
        if goes_on and (inside or not names_follow):
            lines[-1] += f" {line.strip()}"
        else:
            lines.append(line)
    function.__doc__ = "\n".join(lines)
    return function


_INDENT = "    "
