"""Why a sync lists and plans what it does: each kind, in the smallest case that has it."""

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from dr_wandb.core.contract import dataset
from dr_wandb.core.contract.dataset import Counts
from dr_wandb.core.contract.listing import RunListing, RunsById
from dr_wandb.core.contract.part import ByteRange, PartTracking, Position
from dr_wandb.core.contract.project_part import ProjectPart
from dr_wandb.core.contract.request import ExportMode, ExportRequest, SyncMode
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.sync.listing_plan import plan_listing
from dr_wandb.core.sync.plan import RunAction, RunPlan, plan_sync
from dr_wandb.core.sync.plan_kinds import FetchKind, ListingKind, PlanKind
from dr_wandb.core.sync.record_links import UNREAD_MARK
from tests.support import strategies as some

CREATED = "2026-01-01T00:00:00Z"
LATER = "2026-02-01T00:00:00Z"
BROKEN = RunFailure(kind=RunFailureKind.TIMEOUT, reason="no whole answer in time")
LISTED = RunListing(
    run_id="run",
    state="finished",
    created_at=CREATED,
    history_line_count=0,
    fingerprint="as it was",
)


def request(**fields: Any) -> ExportRequest:
    return ExportRequest(entity="team", project="project", name="name", **fields)


def held(**fields: Any) -> RunTracking:
    """Return the tracking of a run that was exported as it is listed."""
    tracking = RunTracking(
        run_id="run",
        created_at=CREATED,
        run_state="finished",
        fingerprint=LISTED.fingerprint,
        seen=LISTED,
        snapshot=ByteRange(offset=0, length=10, rows=1, digest="d"),
    )
    return replace(tracking, **fields)


def plan_of(
    known: RunTracking | None,
    listing: RunListing | None = LISTED,
    *,
    asked: set[str] | None = None,
    outside: set[str] | None = None,
    **fields: Any,
) -> RunPlan:
    """Plan a sync of one run."""
    state = some.state_of([] if known is None else [known])
    listings = [] if listing is None else [listing]
    (plan,) = plan_sync(
        request(**fields), state, listings, asked=asked, outside=outside or (), source="api"
    ).runs
    return plan


NEVER_HELD = RunTracking(run_id="run", failure=BROKEN)
GONE = {"listing": None, "asked": {"run"}}
HISTORY = {"mode": ExportMode.HISTORY}
WITH_ROWS = replace(LISTED, history_line_count=3, last_step=2)

PLANS: dict[str, tuple[PlanKind, RunAction, RunTracking | None, dict[str, Any]]] = {
    "new": (PlanKind.NOT_EXPORTED, RunAction.NEW, None, {}),
    "made again": (
        PlanKind.ANOTHER_RUN,
        RunAction.NEW,
        held(),
        {"listing": replace(LISTED, created_at=LATER)},
    ),
    "full reconcile": (
        PlanKind.RECONCILE,
        RunAction.NEW,
        held(),
        {"sync_mode": SyncMode.FULL_RECONCILE},
    ),
    "failed": (PlanKind.FAILED, RunAction.REFRESH, held(failure=BROKEN), {}),
    "unread": (PlanKind.UNREAD, RunAction.REFRESH, held(unread=BROKEN), {}),
    "back": (PlanKind.RETURNED, RunAction.REFRESH, held(missing_since=LATER), {}),
    "no snapshot": (PlanKind.NO_SNAPSHOT, RunAction.REFRESH, held(snapshot=None), {}),
    "changed": (PlanKind.CHANGED, RunAction.REFRESH, held(fingerprint="as it is"), {}),
    "metadata not wanted": (
        PlanKind.METADATA_UNWANTED,
        RunAction.REFRESH,
        held(metadata_included=True),
        {},
    ),
    "metadata wanted": (
        PlanKind.METADATA_WANTED,
        RunAction.REFRESH,
        held(),
        {"include_metadata": True},
    ),
    "rows": (PlanKind.ROWS, RunAction.REFRESH, held(), {**HISTORY, "listing": WITH_ROWS}),
    "unchanged": (PlanKind.UNCHANGED, RunAction.REUSE, held(), {}),
    "settled": (PlanKind.SETTLED, RunAction.REUSE, held(), {**GONE, "asked": set()}),
    "gone": (PlanKind.GONE, RunAction.MISSING, held(), GONE),
    "gone before": (PlanKind.GONE, RunAction.MISSING, held(missing_since=LATER), GONE),
    "gone and dropped": (PlanKind.GONE, RunAction.PRUNE, held(), {**GONE, "prune": True}),
    "never held": (
        PlanKind.GONE,
        RunAction.FORGET,
        RunTracking(run_id="run", failure=BROKEN),
        GONE,
    ),
}


@pytest.mark.parametrize("case", PLANS)
def test_plan_of_a_run_has_the_kind_of_its_reason(case: str) -> None:
    kind, action, known, asked = PLANS[case]
    plan = plan_of(known, **asked)
    assert (plan.kind, plan.action) == (kind, action)
    assert plan.reason
    assert plan.failure == (BROKEN if kind in (PlanKind.FAILED, PlanKind.UNREAD) else None)
    assert not plan.out_of_scope


def test_cases_above_have_every_kind() -> None:
    assert {kind for kind, *_ in PLANS.values()} == set(PlanKind)


def test_run_outside_of_the_scope_is_planned_by_its_kind_and_said_to_be_outside() -> None:
    plan = plan_of(held(), outside={"run"})
    assert (plan.kind, plan.out_of_scope) == (PlanKind.UNCHANGED, True)
    assert plan.reason == "out of scope, kept; unchanged"


def test_plan_is_printed_with_the_kind_beside_the_reason() -> None:
    printed = msgspec.to_builtins(plan_of(held(failure=BROKEN)))
    assert printed["kind"] == "failed"
    assert printed["reason"] == "failed last time: no whole answer in time"
    assert printed["failure"] == {"kind": "timeout", "reason": "no whole answer in time"}


SYNCED = {"last_exported_at": LATER, "max_created_at": CREATED}
LISTINGS: dict[ListingKind, tuple[dict[str, Any], dict[str, Any]]] = {
    ListingKind.RECONCILE: (SYNCED, {"sync_mode": SyncMode.FULL_RECONCILE}),
    ListingKind.FIRST: ({}, {}),
    ListingKind.COMPARE: (SYNCED, {"sync_mode": SyncMode.DETECT_CHANGES}),
    ListingKind.SCOPE: (SYNCED, {"scope": RunScope(states=("finished",))}),
    ListingKind.MOVED: (SYNCED | {"project": "before"}, {}),
    ListingKind.PRUNE: (SYNCED, {"prune": True}),
    ListingKind.LINKS: (SYNCED, {"extra_datasets": ("artifacts",)}),
    ListingKind.LATELY: (SYNCED, {}),
}


@pytest.mark.parametrize("kind", ListingKind)
def test_listing_is_planned_with_the_kind_of_its_reason(kind: ListingKind) -> None:
    state, asked = LISTINGS[kind]
    plan = plan_listing(request(**asked), some.state_of([held()], **state))
    assert plan.kind == kind
    assert plan.reason


@pytest.mark.parametrize("mark", ["1 0", UNREAD_MARK])
def test_settled_run_of_which_not_all_links_came_is_listed_by_its_id(mark: str) -> None:
    records = {dataset.ARTIFACTS: ProjectPart(linked={"run": mark})}
    state = some.state_of([held()], **SYNCED, records=records)
    plan = plan_listing(request(extra_datasets=("artifacts",)), state)
    by_id = [one.run_ids for one in plan.queries if isinstance(one, RunsById)]
    assert plan.kind == ListingKind.LATELY
    assert by_id == ([("run",)] if mark == UNREAD_MARK else [])
    assert plan.reason.endswith(
        "0 that are not settled, and 1 whose artifacts did not all come"
        if mark == UNREAD_MARK
        else "0 that are not settled"
    )


def test_rows_of_which_a_part_was_counted_are_read_whole() -> None:
    """Early builds counted the rows of a window; a tail could not be checked against that."""
    position = Position(
        rows=9, whole=False, last_step=8, listed=Counts(line_count=9, last_step=8), boundary_rows=1
    )
    stored = ByteRange(offset=0, length=10, rows=9, digest="d")
    part = PartTracking(position=position, stored=stored, row_shape=ROW_SHAPE)
    more = replace(LISTED, history_line_count=10, last_step=9)
    fetch = plan_of(held(parts={dataset.HISTORY: part}), more, mode=ExportMode.HISTORY).fetches[
        dataset.HISTORY
    ]
    assert (fetch.kind, fetch.tail) == (FetchKind.UNCOUNTED, False)
    assert fetch.reason == "only a part of the rows was counted"
