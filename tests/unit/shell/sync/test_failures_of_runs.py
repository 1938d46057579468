"""A failure of a run keeps its kind and its reason, from the source to all that is said of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dr_wandb import ExportEngine, ExportSummary, compare_with_source, read_status
from dr_wandb.core.contract.fetch_window import WHOLE_RUN
from dr_wandb.core.contract.listing import EveryRun, ListingQuery, RunListing
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.state import ExportState
from dr_wandb.core.inspect.doubts import Doubt, DoubtKind
from dr_wandb.core.sync.fetch_plan import PartFetch
from dr_wandb.core.sync.plan import RunAction, RunPlan
from dr_wandb.core.sync.plan_kinds import FetchKind, PlanKind
from dr_wandb.shell.inspect.verify import read_and_verify
from dr_wandb.shell.sources import RowBatch, RunPage, SourceError
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.reading import read_export
from dr_wandb.shell.sync.fetch import Fetcher
from dr_wandb.shell.sync.fetch_job import FetchJob
from dr_wandb.shell.sync.stored_parts import StoredParts
from tests.support import syncing
from tests.support.memory_source import UNREADABLE, MemorySource
from tests.support.syncing import NAME, do_not_wait, request_for

FAILURES = [RunFailure(kind=kind, reason=f"it is {kind}") for kind in RunFailureKind]


class Failing(MemorySource):
    """A project with a run for each failure: what is read of it ends in that one."""

    def __init__(self) -> None:
        super().__init__()
        self.failures = {failure.kind.value: failure for failure in FAILURES}
        self.heals = False
        for run_id in self.failures:
            self.add_run(run_id)
            self.log(run_id, {"loss": 1.0})

    def _fail(self, run: RunListing) -> None:
        if not self.heals and run.run_id in self.failures:
            failure = self.failures[run.run_id]
            raise SourceError(failure.reason, failure.kind)

    def read_history(self, run: RunListing, *rest: Any) -> Iterator[RowBatch]:
        self._fail(run)
        yield from super().read_history(run, *rest)

    def read_metadata(self, run: RunListing) -> Any:
        self._fail(run)
        return super().read_metadata(run)


def by_run(failed: Any) -> dict[str, RunFailure]:
    return {run.run_id: run.failure for run in failed}


def state_of(data_root: Path) -> ExportState:
    state = read_and_verify(ExportStore(name=NAME, data_root=data_root)).state
    assert state is not None
    return state


@pytest.fixture
def source() -> Failing:
    return Failing()


def sync(source: MemorySource, data_root: Path) -> ExportSummary:
    return syncing.sync(source, data_root, include_metadata=True)


def test_failure_of_a_fetch_is_the_same_in_all_that_is_said_of_the_run(
    source: Failing, tmp_path: Path
) -> None:
    summary = sync(source, tmp_path)
    others = {run_id: one for run_id, one in source.failures.items() if not one.refused}
    assert by_run(summary.failures) == others
    assert by_run(summary.metadata_failures) == source.failures
    assert summary.refused == ("refused",)
    assert summary.refusal == RunFailure(kind=RunFailureKind.REFUSED, reason="it is refused")

    state = state_of(tmp_path)
    assert {run_id: run.failed for run_id, run in state.runs.items()} == source.failures
    assert {run_id: run.metadata_failure for run_id, run in state.runs.items()} == source.failures
    assert [run_id for run_id, run in state.runs.items() if run.refused] == ["refused"]

    store = ExportStore(name=NAME, data_root=tmp_path)
    status = read_status(store)
    assert status.failed == status.metadata_failed == source.failures
    compared = compare_with_source(store, source, wait=do_not_wait)
    held = {run.run_id: run.failures for run in compared.not_fully_exported}
    assert held == {run_id: (one,) for run_id, one in source.failures.items()}

    source.heals = True
    assert sync(source, tmp_path).complete
    assert not any(run.failed or run.metadata_failure for run in state_of(tmp_path).runs.values())


def test_kinds_are_printed_beside_the_reasons(source: Failing, tmp_path: Path) -> None:
    printed = msgspec.to_builtins(sync(source, tmp_path))
    for part in ("failures", "metadata_failures"):
        for failed in printed[part]:
            assert failed == {
                "run_id": failed["run_id"],
                "kind": failed["run_id"],
                "reason": f"it is {failed['run_id']}",
            }


class HalfListed(MemorySource):
    """A project of which one run is not served, and the config of another does not read."""

    def list_runs(self, query: ListingQuery) -> Iterator[RunPage]:
        for page in super().list_runs(query):
            runs = [
                {**run, "config": '{"lr": '} if run["name"] == "config" else run
                for run in page.runs
            ]
            yield msgspec.structs.replace(page, runs=runs)


def test_failure_of_a_listing_is_the_same_in_the_plan_the_summary_and_the_state(
    tmp_path: Path,
) -> None:
    source = HalfListed()
    for run_id in ("config", "served", "unserved"):
        source.add_run(run_id)
        source.log(run_id, {"loss": 1.0})
    source.unreadable = {"unserved"}
    engine = ExportEngine(request_for(tmp_path), source=source, wait=do_not_wait)
    assert by_run(engine.plan().failures) == {"unserved": UNREADABLE}
    summary = syncing.sync(source, tmp_path)
    assert by_run(summary.failures) == {"unserved": UNREADABLE}
    (unread,) = summary.unread
    assert (unread.run_id, unread.kind) == ("config", "unreadable")
    assert "config is not valid JSON" in unread.reason
    state = state_of(tmp_path)
    assert state.runs["unserved"].failure == UNREADABLE
    assert state.runs["config"].unread == unread.failure

    store = ExportStore(name=NAME, data_root=tmp_path)
    compared = compare_with_source(store, source, wait=do_not_wait)
    (held,) = (run for run in compared.not_fully_exported if run.run_id == "config")
    assert held.failures == (unread.failure,)
    (unheld,) = compared.not_exported
    assert (unheld.run_id, unheld.failure) == ("unserved", UNREADABLE)
    assert unheld.kind == "listing_unread"


def test_held_run_that_is_not_served_has_the_failure_in_a_comparison(tmp_path: Path) -> None:
    source = MemorySource()
    source.add_run("run")
    source.log("run", {"loss": 1.0})
    assert syncing.sync(source, tmp_path).complete
    source.unreadable = {"run"}
    store = ExportStore(name=NAME, data_root=tmp_path)
    (held,) = compare_with_source(store, source, wait=do_not_wait).not_fully_exported
    assert held.failures == (UNREADABLE,)
    reason = f"its listing cannot be read: {UNREADABLE.reason}"
    assert held.reasons == (Doubt(kind=DoubtKind.LISTING_UNREAD, reason=reason),)


class Buggy(MemorySource):
    """A source that raises what nobody foresaw."""

    def read_history(self, *_: Any) -> Iterator[RowBatch]:
        raise ZeroDivisionError("by zero")


def test_error_that_nobody_foresaw_is_an_unexpected_failure(tmp_path: Path) -> None:
    source = Buggy()
    source.add_run("run")
    source.log("run", {"loss": 1.0})
    (failed,) = syncing.sync(source, tmp_path).failures
    assert (failed.kind, failed.reason) == ("unexpected", "ZeroDivisionError: by zero")


def job_of(source: MemorySource) -> FetchJob:
    (page,) = source.list_runs(EveryRun())
    run_id = str(page.runs[0]["name"])
    fetch = PartFetch(window=WHOLE_RUN, kind=FetchKind.FIRST, reason="")
    plan = RunPlan(
        run_id=run_id,
        action=RunAction.NEW,
        kind=PlanKind.NOT_EXPORTED,
        reason="",
        fetches={"history": fetch},
    )
    return FetchJob(plan=plan, listing=RunListing(run_id=run_id), before=None)


class Ending(MemorySource):
    """A source during whose first answer the sync ends."""

    fetcher: Fetcher

    def read_history(self, *_: Any) -> Iterator[RowBatch]:
        self.fetcher.close()
        yield RowBatch(rows=[{"_step": 0, "loss": 1.0}], live=True)


@pytest.mark.parametrize(
    ("during", "reason"), [(False, "never tried"), (True, "the sync has ended")]
)
def test_fetch_of_a_sync_that_has_ended_is_interrupted(
    tmp_path: Path, during: bool, reason: str
) -> None:
    source = Ending()
    source.add_run("run")
    request = request_for(tmp_path)
    stored = read_export(ExportStore(name=NAME, data_root=tmp_path), request, tmp_path)
    source.fetcher = Fetcher(
        source,
        request,
        tmp_path,
        stored=StoredParts(stored, tmp_path),
        now="2026-01-01T00:00:00Z",
        wait=do_not_wait,
    )
    if not during:
        source.fetcher.close()
    fetched = source.fetcher.fetch(job_of(source))
    failure = fetched.parts["history"].failure().failure
    assert failure == RunFailure(kind=RunFailureKind.INTERRUPTED, reason=reason)
