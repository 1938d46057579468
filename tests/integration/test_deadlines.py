"""Connections that trickle: each look finds a byte more, and the end never comes."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any, cast

import pytest

from dr_wandb.core.sync.deadline import SLOW_TIMEOUTS
from dr_wandb.shell.sources.api.downloads import Downloads
from dr_wandb.shell.sources.api.pacing import PassingError
from dr_wandb.shell.sources.api.source import METADATA_FILE
from tests.support.server import Trickle

if TYPE_CHECKING:
    from collections.abc import Callable

    from dr_wandb.shell.sources.api.session import ApiSession
    from tests.support.api_exports import Exports
    from tests.support.command import Command
    from tests.support.server import Project, StandInServer

TIMEOUT = 25
SECONDS_PER_LOOK = 15.0
"""On the fake clock; a look without a byte more does not make it give up, two do."""


def ticking() -> Callable[[], float]:
    """Return a clock that goes on with every look."""
    ticks = count()
    return lambda: SECONDS_PER_LOOK * next(ticks)


class Once:
    """A session that sends each request once: how often is the pacer's matter, on its own clock."""

    def __init__(self, session: ApiSession) -> None:
        self.private = session.private
        self.service = session.service

    def send(self, request: Callable[[], Any]) -> Any:
        return request()


def downloads_of(exports: Exports) -> Downloads:
    request = exports.request(timeout_seconds=TIMEOUT)
    once = cast("ApiSession", Once(exports.shared.session))
    return Downloads(once, request, clock=ticking())


def trickle(exports: Exports) -> Trickle:
    """Let every download trickle."""
    action = Trickle()
    exports.server.faults.add(
        lambda one: one.operation == "download" and one.method == "GET", action, times=None
    )
    return action


def assert_told(error: PassingError) -> None:
    words = str(error)
    came, _, rest = words.removeprefix("only ").partition(" bytes came in ")
    assert int(came.replace(",", "")) > 0
    seconds = float(rest.partition(" s while downloading; ")[0])
    assert SLOW_TIMEOUTS * TIMEOUT < seconds <= SLOW_TIMEOUTS * TIMEOUT + 2 * SECONDS_PER_LOOK
    assert words.endswith("--timeout-seconds sets how long a slow download may take")


def test_parquet_file_that_trickles_is_given_up_after_a_total_time(exports: Exports) -> None:
    """A byte a second is progress: a sync waited for ever. wandb-core stops reading, too."""
    run = exports.project.add_run("run")
    run.log_all({"loss": step + 0.5} for step in range(5))
    run.finish()
    run.export_parquet()
    action = trickle(exports)
    downloads = downloads_of(exports)
    with pytest.raises(PassingError) as caught:
        downloads.exports("run", downloads.new_folder())
    assert_told(caught.value)
    assert action.ended.wait(20), "wandb-core goes on reading"


def test_file_that_trickles_is_given_up_after_a_total_time(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.metadata = {"host": "here"}
    trickle(exports)
    url = exports.server.sign_file(run, METADATA_FILE)
    node = {"name": METADATA_FILE, "url": url, "directUrl": url, "sizeBytes": "16", "mimetype": ""}
    with pytest.raises(PassingError) as caught:
        downloads_of(exports).file(node)
    assert_told(caught.value)


def test_answer_that_trickles_fails_its_run_alone_and_in_plain_words(
    server: StandInServer, project: Project, command: Command
) -> None:
    """It was `net/http: request canceled`, and not sent again but read anew."""
    for name in ("bad", "good"):
        project.add_run(name).log({"loss": 0.5})
    fault = server.faults.add(
        lambda one: one.operation == "HistoryPage" and one.run_id == "bad", Trickle(), times=None
    )
    done = command.history("--timeout-seconds", "2")
    assert done.code == 3
    (failed,) = done.summary["failures"]
    assert failed["run_id"] == "bad"
    assert failed["reason"].startswith("no whole answer in time; --timeout-seconds sets")
    assert fault.hits == 2
    assert [row["run_id"] for row in done.rows()] == ["good"]


def test_answer_that_trickles_once_is_asked_for_again(
    server: StandInServer, project: Project, command: Command
) -> None:
    project.add_run("run").log({"loss": 0.5})
    server.faults.add("HistoryPage", Trickle(), times=1)
    done = command.history("--timeout-seconds", "2")
    assert (done.code, len(done.rows())) == (0, 1)
    assert done.asked["HistoryPage"] == 2
