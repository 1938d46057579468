"""How many sessions a sync has with W&B, and what is left of them."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from wandb.sdk.lib.service import service_port_file

from dr_wandb.shell.sources.api import wandb_core
from dr_wandb.shell.sources.api.queries import VIEWER
from dr_wandb.shell.sources.api.session import ApiSession
from tests.support.command import PRIVATE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.command import Command
    from tests.support.server import Project, StandInServer

SLOW_SECONDS = 0.03


@pytest.fixture
def session(server: StandInServer, tmp_path: Path) -> Iterator[ApiSession]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB")]:
            patch.delenv(name)
        for name, text in server.environment(tmp_path / "home").items():
            if name not in PRIVATE:
                patch.setenv(name, text)
        session = ApiSession(tmp_path, timeout_seconds=20)
        try:
            yield session
        finally:
            session.close()
        assert "WANDB_SERVICE" not in os.environ, "wandb-core runs on"


def ask(session: ApiSession, workers: int, count: int) -> list[str]:
    with ThreadPoolExecutor(workers) as pool:
        answers = pool.map(lambda _: session.query(VIEWER, {}), range(count))
        return [answer["viewer"]["username"] for answer in answers]


def test_sdk_looks_often_whether_its_process_is_ready(
    session: ApiSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its own wait of 0.2 s, a part of that is lost at each start."""
    naps: list[float] = []
    before = service_port_file._SLEEP
    with monkeypatch.context() as patch, wandb_core._looking_often():
        patch.setattr(time, "sleep", naps.append)
        service_port_file._SLEEP(0.2)
    assert naps == [wandb_core.LOOK_SECONDS]
    assert service_port_file._SLEEP is before


def test_many_requests_at_a_time_are_answered_through_two_sessions(
    server: StandInServer, session: ApiSession
) -> None:
    """200 live histories took half as long again through one."""
    server.latency_seconds = SLOW_SECONDS
    before = len(server.requests)
    assert ask(session, workers=16, count=200) == ["ada"] * 200
    assert len(server.requests) - before == 201, "a second session, and nothing else"


def test_few_requests_at_a_time_are_answered_through_one_session(
    server: StandInServer, session: ApiSession
) -> None:
    server.latency_seconds = SLOW_SECONDS
    before = len(server.requests)
    assert ask(session, workers=8, count=100) == ["ada"] * 100
    assert len(server.requests) - before == 100


def test_small_project_is_synced_through_one_session(
    server: StandInServer, project: Project, command: Command
) -> None:
    for number in range(8):
        project.add_run(f"run-{number}").log_all({"loss": step} for step in range(3))
    done = command.history()
    assert (done.code, len(done.rows())) == (0, 24)
    assert len(server.requests_of("Viewer")) == 1


def test_session_ends_though_wandb_core_does_not(
    session: ApiSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wandb_core, "TEARDOWN_SECONDS", 0.5)
    core = wandb_core._core()
    os.kill(core.pid, signal.SIGSTOP)
    session.close()
    assert core.returncode == -signal.SIGKILL
    another = ApiSession(tmp_path, timeout_seconds=20)
    try:
        assert ask(another, 1, 1) == ["ada"]
    finally:
        another.close()


@pytest.mark.parametrize("teardown", [lambda: time.sleep(600), lambda: 1 / 0])
def test_wandb_that_does_not_end_is_not_waited_for(
    teardown: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wandb.teardown", teardown)
    monkeypatch.setattr(wandb_core, "_core", lambda: None)  # it would set wandb up for the others
    monkeypatch.setattr(wandb_core, "TEARDOWN_SECONDS", 0.2)
    started = time.monotonic()
    wandb_core._tear_down()
    assert time.monotonic() - started < 60
