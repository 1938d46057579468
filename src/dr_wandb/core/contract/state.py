"""The tool's own memory between two syncs: `state.json`.

Rules
- A position says under which selection it was reached; under another it counts for nothing.
- A position is what was received from the source, never what the server announced.
- *Complete* and *settled* are computed from what is stored, never stored themselves.
- A state that dr-wandb 3.0.3 wrote reads as a state without positions.
"""

from collections.abc import Iterable, Mapping
from datetime import timedelta

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.evidence import (
    NO_DIFFERENCE,
    Difference,
    Evidence,
    Look,
    Standing,
    difference_between,
)
from dr_wandb.core.contract.listing import TERMINAL_STATES, HistoryCounts, RunListing
from dr_wandb.core.contract.normalize import instant
from dr_wandb.core.contract.records import SCHEMA_VERSION, Record
from dr_wandb.core.contract.request import EVERYTHING, ExportMode, ExportRequest, HistorySelection
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.scope import RunScope

FIRST_SOURCE = "api"
"""The kind of source of states that do not name it: those of dr-wandb 3.0.3."""

SETTLING_TIME = timedelta(hours=24)
"""How long a complete run's last heartbeat must be past before it is not looked at again."""


class ByteRange(Record, frozen=True, kw_only=True):
    """A run of bytes in a file of the export: `rows` lines, and the digest of the bytes."""

    offset: int
    length: int
    rows: int
    digest: str

    @property
    def end(self) -> int:
        """Return the offset of the first byte after it."""
        return self.offset + self.length


class HistoryPosition(Record, frozen=True, kw_only=True):
    """How far one run's history was received, under one selection.

    `rows` counts the rows received of the whole run, before selection; `boundary_rows` of them are
    those of `last_step`, at which a tail begins. `without_step` have none, so that no tail brings
    them again; None in states of earlier builds. `listed` is what the listing said of them then.
    `short_by` is how many lines it listed that never came, and are not waited for any more.
    `whole` is false in positions of early builds that read a part of a run.
    """

    selection: HistorySelection = EVERYTHING
    rows: int = 0
    whole: bool = True
    last_step: int | None = None
    last_timestamp: str | None = None
    boundary_rows: int = 0
    without_step: int | None = None
    listed: HistoryCounts = HistoryCounts()
    short_by: int = 0

    def difference(self, counts: HistoryCounts) -> Difference:
        """Return how a listing differs from these rows."""
        return difference_between(counts, self.rows, self.last_step, self.last_timestamp)


class RunTracking(Record, frozen=True, kw_only=True):
    """What is known of one run. The first five fields are those of 3.0.3.

    `last_history_step` repeats the position's last step. `seen` is what the last listing said,
    `fingerprint` what it said when the stored snapshot was made. `snapshot` and `history` are its
    bytes in the data files. `row_shape` is the version of the shape in which its rows were
    received, `fields_to_read` are those that its snapshot was made without, as they did not exist.
    `source` is the kind of source it was last seen by, `rows_from` that which its rows came from,
    "" for the same. `position` is the last proof; `held` describes the rows that are in the file,
    if they are others than it says. `evidence` and `look` are what is known beyond it.
    `refused`: the last `failure` is that W&B refuses its history; all else was read.
    `metadata_failure` is why its metadata file did not come; what is held of it stays.
    `unread` is what of its listing did not read. `of_earlier_run`: the rows in the file are of
    another run that had the id before. `missing_since` and `out_of_scope_since` are the syncs that
    first found it gone upstream, or outside of the scope.
    """

    run_id: str
    created_at: str | None = None
    updated_at: str | None = None
    run_state: str | None = None
    last_history_step: int | None = None
    seen: RunListing | None = None
    fingerprint: str = ""
    position: HistoryPosition | None = None
    held: HistoryPosition | None = None
    evidence: Evidence | None = None
    look: Look | None = None
    metadata_included: bool = False
    snapshot: ByteRange | None = None
    history: ByteRange | None = None
    row_shape: int = 1
    fields_to_read: tuple[str, ...] = ()
    source: str = ""
    rows_from: str = ""
    of_earlier_run: bool = False
    failure: str | None = None
    refused: bool = False
    unread: str | None = None
    metadata_failure: str | None = None
    missing_since: str | None = None
    out_of_scope_since: str | None = None

    @property
    def terminal(self) -> bool:
        """Say whether the run had ended when it was last seen."""
        return self.run_state in TERMINAL_STATES

    @property
    def never_held(self) -> bool:
        """Say whether nothing of the run is held, since it failed whenever it was listed."""
        return self.failure is not None and self.snapshot is None and self.history is None

    @property
    def rows_incomplete(self) -> bool:
        """Say whether rows are held whose shape could not be had back from what was stored."""
        holds = self.history is not None or (self.position is not None and self.position.rows > 0)
        return self.row_shape < ROW_SHAPE and holds

    @property
    def rows_source(self) -> str:
        """Return the kind of source that the rows in the file came from."""
        return self.rows_from or self.source or FIRST_SOURCE

    @property
    def rows(self) -> HistoryPosition | None:
        """Describe the rows that are in the file, None if that is not known."""
        return self.held or self.position

    @property
    def standing(self) -> Standing:
        """Return what is known of the rows that are in the file."""
        return Standing.PROVEN if self.evidence is None else self.evidence.standing

    @property
    def short_by(self) -> int | None:
        """Return how many lines are listed that did not come, None if the run is not short."""
        evidence = self.evidence
        if evidence is not None and evidence.standing in (Standing.SHORT, Standing.ACCEPTED):
            return max(0, evidence.difference or 0)
        short_by = self.position.short_by if self.position is not None else 0
        return short_by if short_by > 0 else None

    def accounts_for(self, counts: HistoryCounts) -> bool:
        """Say whether a listing with these counts has nothing that was not received.

        A difference that was confirmed says nothing new as long as it stays the same.
        """
        position = self.position
        if position is None or not self.standing.stands:
            return False
        if counts == position.listed or not position.whole:
            return counts == position.listed
        difference = position.difference(counts)
        told = counts.line_count is not None and counts.last_step == position.last_step
        if told and difference == NO_DIFFERENCE:
            return not position.short_by  # a count that came true is proven again
        look = self.look
        return look is not None and bool(look.confirmed_at) and look.difference == difference

    def look_due(self, counts: HistoryCounts, now: str | None) -> bool:
        """Say whether rows that a listing differs from, for no reason, are to be read once more."""
        if self.position is None or now is None:
            return False
        difference = self.position.difference(counts)
        if difference == NO_DIFFERENCE:
            return False
        return self.look is None or self.look.difference != difference or self.look.due(now)

    def complete(self, request: ExportRequest) -> bool:
        """Say whether all that the request asks of this run was read after the run had ended."""
        if not self.terminal or self.seen is None or (self.failure or self.unread):
            return False
        if self.metadata_included != request.include_metadata or self.snapshot is None:
            return False
        if request.include_metadata and self.metadata_failure is not None:
            return False
        if self.fingerprint != self.seen.fingerprint:  # an older snapshot was put back
            return False
        if self.fields_to_read:
            return False
        if request.mode == ExportMode.METADATA:
            return True
        position = self.position
        return (
            position is not None
            and not self.rows_incomplete
            and position.selection == request.selection
            and self.accounts_for(self.seen.counts)
        )

    def _looked_at(self, counts: HistoryCounts) -> bool:
        if self.position is None or self.position.difference(counts) == NO_DIFFERENCE:
            return True
        return self.look is not None and self.look.ended

    def settled(self, request: ExportRequest, last_sync_at: str | None) -> bool:
        """Say whether an incremental sync need not look at this run again.

        It is complete, its last heartbeat was more than 24 hours old at the last sync, and the last
        look at any difference between its rows and its listing is over.
        """
        if not self.complete(request) or self.seen is None:
            return False
        if request.mode == ExportMode.HISTORY and not self._looked_at(self.seen.counts):
            return False
        heartbeat = instant(self.seen.heartbeat_at or self.seen.created_at)
        synced = instant(last_sync_at)
        return heartbeat is not None and synced is not None and synced - heartbeat > SETTLING_TIME


class ExportState(Record, frozen=True, kw_only=True):
    """Everything that the next sync builds on. The first seven fields are those of 3.0.3.

    `row_shape` and `snapshot_fields` say what the stored records look like: the version of the
    shape of rows (see row_shape.py), and the fields of a run that its writer knew.

    `runs` is keyed by run id. `runs_file` and `history_file` are the SHA-256 of the data files that
    the byte ranges in `runs` speak of; "" where there is no such file. `changes_length` is how many
    bytes of `changes.jsonl` are ours. `scope` is that of the last sync.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    entity: str
    project: str
    last_exported_at: str | None = None
    max_created_at: str | None = None
    runs: dict[str, RunTracking] = msgspec.field(default_factory=dict)
    runs_file: str = ""
    history_file: str = ""
    changes_length: int = 0
    scope: RunScope | None = None
    row_shape: int = 1
    snapshot_fields: tuple[str, ...] = ()

    @property
    def present(self) -> Mapping[str, RunTracking]:
        """Return the tracked runs that are not known to be gone upstream."""
        return {run_id: run for run_id, run in self.runs.items() if run.missing_since is None}


def with_evidence(tracking: RunTracking) -> RunTracking:
    """Return the tracking that a build before schema version 4 kept, as this one keeps it.

    There, `short_by` alone said that a run was accepted as short; below 0, that more came.
    """
    position = tracking.position
    if position is None or not position.short_by:
        return tracking
    if position.short_by < 0:
        return replace(tracking, position=replace(position, short_by=0))
    accepted = Evidence(
        standing=Standing.ACCEPTED,
        created_at=tracking.created_at,
        selection=position.selection,
        difference=position.short_by,
    )
    return replace(tracking, evidence=accepted)


def latest(times: Iterable[str | None]) -> str | None:
    """Return the latest of several times, compared as instants; None where none is one."""
    known = [(moment, text) for text in times if text and (moment := instant(text))]
    return max(known)[1] if known else None


def with_fields_to_read(
    tracking: RunTracking, missing: tuple[str, ...], fingerprint: str
) -> RunTracking:
    """Return the tracking of a run whose snapshot got fields that it was made without.

    fingerprint: that of the snapshot as it is now. It takes the place of the one that was known.
    """
    seen = tracking.seen
    if seen is not None and seen.fingerprint == tracking.fingerprint:
        seen = replace(seen, fingerprint=fingerprint)
    mark = fingerprint if tracking.fingerprint else ""
    fields = tuple(sorted({*tracking.fields_to_read, *missing}))
    return replace(tracking, fields_to_read=fields, fingerprint=mark, seen=seen)
