"""However a project grew while it was synced, the export ends in the same bytes.

The recorded project is cut into partial states: runs that appear, histories that grow, runs that
end. Each state is synced; after the last one the export is what one sync of it gives.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import EveryRun, RunListing
from dr_wandb.shell.sources.recording.source import RecordedSource
from tests.support import syncing
from tests.support.checkout import RECORDING
from tests.support.memory_run import MemoryRun, step_of
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME, select

SELECTIONS = (
    None,
    None,
    select("train.loss"),
    select("val/loss", "exact"),
    select(max_records=7),
    select(min_step=25),
    select("epoch", min_step=10, max_step=160, max_records=40),
)
ADDRESS: dict[str, Any] = {"entity": "demo-lab", "project": "tiny-vision"}


class GivenRun(MemoryRun):
    """A run whose node is given as it was recorded, as far as its rows have come."""

    node_then: dict[str, Any]
    node_now: dict[str, Any]

    def node(self, entity: str, project: str) -> dict[str, Any]:
        return dict(self.node_now)


@dataclass(frozen=True)
class Recorded:
    """One recorded run: its node, and its rows with whether they came live."""

    node: dict[str, Any]
    rows: tuple[tuple[bool, dict[str, Any]], ...]

    @property
    def distinct(self) -> tuple[dict[str, Any], ...]:
        """Return each row once, in the order of steps."""
        copies = {(row["_step"], row["_timestamp"]): row for _, row in reversed(self.rows)}
        return tuple(copies[key] for key in sorted(copies))


@cache
def recorded() -> tuple[Recorded, ...]:
    source = RecordedSource(RECORDING)
    runs = [run for page in source.list_runs(EveryRun()) for run in page.runs]
    return tuple(Recorded(dict(run), tuple(read(source, run))) for run in runs)


def read(source: RecordedSource, run: Any) -> Iterator[tuple[bool, dict[str, Any]]]:
    if not run["historyLineCount"]:
        return
    listing = RunListing(run_id=run["name"], storage_id=run["id"])
    for batch in source.read_history(listing, FetchWindow(), 0):
        yield from ((batch.live, dict(row)) for row in batch.rows)


@cache
def recorded_at() -> str:
    moment = RecordedSource(RECORDING).recorded_at
    assert moment is not None
    return moment


def sync(source: Any, data_root: Path, selection: Any, workers: int, **fields: Any) -> Any:
    fields = {"allow_narrower": True, **fields}
    request = syncing.request_for(data_root, **ADDRESS, history_selection=selection, **fields)
    now = getattr(source, "now", recorded_at())
    summary = syncing.export(source, request, now=now, workers=workers)
    assert summary.complete, summary.failures
    return syncing.data_of(data_root / NAME)


@cache
def at_once(selection: Any) -> Any:
    """Return what one sync of the whole recording gives."""
    with TemporaryDirectory() as folder:
        return sync(RecordedSource(RECORDING), Path(folder), selection, 4)


def show(source: MemorySource, run: Recorded, rows: int, exported: int) -> None:
    """Let the source hold the run as it was when so many of its rows had been logged.

    exported: how many of these have been moved to Parquet. With its last row a run has ended.
    """
    run_id, all_rows = run.node["name"], run.distinct
    shown = source.runs.get(run_id)
    if shown is None:
        shown = GivenRun(run_id, run.node["id"], run.node["createdAt"] + "+00:00")
        source.runs[run_id] = shown
    assert isinstance(shown, GivenRun)
    shown.rows = [dict(row) for row in all_rows[:rows]]
    shown.export(min(exported, rows), overlap=2)
    shown.node_now = run.node if rows == len(all_rows) else partial_node(run, shown)


def partial_node(run: Recorded, shown: MemoryRun) -> dict[str, Any]:
    """Return the node of a run that is still alive."""
    rows = shown.rows
    keys = dict(run.node["historyKeys"] or {}, lastStep=shown.highest_step)
    last = rows[-1] if rows else {}
    return run.node | {
        "state": "running",
        "historyLineCount": len(rows),
        "historyKeys": keys,
        "summaryMetrics": json.dumps(last),
        "heartbeatAt": run.node["createdAt"],
    }


cuts = st.lists(
    st.lists(
        st.tuples(
            st.integers(0, len(recorded()) - 1), st.floats(0, 1), st.floats(0, 1), st.booleans()
        ),
        max_size=6,
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("run", recorded(), ids=lambda run: run.node["name"])
def test_recorded_run_has_the_rows_that_are_counted(run: Recorded) -> None:
    """The cuts below rest on it."""
    assert len(run.distinct) == run.node["historyLineCount"]
    assert all(step_of(row) is not None for row in run.distinct)


@settings(max_examples=max(10, settings().max_examples // 4))
@given(cuts, st.sampled_from(SELECTIONS), st.sampled_from(SELECTIONS), st.sampled_from([1, 8]))
def test_every_sequence_of_partial_states_ends_in_the_bytes_of_one_export(
    states: list[list[tuple[int, float, float, bool]]], first: Any, last: Any, workers: int
) -> None:
    source = MemorySource(**ADDRESS, now="2026-03-10T08:00:00+00:00")
    source.rows_per_batch = 200
    progress = dict.fromkeys(range(len(recorded())), 0)
    with TemporaryDirectory() as folder, syncing.without_fsync():
        for changes in states:
            for number, part, exported, whole in changes:
                run = recorded()[number]
                count = len(run.distinct)
                rows = count if whole else round(part * count)
                progress[number] = max(progress[number], rows)
                show(source, run, progress[number], round(exported * progress[number]))
            source.advance(600)
            sync(source, Path(folder), first, workers)
        for run in recorded():
            show(source, run, len(run.distinct), 0)
        source.advance(600)
        assert sync(source, Path(folder), last, workers) == at_once(last)


@settings(max_examples=max(10, settings().max_examples // 8))
@given(cuts, st.sampled_from(SELECTIONS))
def test_recording_continues_what_partial_states_left(
    states: list[list[tuple[int, float, float, bool]]], selection: Any
) -> None:
    """Another kind of source goes on where the first one stopped, with the same bytes."""
    source = MemorySource(**ADDRESS, now="2026-03-10T08:00:00+00:00")
    source.rows_per_batch = 200
    progress = dict.fromkeys(range(len(recorded())), 0)
    with TemporaryDirectory() as folder, syncing.without_fsync():
        for changes in states:
            for number, part, exported, _ in changes:
                run = recorded()[number]
                rows = progress[number] = max(progress[number], round(part * len(run.distinct)))
                show(source, run, rows, round(exported * rows))
            sync(source, Path(folder), selection, 2)
        continued = sync(
            RecordedSource(RECORDING), Path(folder), selection, 2, sync_mode="full_reconcile"
        )
        assert continued == at_once(selection)
