"""The runs of an export, most of which a sync need not look at.

Rules
- A run *rests* if an incremental sync has nothing to ask about it and the manifest nothing to say
  of it: it is settled, still listed, in the scope, and has every row that was listed.
- A run that rests keeps resting as long as nothing that is known of it changes.
- The decisions of a sync do not depend on which runs are known to rest. It need not look at
  them.
- The order and lengths of records give their offsets, so a run that grows changes nothing of what
  is known of the others.
"""

from abc import abstractmethod
from collections.abc import (
    Callable,
    Collection,
    ItemsView,
    Iterable,
    Iterator,
    Mapping,
    Set,
    ValuesView,
)
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.file_choice import NO_FILE, FileChoice
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.records import Record, snapshot_order
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.core.contract.state import RunTracking, with_part

SNAPSHOTS = "runs"
"""Names `runs.jsonl` in arguments in which a dataset names its data file."""


class Rest(Record, frozen=True, kw_only=True):
    """The requests under which a run rests.

    `metadata`: those with the metadata file, or those without. `parts` has the selection under
    which all its rows were read, by dataset; a request for other rows has to look at the run. So
    has one for other bytes than `contents` says, by dataset; absent if none were wanted.
    """

    metadata: bool
    parts: dict[str, HistorySelection] = msgspec.field(default_factory=dict)
    contents: dict[str, FileChoice] | msgspec.UnsetType = msgspec.UNSET

    def under(self, request: ExportRequest) -> bool:
        """Say whether an incremental sync with this request need not look at the run."""
        contents = self.contents or {}
        return self.metadata == request.include_metadata and all(
            self.parts.get(dataset) == request.selection_of(dataset)
            and contents.get(dataset, NO_FILE).covers(request.contents_of(dataset))
            for dataset in request.datasets
        )

    def covers(self, datasets: Collection[str]) -> bool:
        """Say whether every listed row of these datasets was read, under any selection."""
        return self.parts.keys() >= {*datasets}


def rest_of(run: RunTracking, last_sync_at: str | None) -> Rest | None:
    """Return the requests under which a run rests after a sync, None if there are none."""
    marks = (run.missing_since, run.out_of_scope_since, run.short_by, run.metadata_failure)
    if any(mark is not None for mark in marks) or not run.read_at_its_end(
        include_metadata=run.metadata_included
    ):
        return None
    if run.sampled or not run.silent_for_long(last_sync_at):
        return None
    parts, contents = {}, {}
    for dataset, part in run.parts.items():
        counts, position = run.counts_of(dataset), part.position
        if position is None or not part.complete(position.selection, counts):
            continue
        if part.looked_at(counts):
            parts[dataset] = position.selection
            if part.contents is not None:
                contents[dataset] = part.contents
    return Rest(metadata=run.metadata_included, parts=parts, contents=contents or msgspec.UNSET)


class Total(NamedTuple):
    """The known size of one data file in lines and bytes."""

    rows: int = 0
    bytes: int = 0


class KnownRuns(Mapping[str, RunTracking]):
    """All runs of an export, by id. Looking at one may mean reading it from a file."""

    @abstractmethod
    def resting(self, request: ExportRequest | None) -> Set[str]:
        """Return the runs that are known to rest under a request; None: under any request."""

    @abstractmethod
    def everything(self) -> Mapping[str, RunTracking]:
        """Return all runs, read already."""

    @abstractmethod
    def total(self, file: str) -> Total:
        """Return the known size of a data file. file: a dataset, or `SNAPSHOTS`."""

    @abstractmethod
    def awake(self, request: ExportRequest | None) -> Iterable[tuple[str, RunTracking]]:
        """Return the runs that are not known to rest, with their ids."""

    @abstractmethod
    def notable(self, datasets: Collection[str]) -> Iterable[tuple[str, RunTracking]]:
        """Return the runs that are not known to rest with all rows of these datasets read."""

    def items(self) -> ItemsView[str, RunTracking]:
        """Return all runs with their ids."""
        return self.everything().items()

    def values(self) -> ValuesView[RunTracking]:
        """Return all runs."""
        return self.everything().values()


def resting(runs: Mapping[str, RunTracking], request: ExportRequest | None) -> Set[str]:
    """Return the runs that are known to rest under a request; None: under any request."""
    return runs.resting(request) if isinstance(runs, KnownRuns) else frozenset()


def awake(
    runs: Mapping[str, RunTracking], request: ExportRequest | None
) -> Iterable[tuple[str, RunTracking]]:
    """Return the runs that are not known to rest, with their ids."""
    return runs.awake(request) if isinstance(runs, KnownRuns) else runs.items()


def notable(
    runs: Mapping[str, RunTracking], datasets: Collection[str]
) -> Iterable[tuple[str, RunTracking]]:
    """Return the runs of which a status has something to say, and maybe some others."""
    return runs.notable(datasets) if isinstance(runs, KnownRuns) else runs.items()


def total(runs: Mapping[str, RunTracking], file: str) -> Total:
    """Return the known size of a data file. file: a dataset, or `SNAPSHOTS`."""
    if isinstance(runs, KnownRuns):
        return runs.total(file)
    return sum_of(byte_range_in(run, file) for run in runs.values())


def sum_of(byte_ranges: Iterable[ByteRange | None]) -> Total:
    """Return the total size of some byte ranges."""
    rows = length = 0
    for byte_range in byte_ranges:
        if byte_range is not None:
            rows, length = rows + byte_range.rows, length + byte_range.length
    return Total(rows, length)


class ChangedRuns(KnownRuns):
    """The runs of an export after a sync: those before it, with some changed and some gone.

    `changed` includes the new ones.
    """

    def __init__(
        self,
        before: Mapping[str, RunTracking],
        changed: Mapping[str, RunTracking],
        gone: Iterable[str] = (),
    ) -> None:
        self.before = before
        self.changed = changed
        self.gone = frozenset(gone)

    def __getitem__(self, run_id: str) -> RunTracking:
        if run_id in self.changed:
            return self.changed[run_id]
        if run_id in self.gone:
            raise KeyError(run_id)
        return self.before[run_id]

    def __contains__(self, run_id: object) -> bool:
        return run_id in self.changed or (run_id not in self.gone and run_id in self.before)

    def __iter__(self) -> Iterator[str]:
        yield from (run_id for run_id in self.before if run_id not in self.gone)
        yield from (run_id for run_id in self.changed if run_id not in self.before)

    def __len__(self) -> int:
        new = sum(run_id not in self.before for run_id in self.changed)
        return len(self.before) - len(self.gone) + new

    def resting(self, request: ExportRequest | None) -> Set[str]:
        """Return the runs known to rest before that did not change."""
        known = resting(self.before, request)
        return known - self.changed.keys() - self.gone if self.changed or self.gone else known

    def awake(self, request: ExportRequest | None) -> Iterable[tuple[str, RunTracking]]:
        """Return the changed runs, and the earlier ones that are not known to rest."""
        for run_id, run in awake(self.before, request):
            if run_id not in self.changed and run_id not in self.gone:
                yield run_id, run
        yield from self.changed.items()

    def notable(self, datasets: Collection[str]) -> Iterable[tuple[str, RunTracking]]:
        """Return the changed runs, and the earlier ones that do not rest like this."""
        for run_id, run in notable(self.before, datasets):
            if run_id not in self.changed and run_id not in self.gone:
                yield run_id, run
        yield from self.changed.items()

    def everything(self) -> Mapping[str, RunTracking]:
        """Return all runs."""
        before = self.before.everything() if isinstance(self.before, KnownRuns) else self.before
        runs = {**before, **self.changed}
        for run_id in self.gone:
            del runs[run_id]
        return runs

    def total(self, file: str) -> Total:
        """Return the known size of a data file."""
        moved = {*self.changed, *self.gone}
        was = sum_of(byte_range_in(self.before[run], file) for run in moved if run in self.before)
        now = sum_of(byte_range_in(run, file) for run in self.changed.values())
        of_before = total(self.before, file)
        return Total(of_before.rows - was.rows + now.rows, of_before.bytes - was.bytes + now.bytes)


def changes_since(
    before: Mapping[str, RunTracking], after: Mapping[str, RunTracking]
) -> ChangedRuns:
    """Return the runs that differ in more than the offsets of their records."""
    if isinstance(after, ChangedRuns) and after.before is before:
        return after
    was = before.everything() if isinstance(before, KnownRuns) else before
    changed = {
        run_id: run
        for run_id, run in after.items()
        if run_id not in was or not same_but_for_offsets(was[run_id], run)
    }
    return ChangedRuns(before, changed, was.keys() - after.keys())


def files_of(run: RunTracking) -> tuple[str, ...]:
    """Return the data files that may have a record of the run: datasets, and `SNAPSHOTS`."""
    return (SNAPSHOTS, *run.parts)


def byte_range_in(run: RunTracking, file: str) -> ByteRange | None:
    """Return the byte range of a run in a data file. file: a dataset, or `SNAPSHOTS`."""
    return run.snapshot if file == SNAPSHOTS else run.part(file).stored


def with_offsets(run: RunTracking, find: Callable[[str], int]) -> RunTracking:
    """Return a run with new offsets of its records. find: gives the offset in a data file."""
    for file in files_of(run):
        byte_range = byte_range_in(run, file)
        if byte_range is None or (offset := find(file)) == byte_range.offset:
            continue
        moved = replace(byte_range, offset=offset)
        if file == SNAPSHOTS:
            run = replace(run, snapshot=moved)
        else:
            run = with_part(run, file, replace(run.part(file), stored=moved))
    return run


def same_but_for_offsets(run: RunTracking, other: RunTracking) -> bool:
    """Say whether two trackings differ in nothing but the offsets of the records."""
    if run is other:
        return True

    def find(file: str) -> int:
        byte_range = byte_range_in(other, file)
        return -1 if byte_range is None else byte_range.offset

    return with_offsets(run, find) == other


def offsets_in(file: str, records: Iterable[tuple[str, str | None, int]]) -> dict[str, int]:
    """Return the offset of each run's records in a data file, from their lengths.

    records: run id, `created_at` and length in bytes, in any order. Snapshots are ordered newest
    first, rows by run id.
    """
    if file == SNAPSHOTS:
        ordered = sorted(records, key=lambda one: snapshot_order(one[1], one[0]), reverse=True)
    else:
        ordered = sorted(records)
    offsets, end = {}, 0
    for run_id, _, length in ordered:
        offsets[run_id] = end
        end += length
    return offsets
