"""Get experiment data out of Weights & Biases, and keep it.

The public names, and nothing else. Each is imported when it is first used, so that the command
answers at once. Each name is listed twice, for type checkers and for Python; a test compares them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dr_wandb.core.contract.version import VERSION

if TYPE_CHECKING:
    from dr_wandb.core.contract.artifacts import WandbArtifact as WandbArtifact
    from dr_wandb.core.contract.changes import ChangedRun as ChangedRun
    from dr_wandb.core.contract.changes import FieldChange as FieldChange
    from dr_wandb.core.contract.changes import RecordChanges as RecordChanges
    from dr_wandb.core.contract.changes import RowCount as RowCount
    from dr_wandb.core.contract.changes import SyncChanges as SyncChanges
    from dr_wandb.core.contract.dataset import Counts as Counts
    from dr_wandb.core.contract.failures import AccessRefused as AccessRefused
    from dr_wandb.core.contract.failures import BadEnvironment as BadEnvironment
    from dr_wandb.core.contract.failures import DamagedFile as DamagedFile
    from dr_wandb.core.contract.failures import DiskRefused as DiskRefused
    from dr_wandb.core.contract.failures import DrWandbError as DrWandbError
    from dr_wandb.core.contract.failures import Failure as Failure
    from dr_wandb.core.contract.failures import InTheWay as InTheWay
    from dr_wandb.core.contract.failures import InvalidRequest as InvalidRequest
    from dr_wandb.core.contract.failures import KeyRefused as KeyRefused
    from dr_wandb.core.contract.failures import LeadsOutside as LeadsOutside
    from dr_wandb.core.contract.failures import Locked as Locked
    from dr_wandb.core.contract.failures import MixedRuns as MixedRuns
    from dr_wandb.core.contract.failures import NewerSchema as NewerSchema
    from dr_wandb.core.contract.failures import NoApiKey as NoApiKey
    from dr_wandb.core.contract.failures import NoExport as NoExport
    from dr_wandb.core.contract.failures import NoProject as NoProject
    from dr_wandb.core.contract.failures import NoSyncYet as NoSyncYet
    from dr_wandb.core.contract.failures import NotRecorded as NotRecorded
    from dr_wandb.core.contract.failures import OtherHost as OtherHost
    from dr_wandb.core.contract.failures import RunsVanished as RunsVanished
    from dr_wandb.core.contract.failures import SelectionNarrower as SelectionNarrower
    from dr_wandb.core.contract.failures import ServerTooOld as ServerTooOld
    from dr_wandb.core.contract.failures import Unfinished as Unfinished
    from dr_wandb.core.contract.failures import Unreachable as Unreachable
    from dr_wandb.core.contract.failures import WrongExport as WrongExport
    from dr_wandb.core.contract.fetch_window import FetchWindow as FetchWindow
    from dr_wandb.core.contract.file_choice import FileChoice as FileChoice
    from dr_wandb.core.contract.held_rows import HeldRows as HeldRows
    from dr_wandb.core.contract.listing import EveryRun as EveryRun
    from dr_wandb.core.contract.listing import RunListing as RunListing
    from dr_wandb.core.contract.listing import RunsById as RunsById
    from dr_wandb.core.contract.listing import RunsCreatedSince as RunsCreatedSince
    from dr_wandb.core.contract.manifest import DataFile as DataFile
    from dr_wandb.core.contract.manifest import ExportManifest as ExportManifest
    from dr_wandb.core.contract.manifest import HeldDataset as HeldDataset
    from dr_wandb.core.contract.manifest import Requested as Requested
    from dr_wandb.core.contract.manifest import RequestedDataset as RequestedDataset
    from dr_wandb.core.contract.manifest_entries import ArtifactEntry as ArtifactEntry
    from dr_wandb.core.contract.problems import InvalidRequestError as InvalidRequestError
    from dr_wandb.core.contract.progress import Progress as Progress
    from dr_wandb.core.contract.progress import Stage as Stage
    from dr_wandb.core.contract.project_part import ProjectPart as ProjectPart
    from dr_wandb.core.contract.project_part import WaitingLinks as WaitingLinks
    from dr_wandb.core.contract.project_record import ArtifactUse as ArtifactUse
    from dr_wandb.core.contract.project_records import ReportUser as ReportUser
    from dr_wandb.core.contract.project_records import WandbReport as WandbReport
    from dr_wandb.core.contract.project_records import WandbSweep as WandbSweep
    from dr_wandb.core.contract.records import ConsoleLine as ConsoleLine
    from dr_wandb.core.contract.records import HistoryRow as HistoryRow
    from dr_wandb.core.contract.records import RunFile as RunFile
    from dr_wandb.core.contract.records import RunSnapshot as RunSnapshot
    from dr_wandb.core.contract.records import RunUser as RunUser
    from dr_wandb.core.contract.records import SystemSample as SystemSample
    from dr_wandb.core.contract.records import WandbRun as WandbRun
    from dr_wandb.core.contract.request import ExportMode as ExportMode
    from dr_wandb.core.contract.request import ExportRequest as ExportRequest
    from dr_wandb.core.contract.request import SyncMode as SyncMode
    from dr_wandb.core.contract.run_failure import RunFailure as RunFailure
    from dr_wandb.core.contract.run_failure import RunFailureKind as RunFailureKind
    from dr_wandb.core.contract.scope import RunScope as RunScope
    from dr_wandb.core.contract.selection import HistorySelection as HistorySelection
    from dr_wandb.core.contract.selection import HistoryWindow as HistoryWindow
    from dr_wandb.core.contract.state import ExportState as ExportState
    from dr_wandb.core.contract.unproven_runs import FailedRun as FailedRun
    from dr_wandb.core.contract.unproven_runs import ShortKind as ShortKind
    from dr_wandb.core.contract.unproven_runs import ShortRun as ShortRun
    from dr_wandb.core.contract.unproven_runs import WaitingRun as WaitingRun
    from dr_wandb.core.inspect.diagnosis import Check as Check
    from dr_wandb.core.inspect.diagnosis import Diagnosis as Diagnosis
    from dr_wandb.core.inspect.diagnosis import describe_diagnosis as describe_diagnosis
    from dr_wandb.core.inspect.doubts import AbsenceKind as AbsenceKind
    from dr_wandb.core.inspect.doubts import Doubt as Doubt
    from dr_wandb.core.inspect.doubts import DoubtKind as DoubtKind
    from dr_wandb.core.inspect.holdings import ComparedRecords as ComparedRecords
    from dr_wandb.core.inspect.holdings import Comparison as Comparison
    from dr_wandb.core.inspect.holdings import HeldRun as HeldRun
    from dr_wandb.core.inspect.holdings import UnheldRun as UnheldRun
    from dr_wandb.core.inspect.holdings import describe_comparison as describe_comparison
    from dr_wandb.core.inspect.shortfalls import Lag as Lag
    from dr_wandb.core.inspect.shortfalls import LagKind as LagKind
    from dr_wandb.core.inspect.shortfalls import Shortage as Shortage
    from dr_wandb.core.inspect.status import ExportProblem as ExportProblem
    from dr_wandb.core.inspect.status import ExportStatus as ExportStatus
    from dr_wandb.core.inspect.status import MissingRows as MissingRows
    from dr_wandb.core.inspect.status import RecordsStatus as RecordsStatus
    from dr_wandb.core.inspect.status import describe_status as describe_status
    from dr_wandb.core.inspect.verify import Finding as Finding
    from dr_wandb.core.inspect.verify import FindingKind as FindingKind
    from dr_wandb.core.inspect.verify import Note as Note
    from dr_wandb.core.inspect.verify import NoteKind as NoteKind
    from dr_wandb.core.inspect.verify import VerifyReport as VerifyReport
    from dr_wandb.core.inspect.verify import describe_report as describe_report
    from dr_wandb.core.offline.scan_report import FileNotice as FileNotice
    from dr_wandb.core.offline.scan_report import FolderContent as FolderContent
    from dr_wandb.core.offline.scan_report import NoticeKind as NoticeKind
    from dr_wandb.core.offline.scan_report import RunOnDisk as RunOnDisk
    from dr_wandb.core.offline.scan_report import describe_folder as describe_folder
    from dr_wandb.core.sync.combine_changes import combine_changes as combine_changes
    from dr_wandb.core.sync.describe import describe_changes as describe_changes
    from dr_wandb.core.sync.describe import describe_plan as describe_plan
    from dr_wandb.core.sync.fetch_plan import PartFetch as PartFetch
    from dr_wandb.core.sync.listing_plan import ListingPlan as ListingPlan
    from dr_wandb.core.sync.listing_plan import plan_listing as plan_listing
    from dr_wandb.core.sync.plan import PlannedFiles as PlannedFiles
    from dr_wandb.core.sync.plan import RunAction as RunAction
    from dr_wandb.core.sync.plan import RunPlan as RunPlan
    from dr_wandb.core.sync.plan import SyncPlan as SyncPlan
    from dr_wandb.core.sync.plan import plan_sync as plan_sync
    from dr_wandb.core.sync.plan_kinds import FetchKind as FetchKind
    from dr_wandb.core.sync.plan_kinds import ListingKind as ListingKind
    from dr_wandb.core.sync.plan_kinds import PlanKind as PlanKind
    from dr_wandb.core.sync.planned_formats import FormatAction as FormatAction
    from dr_wandb.core.sync.planned_formats import PlannedFormat as PlannedFormat
    from dr_wandb.core.sync.planned_records import RecordCounts as RecordCounts
    from dr_wandb.core.sync.summary import ExportSummary as ExportSummary
    from dr_wandb.core.sync.summary import RecordsSummary as RecordsSummary
    from dr_wandb.shell.frames.artifacts import load_artifacts_frame as load_artifacts_frame
    from dr_wandb.shell.frames.duckdb_views import open_duckdb as open_duckdb
    from dr_wandb.shell.frames.loading import load_history_frame as load_history_frame
    from dr_wandb.shell.frames.loading import load_runs_frame as load_runs_frame
    from dr_wandb.shell.frames.loading import scan_history as scan_history
    from dr_wandb.shell.inspect.changes import iter_changes as iter_changes
    from dr_wandb.shell.inspect.doctor import diagnose as diagnose
    from dr_wandb.shell.inspect.scan import scan_folder as scan_folder
    from dr_wandb.shell.inspect.status import find_exports as find_exports
    from dr_wandb.shell.inspect.status import read_status as read_status
    from dr_wandb.shell.inspect.verify import compare_with_source as compare_with_source
    from dr_wandb.shell.inspect.verify import verify_export as verify_export
    from dr_wandb.shell.sources.opening import source_opener as source_opener
    from dr_wandb.shell.store.export_store import ExportNotFoundError as ExportNotFoundError
    from dr_wandb.shell.store.export_store import ExportStore as ExportStore
    from dr_wandb.shell.store.loading import iter_console_lines as iter_console_lines
    from dr_wandb.shell.store.loading import iter_files as iter_files
    from dr_wandb.shell.store.loading import iter_history_rows as iter_history_rows
    from dr_wandb.shell.store.loading import iter_system_samples as iter_system_samples
    from dr_wandb.shell.store.loading import load_manifest as load_manifest
    from dr_wandb.shell.store.loading import load_run_snapshots as load_run_snapshots
    from dr_wandb.shell.store.loading import open_blob as open_blob
    from dr_wandb.shell.store.loading_records import (
        iter_artifact_entries as iter_artifact_entries,
    )
    from dr_wandb.shell.store.loading_records import iter_artifacts as iter_artifacts
    from dr_wandb.shell.store.loading_records import iter_reports as iter_reports
    from dr_wandb.shell.store.loading_records import iter_sweeps as iter_sweeps
    from dr_wandb.shell.sync.engine import ExportEngine as ExportEngine

__version__ = VERSION

_HOMES = {
    "AbsenceKind": "core.inspect.doubts",
    "AccessRefused": "core.contract.failures",
    "ArtifactEntry": "core.contract.manifest_entries",
    "ArtifactUse": "core.contract.project_record",
    "BadEnvironment": "core.contract.failures",
    "ChangedRun": "core.contract.changes",
    "Check": "core.inspect.diagnosis",
    "ComparedRecords": "core.inspect.holdings",
    "Comparison": "core.inspect.holdings",
    "ConsoleLine": "core.contract.records",
    "Counts": "core.contract.dataset",
    "DamagedFile": "core.contract.failures",
    "DataFile": "core.contract.manifest",
    "Diagnosis": "core.inspect.diagnosis",
    "DiskRefused": "core.contract.failures",
    "Doubt": "core.inspect.doubts",
    "DoubtKind": "core.inspect.doubts",
    "DrWandbError": "core.contract.failures",
    "EveryRun": "core.contract.listing",
    "ExportEngine": "shell.sync.engine",
    "ExportManifest": "core.contract.manifest",
    "ExportMode": "core.contract.request",
    "ExportNotFoundError": "shell.store.export_store",
    "ExportProblem": "core.inspect.status",
    "ExportRequest": "core.contract.request",
    "ExportState": "core.contract.state",
    "ExportStatus": "core.inspect.status",
    "ExportStore": "shell.store.export_store",
    "ExportSummary": "core.sync.summary",
    "FailedRun": "core.contract.unproven_runs",
    "Failure": "core.contract.failures",
    "FetchKind": "core.sync.plan_kinds",
    "FetchWindow": "core.contract.fetch_window",
    "FieldChange": "core.contract.changes",
    "FileChoice": "core.contract.file_choice",
    "FileNotice": "core.offline.scan_report",
    "Finding": "core.inspect.verify",
    "FindingKind": "core.inspect.verify",
    "FolderContent": "core.offline.scan_report",
    "FormatAction": "core.sync.planned_formats",
    "HeldDataset": "core.contract.manifest",
    "HeldRows": "core.contract.held_rows",
    "HeldRun": "core.inspect.holdings",
    "HistoryRow": "core.contract.records",
    "HistorySelection": "core.contract.selection",
    "HistoryWindow": "core.contract.selection",
    "InTheWay": "core.contract.failures",
    "InvalidRequest": "core.contract.failures",
    "InvalidRequestError": "core.contract.problems",
    "KeyRefused": "core.contract.failures",
    "Lag": "core.inspect.shortfalls",
    "LagKind": "core.inspect.shortfalls",
    "LeadsOutside": "core.contract.failures",
    "ListingKind": "core.sync.plan_kinds",
    "ListingPlan": "core.sync.listing_plan",
    "Locked": "core.contract.failures",
    "MissingRows": "core.inspect.status",
    "MixedRuns": "core.contract.failures",
    "NewerSchema": "core.contract.failures",
    "NoApiKey": "core.contract.failures",
    "NoExport": "core.contract.failures",
    "NoProject": "core.contract.failures",
    "NoSyncYet": "core.contract.failures",
    "NotRecorded": "core.contract.failures",
    "Note": "core.inspect.verify",
    "NoteKind": "core.inspect.verify",
    "NoticeKind": "core.offline.scan_report",
    "OtherHost": "core.contract.failures",
    "PartFetch": "core.sync.fetch_plan",
    "PlanKind": "core.sync.plan_kinds",
    "PlannedFiles": "core.sync.plan",
    "PlannedFormat": "core.sync.planned_formats",
    "Progress": "core.contract.progress",
    "ProjectPart": "core.contract.project_part",
    "RecordChanges": "core.contract.changes",
    "RecordCounts": "core.sync.planned_records",
    "RecordsStatus": "core.inspect.status",
    "RecordsSummary": "core.sync.summary",
    "ReportUser": "core.contract.project_records",
    "Requested": "core.contract.manifest",
    "RequestedDataset": "core.contract.manifest",
    "RowCount": "core.contract.changes",
    "RunAction": "core.sync.plan",
    "RunFailure": "core.contract.run_failure",
    "RunFailureKind": "core.contract.run_failure",
    "RunFile": "core.contract.records",
    "RunListing": "core.contract.listing",
    "RunOnDisk": "core.offline.scan_report",
    "RunPlan": "core.sync.plan",
    "RunScope": "core.contract.scope",
    "RunSnapshot": "core.contract.records",
    "RunUser": "core.contract.records",
    "RunsById": "core.contract.listing",
    "RunsCreatedSince": "core.contract.listing",
    "RunsVanished": "core.contract.failures",
    "SelectionNarrower": "core.contract.failures",
    "ServerTooOld": "core.contract.failures",
    "ShortKind": "core.contract.unproven_runs",
    "ShortRun": "core.contract.unproven_runs",
    "Shortage": "core.inspect.shortfalls",
    "Stage": "core.contract.progress",
    "SyncChanges": "core.contract.changes",
    "SyncMode": "core.contract.request",
    "SyncPlan": "core.sync.plan",
    "SystemSample": "core.contract.records",
    "Unfinished": "core.contract.failures",
    "UnheldRun": "core.inspect.holdings",
    "Unreachable": "core.contract.failures",
    "VerifyReport": "core.inspect.verify",
    "WaitingLinks": "core.contract.project_part",
    "WaitingRun": "core.contract.unproven_runs",
    "WandbArtifact": "core.contract.artifacts",
    "WandbReport": "core.contract.project_records",
    "WandbRun": "core.contract.records",
    "WandbSweep": "core.contract.project_records",
    "WrongExport": "core.contract.failures",
    "combine_changes": "core.sync.combine_changes",
    "compare_with_source": "shell.inspect.verify",
    "describe_changes": "core.sync.describe",
    "describe_comparison": "core.inspect.holdings",
    "describe_diagnosis": "core.inspect.diagnosis",
    "describe_folder": "core.offline.scan_report",
    "describe_plan": "core.sync.describe",
    "describe_report": "core.inspect.verify",
    "describe_status": "core.inspect.status",
    "diagnose": "shell.inspect.doctor",
    "find_exports": "shell.inspect.status",
    "iter_artifact_entries": "shell.store.loading_records",
    "iter_artifacts": "shell.store.loading_records",
    "iter_changes": "shell.inspect.changes",
    "iter_console_lines": "shell.store.loading",
    "iter_files": "shell.store.loading",
    "iter_history_rows": "shell.store.loading",
    "iter_reports": "shell.store.loading_records",
    "iter_sweeps": "shell.store.loading_records",
    "iter_system_samples": "shell.store.loading",
    "load_artifacts_frame": "shell.frames.artifacts",
    "load_history_frame": "shell.frames.loading",
    "load_manifest": "shell.store.loading",
    "load_run_snapshots": "shell.store.loading",
    "load_runs_frame": "shell.frames.loading",
    "open_blob": "shell.store.loading",
    "open_duckdb": "shell.frames.duckdb_views",
    "plan_listing": "core.sync.listing_plan",
    "plan_sync": "core.sync.plan",
    "read_status": "shell.inspect.status",
    "scan_folder": "shell.inspect.scan",
    "scan_history": "shell.frames.loading",
    "source_opener": "shell.sources.opening",
    "verify_export": "shell.inspect.verify",
}

__all__ = sorted(["__version__", *_HOMES])

if not TYPE_CHECKING:  # else checkers would accept any name

    def __getattr__(name: str) -> Any:
        try:
            home = _HOMES[name]
        except KeyError:
            raise AttributeError(f"module 'dr_wandb' has no attribute {name!r}") from None
        return getattr(import_module(f"dr_wandb.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
