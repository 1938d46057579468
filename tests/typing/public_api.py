"""What users of the library write, with every value that they look at under its type.

`mypy --strict` and pyright check this file; `test_public_api.py` runs it. It imports nothing of the
project but `dr_wandb`.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, assert_type

import dr_wandb
from dr_wandb import (
    ArtifactEntry,
    ChangedRun,
    Comparison,
    DamagedFile,
    DrWandbError,
    ExportEngine,
    ExportManifest,
    ExportMode,
    ExportNotFoundError,
    ExportRequest,
    ExportState,
    ExportStatus,
    ExportStore,
    ExportSummary,
    Failure,
    FetchKind,
    Finding,
    FolderContent,
    HeldRun,
    HistoryRow,
    HistorySelection,
    HistoryWindow,
    InvalidRequestError,
    PartFetch,
    Progress,
    RunAction,
    RunListing,
    RunPlan,
    RunScope,
    RunSnapshot,
    SyncChanges,
    SyncMode,
    SyncPlan,
    VerifyReport,
    WandbArtifact,
    WandbRun,
    combine_changes,
    compare_with_source,
    describe_changes,
    describe_comparison,
    describe_folder,
    describe_plan,
    describe_report,
    describe_status,
    find_exports,
    iter_artifact_entries,
    iter_artifacts,
    iter_changes,
    iter_history_rows,
    load_artifacts_frame,
    load_history_frame,
    load_manifest,
    load_run_snapshots,
    load_runs_frame,
    plan_listing,
    plan_sync,
    read_status,
    scan_folder,
    source_opener,
    verify_export,
)

if TYPE_CHECKING:
    dr_wandb.no_such_name  # type: ignore[attr-defined]

ENTITY, PROJECT, NAME = "demo-lab", "tiny-vision", "demo"


def request(data_root: Path) -> ExportRequest:
    return ExportRequest(
        entity=ENTITY,
        project=PROJECT,
        name=NAME,
        data_root=data_root,
        mode=ExportMode.HISTORY,
        sync_mode=SyncMode.DETECT_CHANGES,
        scope=RunScope(states=("finished", "running"), created_after="2020-01-01"),
    )


def request_in_words(data_root: Path) -> ExportRequest:
    """Strings are taken for the modes and for the folder, and read back as enums and as a path."""
    wanted = ExportRequest(
        entity=ENTITY,
        project=PROJECT,
        name=NAME,
        data_root=str(data_root),
        mode="history",
        sync_mode="full_reconcile",
    )
    assert_type(wanted.mode, ExportMode)
    assert_type(wanted.sync_mode, SyncMode)
    assert_type(wanted.data_root, Path)
    assert wanted.mode == "history"
    assert wanted.sync_mode != "incremental"
    return wanted


if TYPE_CHECKING:
    ExportRequest(entity="e", project="p", name="n", mode="histroy")  # type: ignore[arg-type]
    ExportRequest(entity="e", project="p", name="n", sync_mode="full")  # type: ignore[arg-type]
    ExportRequest(entity="e", project="p", name="n", no_such_field=1)  # type: ignore[call-arg]
    ExportRequest(entity="e", project="p")  # type: ignore[call-arg]


def selection() -> HistorySelection:
    return HistorySelection(keys=("loss",), window=HistoryWindow(min_step=10, max_records=100))


def sync(data_root: Path, recording: Path) -> ExportSummary:
    seen: list[Progress] = []
    engine = ExportEngine(
        request(data_root),
        source=source_opener(f"replay:{recording}"),
        clock=lambda: datetime.now(UTC),
        progress=seen.append,
        workers=2,
    )
    planned = engine.plan()
    assert_type(planned, SyncPlan)
    print(*describe_plan(planned), sep="\n")
    summary = engine.export()
    assert_type(summary.failures, tuple[dr_wandb.FailedRun, ...])
    assert_type(summary.short, tuple[dr_wandb.ShortRun, ...])
    assert_type([run.kind for run in summary.failures], list[dr_wandb.RunFailureKind])
    assert_type([run.kind for run in summary.short], list[dr_wandb.ShortKind])
    assert_type(summary.waiting, tuple[dr_wandb.WaitingRun, ...])
    fetched = [progress for progress in seen if progress.stage == dr_wandb.Stage.FETCHING]
    assert len(fetched) == planned.count(RunAction.NEW)
    return summary


def plan_with_a_listing_of_my_own(data_root: Path) -> SyncPlan:
    state = ExportState(name=NAME, entity=ENTITY, project=PROJECT)
    wanted = request(data_root)
    questions = plan_listing(wanted, state)
    assert_type(questions.kind, dr_wandb.ListingKind)
    print(questions.reason)
    listing = [RunListing(run_id="a", history_line_count=3), RunListing(run_id="b")]
    plan = plan_sync(wanted, state, listing, source="mine")
    for run in plan.runs:
        assert_type(run, RunPlan)
        assert_type(run.action, RunAction)
        assert_type(run.kind, dr_wandb.PlanKind)
        assert_type(run.failure, dr_wandb.RunFailure | None)
        for dataset, fetch in run.fetches.items():
            assert_type(dataset, str)
            assert_type(fetch, PartFetch)
            assert_type(fetch.kind, FetchKind)
            assert fetch.window.whole
    return plan


def load(data_root: Path) -> tuple[list[WandbRun], Iterator[HistoryRow]]:
    manifest = load_manifest(NAME, data_root)
    assert_type(manifest, ExportManifest | None)
    snapshots = load_run_snapshots(NAME, data_root)
    assert_type(snapshots, list[RunSnapshot])
    run_ids = [snapshot.run.run_id for snapshot in snapshots]
    rows = iter_history_rows(NAME, data_root, run_ids=run_ids, keys=("train.loss", "loss"))
    assert_type(rows, Iterator[HistoryRow])
    of_one = ExportStore(name=NAME, data_root=data_root).iter_history_rows(run_ids=run_ids[:1])
    assert_type(of_one, Iterator[HistoryRow])
    assert {row.run_id for row in (*rows, *of_one)} <= {*run_ids}
    frame = load_history_frame(NAME, data_root, metrics="train.loss", engine="arrow")
    assert frame.num_columns == 4
    assert load_runs_frame(NAME, data_root, engine="arrow").num_rows == len(run_ids)
    return [snapshot.run for snapshot in snapshots], iter_history_rows(NAME, data_root)


def look(data_root: Path) -> list[ExportStatus]:
    statuses = [read_status(store) for store in find_exports(data_root)]
    for status in statuses:
        print(*describe_status(status), sep="\n")
        assert_type(status.failed, dict[str, dr_wandb.RunFailure])
    return statuses


def prove(data_root: Path, recording: Path) -> Comparison:
    store = ExportStore(name=NAME, data_root=data_root)
    report = verify_export(store)
    assert_type(report, VerifyReport)
    assert_type(report.findings, tuple[Finding, ...])
    print(*describe_report(report), sep="\n")
    comparison = compare_with_source(store, source_opener(f"replay:{recording}"))
    failed = [failure for run in comparison.not_fully_exported for failure in run.failures]
    assert_type(failed, list[dr_wandb.RunFailure])
    assert not any(failure.kind == dr_wandb.RunFailureKind.REFUSED for failure in failed)
    assert_type(comparison.fully_exported, tuple[HeldRun, ...])
    print(*describe_comparison(comparison), sep="\n")
    return comparison


def artifacts(data_root: Path) -> list[ArtifactEntry]:
    versions = iter_artifacts(NAME, data_root, entries=False)
    assert_type(versions, Iterator[WandbArtifact])
    pairs = list(iter_artifact_entries(NAME, data_root))
    assert_type(pairs, list[tuple[WandbArtifact, ArtifactEntry]])
    try:
        frame = load_artifacts_frame(NAME, data_root, entries=True, engine="arrow")
        assert frame.num_rows == len(pairs)
    except InvalidRequestError as error:
        print(*error.problems)
    print(*[version.collection for version in versions])
    return [entry for _, entry in pairs]


def changes(data_root: Path) -> SyncChanges:
    together = combine_changes(iter_changes(NAME, data_root), "2020-01-01T00:00:00Z")
    assert_type(together.changed, dict[str, ChangedRun])
    print(*describe_changes(together), sep="\n")
    return together


def scan(folder: Path) -> FolderContent:
    content = scan_folder(folder)
    print(*describe_folder(content), sep="\n")
    return content


def mistakes(data_root: Path) -> list[Failure]:
    failures: list[Failure] = []
    try:
        ExportRequest(entity="", project="a/b", name="..")
    except InvalidRequestError as error:
        assert_type(error.problems, tuple[str, ...])
        failures.append(error.failure)
    try:
        load_run_snapshots("nothing", data_root)
    except ExportNotFoundError as error:
        failures.append(error.failure)
    try:
        scan_folder(data_root / "nowhere")
    except ValueError as error:
        if isinstance(error, DrWandbError):
            failures.append(error.failure)
    nowhere = source_opener(f"replay:{data_root / 'nowhere'}")
    try:
        ExportEngine(request(data_root), source=nowhere).export()
    except DrWandbError as error:
        assert_type(error.exit_code, int)
        if isinstance(error.failure, DamagedFile):
            assert_type(error.failure.remedy, str)
        failures.append(error.failure)
    return failures
