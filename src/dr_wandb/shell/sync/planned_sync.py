"""One sync after planning: its fetch jobs, and how results advance the state."""

from collections.abc import Mapping
from typing import NamedTuple

from dr_wandb.core.contract.known_runs import ChangedRuns
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.sync.advance import advance_run, advance_runs
from dr_wandb.core.sync.formats import formats_after
from dr_wandb.core.sync.plan import SyncPlan
from dr_wandb.shell.store.reading import StoredExport
from dr_wandb.shell.sync.fetch_job import FetchJob
from dr_wandb.shell.sync.project_listing import ProjectListing
from dr_wandb.shell.sync.results import RunResult


class PlannedSync(NamedTuple):
    """Everything that is decided before the first fetch."""

    request: ExportRequest
    stored: StoredExport
    listing: ProjectListing
    plan: SyncPlan
    source: str
    exported_at: str

    @property
    def formats(self) -> frozenset[str]:
        """Return the formats in which the history is held after the sync."""
        return formats_after(self.request, self.stored.manifest)

    def jobs(self, results: Mapping[str, RunResult]) -> list[FetchJob]:
        """Return the fetch jobs, in the order of the plan."""
        return [
            FetchJob(
                plan=run,
                listing=results[run.run_id].outcome.listing,
                before=self.stored.state.runs.get(run.run_id),
            )
            for run in self.plan.runs
            if not run.idle
        ]

    def advance(self, results: Mapping[str, RunResult]) -> ChangedRuns:
        """Return the tracking of all runs after these results."""
        return advance_runs(
            self.request,
            self.plan,
            self.stored.state.runs,
            {run_id: result.outcome for run_id, result in results.items()},
            broken=self.listing.failures,
            source=self.source,
            exported_at=self.exported_at,
        )

    def advance_one(self, result: RunResult) -> RunTracking:
        """Return the tracking of one run after its result."""
        before = self.stored.state.runs.get(result.outcome.listing.run_id)
        return advance_run(self.request, before, result.outcome, self.source, self.exported_at)
