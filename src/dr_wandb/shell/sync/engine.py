"""One sync, from reading the export to the last rename. Each step is a line of `export`."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from dr_wandb.core.contract.dataset import DATASETS
from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.normalize import normalize_time
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.unproven_runs import FailedRun
from dr_wandb.core.contract.values import clean_text
from dr_wandb.core.contract.wording import count
from dr_wandb.core.sync.advance import RunOutcome, count_deselected
from dr_wandb.core.sync.describe import describe_accepted
from dr_wandb.core.sync.listing_plan import check_vanished, listed_as_before
from dr_wandb.core.sync.plan import SyncPlan, plan_sync
from dr_wandb.core.sync.summary import ExportSummary, summarize
from dr_wandb.shell.background import in_lanes
from dr_wandb.shell.executor import SharedExecutor
from dr_wandb.shell.progress import LOGGER, Progress, ProgressCallback, say_nothing
from dr_wandb.shell.sources import (
    WORKERS,
    EarlyRows,
    Source,
    lend,
    listing_mark,
    require_datasets,
)
from dr_wandb.shell.sources.opening import SourceOpener, open_api, opened, recorded, require_apart
from dr_wandb.shell.store.disk_errors import disk_refusals
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.lock import locked
from dr_wandb.shell.store.reading import StoredExport, read_export
from dr_wandb.shell.store.staging import finish_interrupted, staging
from dr_wandb.shell.sync.assemble import Assembled, Assembler
from dr_wandb.shell.sync.dataset_file import DatasetFile
from dr_wandb.shell.sync.fetch import Fetcher, processes_for
from dr_wandb.shell.sync.fetch_job import lanes_for
from dr_wandb.shell.sync.finish import Finished, finish
from dr_wandb.shell.sync.listed_runs import ListedRunsFile
from dr_wandb.shell.sync.listing import Pause, list_project, pause
from dr_wandb.shell.sync.planned_sync import PlannedSync
from dr_wandb.shell.sync.project_listing import ProjectListing
from dr_wandb.shell.sync.reshape import bring_into_shape
from dr_wandb.shell.sync.results import RunResult, failures_in, result_of, unfetched
from dr_wandb.shell.sync.stored_parts import StoredParts
from dr_wandb.shell.sync.stored_runs import StoredRuns

Clock = Callable[[], datetime]

ROWS_DESELECTED = "%s rows leave the export: the selection no longer admits them"


def utc_now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


class ExportEngine:
    """Brings one export up to date.

    source: the source of the runs, or a function that opens it; the W&B API by default.
    clock: called once a sync; by default a recording's own time, else the present.
    progress: called after each run that needed a request.
    record: a folder to record the source's answers in; the source is closed at the end then.
    workers: how many runs are fetched at once; more for tails, if the source batches them.
    wait: pauses before a further attempt.
    executor: reads files of rows and writes segments, such as loky's, Dask's or one of MPI. Its
    workers need the same files at the same paths, and this package. It is not shut down here, and
    work that it does not do is done here. By default processes are started if that saves time.
    """

    def __init__(
        self,
        request: ExportRequest,
        *,
        source: Source | SourceOpener = open_api,
        clock: Clock | None = None,
        progress: ProgressCallback = say_nothing,
        record: Path | None = None,
        workers: int = WORKERS,
        wait: Pause = pause,
        executor: Executor | None = None,
    ) -> None:
        self.request = request
        self.store = ExportStore(name=request.name, data_root=request.data_root)
        self._source = source
        self._clock = clock
        self._progress = progress
        self._record = record
        self._workers = workers
        self._wait = wait
        self._executor = executor

    def export(self) -> ExportSummary:
        """Do one sync and return its summary, also if some runs failed.

        Raises DrWandbError if the sync could not be done; the export is then as it was before,
        and the fetched rows are kept for the next try.
        """
        folder = self.store.export_dir
        require_apart(folder, self._record)
        with disk_refusals(folder, exactly=True), locked(folder):
            finish_interrupted(folder)
            with (
                staging(folder) as scratch,
                ListedRunsFile(scratch) as listed,
                ExitStack() as files,
            ):
                stored = self._read(scratch)
                rows = {
                    dataset: files.enter_context(
                        DatasetFile(dataset, stored, self.request, scratch)
                    )
                    for dataset in DATASETS
                }
                early = self._early_rows(stored, scratch)
                with self._origin(scratch, early) as (origin, executor):
                    exported_at = self._now(origin)
                    with recorded(origin, self._record, self.request, exported_at) as source:
                        listing, plan = self._list_and_plan(source, stored, listed, exported_at)
                        sync = PlannedSync(
                            self.request, stored, listing, plan, source.kind, exported_at
                        )
                        results = self._fetch(source, executor, sync, rows, scratch)
                assembler = Assembler(
                    stored, self.request, listed, rows, scratch, exported_at=exported_at
                )
                assembled = assembler.assemble(sync.advance(results), results)
                self._warn(assembled, results)
                finished = finish(
                    self.store,
                    self.request,
                    stored,
                    assembled,
                    exported_at,
                    scratch,
                    listing_mark=listing.lasting_mark,
                )
        failures = [*listing.failures, *failures_in(results)]
        outcomes = [result.outcome for result in results.values()]
        return self._summarize(plan, listing, failures, outcomes, finished, exported_at)

    def plan(self) -> SyncPlan:
        """Return the plan of a sync, without writing anything."""
        folder = self.store.export_dir
        with disk_refusals(folder, exactly=True), TemporaryDirectory(prefix="dr-wandb-") as private:
            scratch = Path(private)
            stored = self._read(scratch)
            with (
                self._origin(scratch) as (source, _),
                ListedRunsFile(scratch) as listed,
            ):
                return self._list_and_plan(source, stored, listed, self._now(source))[1]

    @contextmanager
    def _origin(
        self, scratch: Path, early: EarlyRows | None = None
    ) -> Iterator[tuple[Source, SharedExecutor]]:
        """Open the source, and lend it the executor and a folder for rows."""
        with (
            opened(self._source, self.request, scratch) as source,
            closing(SharedExecutor(self._executor)) as executor,
        ):
            lend(source, executor, early)
            yield source, executor

    def _early_rows(self, stored: StoredExport, scratch: Path) -> EarlyRows | None:
        """Return the folder for rows that are written before the sync is planned, None for none.

        There is none while recording: a recording needs every answer of the source.
        """
        if self._record is not None or not self.request.takes_all_rows:
            return None
        return EarlyRows(scratch / "early", stored.state.runs.keys())

    def _read(self, scratch: Path) -> StoredExport:
        return bring_into_shape(read_export(self.store, self.request, scratch), scratch)

    def _list_and_plan(
        self, source: Source, stored: StoredExport, listed: ListedRunsFile, now: str
    ) -> tuple[ProjectListing, SyncPlan]:
        """List the project and plan the sync.

        If the source's listing is known to be unchanged, and nothing is to be done about it, its
        runs are not looked at.
        """
        require_datasets(source, self.request.datasets)
        for notice in stored.notices:
            LOGGER.warning("%s", notice)
        mark = listing_mark(source)
        as_before = listed_as_before(self.request, stored.state, source.kind, mark)
        if as_before is not None and not stored.copied:
            runs = stored.state.runs
            listing = ProjectListing(
                runs=as_before,
                asked=frozenset(runs),
                outside=frozenset(run for run, known in runs.items() if known.out_of_scope_since),
                mark=mark,
            )
            plan = self._plan(stored, listing, source.kind, now)
            if plan.idle:
                self._say_listed(listing)
                return listing, plan
        listing = self._list(source, stored, listed)
        self._say_listed(listing)
        return listing, self._plan(stored, listing, source.kind, now)

    def _list(self, source: Source, stored: StoredExport, listed: ListedRunsFile) -> ProjectListing:
        def find_byte_range(run_id: str) -> ByteRange | None:
            run = stored.state.runs.get(run_id)
            return None if run is None else run.snapshot

        with StoredRuns(stored.runs_path, find_byte_range) as runs:
            listing = list_project(
                source, self.request, stored.state, listed, runs.get, wait=self._wait
            )
        return replace(listing, mark=listing_mark(source))

    def _say_listed(self, listing: ProjectListing) -> None:
        LOGGER.info(
            "Listed %s of %s/%s for %s",
            count(len(listing.runs), "run"),
            self.request.entity,
            self.request.project,
            self.request.name,
        )
        if listing.unlisted:
            unlisted = count(listing.unlisted, "run")
            LOGGER.warning("counted, but not listed: %s", unlisted)

    def _plan(
        self, stored: StoredExport, listing: ProjectListing, source: str, now: str
    ) -> SyncPlan:
        plan = plan_sync(
            self.request,
            stored.state,
            listing.runs,
            asked=listing.asked,
            outside=listing.outside,
            failures=listing.failures,
            source=source,
            now=now,
        )
        vanished = check_vanished(self.request, stored.state, plan)
        if vanished is not None:
            raise DrWandbError(vanished)
        return plan

    def _fetch(
        self,
        source: Source,
        executor: SharedExecutor,
        sync: PlannedSync,
        files: Mapping[str, DatasetFile],
        scratch: Path,
    ) -> dict[str, RunResult]:
        """Fetch the runs of the plan; returns a result for every listed run.

        Fetched rows are written into the new data files while the others are fetched.
        """
        results = unfetched(sync.listing)
        jobs = sync.jobs(results)
        for dataset, file in files.items():
            waiting = {job.plan.run_id for job in jobs if dataset in job.plan.fetches}
            if waiting:
                file.begin(sync.advance(results), waiting)
        rows = 0
        executor.start(processes_for(source, jobs))
        with closing(
            Fetcher(
                source,
                self.request,
                scratch,
                stored=StoredParts(sync.stored, scratch),
                now=sync.exported_at,
                wait=self._wait,
                use_earlier=self._record is None,
                executor=executor,
            )
        ) as fetcher:
            lanes = lanes_for(source, jobs, self._workers)
            for done, (job, fetched) in enumerate(in_lanes(lanes, fetcher.fetch), 1):
                run_id = job.listing.run_id
                result = results[run_id] = result_of(results[run_id].outcome, fetched)
                for dataset in job.plan.fetches:
                    file = files[dataset]
                    file.decide(sync.advance_one(result), result.fetched.get(dataset))
                rows += result.rows_added
                self._progress(Progress(done=done, total=len(jobs), rows=rows))
        return results

    def _warn(self, assembled: Assembled, results: Mapping[str, RunResult]) -> None:
        for line in describe_accepted(result.outcome for result in results.values()):
            LOGGER.warning("%s", line)
        deselected = count_deselected(assembled.changes)
        if deselected:
            LOGGER.warning(ROWS_DESELECTED, deselected)

    def _summarize(
        self,
        plan: SyncPlan,
        listing: ProjectListing,
        failures: list[FailedRun],
        outcomes: list[RunOutcome],
        finished: Finished,
        exported_at: str,
    ) -> ExportSummary:
        return summarize(
            self.request,
            plan,
            failures,
            outcomes,
            finished.manifest,
            folder=clean_text(str(self.store.export_dir)),
            exported_at=exported_at,
            unlisted=listing.unlisted,
            rows_added=finished.changes.rows_added,
        )

    def _now(self, source: Source) -> str:
        """Return the one time of this sync."""
        moment = source.recorded_at if self._clock is None else None
        text = normalize_time(moment or (self._clock or utc_now)())
        assert text is not None
        return text
