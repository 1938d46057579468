"""Drive `wandb-export` and the engine against the stand-in W&B server.

Guarantees
- `command` runs the real command in a process of its own, with a private environment: no variable
  of ours reaches it, and it makes its own folders for the SDK. The process is a fork of one that
  has imported the SDK; `started_command` starts Python for each call.
- `exports` runs the engine in this process, on one SDK session for each test module, for tests of
  many syncs. The clock is the server's.
- A test fails when the server was asked something that it does not know.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from dr_wandb.shell.sources.api.session import ApiSession
from tests.support.api_exports import Exports, Shared
from tests.support.command import PRIVATE, Command
from tests.support.forked_python import ForkedPython
from tests.support.server import Project, StandInServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server() -> Iterator[StandInServer]:
    """Yield a server of this test's own."""
    with StandInServer() as server:
        yield server
    assert server.unknown_operations == []
    assert server.errors == []


@pytest.fixture
def project(server: StandInServer) -> Project:
    """Return the project entity/project, still empty."""
    return server.add_project("entity", "project")


@pytest.fixture(scope="session")
def forked_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedPython]:
    """Yield a process that has imported the SDK, for others to fork from."""
    forked = ForkedPython(tmp_path_factory.mktemp("forked"))
    yield forked
    forked.close()


@pytest.fixture
def command(server: StandInServer, tmp_path: Path, forked_python: ForkedPython) -> Command:
    """Return the command, pointed at `server`."""
    return Command(server, tmp_path, forked_python)


@pytest.fixture
def started_command(server: StandInServer, tmp_path: Path) -> Command:
    """Return the command, pointed at `server`, with a new Python for each call."""
    return Command(server, tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Yield a session with the stand-in: wandb-core is one process and slow to start."""
    place = tmp_path_factory.mktemp("session")
    with StandInServer() as server, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB")]:
            patch.delenv(name)
        for name, text in server.environment(place / "home").items():
            if name not in PRIVATE:
                patch.setenv(name, text)
        session = ApiSession(place, timeout_seconds=20)
        try:
            yield Shared(server, session)
        finally:
            session.close()


@pytest.fixture
def exports(shared: Shared, tmp_path: Path) -> Iterator[Exports]:
    """Yield a project of this test's own on the shared server, and the means to export it."""
    server = shared.server
    shared.numbers += 1
    server.clock.set("2026-01-01T00:00:00")
    server.clear_requests()
    project = server.add_project("entity", f"project-{shared.numbers}")
    yield Exports(shared, project, tmp_path / "data")
    server.faults.clear()
    server.before_page = None
    server.shuffle_parquet_urls = False
    server.ignores_aliases = False
    server.throttle(None)
    unknown, errors = list(server.unknown_operations), list(server.errors)
    server.unknown_operations.clear()
    server.errors.clear()
    server.delete_project(project)
    assert unknown == []
    assert errors == []
