"""One sync, from reading the export to the last rename. Each step is a line of `export`."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from dr_wandb.core.contract.dataset import DATASETS, HISTORY
from dr_wandb.core.contract.export_files import PARQUET
from dr_wandb.core.contract.normalize import normalize_time
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.unproven_runs import FailedRun
from dr_wandb.core.contract.values import clean_text
from dr_wandb.core.contract.wording import count
from dr_wandb.core.sync.advance import RunOutcome
from dr_wandb.core.sync.formats import formats_after
from dr_wandb.core.sync.manifest import check_host
from dr_wandb.core.sync.narrowing import (
    as_if_allowed,
    check_narrower,
    count_rows_removed,
    count_wider,
)
from dr_wandb.core.sync.plan import SyncPlan
from dr_wandb.core.sync.summary import ExportSummary, summarize
from dr_wandb.shell.background import in_lanes
from dr_wandb.shell.executor import SharedExecutor
from dr_wandb.shell.progress import LOGGER, FetchProgress, ProgressCallback, say_nothing
from dr_wandb.shell.sources import WORKERS, EarlyRows, Source, host_of, lend, name_of, requests_of
from dr_wandb.shell.sources.datasets import with_datasets_of
from dr_wandb.shell.sources.opening import SourceOpener, open_api, opened, recorded, require_apart
from dr_wandb.shell.store.disk_errors import disk_refusals, full_disk_needs
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.lock import locked
from dr_wandb.shell.store.reading import StoredExport, read_export
from dr_wandb.shell.store.staging import SyncNote, finish_interrupted, staging, write_note
from dr_wandb.shell.sync.assemble import Assembler
from dr_wandb.shell.sync.dataset_file import DatasetFile
from dr_wandb.shell.sync.dropping import without_datasets
from dr_wandb.shell.sync.fetch import Fetcher
from dr_wandb.shell.sync.fetch_job import lanes_for
from dr_wandb.shell.sync.fetch_space import FetchSpace
from dr_wandb.shell.sync.file_contents import contents_for
from dr_wandb.shell.sync.file_pruning import remove_blobs, trim_notes_after, why_not_to_prune
from dr_wandb.shell.sync.file_segments import FileSegments, processes_for
from dr_wandb.shell.sync.finish import Finished, finish
from dr_wandb.shell.sync.listed_runs import ListedRunsFile
from dr_wandb.shell.sync.listing import Pause, pause
from dr_wandb.shell.sync.narrowing import count_rows_to_remove
from dr_wandb.shell.sync.planned_files import plan_files
from dr_wandb.shell.sync.planned_sync import PlannedSync
from dr_wandb.shell.sync.planning import Planning, require, require_formats, say_planned
from dr_wandb.shell.sync.project_listing import ProjectListing
from dr_wandb.shell.sync.project_records import ProjectSync, SyncedRecords
from dr_wandb.shell.sync.reshape import bring_into_shape
from dr_wandb.shell.sync.results import RunResult, failures_in, result_of, unfetched
from dr_wandb.shell.sync.stored_parts import StoredParts
from dr_wandb.shell.sync.warnings import find_left_behind, warn

Clock = Callable[[], datetime]

ROWS_STAY = "rows that this selection does not admit stay in %s"


def utc_now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


class ExportEngine:
    """Brings one export up to date.

    source: the source of the runs, or a function that opens it; the W&B API by default.
    clock: called once a sync; by default a recording's own time, else the present.
    progress: called after each page of the listing, and after each run that needed a request.
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
                self._note(scratch)
                stored = self._read(scratch)
                require_formats(self.request, stored.manifest)
                why_not = why_not_to_prune(folder, stored.manifest, self.request)
                rows = {
                    dataset: files.enter_context(self._rows_file(dataset, stored, scratch))
                    for dataset in DATASETS
                }
                early = self._early_rows(stored, scratch)
                with self._origin(scratch, early) as (origin, executor):
                    asked = with_datasets_of(origin, self.request)
                    request = as_if_allowed(asked, stored.manifest)
                    require(check_host(self.request, stored.manifest, host_of(origin)))
                    exported_at = self._now(origin)
                    with recorded(origin, self._record, self.request, exported_at) as source:
                        listing, plan = self._list_and_plan(
                            request, source, stored, listed, exported_at
                        )
                        plan = count_rows_to_remove(plan, stored, listing.runs, scratch)
                        require(check_narrower(self.request, plan))
                        if wider := count_wider(request, stored.state):
                            LOGGER.info(ROWS_STAY, count(wider, "run"))
                        sync = PlannedSync(request, stored, listing, plan, source.kind, exported_at)
                        say_planned(plan)
                        space = FetchSpace(folder, plan, stored)
                        space.warn_if_too_small()
                        with full_disk_needs(folder, space.need_now):
                            records = self._records(request, stored, listing, exported_at).sync(
                                source, scratch
                            )
                            results = self._fetch(source, executor, sync, rows, scratch)
                        requests = requests_of(source)
                assembler = Assembler(stored, asked, listed, rows, scratch, exported_at=exported_at)
                assembled = assembler.assemble(sync.advance(results), results)
                rows_removed = count_rows_removed(plan, assembled.changes)
                behind = find_left_behind(self.request, stored.manifest, assembled.runs)
                warn(results, rows_removed, behind)
                finished = finish(
                    self.store,
                    asked,
                    stored,
                    assembled,
                    exported_at,
                    scratch,
                    records,
                    listing_mark=listing.lasting_mark,
                    source=name_of(origin, folder),
                    host=host_of(origin),
                )
                trim_notes_after(folder, asked, scratch, results, assembled.runs)
                if self.request.prune:
                    remove_blobs(folder, scratch, why_not)
        failures = [*listing.failures, *failures_in(results)]
        outcomes = [result.outcome for result in results.values()]
        return self._summarize(
            plan,
            listing,
            failures,
            outcomes,
            finished,
            exported_at,
            rows_removed,
            requests,
            records,
        )

    def plan(self) -> SyncPlan:
        """Return the plan of a sync, without writing anything."""
        folder = self.store.export_dir
        with disk_refusals(folder, exactly=True), TemporaryDirectory(prefix="dr-wandb-") as private:
            scratch = Path(private)
            stored = self._read(scratch)
            require_formats(self.request, stored.manifest)
            with self._origin(scratch) as (source, _), ListedRunsFile(scratch) as listed:
                asked = with_datasets_of(source, self.request)
                request = as_if_allowed(asked, stored.manifest)
                require(check_host(self.request, stored.manifest, host_of(source)))
                now = self._now(source)
                listing, plan = self._list_and_plan(request, source, stored, listed, now)
                records = self._records(request, stored, listing, now).plan(source, scratch)
                files = plan_files(source, request, folder, plan, stored, listing.runs, scratch)
                plan = replace(plan.with_records(records), files=files)
            return count_rows_to_remove(plan, stored, listing.runs, scratch)

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

    def _note(self, scratch: Path) -> None:
        """Note for those who look meanwhile, or after an interrupt, what is fetched."""
        since = normalize_time(utc_now().replace(microsecond=0))
        assert since is not None
        note = SyncNote(entity=self.request.entity, project=self.request.project, since=since)
        write_note(scratch, note)

    def _rows_file(self, dataset: str, stored: StoredExport, scratch: Path) -> DatasetFile:
        alone = dataset == HISTORY and formats_after(self.request, stored.manifest) == {PARQUET}
        return DatasetFile(dataset, stored, scratch, changes_only=alone and stored.has_no_lines)

    def _early_rows(self, stored: StoredExport, scratch: Path) -> EarlyRows | None:
        """Return the folder for rows that are written before the sync is planned, None for none.

        There is none while recording: a recording needs every answer of the source.
        """
        if self._record is not None or not self.request.takes_all_rows:
            return None
        return EarlyRows(scratch / "early", stored.state.runs.keys())

    def _read(self, scratch: Path) -> StoredExport:
        stored = bring_into_shape(read_export(self.store, self.request, scratch), scratch)
        return without_datasets(stored, self.request.drop_datasets, scratch)

    def _records(
        self, request: ExportRequest, stored: StoredExport, listing: ProjectListing, now: str
    ) -> ProjectSync:
        recording = self._record is not None
        return ProjectSync(
            request,
            self.store,
            stored,
            listing.runs,
            now,
            self._wait,
            recording=recording,
            progress=self._progress,
        )

    def _list_and_plan(
        self,
        request: ExportRequest,
        source: Source,
        stored: StoredExport,
        listed: ListedRunsFile,
        now: str,
    ) -> tuple[ProjectListing, SyncPlan]:
        planning = Planning(request, stored, wait=self._wait, progress=self._progress)
        return planning.list_and_plan(source, listed, now)

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
        tracked = sync.advance(results)
        for dataset, file in files.items():
            waiting = {job.plan.run_id for job in jobs if dataset in job.plan.fetches}
            if waiting:
                file.begin(tracked, waiting)
        progress = FetchProgress(len(jobs), self._progress)
        contents = contents_for(
            jobs,
            source,
            sync.request,
            scratch,
            use_earlier=self._record is None,
            threads=self._workers,
            note=progress.add_bytes,
        )
        executor.start(processes_for(source, jobs, sync.formats))
        with closing(
            Fetcher(
                source,
                self.request,
                scratch,
                stored=StoredParts(sync.stored, scratch),
                now=sync.exported_at,
                wait=self._wait,
                use_earlier=self._record is None,
                files=FileSegments(scratch, sync.formats, executor),
                contents=contents,
            )
        ) as fetcher:
            lanes = lanes_for(source, jobs, self._workers)
            for job, fetched in in_lanes(lanes, fetcher.fetch):
                run_id = job.listing.run_id
                result = results[run_id] = result_of(results[run_id].outcome, fetched)
                tracking = sync.advance_one(result)
                for dataset in job.plan.fetches:
                    files[dataset].decide(tracking, result.fetched.get(dataset))
                progress.add_run(rows=result.rows_added, failed=result.failed, short=result.short)
        if contents is not None:
            contents.blobs.settle()
        progress.write()
        return results

    def _summarize(
        self,
        plan: SyncPlan,
        listing: ProjectListing,
        failures: list[FailedRun],
        outcomes: list[RunOutcome],
        finished: Finished,
        exported_at: str,
        rows_removed: int,
        requests: int,
        records: Mapping[str, SyncedRecords],
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
            rows_removed=rows_removed,
            requests=requests,
            records={dataset: one.summary for dataset, one in records.items()},
        )

    def _now(self, source: Source) -> str:
        """Return the one time of this sync."""
        moment = source.recorded_at if self._clock is None else None
        text = normalize_time(moment or (self._clock or utc_now)())
        assert text is not None
        return text
