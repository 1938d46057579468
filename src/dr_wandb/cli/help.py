"""The help of the command: groups of flags, and what stands above and below them.

Rules
- A page is made of the flags and the docstrings, as cyclopts reads them.
- It is laid out here and not by cyclopts, whose tables take longer than all else that help needs.
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from inspect import cleandoc
from itertools import takewhile
from typing import Any, get_args, get_origin

from cyclopts import App, Argument, ArgumentCollection, Group, Parameter

from dr_wandb.cli.help_layout import Entry, Section, lay_out

EXPORT = Parameter(group=Group("What to export", sort_key=1))
ROWS = Parameter(group=Group("Which rows", sort_key=2))
BYTES = Parameter(group=Group("Which files", sort_key=3))
RUNS = Parameter(group=Group("Which runs", sort_key=4))
SOURCE = Parameter(group=Group("Source", sort_key=5))
SYNC = Parameter(group=Group("What a sync may do", sort_key=6))
REQUESTS = Parameter(group=Group("Requests", sort_key=7))
OUTPUT = Parameter(group=Group("Output", sort_key=8))
FLAGS = Group("Flags")
"""The flags of a command that has few."""

USAGE = """\
Usage: wandb-export ENTITY PROJECT --name NAME [FLAGS]
       wandb-export COMMAND [FLAGS]"""

ALL_FLAGS = "All flags: wandb-export --help"

EPILOGUE: tuple[str | Section, ...] = (
    Section(
        "Examples",
        (
            Entry("wandb-export ENTITY PROJECT --name my-export --mode history"),
            Entry("wandb-export ENTITY PROJECT --name my-export --mode history --dry-run"),
            Entry("wandb-export sync --all"),
            Entry("wandb-export ENTITY PROJECT --name runs --source offline:wandb --mode history"),
        ),
    ),
    Section(
        "Environment",
        (
            Entry("WANDB_API_KEY", "the key, if `wandb login` stored none"),
            Entry("WANDB_BASE_URL", "the W&B server, if it is not W&B's own cloud"),
            Entry("DR_WANDB_LOG_LEVEL", "DEBUG, INFO (the default), WARNING, ..."),
        ),
    ),
    Section(
        "Exit codes",
        (
            Entry("0", "up to date"),
            Entry("1", "a bug"),
            Entry("2", "usage"),
            Entry("3", "some runs not read"),
            Entry("4", "no access"),
            Entry("5", "W&B gives no answer"),
            Entry("6", "a damaged or newer file, or no such export"),
            Entry("7", "another sync is at work"),
            Entry("8", "not in the recording"),
            Entry("9", "the disk refuses"),
            Entry("10", "would lose runs or rows"),
            Entry("11", "doctor: something is missing"),
        ),
    ),
    "`wandb-export COMMAND --help` says more about a command, docs/errors.md about the codes.",
)


def short_help(about: str, commands: Mapping[str, Callable[..., object]], width: int) -> str:
    """Return what is shown without arguments: the help without the flags, and faster."""
    listed = [Entry(name, _first_line(command.__doc__)) for name, command in commands.items()]
    return lay_out(USAGE, [about, Section("Commands", listed), ALL_FLAGS], width)


def wants_help(app: App, tokens: Sequence[str]) -> bool:
    """Say whether a command line asks for help, as cyclopts would: anywhere before `--`."""
    return any(token in app.help_flags for token in takewhile("--".__ne__, tokens))


def full_help(app: App, tokens: Sequence[str], width: int) -> str:
    """Return the help of the command that a command line names, or else of the whole tool."""
    special = {*app.help_flags, *app.version_flags}
    chain, apps, _ = app.parse_commands([token for token in tokens if token not in special])
    command = apps[-1]
    arguments = command.assemble_argument_collection(parse_docstring=True).filter_by(show=True)
    sections = _sections(arguments)
    if not chain:
        return lay_out(USAGE, [command.help, _commands(app), *sections, *EPILOGUE], width)
    words = [*app.name, *chain, *_needed(arguments), *(["[FLAGS]"] if arguments else [])]
    about, _, _ = cleandoc(command.help).partition("\n\nParameters\n---")
    paragraphs = [" ".join(paragraph.split()) for paragraph in about.split("\n\n")]
    return lay_out(f"Usage: {' '.join(words)}", [*paragraphs, *sections], width)


def _commands(app: App) -> Section:
    names: dict[int, list[str]] = {}
    commands = app.resolved_commands()
    for name, command in commands.items():
        names.setdefault(id(command), []).append(name)
    entries = [
        Entry(", ".join(known), _first_line(commands[known[0]].help)) for known in names.values()
    ]
    return Section("Commands", sorted(entries, key=lambda entry: entry.label.startswith("-")))


def _sections(arguments: ArgumentCollection) -> list[Section]:
    groups = sorted(arguments.groups, key=_turn)
    return [
        Section(group.name, [_entry(argument) for argument in arguments.filter_by(group=group)])
        for group in groups
    ]


def _turn(group: Group) -> int:
    """Return when a group has its turn; those of cyclopts come first."""
    return group.sort_key if isinstance(group.sort_key, int) else 0


def _entry(argument: Argument) -> Entry:
    """Describe an argument: its names and value, its help, its choices and its default."""
    parts = [" ".join((argument.parameter.help or "").split())]
    choices = argument.get_choices()
    if choices:
        parts.append(f"[choices: {', '.join(choices)}]")
    default = argument.field_info.default
    if argument.show_default and default is not False:
        parts.append(f"[default: {default.value if isinstance(default, Enum) else default}]")
    if argument.required:
        parts.append("[required]")
    return Entry(_label(argument), " ".join(parts))


def _needed(arguments: ArgumentCollection) -> list[str]:
    """Return the words of the usage for arguments without a flag, and for required flags."""
    words = [
        argument.name if argument.required else f"[{argument.name}]"
        for argument in arguments
        if argument.index is not None
    ]
    flags = [one for one in arguments if one.index is None and one.required]
    return [*words, *map(_label, flags)]


def _label(argument: Argument) -> str:
    names = ", ".join(argument.names)
    value = "" if argument.index is not None or argument.is_flag() else _value(argument)
    return f"{names} {value}".rstrip()


def _value(argument: Argument) -> str:
    """Return what stands for the value of a flag: its type, with `...` if it may be repeated."""
    if argument.get_choices():
        return "CHOICE"
    hint: Any = argument.hint
    if type(None) in get_args(hint):
        hint = next(kind for kind in get_args(hint) if kind is not type(None))
    if get_origin(hint) is list:
        return f"{get_args(hint)[0].__name__.upper()}..."
    return str(hint.__name__).upper()


def _first_line(text: str | None) -> str:
    return (text or "").partition("\n")[0]
