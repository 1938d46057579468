"""List a project and plan the sync of its runs.

Rules
- If the source's listing is known to be unchanged, and nothing is to be done about it, its runs are
  not looked at.
- A listing that is not to be believed ends the sync before anything is fetched.
"""

from msgspec.structs import replace

from dr_wandb.core.contract.failures import DrWandbError, Failure
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.wording import count
from dr_wandb.core.sync.describe import describe_run
from dr_wandb.core.sync.estimate import OPENING
from dr_wandb.core.sync.formats import format_problems
from dr_wandb.core.sync.listing_plan import check_vanished, listed_as_before
from dr_wandb.core.sync.plan import RunAction, SyncPlan, plan_sync
from dr_wandb.core.sync.planned_formats import planned_formats
from dr_wandb.shell.progress import DECISION, LOGGER, ProgressCallback
from dr_wandb.shell.sources import Source, listing_mark
from dr_wandb.shell.sources.datasets import require_datasets
from dr_wandb.shell.store.reading import StoredExport
from dr_wandb.shell.sync.listed_runs import ListedRunsFile
from dr_wandb.shell.sync.listing import Pause, list_project
from dr_wandb.shell.sync.project_listing import ProjectListing
from dr_wandb.shell.sync.stored_runs import StoredRuns


class Planning:
    """Lists the runs for a request, and plans its sync on what is stored.

    wait: pauses before a further attempt. progress: called after each page of the listing.
    """

    def __init__(
        self,
        request: ExportRequest,
        stored: StoredExport,
        *,
        wait: Pause,
        progress: ProgressCallback,
    ) -> None:
        self._request = request
        self._stored = stored
        self._wait = wait
        self._progress = progress

    def list_and_plan(
        self, source: Source, listed: ListedRunsFile, now: str
    ) -> tuple[ProjectListing, SyncPlan]:
        """Return the listing and the plan. `listed` gets the runs that are listed."""
        require_datasets(source, (*self._request.datasets, *self._request.project_datasets))
        for notice in self._stored.notices:
            LOGGER.warning("%s", notice)
        as_before = self._as_before(source)
        if as_before is not None:
            plan = self._plan(as_before, source, now)
            if plan.idle:
                self._say_listed(as_before)
                return as_before, plan
        listing = self._list(source, listed)
        self._say_listed(listing)
        return listing, self._plan(listing, source, now)

    def _as_before(self, source: Source) -> ProjectListing | None:
        """Return the listing of the last sync if the source says that it would be the same."""
        mark, state = listing_mark(source), self._stored.state
        as_before = listed_as_before(self._request, state, source.kind, mark)
        if as_before is None or self._stored.copied:
            return None
        outside = (run for run, known in state.runs.items() if known.out_of_scope_since)
        return ProjectListing(
            runs=as_before, asked=frozenset(state.runs), outside=frozenset(outside), mark=mark
        )

    def _list(self, source: Source, listed: ListedRunsFile) -> ProjectListing:
        state = self._stored.state

        def find_byte_range(run_id: str) -> ByteRange | None:
            run = state.runs.get(run_id)
            return None if run is None else run.snapshot

        with StoredRuns(self._stored.runs_path, find_byte_range) as runs:
            listing = list_project(
                source,
                self._request,
                state,
                listed,
                runs.get,
                wait=self._wait,
                progress=self._progress,
            )
        return replace(listing, mark=listing_mark(source))

    def _plan(self, listing: ProjectListing, source: Source, now: str) -> SyncPlan:
        """Plan a sync, unless the listing is not to be believed."""
        plan = plan_sync(
            self._request,
            self._stored.state,
            listing.runs,
            asked=listing.asked,
            outside=listing.outside,
            failures=listing.failures,
            source=source.kind,
            now=now,
            listed_with=OPENING + listing.pages,
        )
        require(check_vanished(self._request, self._stored.state, plan))
        return replace(plan, formats=planned_formats(self._request, self._stored.manifest))

    def _say_listed(self, listing: ProjectListing) -> None:
        LOGGER.info(
            "Listed %s of %s/%s for %s",
            count(len(listing.runs), "run"),
            self._request.entity,
            self._request.project,
            self._request.name,
        )
        for line in listing.unmatched:
            LOGGER.warning("%s", line)
        if listing.unlisted:
            unlisted = count(listing.unlisted, "run")
            LOGGER.warning("counted, but not listed: %s", unlisted)


def say_planned(plan: SyncPlan) -> None:
    """Log what is done with each run that is not used as it is, and why."""
    if LOGGER.isEnabledFor(DECISION):
        for run in plan.runs:
            if run.action != RunAction.REUSE:
                LOGGER.log(DECISION, "%s %s", run.action, describe_run(run))


def require_formats(request: ExportRequest, manifest: ExportManifest | None) -> None:
    """Raise InvalidRequestError if the formats of a request do not fit the export."""
    if problems := [*format_problems(request, manifest)]:
        raise InvalidRequestError(problems)


def require(problem: Failure | None) -> None:
    """Raise DrWandbError if a check has found a problem."""
    if problem is not None:
        raise DrWandbError(problem)
