"""Names from W&B that could steer a terminal: no command lets them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.support.offline_folders import put, whole_run
from tests.support.server.faults import GraphQLErrors

if TYPE_CHECKING:
    from tests.support.command import Command, Outcome
    from tests.support.server import Project, Request, StandInServer

EVIL = (
    "\x1b[2J\x1b]0;title\x07\x9b31m\u202eknil\u2066\u200b\u200f\ufeff\x7f\x85\u2028\rx\nFAKE line\t"
)
"""Sequences of a terminal, C1 controls, marks of direction, signs without width, line breaks."""

MUST_NOT_APPEAR = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]|^FAKE", re.M
)


@pytest.fixture
def evil_project(server: StandInServer) -> Project:
    """Return a project whose every name is hostile, as far as W&B lets one choose it."""
    project = server.add_project("entity", "pro\u202eject\x9b")
    for number in range(3):
        run = project.add_run(
            f"{number}{EVIL}",
            display_name=f"name{EVIL}",
            tags=[f"tag{EVIL}"],
            group=f"group{EVIL}",
            job_type=EVIL,
            notes=EVIL,
            config={f"key{EVIL}": f"value{EVIL}"},
            user={"name": EVIL, "username": EVIL},
            created_at="2025-12-31T00:00:00",
        )
        run.log_all({f"metric{EVIL}": EVIL} for _ in range(3))
    return project


def test_no_command_lets_a_name_steer_the_terminal(
    server: StandInServer, evil_project: Project, command: Command
) -> None:
    """A run's name could clear the screen, or hide and forge lines of the output."""
    told: dict[str, Outcome] = {}

    def call(*arguments: str, code: int = 0, **env: str) -> Outcome:
        done = command(*arguments, env=env)
        told[f"{len(told)}: {' '.join(arguments)}"] = done
        assert done.code == code, (arguments, done.stdout, done.stderr)
        return done

    export = ("entity", evil_project.name, "--name", "n", "--mode", "history")
    bad = evil_project.runs[1]
    fails = GraphQLErrors([f"no{EVIL}"])

    def of_bad(request: Request) -> bool:
        return request.run_id == bad.run_id

    server.faults.add(of_bad, fails, times=None)
    call(*export, code=3, DR_WANDB_LOG_LEVEL="DEBUG")
    call("status")
    call("status", "n")
    call("verify", "n", "--against-server", code=3)
    server.faults.clear()
    gone, changed = evil_project.runs[0], evil_project.runs[2]
    evil_project.delete_run(gone)
    evil_project.add_run(f"new{EVIL}", display_name=f"new{EVIL}")
    changed.tags.append(f"more{EVIL}")
    changed.config[f"added{EVIL}"] = EVIL
    changed.display_name = f"renamed{EVIL}"
    changed.log({f"metric{EVIL}": EVIL})
    changed.finish()
    call(*export, "--dry-run")
    call("sync", "n", "--dry-run", "--all")
    call("sync", "--all", "--dry-run")
    call("verify", "n", "--against-server", code=3)
    call(*export, "--quiet")
    call("sync", "--all", "--quiet")
    call(*export, "--history-key", f"nothing{EVIL}", "--tag", f"t{EVIL}", "--group", EVIL, code=10)
    call(*export, "--history-key", f"nothing{EVIL}", "--tag", f"t{EVIL}", "--dry-run", code=10)
    call("log", "n")
    call("log", "n", "-v")
    call("diff", "n", "--since", "2020-01-01")
    call("diff", "n", "--since", f"2020{EVIL}", code=2)
    call("doctor", "entity", evil_project.name)
    call("doctor", f"entity{EVIL}", code=2)
    call("status", f"none{EVIL}", code=2)
    call(f"stat{EVIL}", code=2)
    call("verify", "n")
    runs = command.data_root / "n" / "runs.jsonl"
    runs.write_bytes(runs.read_bytes().replace(b'"entity":"entity"', b'"entity":"\\u009bother"', 1))
    call("verify", "n", code=6)
    call(*export, code=2)
    runs.unlink()
    call("verify", "n", code=6)
    folder = command.cwd / "wandb"
    put(folder, "offline1", whole_run(f"o{EVIL}", project=f"p{EVIL}", display_name=f"d{EVIL}"))
    call("scan", "wandb")
    offline = ("--source", "offline:wandb", "--name", "o", "--mode", "history")
    call("entity", "project", *offline)

    printed = 0
    for called, done in told.items():
        assert MUST_NOT_APPEAR.findall(done.stderr) == [], called
        if done.stdout.startswith("{"):  # JSON that goes to a pipe has its exact bytes
            assert json.loads(done.stdout)
        else:
            assert MUST_NOT_APPEAR.findall(done.stdout) == [], called
            printed += "\\x1b[2J" in done.stdout
    assert printed > 8


def test_raw_prints_names_as_they_are(evil_project: Project, command: Command) -> None:
    export = ("entity", evil_project.name, "--name", "n", "--mode", "history")
    assert EVIL in command(*export, "--dry-run", "--raw").stdout
    assert command(*export).code == 0
    against = ("verify", "n", "--against-server")
    for arguments in (
        ("status", "n"),
        ("log", "n", "-v"),
        ("diff", "n", "--since", "2020-01-01"),
        against,
    ):
        assert EVIL in command(*arguments, "--raw").stdout
        assert EVIL not in command(*arguments).stdout
    put(command.cwd / "wandb", "offline1", whole_run("o", display_name=f"d{EVIL}"))
    assert EVIL in command("scan", "wandb", "--raw").stdout
    assert EVIL not in command("scan", "wandb").stdout
    doctor = ("doctor", "entity", evil_project.name)
    for named in (("status",), doctor):
        assert evil_project.name in command(*named, "--raw").stdout
        assert evil_project.name not in command(*named).stdout
