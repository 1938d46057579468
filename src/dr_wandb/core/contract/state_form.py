"""How the state is spread over files, so that writing it costs only what changed.

Rules
- `state.json` has for each run the fields that dr-wandb 3.0.3 has. It is written again with the
  store, and at every sync as long as it is small.
- The *store* (`.tracked.sqlite`) has all that is known of each run. It is written as a whole once
  many runs have changed, and never changed in between.
- The *changes* (`.tracked.json`) are the present differences from the store, and all that is known
  of the export as a whole. They are written at every sync.
- A state that names no store is complete in `state.json`: those of schema version 5 and earlier
  are.
- Losing the store costs time, not data: only the fields of 3.0.3 are then known of the runs.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from dr_wandb.core.contract.known_runs import (
    ChangedRuns,
    byte_range_in,
    files_of,
    offsets_in,
)
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.state import ExportState, RunTracking

RUNS_PER_CHANGE = 64
"""The store is written again once more than one in `RUNS_PER_CHANGE` runs differs from it."""

SMALL_STATE = 500
"""Up to this number of runs `state.json` is written at every sync: about 100 KB."""


class StoreChanges(Record, frozen=True, kw_only=True):
    """The differences from the store.

    `state` has only the runs that changed since the store was written; `gone` are no longer in the
    export. `moved`: records of the other runs now begin at other offsets in the data files. `store`
    is the SHA-256 of the store's file.
    """

    state: ExportState
    store: str
    gone: tuple[str, ...] = ()
    moved: bool = False


def in_state_file(state: ExportState) -> ExportState:
    """Return the part of a state that `state.json` has."""
    runs = {run_id: _as_in_3_0_3(run) for run_id, run in sorted(state.runs.items())}
    return replace(state, runs=runs)


def _as_in_3_0_3(run: RunTracking) -> RunTracking:
    return RunTracking(
        run_id=run.run_id,
        created_at=run.created_at,
        updated_at=run.updated_at,
        run_state=run.run_state,
        last_history_step=run.last_history_step,
    )


def changes_of_store(
    stored: StoreChanges, state: ExportState, runs: ChangedRuns, after: Mapping[str, RunTracking]
) -> StoreChanges | None:
    """Return the differences from the store after a sync, None if the store must be written again.

    stored: the differences before. state: that of the export now. runs: the changes of this sync.
    after: the runs as they are now; `runs` itself if no data file was written.
    """
    changed = {*stored.state.runs, *runs.changed} - runs.gone
    gone = ({*stored.gone} | runs.gone) - changed
    if len(changed) + len(gone) > len(after) // RUNS_PER_CHANGE:
        return None
    moved = stored.moved or any(
        run_id in runs.before and not _begin_alike(runs.before[run_id], run)
        for run_id, run in ({} if after is runs else after).items()
        if run_id not in changed
    )
    if moved and not (_created_alike(runs) if after is runs else order_holds(after)):
        return None
    return StoreChanges(
        state=replace(state, runs={run_id: after[run_id] for run_id in sorted(changed)}),
        store=stored.store,
        gone=tuple(sorted(gone)),
        moved=moved,
    )


def _begin_alike(run: RunTracking, other: RunTracking) -> bool:
    return run is other or all(
        (byte_range := byte_range_in(run, file)) is None or byte_range == byte_range_in(other, file)
        for file in files_of(run)
    )


def _created_alike(runs: ChangedRuns) -> bool:
    """Say whether no run moved in the order of the snapshots."""
    return all(
        run_id not in runs.before or runs.before[run_id].created_at == run.created_at
        for run_id, run in runs.changed.items()
    )


def order_holds(runs: Mapping[str, RunTracking]) -> bool:
    """Say whether the order and lengths of all records give their offsets."""
    files = {file for run in runs.values() for file in files_of(run)}
    for file in files:
        byte_ranges = {
            run_id: byte_range
            for run_id, run in runs.items()
            if (byte_range := byte_range_in(run, file))
        }
        lengths = [
            (run_id, runs[run_id].created_at, byte_range.length)
            for run_id, byte_range in byte_ranges.items()
        ]
        offsets = offsets_in(file, lengths)
        if any(byte_range.offset != offsets[run_id] for run_id, byte_range in byte_ranges.items()):
            return False
    return True
