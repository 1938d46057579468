"""Flag types that the commands share."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypedDict

from cyclopts import Parameter, Token

from dr_wandb.cli.help import RUNS
from dr_wandb.core.contract.criteria import Criterion
from dr_wandb.core.contract.dataset import DATASETS, HISTORY, PROJECT_DATASETS
from dr_wandb.core.contract.request import ExportMode, SyncMode
from dr_wandb.core.contract.scope import CRITERIA


def _expanded(_kind: Any, tokens: Sequence[Token]) -> Path:
    return Path(tokens[0].value).expanduser()


Folder = Annotated[Path, Parameter(converter=_expanded)]
"""A folder; `~` is the home folder also in `--data-root=~/x`, which no shell expands."""

Switch = Annotated[bool, Parameter(negative="", show_default=False)]
"""A flag without a value and without a `--no-` form."""

REST = "--all"
"""How to see what is cut from a list."""

Every = Annotated[bool, Parameter(name=REST, negative="", show_default=False)]
"""Print long lists whole. JSON is never cut."""

Raw = Switch
"""Print names as they are. Otherwise characters that can steer a terminal are escaped."""


Verbose = Annotated[
    int, Parameter(name=["--verbose", "-v"], count=True, negative="", show_default=False)
]
"""A flag that counts how often it is given, as in `-vv`."""


def _as_documented(name: str) -> str:
    return name.lower().replace("-", "_")


Mode = Annotated[ExportMode, Parameter(name_transform=_as_documented)]
How = Annotated[SyncMode, Parameter(name="--sync-mode", name_transform=_as_documented)]
"""Modes, spelled in the help as everywhere: with underscores. Hyphens are understood too."""

Several = Annotated[list[str] | None, Parameter(negative="")]
"""A flag that may be given more than once."""


_Format = Literal["jsonl", "parquet"]

Formats = Annotated[list[_Format] | None, Parameter(name="--format", negative="")]
DropFormats = Annotated[list[_Format] | None, Parameter(name="--drop-format", negative="")]

Links = Annotated[list[Folder] | None, Parameter(negative="")]
Files = Annotated[list[str] | None, Parameter(name="--file", negative="")]

EVERYTHING = "everything"


if TYPE_CHECKING:
    Datasets = list[str] | None
    DropDatasets = list[str] | None
else:
    _NAMES = (*(name for name in DATASETS if name != HISTORY), *PROJECT_DATASETS)
    Datasets = Annotated[
        list[Literal[(*_NAMES, EVERYTHING)]] | None, Parameter(name="--with", negative="")
    ]
    DropDatasets = Annotated[list[Literal[_NAMES]] | None, Parameter(name="--drop", negative="")]


def _scope_flag(criterion: Criterion) -> Any:
    kind = Several if criterion.takes_several else str | None
    return Annotated[kind, Parameter(help=criterion.help), RUNS]


if TYPE_CHECKING:
    _ScopeFlags = dict[str, Any]
else:
    _ScopeFlags = TypedDict(
        "_ScopeFlags",
        {criterion.flag: _scope_flag(criterion) for criterion in CRITERIA},
        total=False,
    )

ScopeFlags = Annotated[_ScopeFlags | None, Parameter(name="*")]
"""One flag for each row of `CRITERIA`: the values of the given ones, by name."""
