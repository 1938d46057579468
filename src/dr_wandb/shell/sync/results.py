"""What became of each listed run: from fetches to what the assembly needs."""

from collections.abc import Iterator, Mapping

from msgspec.structs import replace
from returns.pipeline import is_successful

from dr_wandb.core.contract.failures import FailedRun
from dr_wandb.core.contract.records import Record
from dr_wandb.core.sync.advance import RunOutcome
from dr_wandb.shell.sync.fetch_job import Fetched, FetchResult, Metadata
from dr_wandb.shell.sync.project_listing import ProjectListing


class RunResult(Record, frozen=True, kw_only=True):
    """What a sync found out about one listed run."""

    outcome: RunOutcome
    fetched: Fetched | None = None
    metadata: Metadata | None = None


def unfetched(listing: ProjectListing) -> dict[str, RunResult]:
    """Return the results of a sync that asks for nothing beyond the listing."""
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
    """Return the result of a run once it was fetched."""
    metadata = fetched.metadata
    if metadata is not None:
        outcome = replace(outcome, metadata_failure=metadata.failure)
    if fetched.history is None:
        return RunResult(outcome=outcome, metadata=metadata)
    if not is_successful(fetched.history):
        failure = fetched.history.failure()
        failed = replace(
            outcome,
            failure=failure.reason,
            evidence=failure.evidence,
            refused=failure.refused,
        )
        return RunResult(outcome=failed, metadata=metadata)
    part = fetched.history.unwrap()
    return RunResult(outcome=replace(outcome, judged=part.judged), fetched=part, metadata=metadata)


def failures_in(results: Mapping[str, RunResult]) -> Iterator[FailedRun]:
    """Return the runs that could not be fetched, but for those that were refused."""
    for run_id, result in results.items():
        if result.outcome.failure is not None and not result.outcome.refused:
            yield FailedRun(run_id=run_id, reason=result.outcome.failure)
