"""The result of listing a project."""

from collections.abc import Mapping

import msgspec

from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.core.contract.unproven_runs import FailedRun


class ProjectListing(Record, frozen=True, kw_only=True):
    """The result of listing a project.

    `asked` are the tracked runs that would have been listed if they existed; `outside` are listed
    runs that are not in scope. `unread`: why a part of a run does not read, by id. `unlisted` is
    how many runs the source counts but did not list in any attempt. `unmatched` describes what was
    asked for and no run has. `pages` is how many pages were read, each of which is a request if the
    source asks a server. `mark` identifies the whole listing, "" if there is no such mark.
    """

    runs: tuple[RunListing, ...]
    failures: tuple[FailedRun, ...] = ()
    unread: Mapping[str, RunFailure] = msgspec.field(default_factory=dict)
    asked: frozenset[str] = frozenset()
    outside: frozenset[str] = frozenset()
    unlisted: int = 0
    unmatched: tuple[str, ...] = ()
    pages: int = 0
    mark: str = ""

    @property
    def lasting_mark(self) -> str:
        """Return the mark by which a later sync may recognize this listing, "" if a part is bad."""
        return "" if self.failures or self.unread or self.unlisted else self.mark
