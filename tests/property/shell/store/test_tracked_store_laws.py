"""The laws of what is known of runs: where it lies, and how much of it is read, decides nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import event, given
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.contract.dataset import HISTORY, Counts
from dr_wandb.core.contract.evidence import Evidence, Look
from dr_wandb.core.contract.export_files import RUNS_FILE
from dr_wandb.core.contract.known_runs import (
    SNAPSHOTS,
    awake,
    byte_range_in,
    changes_since,
    notable,
    offsets_in,
    resting,
    sum_of,
    total,
    with_offsets,
)
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.part import ByteRange, PartTracking, Position
from dr_wandb.core.contract.request import ExportMode, ExportRequest, SyncMode
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.core.contract.state_form import StoreChanges, changes_of_store
from dr_wandb.core.inspect.status import ExportStatus, sum_up
from dr_wandb.core.sync.listing_plan import check_vanished, everything_is_due, plan_listing
from dr_wandb.core.sync.manifest import describe_export
from dr_wandb.core.sync.plan import plan_sync
from dr_wandb.shell.store.tracked_store import TrackedRuns, write_store
from tests.support import strategies as some
from tests.support.state_files import as_if_large

FILES = {RUNS_FILE: DataFile(lines=4, bytes=400, sha256="")}
SYNCED = "2024-06-30T23:59:59Z"
Runs = Mapping[str, RunTracking]


def ended_run(
    run_id: str,
    selection: HistorySelection,
    metadata: bool,
    place: ByteRange,
    rows: int,
    said: tuple[Evidence | None, Look | None],
    marks: tuple[str | None, str | None],
) -> RunTracking:
    """Return what is known of a run that ended long ago, all of whose rows were read.

    rows: those that came of the 4 that are listed. said: what speaks against them. marks: since
    when the run is missing, and out of the scope.
    """
    listed = Counts(line_count=4, last_step=3)
    position = Position(
        selection=selection, rows=rows, whole=True, last_step=3, last_timestamp="1", listed=listed
    )
    return RunTracking(
        run_id=run_id,
        created_at="2024-01-01T00:00:00Z",
        run_state="finished",
        seen=RunListing(
            run_id=run_id,
            state="finished",
            created_at="2024-01-01T00:00:00Z",
            heartbeat_at="2024-01-02T00:00:00Z",
            history_line_count=listed.line_count,
            last_step=listed.last_step,
            fingerprint="f1",
        ),
        fingerprint="f1",
        metadata_included=metadata,
        snapshot=place,
        parts={
            HISTORY: PartTracking(
                stored=place,
                position=position,
                evidence=said[0],
                look=said[1],
                row_shape=ROW_SHAPE,
            )
        },
        source="api",
        missing_since=marks[0],
        out_of_scope_since=marks[1],
    )


ended_runs = st.builds(
    ended_run,
    some.run_ids,
    st.just(EVERYTHING) | some.selections,
    st.booleans(),
    some.byte_ranges,
    st.sampled_from([4, 4, 4, 3]),
    st.just((None, None)) | st.tuples(st.none() | some.evidences, st.none() | some.looks),
    st.just((None, None)) | st.tuples(st.none() | some.times, st.none() | some.times),
)
plain_requests = st.builds(
    ExportRequest,
    entity=st.just("team"),
    project=st.just("project"),
    name=st.just("name"),
    sync_mode=st.sampled_from(SyncMode),
    include_metadata=st.booleans(),
)
requests = plain_requests | some.requests


def placed(runs: Runs) -> dict[str, RunTracking]:
    """Return runs whose records lie one behind the other, as in data files."""
    begins = {
        file: offsets_in(
            file,
            [
                (run_id, run.created_at, place.length)
                for run_id, run in runs.items()
                if (place := byte_range_in(run, file)) is not None
            ],
        )
        for file in (SNAPSHOTS, HISTORY)
    }

    def begin_of(run_id: str) -> Callable[[str], int]:
        return lambda file: begins[file][run_id]

    return {run_id: with_offsets(run, begin_of(run_id)) for run_id, run in runs.items()}


known_runs = st.lists(ended_runs | ended_runs | some.trackings(), max_size=4).map(
    lambda found: placed({run.run_id: run for run in sorted(found, key=lambda run: run.run_id)})
)
"""What may be known of the runs of an export; some of them rest."""


def state_of(runs: Runs) -> ExportState:
    """Return the state of an export of these runs."""
    return ExportState(
        name="name",
        entity="team",
        project="project",
        last_exported_at=SYNCED,
        max_created_at="2024-01-02T00:00:00Z",
        runs=runs,
    )


@contextmanager
def stored(syncs: Sequence[Runs]) -> Iterator[TrackedRuns]:
    """Write a store, let syncs bring about what is known after each, and read it as the next."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store"
        write_store(path, syncs[0], SYNCED)
        known = fresh = TrackedRuns(path, StoreChanges(state=state_of({}), store=""))
        for after in syncs[1:]:
            runs = changes_since(known, after)
            with as_if_large():
                changes = changes_of_store(known.changes, state_of(runs), runs, after)
            event(f"the store stays as it is: {changes is not None}")
            if changes is None:
                write_store(path, after, SYNCED)
            known = TrackedRuns(path, changes or fresh.changes)
        yield known


@st.composite
def histories(draw: Any) -> list[Runs]:
    """What is known of the runs after each of some syncs."""
    syncs: list[Runs] = [draw(known_runs)]
    for _ in range(draw(st.integers(0, 3))):
        changed = draw(known_runs)
        gone = draw(st.sets(some.run_ids, max_size=1))
        runs = {**syncs[-1], **changed}
        after = dict(sorted((run_id, run) for run_id, run in runs.items() if run_id not in gone))
        syncs.append(placed(after) if draw(st.integers(0, 3)) else after)
    return syncs


@given(histories())
def test_known_runs_are_read_as_they_were_written(syncs: list[Runs]) -> None:
    after = syncs[-1]
    with stored(syncs) as read:
        assert {*read} == after.keys()
        assert len(read) == len(after)
        for run_id in ("a", "b", "c", "d", "e"):
            assert (run_id in read) == (run_id in after)
            assert read.get(run_id) == after.get(run_id)
        assert dict(read.items()) == after
        for file in (SNAPSHOTS, HISTORY):
            assert total(read, file) == sum_of(byte_range_in(run, file) for run in after.values())


@given(histories(), known_runs)
def test_runs_that_changed_are_distinguished_from_those_of_before(
    syncs: list[Runs], later: Runs
) -> None:
    with stored(syncs) as read:
        runs = changes_since(read, later)
        assert {*runs} == later.keys()
        assert len(runs) == len(later)
        assert runs.gone == syncs[-1].keys() - later.keys()
        for run_id in ("a", "b", "c", "d", "e"):
            assert (run_id in runs) == (run_id in later)
        for run_id, run in later.items():
            assert (run_id in runs.changed) or placed({run_id: run}) == placed(
                {run_id: syncs[-1][run_id]}
            )
        for file in (SNAPSHOTS, HISTORY):
            now = sum_of(byte_range_in(run, file) for run in later.values())
            assert total(runs, file) == now


@given(histories(), requests | st.none())
def test_runs_that_rest_are_settled_and_bear_no_mark(
    syncs: list[Runs], request: ExportRequest | None
) -> None:
    after = syncs[-1]
    with stored(syncs) as read:
        rest = resting(read, request)
        assert dict(awake(read, request)) == {
            run_id: run for run_id, run in after.items() if run_id not in rest
        }
        event(f"some runs rest: {bool(rest)}")
        for run_id in rest:
            run = after[run_id]
            assert (run.missing_since, run.out_of_scope_since, run.short_by) == (None, None, None)
            assert run.failed is None
            assert request is None or run.settled(request, SYNCED)


@given(histories(), st.sampled_from(ExportMode))
def test_status_is_the_same_of_the_runs_that_are_read_for_it(
    syncs: list[Runs], mode: ExportMode
) -> None:
    """An export without history has no rows of a run either."""
    if mode == ExportMode.METADATA:
        syncs = [{run_id: replace(run, parts={}) for run_id, run in runs.items()} for runs in syncs]
    with stored(syncs) as runs:
        state = state_of(dict(runs.items()))
        manifest = some_manifest(state, mode)
        picked = dict(notable(runs, {HISTORY} if mode == ExportMode.HISTORY else ()))
        event("some are not read" if picked.keys() < state.runs.keys() else "all are read")
        read = replace(state, runs=picked)
        assert status_of(manifest, read) == status_of(manifest, state)


def some_manifest(state: ExportState, mode: ExportMode) -> ExportManifest:
    return ExportManifest(
        name="name",
        entity=state.entity,
        project=state.project,
        mode=mode,
        created_at=SYNCED,
        updated_at=SYNCED,
        runs_path=RUNS_FILE,
        run_count=len(state.runs),
    )


def status_of(manifest: ExportManifest, state: ExportState) -> ExportStatus:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    return sum_up("name", "f", manifest, state, file_bytes={}, now=now, sync=None, problem=None)


@given(histories(), requests, st.lists(some.listings, max_size=3), st.data())
def test_no_decision_depends_on_which_runs_are_known_to_rest(
    syncs: list[Runs], request: ExportRequest, listing: list[RunListing], data: Any
) -> None:
    asked = data.draw(st.none() | st.sets(some.run_ids))
    outside = data.draw(st.sets(some.run_ids, max_size=2))
    said: dict[str, Any] = {
        "asked": asked or set(),
        "answered": {run.run_id for run in listing},
        "inside": {run.run_id for run in listing} - outside,
    }
    plain = state_of(syncs[-1])
    with stored(syncs) as read:
        state = state_of(read)
        assert plan_listing(request, state) == plan_listing(request, plain)
        for count in range(6):
            assert everything_is_due(request, state, total=count, **said) == everything_is_due(
                request, plain, total=count, **said
            )
        plans = [
            plan_sync(request, one, listing, asked=asked, outside=outside, now=SYNCED)
            for one in (state, plain)
        ]
        assert plans[0] == plans[1]
        assert check_vanished(request, state, plans[0]) == check_vanished(request, plain, plans[1])
        manifests = [
            describe_export(
                request,
                None,
                one.runs,
                FILES,
                formats={"jsonl"},
                history_rows=None,
                exported_at=SYNCED,
                source="api",
                host="",
            )
            for one in (state, plain)
        ]
        assert manifests[0] == manifests[1]
