"""Sweeps and reports from W&B, through the real SDK's transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.contract.failures import DrWandbError, NoProject
from dr_wandb.shell.sources.api.record_pages import RECORDS_PER_PAGE
from tests.support.server import Drop, GraphQLErrors, NullField, Request, Status, Truncate
from tests.support.syncing import json_lines, visible

if TYPE_CHECKING:
    from tests.support.api_exports import Exports

BOTH = ("reports", "sweeps")
EMAIL = "ada@example.com"


def sweep(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"id-{number}",
        "name": f"s{number:04}",
        "config": f'id: "008"\nlr: 1e-3\nn: {number}\n',
        "bestLoss": 0.25,
        "createdAt": "2026-01-01T00:00:00",
        "runCount": 2,
        **fields,
    }


def report(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"r{number:04}",
        "displayName": "a report",
        "user": {"username": "ada", "name": "Ada", "email": EMAIL},
        "spec": '{"width": 1.0}',
        "updatedAt": "2026-01-01T00:00:00",
        **fields,
    }


def fill(exports: Exports, sweeps: int = 3, reports: int = 3) -> None:
    exports.project.add_run("a")
    exports.project.sweeps = [sweep(number) for number in range(sweeps)]
    exports.project.reports["runs"] = [report(number) for number in range(reports)]


def held(exports: Exports, name: str) -> list[dict[str, Any]]:
    return json_lines(exports.folder() / f"{name}.jsonl")


def sync(exports: Exports, **fields: Any) -> Any:
    return exports.sync(**{"extra_datasets": BOTH} | fields)


def test_records_come_verbatim_in_one_request_for_each_dataset(exports: Exports) -> None:
    """The SDK sends one more request for each sweep, and throws the listed ones away."""
    fill(exports)
    assert sync(exports).complete
    assert exports.asked == {"GetSweeps": 1, "ProjectViews": 1}
    assert [one["config"] for one in held(exports, "sweeps")] == [
        f'id: "008"\nlr: 1e-3\nn: {number}\n' for number in range(3)
    ]
    assert {one["spec"] for one in held(exports, "reports")} == {'{"width": 1.0}'}
    before = visible(exports.folder())
    assert sync(exports).complete
    assert exports.asked == {"GetSweeps": 1, "ProjectViews": 1}
    after = visible(exports.folder())
    assert {**after, "state.json": b""} == {**before, "state.json": b""}


@pytest.mark.parametrize(
    ("operation", "field", "stored"),
    [("GetSweeps", "runCountExpected", "sweeps"), ("ProjectViews", "updatedAt", "reports")],
)
def test_field_that_the_server_does_not_know_is_null(
    exports: Exports,
    caplog: pytest.LogCaptureFixture,
    operation: str,
    field: str,
    stored: str,
) -> None:
    fill(exports, sweeps=RECORDS_PER_PAGE + 1, reports=RECORDS_PER_PAGE + 1)
    exports.server.faults.add(
        lambda one: one.operation == operation and field in one.document,
        GraphQLErrors([f'Cannot query field "{field}" on type "Record".']),
        times=None,
    )
    assert sync(exports).complete
    lines = held(exports, stored)
    assert len(lines) == RECORDS_PER_PAGE + 1
    assert {one["run_count_expected" if stored == "sweeps" else "updated_at"] for one in lines} == {
        None
    }
    assert exports.asked[operation] == 3
    said = [line for line in caplog.messages if "does not know" in line]
    assert len(said) == 1
    assert f"does not know {field} of a {stored.removesuffix('s')}: not exported" in said[0]


def test_field_that_every_record_needs_is_not_left_out(exports: Exports) -> None:
    fill(exports)
    exports.server.faults.add(
        lambda one: one.operation == "GetSweeps",
        GraphQLErrors(['Cannot query field "config" on type "Sweep".']),
        times=None,
    )
    summary = sync(exports)
    assert not summary.complete
    assert summary.records["sweeps"].failure is not None
    assert len(held(exports, "reports")) == 3


def test_address_of_the_author_is_not_even_requested(exports: Exports) -> None:
    fill(exports)
    sync(exports)
    assert held(exports, "reports")[0]["user"] == {
        "email": None,
        "name": "Ada",
        "username": "ada",
    }
    assert "email" not in exports.server.requests_of("ProjectViews")[-1].document
    sync(exports, include_metadata=True)
    assert held(exports, "reports")[0]["user"]["email"] == EMAIL


@pytest.mark.parametrize("cap", [1000, 7])
def test_many_records_come_page_by_page(exports: Exports, cap: int) -> None:
    """A server may cap its pages below what is asked for."""
    fill(exports, 2 * RECORDS_PER_PAGE + 1, RECORDS_PER_PAGE)
    exports.server.max_records_per_page = cap
    assert sync(exports).complete
    exports.server.max_records_per_page = 1000
    assert len(held(exports, "sweeps")) == 2 * RECORDS_PER_PAGE + 1
    assert len(held(exports, "reports")) == RECORDS_PER_PAGE


def test_page_of_nulls_is_passed_over(exports: Exports) -> None:
    """A page in which nothing is usable ended the SDK's listing: all records after it were lost."""
    fill(exports, 9, 9)
    exports.server.max_records_per_page = 3
    exports.project.sweeps[3:6] = [None] * 3
    exports.project.reports["runs"][3:6] = [None] * 3
    summary = sync(exports)
    exports.server.max_records_per_page = 1000
    assert not summary.complete
    assert [one.unlisted_count for one in summary.records.values()] == [1, 3]
    for name, key in (("sweeps", "sweep_id"), ("reports", "report_id")):
        numbers = [one[key][1:] for one in held(exports, name)]
        assert numbers == [f"{number:04}" for number in (0, 1, 2, 6, 7, 8)]


@pytest.mark.parametrize(
    "action",
    [Status(500), Status(502), Truncate(0.5), Drop(), GraphQLErrors(["too large"])],
    ids=str,
)
def test_page_that_cannot_be_served_is_requested_in_halves(exports: Exports, action: Any) -> None:
    fill(exports, 60, 60)

    def large(request: Request) -> bool:
        return request.operation == "GetSweeps" and request.variables["perPage"] > 60

    exports.server.faults.add(large, action, times=None)
    assert sync(exports).complete
    assert len(held(exports, "sweeps")) == len(held(exports, "reports")) == 60


def test_listing_that_is_null_is_a_failure_and_never_empty(exports: Exports) -> None:
    fill(exports)
    sync(exports)
    exports.server.faults.add("GetSweeps", NullField("sweeps"), times=None)
    summary = sync(exports)
    failure = summary.records["sweeps"].failure
    assert failure is not None
    assert failure.reason == "W&B answered without a listing"
    assert len(held(exports, "sweeps")) == 3
    assert summary.records["reports"].complete


def test_listing_that_is_refused_leaves_the_runs(exports: Exports) -> None:
    fill(exports)
    exports.server.faults.add("ProjectViews", Status(403), times=None)
    summary = sync(exports)
    failure = summary.records["reports"].failure
    assert failure is not None
    assert failure.refused
    assert len(exports.runs()) == 1
    assert len(held(exports, "sweeps")) == 3
    assert held(exports, "reports") == []


def test_listing_that_repeats_itself_ends(exports: Exports) -> None:
    """A server that ignores cursors would send its first page for ever."""
    fill(exports, 3, 5)
    exports.server.max_records_per_page = 2
    exports.server.ignores_cursors = True
    summary = sync(exports)
    exports.server.ignores_cursors = False
    exports.server.max_records_per_page = 1000
    assert [one["report_id"] for one in held(exports, "reports")] == ["r0000", "r0001"]
    assert not summary.records["sweeps"].complete
    assert len(exports.server.requests_of("ProjectViews")) < 10


def test_project_that_does_not_exist_is_named(exports: Exports) -> None:
    fill(exports)
    exports.server.faults.add("GetSweeps", NullField("project"), times=None)
    with pytest.raises(DrWandbError) as caught:
        sync(exports)
    assert isinstance(caught.value.failure, NoProject)
