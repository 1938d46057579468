"""Check an export on disk, and compare it with W&B as it is now. Nothing is written to it.

Rules
- Files that change while they are read are read once more before anything is reported.
- A check needs neither wandb nor a lock, and pyarrow only for an export with Parquet files.
- The comparison with W&B uses the content that was just checked. In a damaged export no run counts
  as held.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from msgspec.structs import replace

from dr_wandb.core.contract.dataset import PROJECT_DATASETS
from dr_wandb.core.contract.export_files import commit_order, file_order
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.normalize import normalize_time
from dr_wandb.core.contract.project_record import ProjectRecord
from dr_wandb.core.contract.project_records import NORMALIZERS, listing_digest
from dr_wandb.core.contract.request import ExportRequest, SyncMode
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.state import ExportState
from dr_wandb.core.inspect.compare import compare, explain_absence
from dr_wandb.core.inspect.doubts import AbsenceKind
from dr_wandb.core.inspect.holdings import (
    CheckedExport,
    ComparedRecords,
    Comparison,
    UnheldRun,
    compare_records,
    linked_runs,
    unread_links,
)
from dr_wandb.core.inspect.verify import FindingKind, Findings, VerifyReport
from dr_wandb.core.sync.record_links import RunLinks, find_runs_to_ask
from dr_wandb.shell.executor import SharedExecutor
from dr_wandb.shell.inspect.checking import Checking
from dr_wandb.shell.inspect.reading import Look, look_at
from dr_wandb.shell.progress import ProgressCallback, say_nothing
from dr_wandb.shell.sources import Source
from dr_wandb.shell.sources.datasets import Known, RawNode, find_lister
from dr_wandb.shell.sources.opening import SourceOpener, open_api, opened
from dr_wandb.shell.store.commit import RECORD_FILE
from dr_wandb.shell.store.divided_lines import FileRange
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.sync.listed_runs import ListedRunsFile
from dr_wandb.shell.sync.listing import UNREADABLE, Pause, list_project, pause
from dr_wandb.shell.sync.project_listing import ProjectListing
from dr_wandb.shell.sync.record_listing import list_records
from dr_wandb.shell.sync.stored_runs import StoredRuns


def verify_export(
    store: ExportStore,
    *,
    quick: bool = False,
    every: bool = False,
    executor: Executor | None = None,
    progress: ProgressCallback = say_nothing,
) -> VerifyReport:
    """Check every visible file of an export, and report all problems.

    quick: check only sizes, counts and digests, without looking at a line; a note says so.
    every: list every finding, although there may be one for each line of a file.
    executor: for the parts of a large file. Without one, processes are started if that saves time.
    progress: called a few times a second, with bytes. Raises ExportNotFoundError if there is no
    export.
    """
    checked = read_and_verify(store, quick=quick, every=every, executor=executor, progress=progress)
    return checked.report


def read_and_verify(
    store: ExportStore,
    *,
    quick: bool = False,
    every: bool = False,
    executor: Executor | None = None,
    progress: ProgressCallback = say_nothing,
) -> CheckedExport:
    """Check an export, and return the content that was read. Raises as `verify_export`."""
    folder = store.export_dir
    if not any(_there(folder / name) for name in (*file_order(), RECORD_FILE)):
        raise store.not_found()
    with closing(SharedExecutor(executor)) as shared:
        for _ in range(2):
            before = _look(folder)
            checking = Checking(store, shared, progress, every=every)
            verified = checking.check_quickly() if quick else checking.check()
            if _look(folder) == before:
                return verified
    findings = Findings()
    problem = "changed twice while it was read: a sync is at work"
    findings.add(FindingKind.BUSY, store.name, problem)
    report = VerifyReport(name=store.name, files={}, findings=findings.all())
    return CheckedExport(report=report, manifest=None, state=None, runs={}, rows={})


def _there(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True


def _look(folder: Path) -> list[Look | None]:
    looks: list[Look | None] = []
    for name in (*commit_order(), RECORD_FILE):
        try:
            looks.append(look_at((folder / name).stat()))
        except OSError:
            looks.append(None)
    return looks


def _utc_now() -> datetime:
    return datetime.now(UTC)


def compare_with_source(
    store: ExportStore,
    source: Source | SourceOpener = open_api,
    *,
    clock: Callable[[], datetime] = _utc_now,
    wait: Pause = pause,
    timeout_seconds: int = 120,
    max_rate: float | None = None,
    every: bool = False,
    executor: Executor | None = None,
    progress: ProgressCallback = say_nothing,
) -> Comparison:
    """Check an export, list every run of its project, and report for each run what is exported.

    source: the source that lists them, or a function that opens it. every,
    executor, progress: as `verify_export` takes them. Nothing is written to the export. Raises
    ExportNotFoundError if there is no export. Raises DrWandbError if neither manifest nor state
    reads, so that the project is not known, or if the source gives no listing.
    """
    checked = read_and_verify(store, every=every, executor=executor, progress=progress)
    known = checked.manifest or checked.state
    if known is None:
        store.require_manifest()
        raise store.not_found()
    request = ExportRequest(
        entity=known.entity,
        project=known.project,
        name=store.name,
        data_root=store.data_root,
        sync_mode=SyncMode.FULL_RECONCILE,
        timeout_seconds=timeout_seconds,
        max_rate=max_rate,
        include_metadata=_asked_for_metadata(checked.manifest),
        extra_datasets=() if checked.manifest is None else tuple(checked.manifest.other_datasets),
    )
    state = checked.state or ExportState(
        name=store.name, entity=known.entity, project=known.project
    )
    byte_ranges = {run_id: run.byte_range for run_id, run in checked.runs.items()}
    with TemporaryDirectory(prefix="dr-wandb-") as private:
        scratch = Path(private)
        with (
            opened(source, request, scratch) as asked,
            ListedRunsFile(scratch) as listed,
            StoredRuns(store.runs_path, byte_ranges.get) as stored,
        ):
            listing = list_project(
                asked, request, state, listed, stored.get, wait=wait, progress=progress
            )
            return compare(
                checked,
                listing.runs,
                broken={failed.run_id: failed.failure for failed in listing.failures},
                unread=listing.unread,
                certain=listing.asked,
                strangers=_strangers(checked, listing, listed),
                unlisted=listing.unlisted,
                address=asked.address,
                compared_at=asked.recorded_at or normalize_time(clock()) or "",
                records=_compare_records(checked, asked, request, listing.runs, wait),
            )


def _asked_for_metadata(manifest: ExportManifest | None) -> bool:
    """Say whether the last sync asked for metadata: then reports have e-mail addresses."""
    return manifest is not None and bool(manifest.requested and manifest.requested.include_metadata)


def _compare_records(
    checked: CheckedExport,
    source: Source,
    request: ExportRequest,
    runs: Sequence[RunListing],
    wait: Pause,
) -> dict[str, ComparedRecords]:
    """List the project's datasets that the export holds, and compare their records."""
    compared = {}
    for dataset, held in checked.records.items():
        listed: dict[str, str] = {}

        def take(
            record: ProjectRecord, _: FileRange | None, listed: dict[str, str] = listed
        ) -> None:
            listed[record.identity] = listing_digest(record)

        lister = find_lister(source, dataset)
        if lister is None:
            reason = f"{source.address} has no {dataset}"
            failure = RunFailure(kind=RunFailureKind.NOT_FOUND, reason=reason)
            compared[dataset] = compare_records(held, {}, failure)
            continue
        asked = find_runs_to_ask(dataset, request, linked_runs(held), runs)
        run_ids = asked.run_ids if PROJECT_DATASETS[dataset].linked else ()
        known = Known(listing_only=True, runs=run_ids)
        answer = list_records(lister, dataset, take, wait, known)
        emptied = dict.fromkeys(asked.emptied, RunLinks())
        result = compare_records(
            held,
            listed,
            answer.incomplete,
            links={**answer.links, **emptied},
            beside=_source_ids(dataset, answer.beside),
        )
        if answer.unread and result.failure is None:
            result = replace(result, failure=unread_links(dataset, answer.unread))
        compared[dataset] = result
    return compared


def _source_ids(dataset: str, nodes: Iterable[RawNode]) -> dict[str, str]:
    """Return the source's id of each record, by identity."""
    ids = {}
    for node in nodes:
        with suppress(*UNREADABLE):
            record = NORMALIZERS[dataset](node)
            ids[record.identity] = record.source_id
    return ids


def _strangers(
    checked: CheckedExport, listing: ProjectListing, listed: ListedRunsFile
) -> Iterator[UnheldRun]:
    """Yield the listed runs that are not in the export."""
    tracked = checked.state.runs if checked.state is not None else {}
    scope = checked.manifest.scope if checked.manifest is not None else None
    for run in listing.runs:
        if run.run_id not in checked.runs:
            yield explain_absence(listed.get(run.run_id), scope, tracked.get(run.run_id))
    for failed in listing.failures:
        if failed.run_id not in checked.runs:
            reason = f"its listing cannot be read: {failed.reason}"
            kind = AbsenceKind.LISTING_UNREAD
            yield UnheldRun(run_id=failed.run_id, kind=kind, reason=reason, failure=failed.failure)
