"""Why something of one run could not be read: a kind for programs, a reason for people.

Rules
- The code that sees the failure chooses the kind, and it stays the same from there on: in the
  result of the fetch, the state, the plan, the summary, `status` and `verify`.
- Kinds are part of the public contract (docs/errors.md); the wording of reasons may change.
- Each kind is made somewhere. `UNKNOWN` is for failures that earlier builds recorded without a
  kind, and for a kind of a later build.
"""

from enum import StrEnum

from dr_wandb.core.contract.records import Record


class RunFailureKind(StrEnum):
    """What kept something of a run from being read."""

    REFUSED = "refused"
    NOT_FOUND = "not_found"
    THROTTLED = "throttled"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    SERVER_ERROR = "server_error"
    UNUSABLE_ANSWER = "unusable_answer"
    UNREADABLE = "unreadable"
    FILES_MISSING = "files_missing"
    CONFLICT = "conflict"
    OTHER_SOURCE = "other_source"
    INTERRUPTED = "interrupted"
    UNEXPECTED = "unexpected"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> "RunFailureKind":
        return cls.UNKNOWN


class RunFailure(Record, frozen=True, kw_only=True):
    """Why something of one run could not be read."""

    kind: RunFailureKind
    reason: str

    @property
    def refused(self) -> bool:
        """Say whether the source has it, but refuses to give it to this user."""
        return self.kind == RunFailureKind.REFUSED
