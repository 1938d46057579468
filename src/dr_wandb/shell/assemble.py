"""Put together the files of an export from what is stored and what was fetched.

Rules
- Bytes of runs that did not change are copied as they are, never decoded.
- A snapshot that was read again and is the same keeps its bytes, `exported_at` included.
- A run that failed keeps its old snapshot and rows; a new one keeps the snapshot it has.
- A file that would not change is not written.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import IO, Any

from msgspec.structs import replace

from dr_wandb.core.advance import RunOutcome, advance_run, mark_missing
from dr_wandb.core.codec import decode_snapshot, encode_line
from dr_wandb.core.failures import FailedRun
from dr_wandb.core.listing import RunListing
from dr_wandb.core.manifest import HISTORY_FILE, RUNS_FILE, DataFile
from dr_wandb.core.merge import merge_lines, outside
from dr_wandb.core.plan import RunAction, SyncPlan
from dr_wandb.core.records import Record, RunSnapshot, snapshot_order
from dr_wandb.core.request import ExportMode, ExportRequest
from dr_wandb.core.state import RunTracking
from dr_wandb.core.values import json_safe
from dr_wandb.shell import disk
from dr_wandb.shell.fetch import Fetched
from dr_wandb.shell.listing import SnapshotSpool
from dr_wandb.shell.reading import StoredExport
from dr_wandb.shell.writing import LineWriter


class RunResult(Record, frozen=True, kw_only=True):
    """What a sync found out about one listed run."""

    listing: RunListing
    outcome: RunOutcome = RunOutcome()
    fetched: Fetched | None = None


class Assembled(Record, frozen=True, kw_only=True):
    """The data files of the export after a sync, and the tracking that goes with them.

    `rows_deselected` left the export because the selection became narrower.
    """

    runs: dict[str, RunTracking]
    runs_file: DataFile
    history_file: DataFile | None
    rows_added: int = 0
    rows_deselected: int = 0


class Assembler:
    """Writes the new data files of one sync into a staging folder."""

    def __init__(
        self,
        stored: StoredExport,
        request: ExportRequest,
        spool: SnapshotSpool,
        folder: Path,
        *,
        exported_at: str,
        source: str,
    ) -> None:
        self._stored = stored
        self._request = request
        self._spool = spool
        self._folder = folder
        self._exported_at = exported_at
        self._source = source

    def assemble(
        self, plan: SyncPlan, results: Mapping[str, RunResult], broken: Sequence[FailedRun]
    ) -> Assembled:
        """Write `runs.jsonl` and, where there is history, `history.jsonl`.

        broken: the runs whose listing did not read.
        """
        tracked = self._advance(plan, results, broken)
        with ExitStack() as stack:
            old_runs = _open(stack, self._stored.runs_path)
            old_history = _open(stack, self._stored.history_path)
            if old_runs is None or self._runs_change(tracked, results):
                tracked, runs_file = self._write_runs(tracked, results, old_runs)
            else:
                runs_file = self._unchanged(self._stored.state.runs_file, "snapshot")
            if self._history_changes(tracked, results, old_history):
                tracked, history_file = self._write_history(tracked, results, old_history)
            elif old_history is not None:
                history_file = self._unchanged(self._stored.state.history_file, "history")
            else:
                history_file = None
        return Assembled(
            runs=tracked,
            runs_file=runs_file,
            history_file=history_file,
            rows_added=self._count_rows(tracked, grown=True),
            rows_deselected=self._count_rows(tracked, grown=False),
        )

    def _count_rows(self, tracked: Mapping[str, RunTracking], *, grown: bool) -> int:
        """Count the rows that runs gained, or that they lost to another selection."""
        count = 0
        for run_id, now in tracked.items():
            before = self._stored.state.runs.get(run_id)
            more = _rows(now) - _rows(before)
            if grown:
                count += max(0, more)
            elif before is not None and before.position is not None and now.position is not None:
                reselected = before.position.selection != now.position.selection
                count += max(0, -more) if reselected else 0
        return count

    def _advance(
        self, plan: SyncPlan, results: Mapping[str, RunResult], broken: Sequence[FailedRun]
    ) -> dict[str, RunTracking]:
        before = self._stored.state.runs
        tracked = dict(before)
        for run in plan.runs:
            if run.action == RunAction.MISSING:
                tracked[run.run_id] = mark_missing(before[run.run_id], self._exported_at)
        for run_id, result in results.items():
            tracked[run_id] = advance_run(
                self._request, before.get(run_id), result.listing, result.outcome, self._source
            )
        for failed in broken:
            known = before.get(failed.run_id)
            known = known or RunTracking(run_id=failed.run_id, source=self._source)
            tracked[failed.run_id] = replace(known, failure=failed.reason, missing_since=None)
        return tracked

    def _runs_change(
        self, tracked: Mapping[str, RunTracking], results: Mapping[str, RunResult]
    ) -> bool:
        return self._stored.copied or any(
            self._snapshot_differs(tracked[run_id], result) for run_id, result in results.items()
        )

    def _history_changes(
        self,
        tracked: Mapping[str, RunTracking],
        results: Mapping[str, RunResult],
        old: IO[bytes] | None,
    ) -> bool:
        if self._stored.copied:
            return old is not None or self._request.mode == ExportMode.HISTORY
        if self._request.mode == ExportMode.HISTORY and old is None:
            return True
        before = self._stored.state.runs
        return any(
            (result.fetched is not None and result.fetched.segment is not None)
            or (run_id in before and before[run_id].history != tracked[run_id].history)
            for run_id, result in results.items()
        )

    def _unchanged(self, sha256: str, what: str) -> DataFile:
        """Describe a data file that stays as it is, from the places of its parts."""
        places = [
            place
            for tracking in self._stored.state.runs.values()
            if (place := getattr(tracking, what)) is not None
        ]
        return DataFile(
            lines=sum(place.rows for place in places),
            bytes=sum(place.length for place in places),
            sha256=sha256,
        )

    def _write_runs(
        self,
        tracked: dict[str, RunTracking],
        results: Mapping[str, RunResult],
        old: IO[bytes] | None,
    ) -> tuple[dict[str, RunTracking], DataFile]:
        order = sorted(
            tracked.values(),
            key=lambda tracking: snapshot_order(tracking.created_at, tracking.run_id),
            reverse=True,
        )
        placed = dict(tracked)
        with LineWriter(self._folder / RUNS_FILE) as writer:
            for tracking in order:
                result = results.get(tracking.run_id)
                if result is not None and self._snapshot_differs(tracking, result):
                    line, tracking = self._new_snapshot(tracking, result, old)
                    place = writer.write([line])
                elif tracking.snapshot is not None and old is not None:
                    kept = tracking.snapshot
                    chunks = disk.read_range(old, kept.offset, kept.length)
                    place = writer.copy(chunks, rows=kept.rows, digest=kept.digest)
                else:
                    continue
                placed[tracking.run_id] = replace(tracking, snapshot=place)
        return placed, writer.written

    def _snapshot_differs(self, tracking: RunTracking, result: RunResult) -> bool:
        if tracking.snapshot is None:
            return True
        if result.outcome.failure is not None:
            return False
        if result.fetched is not None and result.fetched.metadata_read:
            return True
        return (
            tracking.fingerprint != result.listing.fingerprint
            or tracking.metadata_included != self._request.include_metadata
        )

    def _new_snapshot(
        self, tracking: RunTracking, result: RunResult, old: IO[bytes] | None
    ) -> tuple[bytes, RunTracking]:
        """Return the line of a run that was read, and the tracking that goes with it."""
        run = self._spool.get(tracking.run_id)
        stored = self._stored_snapshot(tracking, old)
        if self._request.include_metadata:
            metadata: Mapping[str, Any] | None = stored.run.metadata if stored is not None else None
            if result.fetched is not None and result.fetched.metadata_read:
                metadata = result.fetched.metadata
            run = replace(run, metadata=None if metadata is None else json_safe(metadata))
        if stored is not None and replace(stored.run, url=None) == replace(run, url=None):
            line = encode_line(stored)
        else:
            line = encode_line(RunSnapshot(run=run, exported_at=self._exported_at))
        included = self._request.include_metadata and result.outcome.failure is None
        return line, replace(
            tracking, fingerprint=result.listing.fingerprint, metadata_included=included
        )

    def _stored_snapshot(self, tracking: RunTracking, old: IO[bytes] | None) -> RunSnapshot | None:
        place = tracking.snapshot
        if place is None or old is None:
            return None
        line = b"".join(disk.read_range(old, place.offset, place.length))
        return decode_snapshot(line).value_or(None)

    def _write_history(
        self,
        tracked: dict[str, RunTracking],
        results: Mapping[str, RunResult],
        old: IO[bytes] | None,
    ) -> tuple[dict[str, RunTracking], DataFile]:
        placed = dict(tracked)
        with LineWriter(self._folder / HISTORY_FILE) as writer:
            for run_id in sorted(tracked):
                tracking = tracked[run_id]
                result = results.get(run_id)
                if result is not None and result.fetched is not None and result.fetched.segment:
                    place = writer.write(self._merged(tracking, result.fetched, old))
                elif tracking.history is not None and old is not None:
                    kept = tracking.history
                    chunks = disk.read_range(old, kept.offset, kept.length)
                    place = writer.copy(chunks, rows=kept.rows, digest=kept.digest)
                else:
                    continue
                placed[run_id] = replace(tracking, history=place if place.rows else None)
        return placed, writer.written

    def _merged(
        self, tracking: RunTracking, fetched: Fetched, old: IO[bytes] | None
    ) -> Iterator[bytes]:
        """Merge a segment with the stored rows outside its window; keep the last `max_records`."""
        assert fetched.segment is not None
        last = self._request.selection.bounds.max_records
        skip = 0
        if last is not None:
            kept = sum(1 for _ in self._kept(tracking, fetched, old))
            skip = max(0, kept + fetched.segment.rows - last)
        merged = merge_lines(self._kept(tracking, fetched, old), fetched.segment.lines())
        return islice(merged, skip, None)

    def _kept(
        self, tracking: RunTracking, fetched: Fetched, old: IO[bytes] | None
    ) -> Iterable[bytes]:
        """Return the stored rows that stay: those below a tail."""
        place = tracking.history
        if place is None or old is None or not fetched.tail:
            return iter(())
        return outside(disk.read_lines(old, place.offset, place.length), fetched.window)


def _open(stack: ExitStack, path: Path) -> IO[bytes] | None:
    try:
        return stack.enter_context(path.open("rb"))
    except FileNotFoundError:
        return None


def _rows(tracking: RunTracking | None) -> int:
    return tracking.history.rows if tracking is not None and tracking.history is not None else 0
