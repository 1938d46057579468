"""Build the files of an export from the stored records and the fetched ones.

Rules
- Bytes of runs that did not change are copied as they are, never decoded.
- A snapshot that was read again and is the same keeps its bytes, `exported_at` included.
- A run that failed keeps its old snapshot and rows; a new one keeps the snapshot it has.
- A file that would not change is not written.
"""

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from msgspec.structs import replace

from dr_wandb.core.contract.changes import ChangedRun
from dr_wandb.core.contract.codec import decode_snapshot, encode_line, encode_snapshot
from dr_wandb.core.contract.dataset import DATASETS, HISTORY
from dr_wandb.core.contract.export_files import RUNS_FILE
from dr_wandb.core.contract.known_runs import (
    SNAPSHOTS,
    ChangedRuns,
    changes_since,
    offsets_in,
    total,
)
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.records import Record, RunSnapshot, snapshot_order
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.state import RunTracking, with_part
from dr_wandb.core.sync.changes import compare_runs
from dr_wandb.core.sync.snapshots import renewed, snapshot_differs, with_metadata
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.disk_errors import (
    RESERVE_BYTES,
    SpaceNeed,
    full_disk_needs,
    require_space,
)
from dr_wandb.shell.store.presence import look_beside
from dr_wandb.shell.store.reading import StoredExport
from dr_wandb.shell.store.staging import unfinished_bytes
from dr_wandb.shell.store.writing import LineWriter
from dr_wandb.shell.sync.column_segments import ColumnSegment
from dr_wandb.shell.sync.dataset_file import DatasetFile
from dr_wandb.shell.sync.fetch_job import Fetched
from dr_wandb.shell.sync.listed_runs import ListedRunsFile
from dr_wandb.shell.sync.reshape import with_reshaped_rows
from dr_wandb.shell.sync.results import RunResult


class Assembled(Record, frozen=True, kw_only=True):
    """The data files of the export after a sync, by name, and the tracking that goes with them.

    `runs` has the byte ranges of each run, `changes` the tracking that differs from before.
    `changed` are the fields in which snapshots differ from the stored ones. `history` are the byte
    ranges in the staged file of the history, if that has only the runs that changed, and `columns`
    has the rows of runs that are in no such file. `same` are runs whose rows are the stored ones,
    even if the digest is of another kind. `kept` says of how many rows at the beginning of a run it
    is certain that they stay as they are, and `before` how many of these are not in that file.
    """

    runs: Mapping[str, RunTracking]
    changes: ChangedRuns
    files: dict[str, DataFile]
    changed: dict[str, ChangedRun]
    history: Mapping[str, ByteRange] = {}
    columns: Mapping[str, ColumnSegment] = {}
    same: Collection[str] = ()
    kept: Mapping[str, int] = {}
    before: Mapping[str, int] = {}


class Assembler:
    """Writes the new data files of one sync into a staging folder."""

    def __init__(
        self,
        stored: StoredExport,
        request: ExportRequest,
        listed: ListedRunsFile,
        row_files: Mapping[str, DatasetFile],
        folder: Path,
        exported_at: str,
    ) -> None:
        self._stored = stored
        self._request = request
        self._listed = listed
        self._row_files = row_files
        self._folder = folder
        self._exported_at = exported_at
        self._changed: dict[str, ChangedRun] = {}

    def assemble(self, after: ChangedRuns, results: Mapping[str, RunResult]) -> Assembled:
        """Write `runs.jsonl`, and the file of each dataset that has rows.

        after: every run of the new export, with the byte ranges of before the sync.
        """
        tracked: Mapping[str, RunTracking] = after
        with ExitStack() as stack:
            old_runs = _open(stack, self._stored.runs_path)
            runs_change = old_runs is None or self._runs_change(after, results)
            fetched = {
                dataset: {
                    run_id: result.fetched[dataset]
                    for run_id, result in results.items()
                    if dataset in result.fetched
                }
                for dataset in self._row_files
            }
            changing = [
                file
                for dataset, file in self._row_files.items()
                if self._rows_change(file, after, fetched[dataset])
            ]
            new_bytes = self._runs_bytes(tracked, results) if runs_change else 0
            for file in changing:
                new_bytes += file.missing_bytes(tracked, fetched[file.dataset])
            require_space(self._folder, new_bytes)
            export = self._folder.parent
            stack.enter_context(full_disk_needs(export, lambda: self._need(new_bytes)))
            if runs_change:
                tracked, runs_file = self._write_runs(tracked, results, old_runs)
            else:
                runs_file = self._unchanged(RUNS_FILE, SNAPSHOTS)
            files = {RUNS_FILE: runs_file}
            for dataset, file in self._row_files.items():
                name = DATASETS[dataset].file
                if file in changing:
                    byte_ranges, files[name] = file.write_rest(tracked, fetched[dataset])
                    tracked = {
                        run_id: stored_at(_reshaped(tracking, file), dataset, byte_ranges[run_id])
                        for run_id, tracking in tracked.items()
                    }
                    if file.changes_only:
                        tracked = with_row_offsets(tracked, dataset)
                        del files[name]
                elif file.old is not None:
                    files[name] = self._unchanged(name, dataset)
        changes = changes_since(after.before, tracked)
        rows = self._row_files[HISTORY]
        return Assembled(
            runs=tracked,
            changes=changes,
            files=files,
            changed=self._changed,
            history=rows.written if rows.changes_only else {},
            columns=rows.columns,
            same=rows.same,
            kept=rows.kept,
            before=rows.before,
        )

    def _need(self, new_bytes: int) -> SpaceNeed:
        """Say what is needed if the disk is full: the fetched rows stay."""
        beside = look_beside(self._folder.parent)
        return SpaceNeed(
            new_bytes + RESERVE_BYTES,
            removed=unfinished_bytes(self._folder),
            parts=beside.segments,
            part_bytes=beside.segment_bytes,
        )

    def _runs_change(self, tracked: ChangedRuns, results: Mapping[str, RunResult]) -> bool:
        return (
            self._stored.copied
            or any(run.snapshot is not None for run in self._pruned(tracked))
            or any(
                self._snapshot_differs(tracked[run_id], result)
                for run_id, result in results.items()
            )
        )

    def _pruned(self, tracked: ChangedRuns) -> Iterator[RunTracking]:
        """Yield the runs that were in the export and are not any more."""
        return (tracked.before[run_id] for run_id in tracked.gone)

    def _rows_change(
        self,
        file: DatasetFile,
        tracked: ChangedRuns,
        fetched: Mapping[str, Fetched],
    ) -> bool:
        dataset, is_new = file.dataset, file.is_new
        if file.is_missing:
            return True
        asked = dataset in self._request.datasets
        if self._stored.copied:
            return not is_new or asked
        if (asked and is_new) or file.has_old_rows:
            return True
        if any(run.part(dataset).stored is not None for run in self._pruned(tracked)):
            return True
        before = tracked.before
        return any(part.keeps_rows for part in fetched.values()) or any(
            run_id in before and before[run_id].part(dataset).stored != now.part(dataset).stored
            for run_id, now in tracked.changed.items()
        )

    def _runs_bytes(
        self, tracked: Mapping[str, RunTracking], results: Mapping[str, RunResult]
    ) -> int:
        """Return the approximate length of the new `runs.jsonl` in bytes."""
        listed = sum(self._listed.length(run_id) for run_id in results)
        return listed + sum(
            run.snapshot.length
            for run in tracked.values()
            if run.snapshot is not None and run.run_id not in results
        )

    def _unchanged(self, name: str, file: str) -> DataFile:
        """Describe a data file that stays as it is, from the state."""
        rows, length = total(self._stored.state.runs, file)
        return DataFile(lines=rows, bytes=length, sha256=self._stored.state.files.get(name, ""))

    def _write_runs(
        self,
        tracked: Mapping[str, RunTracking],
        results: Mapping[str, RunResult],
        old: IO[bytes] | None,
    ) -> tuple[Mapping[str, RunTracking], DataFile]:
        order = sorted(
            tracked.values(),
            key=lambda tracking: snapshot_order(tracking.created_at, tracking.run_id),
            reverse=True,
        )
        located = dict(tracked.items())
        with LineWriter(self._folder / RUNS_FILE) as writer:
            for tracking in order:
                result = results.get(tracking.run_id)
                if result is not None and self._snapshot_differs(tracking, result):
                    line, tracking = self._new_snapshot(tracking, result, old)
                    byte_range = writer.write([line])
                elif tracking.snapshot is not None and old is not None:
                    byte_range = writer.copy(old, tracking.snapshot)
                else:
                    continue
                located[tracking.run_id] = replace(tracking, snapshot=byte_range)
        return located, writer.written

    def _snapshot_differs(self, tracking: RunTracking, result: RunResult) -> bool:
        return snapshot_differs(
            tracking,
            result.outcome,
            metadata_read=result.metadata is not None and result.metadata.read,
            include_metadata=self._request.include_metadata,
        )

    def _new_snapshot(
        self, tracking: RunTracking, result: RunResult, old: IO[bytes] | None
    ) -> tuple[bytes, RunTracking]:
        """Return the line of a run that was read, and its new tracking."""
        stored = self._stored_snapshot(tracking, old)
        if stored is None and not self._request.include_metadata:
            line = encode_snapshot(self._listed.encoded(tracking.run_id), self._exported_at)
            mark = result.outcome.listing.fingerprint
            return line, replace(tracking, fingerprint=mark, metadata_included=False)
        run = self._listed.get(tracking.run_id)
        if self._request.include_metadata:
            metadata = result.metadata
            read = metadata.content if metadata is not None else None
            run = with_metadata(run, stored, read, came=metadata is not None and metadata.read)
        snapshot = renewed(stored, run, known=bool(tracking.fingerprint), at=self._exported_at)
        if stored is not None and snapshot is not stored:
            before = self._stored.state.runs.get(tracking.run_id)
            unknown = before.fields_to_read if before is not None else ()
            if changed := compare_runs(stored.run, run, unknown):
                self._changed[tracking.run_id] = changed
        line = encode_line(snapshot)
        included = self._request.include_metadata
        if result.outcome.metadata_failure is not None:
            included = tracking.metadata_included
        return line, replace(
            tracking, fingerprint=result.outcome.listing.fingerprint, metadata_included=included
        )

    def _stored_snapshot(self, tracking: RunTracking, old: IO[bytes] | None) -> RunSnapshot | None:
        byte_range = tracking.snapshot
        if byte_range is None or old is None:
            return None
        line = b"".join(disk.read_range(old, byte_range.offset, byte_range.length))
        return decode_snapshot(line).value_or(None)


def _reshaped(tracking: RunTracking, file: DatasetFile) -> RunTracking:
    """Return the tracking of a run with the position of its rewritten rows, if any."""
    received = file.reshaped.get(tracking.run_id)
    if received is None:
        return tracking
    return with_reshaped_rows(tracking, tracking.part(file.dataset).stored, received)


def stored_at(tracking: RunTracking, dataset: str, byte_range: ByteRange | None) -> RunTracking:
    """Return a run whose rows are at a byte range."""
    return with_part(tracking, dataset, replace(tracking.part(dataset), stored=byte_range))


def with_row_offsets(runs: Mapping[str, RunTracking], dataset: str) -> dict[str, RunTracking]:
    """Return runs with the offsets that their rows would have in one file."""
    held = {run_id: run.part(dataset).stored for run_id, run in runs.items()}
    lengths = [(run_id, None, at.length) for run_id, at in held.items() if at is not None]
    offsets = offsets_in(dataset, lengths)
    return {
        run_id: run if at is None else stored_at(run, dataset, replace(at, offset=offsets[run_id]))
        for run_id, at in held.items()
        for run in (runs[run_id],)
    }


def _open(stack: ExitStack, path: Path) -> IO[bytes] | None:
    try:
        return stack.enter_context(path.open("rb"))
    except FileNotFoundError:
        return None
