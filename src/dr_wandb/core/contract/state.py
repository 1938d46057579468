"""The tool's own memory between two syncs: `state.json`.

Rules
- What is known of a run's rows is kept by dataset, see part.py.
- *Complete* and *settled* are computed from the stored state, never stored themselves.
- earlier_states.py reads states of earlier forms.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.dataset import Counts
from dr_wandb.core.contract.listing import TERMINAL_STATES, RunListing
from dr_wandb.core.contract.normalize import instant
from dr_wandb.core.contract.part import UNKNOWN, ByteRange, PartTracking
from dr_wandb.core.contract.project_part import ProjectPart
from dr_wandb.core.contract.records import WITHOUT_PARQUET, Record
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.selection import HistorySelection

FIRST_SOURCE = "api"
"""The kind of source of states that name none: those of dr-wandb 3.0.3."""

SETTLING_TIME = timedelta(hours=24)
"""A complete run whose last heartbeat is older than this is not looked at again."""


class RunTracking(Record, omit_defaults=True, frozen=True, kw_only=True):
    """What is known of one run. The first five fields are those of 3.0.3.

    `last_history_step` repeats the last step of the history's position. `seen` is what the last
    listing said; `fingerprint` is the listed one when the stored snapshot was made. `snapshot` is
    its byte range in the data file. `parts` has what is known of its rows, by dataset.
    `fields_to_read` are the fields that its snapshot does not have because they did not exist yet.
    `source` is the kind of source that last saw it. `failure` is why its listing could not be read;
    `unread` is the part of it that could not, while the rest could. `metadata_failure` is why its
    metadata file did not come; a held one stays. `missing_since` and `out_of_scope_since` are the
    syncs that first found it gone upstream, or out of scope.
    """

    run_id: str
    created_at: str | None = None
    updated_at: str | None = None
    run_state: str | None = None
    last_history_step: int | None = None
    seen: RunListing | None = None
    fingerprint: str = ""
    metadata_included: bool = False
    snapshot: ByteRange | None = None
    parts: dict[str, PartTracking] = msgspec.field(default_factory=dict)
    fields_to_read: tuple[str, ...] = ()
    source: str = ""
    failure: RunFailure | None = None
    unread: RunFailure | None = None
    metadata_failure: RunFailure | None = None
    missing_since: str | None = None
    out_of_scope_since: str | None = None

    def part(self, dataset: str) -> PartTracking:
        """Return what is known of the run's rows of one dataset."""
        return self.parts.get(dataset, UNKNOWN)

    @property
    def terminal(self) -> bool:
        """Say whether the run had ended when it was last seen."""
        return self.run_state in TERMINAL_STATES

    @property
    def failed(self) -> RunFailure | None:
        """Return why listing it, or fetching one of its parts, failed last time."""
        if self.failure is not None:
            return self.failure
        for part in self.parts.values():
            if part.failure is not None:
                return part.failure
        return None

    @property
    def never_held(self) -> bool:
        """Say whether nothing of the run is held, because it failed in every sync so far."""
        return self.failed is not None and self.snapshot is None and not self.stores_rows

    @property
    def refused(self) -> bool:
        """Say whether the only failure last time was that the source refuses to give rows."""
        failures = [part.failure for part in self.parts.values() if part.failure is not None]
        return self.failure is None and bool(failures) and all(one.refused for one in failures)

    @property
    def short_by(self) -> int | None:
        """Return how many listed lines did not come, None if no part of it is short."""
        short = [part.short_by for part in self.parts.values() if part.short_by is not None]
        return sum(short) if short else None

    @property
    def sampled(self) -> bool:
        """Say whether samples of some rows are held instead of all."""
        return any(part.sampled_from is not None for part in self.parts.values())

    @property
    def stores_rows(self) -> bool:
        """Say whether rows of any dataset are in the data files."""
        return any(part.stored is not None for part in self.parts.values())

    def rows_source(self, dataset: str) -> str:
        """Return the kind of source that the rows of a dataset came from."""
        return self.part(dataset).rows_from or self.source or FIRST_SOURCE

    def selection_for(self, request: ExportRequest, dataset: str) -> HistorySelection:
        """Return the selection under which a request reads the rows of a dataset."""
        wanted = request.selection_of(dataset)
        return self.part(dataset).selection_for(wanted, narrower=request.allow_narrower)

    def complete(self, request: ExportRequest) -> bool:
        """Say whether everything the request asks of this run was read after the run ended."""
        return self.read_at_its_end(include_metadata=request.include_metadata) and all(
            self.part(dataset).complete(
                self.selection_for(request, dataset), self.counts_of(dataset)
            )
            and self.part(dataset).has_contents(request.contents_of(dataset))
            for dataset in request.datasets
        )

    def read_at_its_end(self, *, include_metadata: bool) -> bool:
        """Say whether everything except its rows was read after the run ended."""
        if not self.terminal or self.seen is None or (self.failed or self.unread):
            return False
        if self.metadata_included != include_metadata or self.snapshot is None:
            return False
        if include_metadata and self.metadata_failure is not None:
            return False
        if self.fingerprint != self.seen.fingerprint:  # an older snapshot was put back
            return False
        return not self.fields_to_read

    def settled(self, request: ExportRequest, last_sync_at: str | None) -> bool:
        """Say whether an incremental sync can skip this run.

        It is complete, its last heartbeat was more than 24 hours old at the last sync, and the last
        look at any difference between its rows and its listing is over.
        """
        return (
            self.complete(request)
            and all(
                self.part(dataset).looked_at(self.counts_of(dataset))
                for dataset in request.datasets
            )
            and self.silent_for_long(last_sync_at)
        )

    def silent_for_long(self, last_sync_at: str | None) -> bool:
        """Say whether its last heartbeat was more than 24 hours old at the last sync."""
        if self.seen is None:
            return False
        heartbeat = instant(self.seen.heartbeat_at or self.seen.created_at)
        synced = instant(last_sync_at)
        return heartbeat is not None and synced is not None and synced - heartbeat > SETTLING_TIME

    def counts_of(self, dataset: str) -> Counts:
        """Return the last listed counts of its rows of one dataset."""
        return Counts() if self.seen is None else self.seen.counts_of(dataset)


def with_part(tracking: RunTracking, dataset: str, part: PartTracking) -> RunTracking:
    """Return the tracking of a run with one part replaced."""
    if part == tracking.part(dataset):
        return tracking
    return replace(tracking, parts=dict(sorted({**tracking.parts, dataset: part}.items())))


class ExportState(Record, frozen=True, kw_only=True):
    """Everything that the next sync builds on. The first seven fields are those of 3.0.3.

    `row_shape` and `snapshot_fields` say what the stored records look like: the version of the
    shape of rows (see row_shape.py), and the fields of a run that the writer knew.

    `runs` is keyed by run id. `files` are the SHA-256 of the data files, by name, that the byte
    ranges in `runs` refer to. `changes_length` is the number of bytes of `changes.jsonl` that we
    wrote. `scope` is that of the last sync. `listing_mark` changes if anything that the source
    lists does, "" if part of the listing could not be read, or the source has no such mark.
    `tracked` is the digest of the store that has the rest of what is known of the runs (see
    state_form.py), "" if there is none. `records` has what is known of the project's datasets, by
    name; absent if there are none.
    """

    schema_version: int = WITHOUT_PARQUET
    name: str
    entity: str
    project: str
    last_exported_at: str | None = None
    max_created_at: str | None = None
    runs: Mapping[str, RunTracking] = msgspec.field(default_factory=dict)
    files: dict[str, str] = msgspec.field(default_factory=dict)
    changes_length: int = 0
    scope: RunScope | None = None
    row_shape: int = 1
    snapshot_fields: tuple[str, ...] = ()
    listing_mark: str = ""
    tracked: str = ""
    records: dict[str, ProjectPart] | msgspec.UnsetType = msgspec.UNSET

    def project_part(self, dataset: str) -> ProjectPart:
        """Return what is known of one dataset of the project."""
        known = ProjectPart()
        return known if self.records is msgspec.UNSET else self.records.get(dataset, known)

    @property
    def present(self) -> Mapping[str, RunTracking]:
        """Return the tracked runs that are not known to be gone upstream."""
        return {run_id: run for run_id, run in self.runs.items() if run.missing_since is None}


def with_parts(
    tracking: RunTracking, change: Callable[[PartTracking], PartTracking]
) -> RunTracking:
    """Return the tracking of a run with each of its parts changed."""
    parts = {dataset: change(part) for dataset, part in tracking.parts.items()}
    return tracking if parts == tracking.parts else replace(tracking, parts=parts)


def latest(times: Iterable[str | None]) -> str | None:
    """Return the latest of several times, compared as instants; None if there is none."""
    known = [(moment, text) for text in times if text and (moment := instant(text))]
    return max(known)[1] if known else None


def with_fields_to_read(
    tracking: RunTracking, missing: tuple[str, ...], fingerprint: str
) -> RunTracking:
    """Return the tracking of a run whose snapshot got fields that it was made without.

    fingerprint: that of the snapshot as it is now. It replaces the known one.
    """
    seen = tracking.seen
    if seen is not None and seen.fingerprint == tracking.fingerprint:
        seen = replace(seen, fingerprint=fingerprint)
    mark = fingerprint if tracking.fingerprint else ""
    fields = tuple(sorted({*tracking.fields_to_read, *missing}))
    return replace(tracking, fields_to_read=fields, fingerprint=mark, seen=seen)
