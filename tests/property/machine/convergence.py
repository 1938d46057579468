"""After each sync, run by run, the folder holds what a fresh full reconcile writes now.

The exceptions are those of docs/sync.md, each where its comment is.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hypothesis import event

from dr_wandb import ExportSummary
from dr_wandb.core.contract.codec import row_key
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.evidence import Standing
from dr_wandb.core.contract.listing import TERMINAL_STATES, EveryRun, ListingQuery, RunsById
from dr_wandb.core.contract.request import ExportMode, ExportRequest, SyncMode
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.core.sync.narrowing import as_if_allowed
from tests.property.machine.project import BusySource
from tests.property.machine.view import View
from tests.support import syncing

if TYPE_CHECKING:
    from dr_wandb.core.contract.unproven_runs import ShortRun, WaitingRun


@dataclass(frozen=True)
class Look:
    """What a sync asked for, and what the project and the export were at that time."""

    server: BusySource
    request: ExportRequest
    before: View
    queries: list[ListingQuery]

    @property
    def tracked(self) -> Mapping[str, RunTracking]:
        return self.before.tracked

    @cached_property
    def present(self) -> set[str]:
        return {run_id for run_id, run in self.tracked.items() if run.missing_since is None}

    @cached_property
    def shown(self) -> set[str]:
        return self.server.shown

    @cached_property
    def inside(self) -> set[str]:
        return self.server.inside(self.request.scope)

    @cached_property
    def looked_at(self) -> set[str]:
        return self.server.looked_at(self.queries, self.tracked)

    @cached_property
    def gone(self) -> set[str]:
        """Return the tracked runs that were asked for and are not there."""
        return (self.tracked.keys() & self.looked_at) - self.shown

    @property
    def vanished(self) -> bool:
        """Say whether so many are gone that the sync has to stop."""
        lost = len(self.gone & self.present)
        return not self.request.allow_empty and 2 * lost > len(self.present)

    @property
    def everything(self) -> bool:
        return any(isinstance(query, EveryRun) for query in self.queries)

    @cached_property
    def taken_for_inside(self) -> set[str]:
        """Return the runs that the sync has to take for being in scope.

        Filters only W&B can judge: of a run that was asked for by its id alone it is not known.
        """
        scope = self.request.scope
        if scope is None or scope.filters is None or self.everything:
            return self.inside
        within = [query for query in self.queries if not isinstance(query, RunsById)]
        judged = self.server.looked_at(within, ())
        named = self.server.inside(scope.named)
        return {
            run_id
            for run_id in self.shown
            if run_id in (self.inside & judged)
            or (run_id in named - judged and run_id in self.present - self.before.outside.keys())
        }


def assert_settled(state: ExportState | None, run_id: str) -> None:
    """Only a run that had ended a day before the last sync, and was read since, is settled."""
    assert state is not None, run_id
    tracking, synced = state.runs[run_id], state.last_exported_at
    assert tracking.missing_since is None, run_id
    assert tracking.failure is None, run_id
    assert tracking.run_state in TERMINAL_STATES, run_id
    assert tracking.seen is not None, run_id
    assert tracking.seen.heartbeat_at is not None, run_id
    assert synced is not None, run_id
    age = datetime.fromisoformat(synced) - datetime.fromisoformat(tracking.seen.heartbeat_at)
    assert age > timedelta(hours=24), run_id


def check_marks(look: Look, after: View, summary: ExportSummary) -> None:
    """Gone upstream, or out of scope: marked with the time of the sync that first saw it."""
    at, before = summary.exported_at, look.before
    missing, outside = {}, {}
    assert after.state is not None
    for run_id in after.state.runs:
        looked_at = run_id in look.looked_at
        if run_id in before.missing and not (looked_at and run_id in look.shown):
            missing[run_id] = before.missing[run_id]
        elif looked_at and run_id not in look.shown:
            missing[run_id] = at
        if not looked_at or run_id not in look.shown:
            if run_id in before.outside:
                outside[run_id] = before.outside[run_id]
        elif run_id not in look.taken_for_inside:
            outside[run_id] = before.outside.get(run_id, at)
    assert after.missing == missing
    assert after.outside == outside
    if outside.keys() - before.outside.keys():
        event("sync: a run left the scope")
    if before.outside.keys() - outside.keys():
        event("sync: a run entered the scope again")
    if missing.keys() - before.missing.keys():
        event("sync: a run is missing")
    if before.missing.keys() - missing.keys() - look.gone:
        event("sync: a missing run is back")


@dataclass(frozen=True)
class Outcome:
    """What one run is before and after a sync, and what a fresh export has of it."""

    run_id: str
    after: tuple[Any, list[bytes]]
    held: tuple[Any, list[bytes]]
    wanted: tuple[Any, list[bytes]]

    @property
    def is_another(self) -> bool:
        """Say whether it was made again under its id."""
        held, wanted = self.held[0], self.wanted[0]
        return bool(held and wanted and held["created_at"] != wanted["created_at"])


def behind(after: View) -> set[str]:
    """Return the live runs that the next sync may find more of, though nothing happens."""
    assert after.state is not None
    return {
        run
        for run, known in after.state.runs.items()
        if any(part.standing == Standing.BEHIND for part in known.parts.values())
    }


def without(run: dict[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """Return a run without some fields."""
    return {name: value for name, value in run.items() if name not in fields}


def missing_rows(held: list[bytes], after: list[bytes]) -> set[tuple[Any, ...]]:
    """Return the rows that are not held any more: by step and time, or what they say."""
    return {name_of(line) for line in held} - {name_of(line) for line in after}


def name_of(line: bytes) -> tuple[Any, ...]:
    """Name a row as the law counts rows."""
    row = json.loads(line)
    if row["step"] is None or row["timestamp"] is None:
        return (line,)
    return (row["step"], row["timestamp"])


def pushed_out(held: list[bytes], after: list[bytes], most: int | None) -> set[tuple[Any, ...]]:
    """Return the held rows that `most` later ones leave no room for."""
    later = sorted(map(place_of, after))[-most:] if most is not None else []
    if most is None or len(later) < most:
        return set()
    return {name_of(line) for line in held if place_of(line) < later[0]}


def place_of(line: bytes) -> tuple[Any, ...]:
    """Return what orders the rows of a run."""
    row = json.loads(line)
    return (*row_key(row["step"], row["timestamp"]), line)


class Convergence:
    """The law, for one sync that nothing disturbed. edited, logged, masked: of the machine."""

    def __init__(
        self,
        look: Look,
        after: View,
        summary: ExportSummary,
        changed: tuple[set[str], set[str], set[str]],
    ) -> None:
        self.look = look
        self.after = after
        self.edited, self.logged, self.masked = changed
        self.history = look.request.mode == ExportMode.HISTORY
        self.failed = {failure.run_id for failure in summary.failures}
        self.unread = {run.run_id for run in summary.unread}
        self.without_metadata = {run.run_id for run in summary.metadata_failures}
        unproven: tuple[ShortRun | WaitingRun, ...] = (*summary.short, *summary.waiting)
        self.unproven = {run.run_id for run in unproven} | behind(after)
        followed = look.present - look.before.outside.keys()
        # What W&B counts and the sync did not see, and what it takes for counted and is not.
        self.unnoticed = look.inside - followed - (look.taken_for_inside & look.looked_at)
        self.ghosts = (followed - look.looked_at - look.inside) | (
            look.taken_for_inside - look.inside
        )

    def check(self) -> None:
        """Check every run, and that no other one is there."""
        fresh = self.fresh(self.look.request.history_selection)
        before = self.look.before
        for run_id in sorted({*self.look.shown, *before.runs, *self.after.runs, *fresh.runs}):
            self.check_run(
                Outcome(run_id, self.after.of(run_id), before.of(run_id), fresh.of(run_id))
            )

    def fresh(self, selection: HistorySelection | None) -> View:
        """Return what a full reconcile under a selection writes into an empty folder now."""
        request = self.look.request
        with syncing.fresh_export(
            self.look.server,
            mode=request.mode,
            history_selection=selection,
            include_metadata=request.include_metadata,
        ) as folder:
            return View(folder)

    def kept_selection(self, run: Outcome) -> HistorySelection | None:
        """Return the selection that the rows of a run keep, None if it is the requested one.

        A run that was made again keeps none: the rows that may not come again are of another one.
        """
        known, request = self.look.tracked.get(run.run_id), self.look.request
        if known is None or not self.history or run.is_another:
            return None
        kept = known.selection_for(as_if_allowed(request, self.look.before.manifest), HISTORY)
        return None if kept == request.selection else kept

    def check_run(self, run: Outcome) -> None:
        run_id, look = run.run_id, self.look
        if run_id not in look.shown:
            if look.request.prune and run_id in look.tracked:
                assert run_id in look.gone, run_id
                assert run.after == (None, []), run_id
                event("sync: a run is pruned")
            else:
                # Exception 2: runs that are gone upstream are kept.
                assert run.after == run.held, run_id
        elif run_id not in look.inside and run_id not in look.tracked:
            # A run out of scope that was never exported is not taken up.
            assert run.after == (None, []), run_id
        elif run_id in self.failed:
            # Exception 3: failed runs keep what they had; new ones have a snapshot, no rows.
            assert run.after[1] == run.held[1], run_id
            assert run.after[0] == run.held[0] or run.held[0] is None, run_id
        elif run_id in self.unnoticed - look.looked_at:
            # Exception 9: a deletion and a late appearance that cancel out in W&B's count.
            assert len(self.unnoticed) <= len(self.ghosts), (self.unnoticed, self.ghosts)
            assert run.after == run.held, run_id
        else:
            self.check_followed(run)

    def is_refreshed(self, run: Outcome, wanted: dict[str, Any]) -> bool:
        """Say whether a snapshot is the wanted one. What did not read keeps its stored value."""
        fields = ["config", "wandb_config"] if run.run_id in self.unread else []
        fields += ["metadata"] if run.run_id in self.without_metadata else []
        if run.after[0] is None:
            return False
        return without(run.after[0], fields) == without(wanted, fields)

    def looks_alike(self, run: Outcome) -> bool:
        """Say whether as many other rows, up to the same step, stand where all were held."""
        tracked, there = self.look.tracked.get(run.run_id), self.look.server.runs[run.run_id]
        if tracked is None or tracked.seen is None or not tracked.complete(self.look.request):
            return False
        counts = tracked.seen.counts_of(HISTORY)
        return (counts.line_count, counts.last_step) == (len(there.rows), there.highest_step)

    def check_followed(self, run: Outcome) -> None:
        run_id, request = run.run_id, self.look.request
        wanted, wanted_rows = run.wanted
        if run_id not in self.look.looked_at:
            # Exception 5: settled runs are not looked at again by an incremental sync.
            assert request.sync_mode == SyncMode.INCREMENTAL
            assert not request.prune
            assert_settled(self.look.before.state, run_id)
            if run_id in self.edited:
                wanted = run.held[0]
            if run_id in self.logged:
                wanted_rows = run.held[1]
        elif run_id in self.look.before.runs and run.held[0] != wanted:
            event(f"sync: a run is refreshed by {request.sync_mode}")
        if not self.history:
            # Exception 4: in metadata mode the history stays as it was.
            wanted_rows = run.held[1]
        kept = self.kept_selection(run)
        if kept is not None:
            # Exception 2: rows that may not come again keep a selection that admits more.
            event("sync: a run keeps a wider selection")
            wanted_rows = self.fresh(kept).of(run_id)[1]
        if run_id in self.unproven:
            # Exception 3: runs that came short, or lost rows by one answer, lose none by it. What
            # is held of a run that was made again stays as it is until the new one is proven. Under
            # --max-records, new rows still take the room of the oldest ones.
            selection = request.selection if kept is None else kept
            most = None if selection.window is None else selection.window.max_records
            late = pushed_out(run.held[1], run.after[1], most)
            assert missing_rows(run.held[1], run.after[1]) <= late, run_id
            assert self.is_refreshed(run, wanted) or run.after == run.held, run_id
            return
        assert self.is_refreshed(run, wanted), run_id
        masked = run_id in self.masked or self.looks_alike(run)
        if masked and request.sync_mode != SyncMode.FULL_RECONCILE:
            # Exception 7: what W&B's counts do not show; a wrong count hides that rows came late.
            miscounted = self.look.server.runs[run_id].line_count_offset != 0
            if run.after[1] == run.held[1]:
                return
            if miscounted and set(run.after[1]) <= set(wanted_rows):
                return
            # What was given up under a count that is too high is kept, marked as short.
            if miscounted and set(run.after[1]) >= set(wanted_rows):
                return
        assert run.after[1] == wanted_rows, run_id

    def forget_what_was_read(self) -> None:
        """Take note that what was looked at is as on the server now."""
        read = self.look.looked_at & self.look.shown - self.failed - self.unproven
        self.edited -= read
        if self.history:
            self.logged -= read
