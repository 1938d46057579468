"""Pages of a listing: as large as the runs allow, and smaller where W&B cannot serve them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.contract.failures import DrWandbError, Unreachable
from dr_wandb.core.sync import paging
from dr_wandb.core.sync.paging import FIRST_RUNS, PAGE_BYTES
from dr_wandb.shell.sources.api import run_pages
from tests.support.server import Drop, GraphQLErrors, Request, Status, Truncate
from tests.support.server.resolve import offset_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.api_exports import Exports


def add_runs(exports: Exports, count: int, config_bytes: int = 0) -> list[str]:
    """Create runs, each with so much text in its config; return their ids in order."""
    names = [f"run-{number:03}" for number in range(count)]
    for name in names:
        exports.project.add_run(name, config={"text": "x" * config_bytes})
    return names


def more_than(runs: int) -> Callable[[Request], bool]:
    """Match a page of more than so many runs."""
    return lambda one: one.operation == "Runs" and one.variables["perPage"] > runs


def brings(number: int) -> Callable[[Request], bool]:
    """Match a page that brings the whole of the run with this number."""

    def match(request: Request) -> bool:
        if request.operation != "Runs" or "config" not in request.document:
            return False
        filters = json.loads(request.variables["filters"])
        asked = filters.get("name", {}).get("$in", [f"run-{one:03}" for one in range(1000)])
        start = offset_after(request.variables["cursor"])
        return f"run-{number:03}" in asked[start : start + request.variables["perPage"]]

    return match


def asked_runs(exports: Exports, status: int = 200) -> list[int]:
    """Return how many runs each page asked for, of those that were answered like this."""
    pages = exports.server.requests_of("Runs")
    return [one.variables["perPage"] for one in pages if one.status == status]


def test_first_page_is_small_and_later_ones_follow_the_bytes(exports: Exports) -> None:
    """60 runs with 2 MB of config each came in one page, and took more than 1 GB of memory."""
    add_runs(exports, 12, config_bytes=1_000_000)
    exports.sync(mode="metadata")
    assert len(exports.runs()) == 12
    pages = exports.server.requests_of("Runs")
    assert pages[0].variables["perPage"] == FIRST_RUNS
    assert max(one.bytes_sent for one in pages) < 1.1 * PAGE_BYTES
    assert 4 <= len(pages) <= 7


def test_small_runs_come_in_full_pages(exports: Exports) -> None:
    add_runs(exports, 1200)
    exports.sync(mode="metadata")
    assert len(exports.runs()) == 1200
    assert asked_runs(exports) == [2, 33, 501, 501, 501]


@pytest.mark.parametrize(
    "action",
    [Status(500), Status(502), Status(504), Truncate(0.5), Drop(), GraphQLErrors(["too large"])],
    ids=str,
)
def test_page_that_cannot_be_served_is_asked_for_in_halves(exports: Exports, action: Any) -> None:
    """Five tries of the same 500 runs ended the sync, and every one after it."""
    names = add_runs(exports, 160)
    exports.server.faults.add(more_than(10), action, times=None)
    summary = exports.sync(mode="metadata")
    assert sorted(exports.runs()) == names
    assert summary.unlisted_count == 0
    sizes = [one.variables["perPage"] for one in exports.server.requests_of("Runs")]
    assert sizes[0] == 2
    first_served = next(at for at, size in enumerate(sizes) if 2 < size <= 10)
    descent = sizes[1:first_served]
    assert {33, 17} == {*descent}
    assert len(descent) <= 4, "one try each, that wandb-core sends twice"
    assert sum(size > 10 for size in sizes) <= 12


def test_pages_grow_again_once_they_can_be_served(exports: Exports) -> None:
    add_runs(exports, 900)
    fault = exports.server.faults.add(more_than(3), Status(504), times=8)
    exports.sync(mode="metadata")
    assert len(exports.runs()) == 900
    assert fault.hits == 8
    assert max(asked_runs(exports)) > 250
    assert len(asked_runs(exports)) < 25


def test_run_that_cannot_be_served_fails_alone(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One such run kept all others from being listed, for as long as it was there."""
    monkeypatch.setattr(run_pages, "ATTEMPTS", 1)  # it is asked for three times by itself
    names = add_runs(exports, 30)
    exports.server.faults.add(brings(17), Status(504), times=None)
    summary = exports.sync(mode="metadata")
    (failed,) = summary.failures
    assert failed.run_id == "run-017"
    assert failed.reason.startswith("W&B could not serve this run, even alone: HTTP 504")
    assert sorted(exports.runs()) == [name for name in names if name != "run-017"]
    exports.server.faults.clear()
    assert exports.sync(mode="metadata").failures == ()
    assert sorted(exports.runs()) == names


@pytest.mark.parametrize("data", [None, {"project": {"runs": None}}], ids=["no data", "no runs"])
def test_run_that_is_answered_with_errors_fails_alone(exports: Exports, data: Any) -> None:
    """One run whose config the server could not load kept every run from being listed."""
    names = add_runs(exports, 30)
    errors = GraphQLErrors(["Error 1040: could not load config"], data=data)
    exports.server.faults.add(brings(17), errors, times=None)
    summary = exports.sync(mode="metadata")
    (failed,) = summary.failures
    assert failed.run_id == "run-017"
    assert "could not load config" in failed.reason
    assert sorted(exports.runs()) == [name for name in names if name != "run-017"]
    exports.server.faults.clear()
    assert exports.sync(mode="metadata").failures == ()
    assert sorted(exports.runs()) == names


@pytest.mark.parametrize(
    "message",
    [
        'Cannot query field "runs" on type "Project".',
        "Syntax Error GraphQL (3:1) Unexpected Name",
        "project entity/project not found",
        "invalid filter: unknown operator $has",
    ],
)
def test_page_is_not_asked_for_in_halves_if_fewer_runs_cannot_help(
    exports: Exports, message: str
) -> None:
    add_runs(exports, 30)
    exports.server.faults.add("Runs", GraphQLErrors([message]), times=None)
    with pytest.raises(DrWandbError) as error:
        exports.sync(mode="metadata")
    assert message.split("(")[0] in str(error.value)
    assert "cannot reach" not in str(error.value)
    assert "gives no usable answer" in str(error.value)
    assert error.value.exit_code == 5
    assert len(exports.server.requests_of("Runs")) == 3, "tried three times, as it is"


def test_errors_that_pass_do_not_end_the_listing(exports: Exports) -> None:
    names = add_runs(exports, 5)
    exports.server.faults.add("Runs", GraphQLErrors(["try later"]), times=4)
    assert exports.sync(mode="metadata").complete
    assert sorted(exports.runs()) == names


def test_many_runs_that_cannot_be_served_do_not_end_the_listing(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for once more by their ids they come in a row, which looks like a server in trouble."""
    monkeypatch.setattr(run_pages, "ATTEMPTS", 1)
    names = add_runs(exports, 20)
    bad = [3, 7, 8, 13]
    for number in bad:
        exports.server.faults.add(brings(number), Status(504), times=None)
    summary = exports.sync(mode="metadata")
    assert [failed.run_id for failed in summary.failures] == [names[number] for number in bad]
    assert len(exports.runs()) == 16


def test_held_run_that_cannot_be_served_stays(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_pages, "ATTEMPTS", 1)
    names = add_runs(exports, 4)
    exports.sync(mode="metadata")
    exports.server.faults.add(brings(2), Status(504), times=None)
    summary = exports.sync(mode="metadata", sync_mode="full_reconcile")
    assert [failed.run_id for failed in summary.failures] == ["run-002"]
    assert summary.missing_count == 0
    assert sorted(exports.runs()) == names


def test_listing_ends_when_no_run_can_be_served(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a server in trouble each of 20,000 runs would be tried alone, one after the other."""
    monkeypatch.setattr(run_pages, "ATTEMPTS", 1)
    add_runs(exports, 30)
    exports.server.faults.add(
        lambda one: one.operation == "Runs" and "config" in one.document, Status(504), times=None
    )
    with pytest.raises(DrWandbError, match="4 runs in a row could not be served") as error:
        exports.sync(mode="metadata")
    assert isinstance(error.value.failure, Unreachable)
    assert "HTTP 504" in str(error.value)
    assert "check the network" not in str(error.value), "something did answer"
    assert len(exports.server.requests_of("Runs")) < 30


@pytest.mark.parametrize("cap", [1, 2, 3, 7])
def test_server_that_caps_pages_lists_every_run_once(exports: Exports, cap: int) -> None:
    """A cap of one run gave nothing new on any page but the first."""
    names = add_runs(exports, 20)
    exports.server.max_per_page = cap
    try:
        summary = exports.sync(mode="metadata")
    finally:
        exports.server.max_per_page = 1000
    assert sorted(exports.runs()) == names
    assert summary.unlisted_count == 0
    new_runs = max(1, cap - 1)
    assert len(exports.server.requests_of("Runs")) <= 20 / new_runs + 2, "listed more than once"


@pytest.mark.parametrize("page_bytes", [1, 100_000])
def test_run_deleted_between_pages_is_noticed_whatever_their_size(
    exports: Exports, monkeypatch: pytest.MonkeyPatch, page_bytes: int
) -> None:
    """Cursors are offsets: the run behind the deleted one was on no page."""
    monkeypatch.setattr(paging, "PAGE_BYTES", page_bytes)
    names = add_runs(exports, 40)
    exports.project.add_run("late", created_at="2026-02-01T00:00:00")
    waiting = [exports.project.runs[0]]

    def change(offset: int) -> None:
        """Delete a run and add another, so that the count stays the same."""
        if offset > 2 and waiting:
            exports.project.delete_run(waiting.pop())
            exports.project.add_run("later", created_at="2026-02-02T00:00:00")

    exports.server.before_page = change
    try:
        exports.sync(mode="metadata")
    finally:
        exports.server.before_page = None
    assert waiting == []
    assert {*names[1:], "late", "later"} <= set(exports.runs())


def test_large_runs_are_transferred_once(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page of one run that also repeats the one before would double what is read."""
    monkeypatch.setattr(paging, "PAGE_BYTES", 150_000)
    add_runs(exports, 10, config_bytes=100_000)
    exports.sync(mode="metadata")
    sent = sum(one.bytes_sent for one in exports.server.requests_of("Runs"))
    assert sent < 1.2 * 10 * 100_000


@pytest.mark.parametrize("config_bytes", [0, 3_000_000], ids=["small runs", "a run a page"])
@pytest.mark.parametrize("number", [0, 2, 5])
def test_run_that_is_null_hides_no_other_one(
    exports: Exports, number: int, config_bytes: int
) -> None:
    """A page of one run that was null ended the listing; with 30 runs none was exported."""
    names = add_runs(exports, 6, config_bytes)
    (missing,) = (run for run in exports.project.runs if run.run_id == names[number])
    missing.is_null = True
    summary = exports.sync(mode="metadata")
    assert sorted(exports.runs()) == [name for name in names if name != names[number]]
    assert summary.unlisted_count == 1

    missing.is_null = False
    assert exports.sync(mode="metadata").complete
    assert sorted(exports.runs()) == names


def test_listing_ends_when_the_server_ignores_cursors(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gave the first page for ever."""
    add_runs(exports, 20)
    monkeypatch.setattr("tests.support.server.resolve.offset_after", lambda after: 0)
    exports.server.max_per_page = 5
    summary = exports.sync(mode="metadata")
    assert len(exports.runs()) < 20
    assert summary.unlisted_count == 20 - len(exports.runs())
    assert len(exports.server.requests_of("Runs")) < 40


def test_run_that_is_not_even_named_is_counted_and_the_listing_goes_on(exports: Exports) -> None:
    """A page is answered with errors as soon as anything of that run is asked for."""
    names = add_runs(exports, 30)

    def touches(request: Request) -> bool:
        if request.operation != "Runs" or "node {" not in request.document.split("runs(")[-1]:
            return False
        filters = json.loads(request.variables["filters"])
        asked = filters.get("name", {}).get("$in", [f"run-{one:03}" for one in range(1000)])
        start = offset_after(request.variables["cursor"])
        return "run-017" in asked[start : start + request.variables["perPage"]]

    exports.server.faults.add(touches, GraphQLErrors(["could not load run"]), times=None)
    summary = exports.sync(mode="metadata")
    assert (summary.failures, summary.unlisted_count) == ((), 1)
    assert sorted(exports.runs()) == [name for name in names if name != "run-017"]
    assert len(exports.server.requests_of("Runs")) < 100
