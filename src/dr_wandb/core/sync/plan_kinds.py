"""Why a sync lists, plans and reads what it does, as kinds for programs.

Rules
- Each kind has a reason for people beside it. Reasons may be reworded; kinds stay.
- docs/planning.md lists them all.
"""

from enum import StrEnum


class ListingKind(StrEnum):
    """Why these listing queries are sent."""

    RECONCILE = "reconcile"
    FIRST = "first"
    COMPARE = "compare"
    SCOPE = "scope"
    MOVED = "moved"
    PRUNE = "prune"
    LINKS = "links"
    LATELY = "lately"


class PlanKind(StrEnum):
    """Why this happens to a run. If several hold, the first one is named."""

    ANOTHER_RUN = "another_run"
    NOT_EXPORTED = "not_exported"
    RECONCILE = "reconcile"
    FAILED = "failed"
    UNREAD = "unread"
    RETURNED = "returned"
    NO_SNAPSHOT = "no_snapshot"
    CHANGED = "changed"
    METADATA_UNWANTED = "metadata_unwanted"
    ROWS = "rows"
    METADATA_WANTED = "metadata_wanted"
    UNCHANGED = "unchanged"
    SETTLED = "settled"
    GONE = "gone"


class FetchKind(StrEnum):
    """Why rows are read, for programs. The names of kinds never change.

    The last four belong to a whole read that follows a tail in the same sync: no plan has them.
    """

    RECONCILE = "reconcile"
    FIRST = "first"
    SELECTION = "selection"
    SHAPE = "shape"
    AGAIN = "again"
    TAIL = "tail"
    UNCOUNTED = "uncounted"
    SHRANK = "shrank"
    STEPLESS = "stepless"
    REWOUND = "rewound"
    REPLACED = "replaced"
    CONTENTS = "contents"
    SILENT = "silent"
    LOOK = "look"
    NO_POSITION = "no_position"
    TAIL_REWRITTEN = "tail_rewritten"
    TAIL_SHORT = "tail_short"
    STALLED = "stalled"
