"""One sync, from the first look to the last rename. Each step is a line of `export`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

from returns.pipeline import is_successful

from dr_wandb.core.advance import RunOutcome, advance_state
from dr_wandb.core.codec import encode_document
from dr_wandb.core.failures import DiskRefused, DrWandbError, FailedRun, InvalidRequest
from dr_wandb.core.manifest import (
    HISTORY_FILE,
    MANIFEST_FILE,
    RUNS_FILE,
    STATE_FILE,
    ExportManifest,
    ExportSummary,
    describe_export,
    keep_or_replace,
    summarize,
)
from dr_wandb.core.normalize import normalize_time
from dr_wandb.core.plan import SyncPlan, plan_sync
from dr_wandb.core.request import ExportRequest
from dr_wandb.core.state import ExportState
from dr_wandb.shell import disk
from dr_wandb.shell.assemble import Assembled, Assembler, RunResult
from dr_wandb.shell.commit import StagedFile, commit, describe_staged, stage_document
from dr_wandb.shell.fetch import WORKERS, Fetcher, FetchJob, FetchResult, in_threads
from dr_wandb.shell.listing import Pause, ProjectListing, SnapshotSpool, list_project, pause
from dr_wandb.shell.lock import locked
from dr_wandb.shell.progress import LOGGER, Progress, ProgressCallback, say_nothing
from dr_wandb.shell.reading import StoredExport, read_export, remember_look
from dr_wandb.shell.sources import Source
from dr_wandb.shell.sources.opening import SourceOpener, open_api
from dr_wandb.shell.sources.recorder import Recorder
from dr_wandb.shell.staging import finish_interrupted, staging
from dr_wandb.shell.store import ExportStore

Clock = Callable[[], datetime]

NARROWER = "%s rows that the selection no longer admits leave the export"


def utc_now() -> datetime:
    """Return the present."""
    return datetime.now(UTC)


class ExportEngine:
    """Brings one export up to date.

    source: where runs come from, or a function that opens it; the W&B API by default.
    clock: asked once a sync; by default a recording's own time, else the present.
    progress: told after each run that needed a request.
    record: a folder to write what the source says into; the source is closed at the end then.
    workers: how many runs are fetched at once.
    wait: pauses before a further attempt.
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
    ) -> None:
        self.request = request
        self.store = ExportStore(name=request.name, data_root=request.data_root)
        self._source = source
        self._clock = clock
        self._progress = progress
        self._record = record
        self._workers = workers
        self._wait = wait

    def export(self) -> ExportSummary:
        """Do one sync and return what it did, also where some runs failed.

        Raises DrWandbError where the sync as a whole could not be done; the export is then as it
        was, and what was fetched is kept for the next try.
        """
        folder = self.store.export_dir
        _keep_apart(folder, self._record)
        with _expected_refusals(folder), locked(folder):
            finish_interrupted(folder)
            with staging(folder) as scratch, _spool(scratch) as spool:
                stored = read_export(self.store, self.request, scratch)
                with self._opened(scratch) as opened:
                    exported_at = self._now(opened)
                    with self._recorded(opened, exported_at) as source:
                        listing = self._list(source, stored, spool)
                        plan = self._plan(stored, listing)
                        results = self._fetch(source, stored, listing, plan, scratch)
                assembler = Assembler(
                    stored,
                    self.request,
                    spool,
                    scratch,
                    exported_at=exported_at,
                    source=opened.kind,
                )
                assembled = assembler.assemble(plan, results, listing.failures)
                if assembled.rows_deselected:
                    LOGGER.warning(NARROWER, assembled.rows_deselected)
                state = self._advance(stored, assembled, exported_at)
                manifest = self._describe(stored, assembled, exported_at)
                self._commit(stored, assembled, manifest, state, scratch)
                remember_look(self.store, state)
        return self._summarize(plan, listing, results, assembled, exported_at)

    def plan(self) -> SyncPlan:
        """Return what `export` would do now, without writing anything."""
        folder = self.store.export_dir
        with _expected_refusals(folder), TemporaryDirectory(prefix="dr-wandb-") as private:
            scratch = Path(private)
            stored = read_export(self.store, self.request, scratch)
            with self._opened(scratch) as source, _spool(scratch) as spool:
                return self._plan(stored, self._list(source, stored, spool))

    def _list(self, source: Source, stored: StoredExport, spool: SnapshotSpool) -> ProjectListing:
        for notice in stored.notices:
            LOGGER.warning("%s", notice)
        listing = list_project(source, self.request, stored.state, spool, wait=self._wait)
        LOGGER.info(
            "Listed %s runs of %s/%s for %s",
            len(listing.runs),
            self.request.entity,
            self.request.project,
            self.request.name,
        )
        if listing.unlisted:
            LOGGER.warning("W&B counts %s runs that it does not list", listing.unlisted)
        return listing

    def _plan(self, stored: StoredExport, listing: ProjectListing) -> SyncPlan:
        return plan_sync(self.request, stored.state, listing.runs, asked=listing.asked)

    def _fetch(
        self,
        source: Source,
        stored: StoredExport,
        listing: ProjectListing,
        plan: SyncPlan,
        scratch: Path,
    ) -> dict[str, RunResult]:
        """Fetch what the plan asks for; returns a result for every listed run."""
        listed = {run.run_id: run for run in listing.runs}
        jobs = [
            FetchJob(plan=run, listing=listed[run.run_id], before=stored.state.runs.get(run.run_id))
            for run in plan.runs
            if run.history is not None or run.metadata
        ]
        results = {run_id: RunResult(listing=run) for run_id, run in listed.items()}
        received = _Counter()
        fetcher = Fetcher(
            source,
            self.request,
            scratch,
            wait=self._wait,
            on_rows=received.add,
            use_earlier=self._record is None,
        )
        try:
            for done, (job, result) in enumerate(in_threads(jobs, fetcher.fetch, self._workers), 1):
                results[job.listing.run_id] = _result_of(job, result)
                self._progress(Progress(done=done, total=len(jobs), rows=received.count))
        finally:
            fetcher.stop()
        return results

    def _advance(self, stored: StoredExport, assembled: Assembled, exported_at: str) -> ExportState:
        history = assembled.history_file
        return advance_state(
            stored.state,
            assembled.runs,
            exported_at=exported_at,
            runs_file=assembled.runs_file.sha256,
            history_file="" if history is None else history.sha256,
        )

    def _describe(
        self, stored: StoredExport, assembled: Assembled, exported_at: str
    ) -> ExportManifest:
        new = describe_export(
            self.request,
            stored.manifest,
            runs=assembled.runs_file,
            history=assembled.history_file,
            exported_at=exported_at,
        )
        return keep_or_replace(stored.manifest, new)

    def _commit(
        self,
        stored: StoredExport,
        assembled: Assembled,
        manifest: ExportManifest,
        state: ExportState,
        scratch: Path,
    ) -> None:
        """Put in place what differs from what is visible."""
        folder = self.store.export_dir
        staged: dict[str, StagedFile] = {}
        written = ((RUNS_FILE, assembled.runs_file), (HISTORY_FILE, assembled.history_file))
        for name, file in written:
            if file is None or not (scratch / name).exists():
                continue
            if disk.sha256_of(folder / name) != file.sha256:
                staged[name] = describe_staged(folder, name, scratch / name, file.sha256)
        if manifest != stored.manifest:
            staged[MANIFEST_FILE] = stage_document(folder, MANIFEST_FILE, encode_document(manifest))
        staged[STATE_FILE] = stage_document(folder, STATE_FILE, encode_document(state))
        commit(folder, staged)

    def _summarize(
        self,
        plan: SyncPlan,
        listing: ProjectListing,
        results: dict[str, RunResult],
        assembled: Assembled,
        exported_at: str,
    ) -> ExportSummary:
        failures = [*listing.failures]
        failures.extend(
            FailedRun(run_id=run_id, reason=result.outcome.failure)
            for run_id, result in results.items()
            if result.outcome.failure is not None
        )
        return summarize(
            self.request,
            plan,
            failures,
            folder=str(self.store.export_dir),
            runs=assembled.runs_file,
            history=assembled.history_file,
            exported_at=exported_at,
            unlisted=listing.unlisted,
            rows_added=assembled.rows_added,
        )

    def _now(self, source: Source) -> str:
        """Return the one time of this sync."""
        moment = source.recorded_at if self._clock is None else None
        text = normalize_time(moment or (self._clock or utc_now)())
        assert text is not None
        return text

    @contextmanager
    def _opened(self, scratch: Path) -> Iterator[Source]:
        """Open the source if need be, and close what was opened here."""
        if not callable(self._source):
            yield self._source
            return
        private = scratch / "source"
        private.mkdir(exist_ok=True)
        source = self._source(self.request, private)
        try:
            yield source
        finally:
            source.close()

    @contextmanager
    def _recorded(self, source: Source, exported_at: str) -> Iterator[Source]:
        """Record what the source says, if that is asked for; a failed sync records nothing."""
        if self._record is None:
            yield source
            return
        with Recorder(
            source,
            self._record,
            recorded_at=exported_at,
            entity=self.request.entity,
            project=self.request.project,
            mode=self.request.mode,
            secrets=source.secrets,
        ) as recorder:
            yield recorder


def _keep_apart(folder: Path, record: Path | None) -> None:
    """Refuse a recording inside an export."""
    if record is not None and record.resolve().is_relative_to(folder.resolve()):
        problem = f"the recording {record} would lie inside the export; name another folder"
        raise DrWandbError(InvalidRequest(problems=(problem,)))


class _Counter:
    """Counts the rows that several threads receive."""

    def __init__(self) -> None:
        self.count = 0
        self._lock = Lock()

    def add(self, rows: int) -> None:
        with self._lock:
            self.count += rows


def _result_of(job: FetchJob, result: FetchResult) -> RunResult:
    if not is_successful(result):
        failure = result.failure()
        outcome = RunOutcome(failure=failure.reason, short=failure.short)
        return RunResult(listing=job.listing, outcome=outcome)
    fetched = result.unwrap()
    if fetched.accepted is not None and fetched.accepted.notice:
        LOGGER.warning("run %r: %s", job.listing.run_id, fetched.accepted.notice)
    outcome = RunOutcome(accepted=fetched.accepted)
    return RunResult(listing=job.listing, outcome=outcome, fetched=fetched)


@contextmanager
def _spool(scratch: Path) -> Iterator[SnapshotSpool]:
    spool = SnapshotSpool(scratch / "listed-runs.spool")
    try:
        yield spool
    finally:
        spool.close()


@contextmanager
def _expected_refusals(folder: Path) -> Iterator[None]:
    """Turn what the disk refuses into a failure that says where."""
    try:
        yield
    except DrWandbError:
        raise
    except OSError as error:
        path = str(error.filename or folder)
        reason = error.strerror or str(error)
        raise DrWandbError(DiskRefused(path=path, reason=reason)) from error
