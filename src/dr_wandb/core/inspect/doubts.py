"""Why a run is not fully exported, or not exported: a kind for programs, a reason for people.

Rules
- Kinds are part of the public contract (docs/proof.md); the wording of reasons may change.
- If the reason is a failure, its own kind is in `failures` or `failure`.
"""

from enum import StrEnum

from dr_wandb.core.contract.records import Record


class DoubtKind(StrEnum):
    """Why the history of a run is not, or may not be, fully exported."""

    NOT_SOUND = "not_sound"
    NOT_LISTED = "not_listed"
    LISTING_UNREAD = "listing_unread"
    NEVER_SYNCED = "never_synced"
    ANOTHER_RUN = "another_run"
    CREATION_UNKNOWN = "creation_unknown"
    FAILED = "failed"
    UNREAD = "unread"
    METADATA_FAILED = "metadata_failed"
    ALIVE = "alive"
    SNAPSHOT_OUTDATED = "snapshot_outdated"
    METADATA_ONLY = "metadata_only"
    NEVER_READ = "never_read"
    EARLIER_SHAPE = "earlier_shape"
    WAITING = "waiting"
    LAST_READ_FAILED = "last_read_failed"
    SHORT = "short"
    ACCEPTED = "accepted"
    CAPPED = "capped"
    SAMPLED = "sampled"
    SELECTION = "selection"
    NOT_WHOLE = "not_whole"
    UNCOUNTED = "uncounted"
    BEHIND = "behind"
    SHRANK = "shrank"
    CONTENTS = "contents"
    ROWS_MISSING = "rows_missing"
    LAST_STEP = "last_step"
    LAST_TIME_UNKNOWN = "last_time_unknown"
    LAST_TIME = "last_time"
    GONE = "gone"


class Doubt(Record, frozen=True, kw_only=True):
    """One reason why a run is not fully exported, or that it is gone upstream."""

    kind: DoubtKind
    reason: str


class AbsenceKind(StrEnum):
    """Why a run that W&B lists is not in an export."""

    FAILED = "failed"
    LISTING_UNREAD = "listing_unread"
    OUT_OF_SCOPE = "out_of_scope"
    NEW_OR_FILTERED = "new_or_filtered"
    NEW = "new"
