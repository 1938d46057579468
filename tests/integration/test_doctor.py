"""`wandb-export doctor`: one line for each thing, with ok or what to do; never the key."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.server import Request, Status
from tests.support.server.stand_in import API_KEY

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.command import Command, Outcome
    from tests.support.server import Project


def lines(done: Outcome) -> dict[str, str]:
    """Return what is said of each thing, and check that every line says ok or what to do."""
    assert API_KEY not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    told = {}
    for line in done.stdout.splitlines():
        name, _, said = line.partition("  ")
        told[name] = said.strip()
        assert ": " in said
    return told


def test_doctor_finds_nothing_wrong_when_nothing_is(project: Project, command: Command) -> None:
    project.add_run("run")
    done = command("doctor", "entity", "project")
    told = lines(done)
    assert (done.code, done.stderr) == (0, "")
    assert list(told) == ["SDK", "host", "API key", "user", "project", "history", "data root"]
    assert all(said.endswith(": ok") for said in told.values())
    assert told["SDK"].startswith("wandb 0.")
    assert told["host"].startswith(command.server.url)
    assert told["API key"] == "from WANDB_API_KEY: ok"
    assert told["project"] == "entity/project, 1 runs: ok"
    assert command.left_behind() == {}

    as_json = json.loads(command("doctor", "entity", "project", "--json").stdout)
    assert [check["name"] for check in as_json["checks"]] == list(told)
    assert {check["remedy"] for check in as_json["checks"]} == {None}


def test_key_is_found_in_netrc(project: Project, command: Command) -> None:
    netrc = command.home / "netrc"
    host = command.server.url.removeprefix("http://")
    netrc.write_text(f"machine {host}\n  login user\n  password {API_KEY}\n")
    netrc.chmod(0o600)
    del command.environment["WANDB_API_KEY"]
    done = command("doctor", "entity", "project")
    told = lines(done)
    assert done.code == 0, done.stdout
    assert told["API key"] == f"from {netrc}, machine {host}: ok"


@pytest.mark.parametrize(
    ("name", "environment", "check", "words"),
    [
        ("elsewhere", {}, "project", ("no project elsewhere in entity", "check both names")),
        ("project", {"WANDB_API_KEY": "a" * 40}, "API key", ("refused", "wandb login")),
        ("project", {"WANDB_API_KEY": "short"}, "API key", ("refused", "wandb login")),
        ("project", {"WANDB_API_KEY": ""}, "API key", ("none for 127.0.0.1", "wandb login")),
        ("project", {"WANDB_BASE_URL": "http://127.0.0.1:9"}, "host", ("127.0.0.1:9", "network")),
    ],
    ids=["no project", "wrong key", "malformed key", "no key", "unreachable"],
)
def test_missing_things_are_named_with_a_remedy(
    project: Project,
    command: Command,
    name: str,
    environment: dict[str, str],
    check: str,
    words: tuple[str, ...],
) -> None:
    done = command("doctor", "entity", name, env=environment)
    told = lines(done)
    assert done.code == 11
    bad = [name for name, said in told.items() if not said.endswith(": ok")]
    assert bad == [check]
    for word in words:
        assert word in told[check]
    assert list(told)[-1] == "data root"


def test_entity_without_a_project_is_looked_for_among_those_of_the_key(
    project: Project, command: Command
) -> None:
    known = command("doctor", "ada")
    assert (known.code, list(lines(known))[4]) == (0, "entity")
    other = command("doctor", "nobody")
    assert other.code == 11
    assert "give a PROJECT" in lines(other)["entity"]


def test_data_root_that_cannot_be_used_is_named(project: Project, command: Command) -> None:
    (command.cwd / "file").write_text("x")
    done = command("doctor", "entity", "project", "--data-root", "file/below")
    assert done.code == 11
    assert "is not a folder: give another --data-root" in lines(done)["data root"]


def add_three(project: Project) -> None:
    """Add runs a, b and c with a row each; that of c is exported."""
    for day, name in enumerate("abc", 1):
        project.add_run(name, created_at=f"2026-01-0{day}T00:00:00").log({"loss": 1})
    project.runs[2].finish()
    project.runs[2].export_parquet()


def of_run(run_id: str, operation: str) -> Callable[[Request], bool]:
    return lambda one: one.run_id == run_id and one.operation == operation


def test_history_is_asked_of_the_oldest_run_and_of_the_newest_with_rows(
    project: Project, command: Command
) -> None:
    add_three(project)
    project.add_run("empty", created_at="2026-01-04T00:00:00")
    told = lines(command("doctor", "entity", "project"))
    assert told["history"] == "runs 'a' and 'c' can be read: ok"


@pytest.mark.parametrize(
    ("run_id", "operation", "words"),
    [
        ("a", "HistoryPage", ("run 'a' cannot be read", "403")),
        ("c", "HistoryPage", ("run 'c' cannot be read", "403")),
        ("c", "RunParquetHistory", ("run 'c' cannot be read", "403")),
        ("c", "download", ("run 'c' can be read, but not the Parquet file",)),
    ],
)
def test_history_that_a_sync_would_not_get_is_named(
    project: Project, command: Command, run_id: str, operation: str, words: tuple[str, ...]
) -> None:
    """Doctor asked for the list of exports of the oldest run alone, and all was well."""
    add_three(project)
    command.server.faults.add(of_run(run_id, operation), Status(403), times=None)
    done = command("doctor", "entity", "project")
    said = lines(done)["history"]
    assert done.code == 11
    assert all(word in said for word in words)
    assert "what its plan allows" in said


def test_download_that_cannot_be_judged_is_no_refusal(project: Project, command: Command) -> None:
    run = project.add_run("run")
    run.log({"loss": 1})
    run.export_parquet()
    command.server.faults.add("download", Status(500), times=None)
    done = command("doctor", "entity", "project")
    assert done.code == 0
    assert "not known whether the exported rows can be downloaded" in done.stdout
