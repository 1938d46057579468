"""The result of each listed run, from its fetch to the assembly of the files."""

from collections.abc import Iterator, Mapping

import msgspec
from msgspec.structs import replace
from returns.pipeline import is_successful
from returns.result import Failure, Success

from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.unproven_runs import FailedRun, failed_run
from dr_wandb.core.sync.advance import PartOutcome, RunOutcome
from dr_wandb.shell.sync.fetch_job import Fetched, FetchResult, Metadata, PartResult
from dr_wandb.shell.sync.project_listing import ProjectListing


class RunResult(Record, frozen=True, kw_only=True):
    """The result of a sync for one listed run. `fetched`: the rows that came, by dataset."""

    outcome: RunOutcome
    fetched: Mapping[str, Fetched] = msgspec.field(default_factory=dict)
    metadata: Metadata | None = None

    @property
    def rows_added(self) -> int:
        """Return how many rows came that were not held before."""
        return sum(part.added for part in self.fetched.values())

    @property
    def failed(self) -> bool:
        """Say whether something could not be read that W&B does not refuse to give."""
        return self.outcome.failure is not None and not self.outcome.refused

    @property
    def short(self) -> bool:
        """Say whether a part brought fewer rows than are listed."""
        parts = self.outcome.parts.values()
        return any(part.judged is not None and part.judged.short is not None for part in parts)


def unfetched(listing: ProjectListing) -> dict[str, RunResult]:
    """Return the results of a sync that fetches nothing beyond the listing."""
    return {
        run.run_id: RunResult(
            outcome=RunOutcome(
                listing=run,
                unread=listing.unread.get(run.run_id),
                outside=run.run_id in listing.outside,
            )
        )
        for run in listing.runs
    }


def result_of(outcome: RunOutcome, fetched: FetchResult) -> RunResult:
    """Return the result of a run after its fetch."""
    metadata = fetched.metadata
    if metadata is not None:
        outcome = replace(outcome, metadata_failure=metadata.failure)
    parts = {dataset: _outcome_of(part) for dataset, part in fetched.parts.items()}
    return RunResult(
        outcome=replace(outcome, parts=parts),
        fetched={
            dataset: part.unwrap() for dataset, part in fetched.parts.items() if is_successful(part)
        },
        metadata=metadata,
    )


def _outcome_of(part: PartResult) -> PartOutcome:
    match part:
        case Success(fetched):
            return PartOutcome(judged=fetched.judged)
        case Failure(failure):
            return PartOutcome(failure=failure.failure, evidence=failure.evidence)
    raise AssertionError("a result is a success or a failure")


def failures_in(results: Mapping[str, RunResult]) -> Iterator[FailedRun]:
    """Yield the runs that could not be fetched, except those that were refused."""
    for run_id, result in results.items():
        if result.outcome.failure is not None and result.failed:
            yield failed_run(run_id, result.outcome.failure)
