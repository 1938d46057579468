"""What a judge can say of an answer: which rows are held from now on, and what is known of them."""

from enum import StrEnum

from dr_wandb.core.contract.evidence import Evidence, Look, Standing
from dr_wandb.core.contract.part import Position
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.core.contract.unproven_runs import ShortKind
from dr_wandb.core.sync.plan_kinds import FetchKind


class Keep(StrEnum):
    """Which rows of a run are in the file after a read."""

    RECEIVED = "received"
    RECEIVED_AND_BELOW = "received_and_below"
    BOTH = "both"
    HELD = "held"


class Judged(Record, tag_field="verdict", tag="judged", frozen=True, kw_only=True):
    """The rows that are held from now on, and what is known of them. `reason` is for people.

    `position` is the last proof, `held` describes the rows in the file if they differ from it.
    `short` is set if the run is short, and not accepted as such.
    """

    keep: Keep
    position: Position | None
    held: Position | None = None
    evidence: Evidence
    look: Look | None = None
    short: ShortKind | None = None
    reason: str = ""

    @property
    def standing(self) -> Standing:
        """Return what is known of the rows now."""
        return self.evidence.standing


class Rejected(Record, tag_field="verdict", tag="rejected", frozen=True, kw_only=True):
    """The received and the held rows contradict each other: the held ones stay."""

    failure: RunFailure
    evidence: Evidence


class ReadWhole(Record, tag_field="verdict", tag="read_whole", frozen=True, kw_only=True):
    """The tail cannot be judged by itself: read the whole run."""

    kind: FetchKind
    reason: str


Verdict = Judged | Rejected | ReadWhole
