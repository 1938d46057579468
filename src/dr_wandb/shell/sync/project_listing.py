"""What the listing of a sync brought."""

from collections.abc import Mapping

import msgspec

from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.core.contract.unproven_runs import FailedRun


class ProjectListing(Record, frozen=True, kw_only=True):
    """What the listing of a sync brought.

    `asked` are the tracked runs that would have been listed if they were there; `outside` are those
    that are listed but not in scope. `unread`: what does not read of some of these runs, by id.
    `unlisted` is how many runs the source counts but did not list, however often it was asked.
    `mark` stands for all that was listed, "" if there is no such mark.
    """

    runs: tuple[RunListing, ...]
    failures: tuple[FailedRun, ...] = ()
    unread: Mapping[str, RunFailure] = msgspec.field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    outside: frozenset[str] = frozenset()
    unlisted: int = 0
    mark: str = ""

    @property
    def lasting_mark(self) -> str:
        """Return the mark by which a later sync may know this listing: if all of it reads."""
        return "" if self.failures or self.unread or self.unlisted else self.mark
