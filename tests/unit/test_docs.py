"""What the documents show is what happens."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import msgspec
import pytest

from dr_wandb import ExportManifest, HistoryRow, RunSnapshot, WandbRun
from dr_wandb.cli import app
from dr_wandb.core.contract.changes import ChangedRun, FieldChange, RowCount, SyncChanges
from dr_wandb.core.contract.failures import (
    EXIT_BUG,
    EXIT_CODES,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PARTIAL,
    EXIT_UNREADY,
    EXIT_USAGE,
    Failure,
)
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.contract.scope import CRITERIA
from dr_wandb.core.contract.unproven_runs import ShortKind
from dr_wandb.core.contract.values import json_safe
from dr_wandb.core.inspect.doubts import AbsenceKind, DoubtKind
from dr_wandb.core.inspect.verify import FindingKind, NoteKind
from dr_wandb.core.offline.scan_report import NoticeKind
from dr_wandb.core.sync.plan_kinds import FetchKind, ListingKind, PlanKind
from tests.support.checkout import ROOT

if TYPE_CHECKING:
    from enum import StrEnum

    from dr_wandb.core.contract.criteria import Criterion


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_planning_example_prints_what_the_document_says() -> None:
    document = read("docs/planning.md")
    code = re.search(r"```python\n(.*?)```", document, re.DOTALL)
    printed = re.search(r"```text\n(.*?)```", document, re.DOTALL)
    assert code is not None
    assert printed is not None
    done = subprocess.run(
        [sys.executable, "-c", code[1]], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == printed[1]


def test_errors_document_has_every_exit_code() -> None:
    rows = re.findall(r"^\| (\d+) \|", read("docs/errors.md"), re.MULTILINE)
    codes = {EXIT_OK, EXIT_BUG, EXIT_USAGE, EXIT_PARTIAL, EXIT_UNREADY, EXIT_INTERRUPTED}
    assert sorted(map(int, rows)) == sorted(codes | set(EXIT_CODES.values()))


@pytest.mark.parametrize("enum", [RunFailureKind, ShortKind], ids=lambda enum: enum.__name__)
def test_errors_document_has_a_line_for_every_kind(
    enum: type[RunFailureKind] | type[ShortKind],
) -> None:
    """In the order of the enum, and none that there is not."""
    _, _, section = read("docs/errors.md").partition("## Kinds of failures")
    section = section.partition("## ")[0]
    of_runs, short = section.split("A short run has")
    table = of_runs if enum is RunFailureKind else short
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == [kind.value for kind in enum]


@pytest.mark.parametrize(
    ("enum", "document", "before"),
    [
        (ListingKind, "planning", "A listing plan has one of these"),
        (PlanKind, "planning", "A run has one of these"),
        (FetchKind, "planning", "Each of them has one of these kinds"),
        (DoubtKind, "proof", "### Kinds of reasons"),
        (FindingKind, "proof", "each of the `findings` has a `kind`"),
        (NoteKind, "proof", "Each of the `notes` has one of these"),
        (NoticeKind, "offline", "has these warnings as `notices`"),
        (AbsenceKind, "proof", "A run that is not exported has one of these"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_document_has_a_line_for_every_kind(
    enum: type[StrEnum], document: str, before: str
) -> None:
    """In the order of the enum, and none that there is not."""
    assert kinds_in_table(f"docs/{document}.md", before) == [kind.value for kind in enum]


def kinds_in_table(document: str, before: str) -> list[str]:
    """Return the first column of the first table behind a text."""
    _, _, behind = read(document).partition(before)
    table = re.search(r"(?:^\|.*\n)+", behind, re.MULTILINE)
    assert table is not None
    return re.findall(r"^\| `(\w+)` \|", table[0], re.MULTILINE)


def test_every_failure_has_an_exit_code() -> None:
    kinds = {kind for kind in Failure.__subclasses__() if kind.__module__.startswith("dr_wandb")}
    assert kinds == set(EXIT_CODES)


FORMATTED = [
    ExportManifest,
    HistoryRow,
    RunSnapshot,
    WandbRun,
    SyncChanges,
    ChangedRun,
    FieldChange,
    RowCount,
]


@pytest.mark.parametrize("kind", FORMATTED)
def test_format_document_names_every_field(kind: type[msgspec.Struct]) -> None:
    document = read("docs/format.md")
    missing = [name for name in kind.__struct_fields__ if f"`{name}`" not in document]
    assert missing == []


@pytest.mark.parametrize(
    ("value", "spelling"),
    [
        (4.0, "4"),
        (-0.0, "0"),
        (1e15, "1000000000000000"),
        (2.0**53 - 1, "9007199254740991"),
        (2.0**53, "9007199254740992.0"),
        (2**53, "9007199254740992"),
        (0.00001, "0.00001"),
        (9.999e-6, "9.999e-6"),
        (5e-324, "5e-324"),
        (123456.789, "123456.789"),
        (9999999999999998.0, "9999999999999998.0"),
        (1e16, "1e16"),
        (1.5e16, "1.5e16"),
        (1.7976931348623157e308, "1.7976931348623157e308"),
        (18446744073709551616, "18446744073709551616"),
        (float("nan"), '"NaN"'),
        (float("-inf"), '"-Infinity"'),
    ],
)
def test_numbers_are_spelled_as_the_format_says(value: float, spelling: str) -> None:
    assert msgspec.json.encode(json_safe(value)).decode() == spelling


def test_readme_names_every_flag() -> None:
    arguments = app["export"].assemble_argument_collection()
    flags = [name for argument in arguments for name in argument.names if name.startswith("--")]
    readme = read("README.md")
    assert {"--name", "--state", "--quiet"} <= set(flags)
    assert [flag for flag in flags if not flag.startswith("--no-") and flag not in readme] == []


@pytest.mark.parametrize("command", [name for name in app if not name.startswith("-")])
def test_every_argument_has_a_help_text(command: str) -> None:
    arguments = app[command].assemble_argument_collection(parse_docstring=True)
    assert [argument.name for argument in arguments if not argument.parameter.help] == []


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda criterion: criterion.flag)
def test_sync_document_has_a_line_for_every_criterion(criterion: Criterion) -> None:
    flag = f"--{criterion.flag.replace('_', '-')}"
    line = rf"^\| `{flag} \w+` \| `{criterion.field}` \|"
    assert re.search(line, read("docs/sync.md"), re.MULTILINE)


def test_readme_names_every_subcommand() -> None:
    readme = read("README.md")
    subcommands = [name for name in app if not name.startswith("-")]
    assert len(subcommands) == 12
    assert [name for name in subcommands if f"wandb-export {name} " not in readme + " "] == []


def test_readme_shows_lines_of_the_demo_as_they_are() -> None:
    shown = re.findall(r'^\{"extra".*\}$', read("README.md"), re.MULTILINE)
    snapshots = "\n".join(
        path.read_text(encoding="utf-8") for path in ROOT.glob("tests/snapshot/**/*.jsonl")
    )
    assert shown
    assert [line for line in shown if line not in snapshots] == []
