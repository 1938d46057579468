"""What a command prints of many runs is cut, counted, and whole with `--all`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from dr_wandb.core.contract.cut_list import MOST_LISTED

if TYPE_CHECKING:
    from tests.support.command import Command
    from tests.support.server import Project

RUNS = MOST_LISTED + 3
NAMED = re.compile(r"'(run-\d\d)'")


@pytest.fixture
def long_project(project: Project) -> Project:
    """Return a project of more runs than a list shows."""
    for number in range(RUNS):
        project.add_run(f"run-{number:02}", created_at="2025-12-31T00:00:00").log({"loss": 1})
    return project


def test_plan_is_cut_and_whole_with_all(long_project: Project, command: Command) -> None:
    cut = command.history("--dry-run")
    lines = cut.stdout.splitlines()
    assert lines[0] == "new: 13 runs"
    assert len(NAMED.findall(cut.stdout)) == MOST_LISTED
    assert lines[-2] == "  ... and 3 more; --all"
    assert lines[-1].startswith("13 runs: 13 new, ")
    whole = command.history("--dry-run", "--all").stdout
    assert len({*NAMED.findall(whole)}) == RUNS
    assert "--all" not in whole
    as_json = command.history("--dry-run", "--json")
    assert len(as_json.summary["runs"]) == RUNS
    assert as_json.stdout == command.history("--dry-run", "--json", "--all").stdout

    command.history()
    assert command.history("--dry-run").stdout.splitlines()[0] == "reuse: 13 runs; --all"
    every_plan = command("sync", "--all", "--dry-run").stdout
    assert "n: reuse: 13 runs; wandb-export sync n --dry-run --all\n" in every_plan
    one_plan = command("sync", "n", "--dry-run", "--all").stdout
    assert len({*NAMED.findall(one_plan)}) == RUNS


def test_status_and_comparison_are_cut_and_whole_with_all(
    long_project: Project, command: Command
) -> None:
    command.history()
    for arguments in (("status", "n"), ("verify", "n", "--against-server")):
        cut = command(*arguments).stdout
        assert len({*NAMED.findall(cut)}) == MOST_LISTED
        assert "  ... and 3 more; --all\n" in cut
        assert len({*NAMED.findall(command(*arguments, "--all").stdout)}) == RUNS
        assert command(*arguments, "--json").code == command(*arguments).code
    whole = command("status", "n", "--json").summary
    assert len(whole["alive"]) == RUNS


def test_verify_lists_every_finding_with_all(long_project: Project, command: Command) -> None:
    history = command.history().folder / "history.jsonl"
    history.write_bytes(history.read_bytes() + b"oops\n" * RUNS)
    cut, whole = command("verify", "n"), command("verify", "n", "--all")
    assert (cut.code, whole.code) == (6, 6)
    assert cut.stdout.count("cannot be read") == MOST_LISTED
    assert "history.jsonl: and 3 more like these; --all\n" in cut.stdout
    assert whole.stdout.count("cannot be read") == RUNS
    assert "--all" not in whole.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("e", "p", "--name", "n", "--all"), "--all needs --dry-run"),
        (("e", "p", "--name", "n", "--raw"), "--raw needs --dry-run"),
        (("sync", "n", "--all"), "--all needs --dry-run"),
        (("sync", "n", "--raw"), "--raw needs --dry-run"),
        (("sync", "--all", "--raw"), "--raw needs --dry-run"),
        (("sync", "--dry-run"), "give the name of an export, or --all"),
    ],
)
def test_flags_of_a_plan_without_a_plan_are_a_mistake(
    command: Command, arguments: tuple[str, ...], said: str
) -> None:
    done = command(*arguments)
    assert (done.code, done.stdout) == (2, "")
    assert said in done.stderr
