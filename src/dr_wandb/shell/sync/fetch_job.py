"""The job and the result of a fetch, one run at a time."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from returns.result import Result

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.evidence import Evidence
from dr_wandb.core.contract.fetch_window import WHOLE_RUN, FetchWindow
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.part import UNKNOWN, PartTracking
from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.run_failure import RunFailure
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.sync.plan import RunPlan
from dr_wandb.core.sync.verdict import Judged, Keep
from dr_wandb.shell.sources import WORKERS, Source, tails_at_once
from dr_wandb.shell.sync.segments import Segment


class FetchJob(Record, frozen=True, kw_only=True):
    """One run that needs a request: its plan, its listing, and its tracking before the sync."""

    plan: RunPlan
    listing: RunListing
    before: RunTracking | None

    def part(self, dataset: str) -> PartTracking:
        """Return the tracking of the run's rows of one dataset."""
        return UNKNOWN if self.before is None else self.before.part(dataset)


class FetchFailure(Record, frozen=True, kw_only=True):
    """Why a part of a run could not be fetched. `evidence` is set if answers were judged."""

    failure: RunFailure
    evidence: Evidence | None = None


class Metadata(Record, frozen=True, kw_only=True):
    """The result of reading the metadata file of a run: its `content`, or the failure.

    `content` is None if the run has no such file.
    """

    content: Mapping[str, Any] | None = None
    failure: RunFailure | None = None

    @property
    def read(self) -> bool:
        """Say whether reading succeeded."""
        return self.failure is None


class Fetched(Record, frozen=True, kw_only=True):
    """The rows of `window` that the fetch of one run brought, as far as `selection` admits them.

    `judged` says which of them, and of the stored rows, are to be held. `added` is how many of
    them were not held before.
    """

    segment: Segment | None = None
    window: FetchWindow = WHOLE_RUN
    selection: HistorySelection = EVERYTHING
    judged: Judged | None = None
    added: int = 0

    @property
    def keeps_rows(self) -> bool:
        """Say whether any of the rows are to be held."""
        return self.judged is not None and self.judged.keep != Keep.HELD


PartResult = Result[Fetched, FetchFailure]


class FetchResult(Record, frozen=True, kw_only=True):
    """The result of fetching one run.

    `parts`: its rows, by dataset, for the datasets in the plan. `metadata` is None if the plan did
    not include it.
    """

    parts: Mapping[str, PartResult] = msgspec.field(default_factory=dict)
    metadata: Metadata | None = None


def lanes_for(
    source: Source, jobs: Sequence[FetchJob], workers: int
) -> list[tuple[list[FetchJob], int]]:
    """Return the jobs with the number of threads for them: tails apart, if they get more.

    Tails get no more if the caller asks for fewer threads than the default.
    """
    more = tails_at_once(source)
    if more <= workers or workers < WORKERS:
        return [(list(jobs), workers)]
    lanes: tuple[list[FetchJob], list[FetchJob]] = ([], [])
    for job in jobs:
        fetch = job.plan.fetches.get(HISTORY)
        lanes[fetch is None or not fetch.tail].append(job)
    return [(lanes[False], more), (lanes[True], workers)]
