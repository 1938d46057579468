"""Which snapshots are written again, and what a sync knows of the stored ones.

Rules
- A snapshot that was read again and is the same keeps its bytes, `exported_at` included.
- A run that failed keeps its old snapshot; a new one keeps the snapshot that it has.
- A stored snapshot that differs in any member from the one that the state knows is compared with
  nothing.
"""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from dr_wandb.core.contract.codec import digest, fingerprint
from dr_wandb.core.contract.listing import list_run
from dr_wandb.core.contract.records import RunSnapshot, WandbRun
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.contract.values import json_safe
from dr_wandb.core.sync.advance import RunOutcome


def snapshot_differs(
    tracking: RunTracking,
    outcome: RunOutcome,
    *,
    metadata_read: bool,
    include_metadata: bool,
) -> bool:
    """Say whether the snapshot of a listed run may differ from the stored one.

    tracking: after its sync. metadata_read: its metadata file came, or is known not to exist.
    include_metadata: the file was requested.
    """
    if tracking.snapshot is None:
        return True
    if tracking.seen != outcome.listing:  # it was made again, and nothing of it is held
        return False
    if outcome.failure is not None and not outcome.refused:
        return False
    if metadata_read or tracking.fingerprint != outcome.listing.fingerprint:
        return True
    wanted = tracking.metadata_included != include_metadata
    return wanted and outcome.metadata_failure is None


def with_metadata(
    run: WandbRun, stored: RunSnapshot | None, read: Mapping[str, Any] | None, *, came: bool
) -> WandbRun:
    """Return a listed run with its metadata: the read one if it came, else the stored one."""
    held = stored.run.metadata if stored is not None else None
    content = read if came else held
    return replace(run, metadata=None if content is None else json_safe(content))


def renewed(stored: RunSnapshot | None, run: WandbRun, *, known: bool, at: str) -> RunSnapshot:
    """Return the snapshot of a run: the stored one if it says the same.

    known: the stored one is the one that the state knows.
    """
    if stored is not None and known and fingerprint(stored.run) == fingerprint(run):
        return stored
    return RunSnapshot(run=run, exported_at=at)


def track_snapshot(known: RunTracking | None, snapshot: RunSnapshot, encoded: bytes) -> RunTracking:
    """Return the tracking of a run whose stored snapshot was found. encoded: its line."""
    run = snapshot.run
    byte_range = known.snapshot if known is not None else None
    altered = byte_range is not None and digest(encoded) != byte_range.digest
    tracking = known or RunTracking(run_id=run.run_id)
    mark = fingerprint(replace(run, metadata=None))
    return replace(
        tracking,
        created_at=run.created_at,
        run_state=run.state,
        seen=tracking.seen or list_run(run, mark),
        fingerprint="" if altered else mark,
        metadata_included=not altered and (run.metadata is not None or tracking.metadata_included),
    )
