"""What an export holds (`manifest.json`) and what one sync did (`ExportSummary`).

Rules
- The manifest changes only when the data does: paths are relative to the export, `updated_at` is
  the time of the last sync that changed a data file, the selection or the mode.
- The fields of dr-wandb 3.0.3 come first and keep their meaning, but for the paths.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.dataset import DATASETS, HISTORY
from dr_wandb.core.contract.evidence import Standing
from dr_wandb.core.contract.known_runs import awake
from dr_wandb.core.contract.normalize import normalize_time
from dr_wandb.core.contract.records import SCHEMA_VERSION, Record
from dr_wandb.core.contract.request import ExportMode, ExportRequest, HistoryWindow, SyncMode
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.contract.state_form import CHANGES_OF_STORE_FILE, STORE_FILE
from dr_wandb.core.contract.unproven_runs import (
    FailedRun,
    ShortRun,
    WaitingRun,
    failed_run,
)
from dr_wandb.core.contract.version import VERSION
from dr_wandb.core.sync.advance import RunOutcome
from dr_wandb.core.sync.plan import RunAction, SyncPlan
from dr_wandb.core.sync.verdict import Judged

RUNS_FILE = "runs.jsonl"
HISTORY_FILE = DATASETS[HISTORY].file
CHANGES_FILE = "changes.jsonl"
MANIFEST_FILE = "manifest.json"
STATE_FILE = "state.json"


def file_order() -> tuple[str, ...]:
    """Return the names of all visible files of an export, as they are put in place."""
    of_datasets = (dataset.file for dataset in DATASETS.values())
    return (*of_datasets, RUNS_FILE, CHANGES_FILE, MANIFEST_FILE, STATE_FILE)


def commit_order() -> tuple[str, ...]:
    """Return the names of all files that a commit may put in place, in their order."""
    *data, state = file_order()
    return (*data, STORE_FILE, CHANGES_OF_STORE_FILE, state)


class DataFile(Record, frozen=True, kw_only=True):
    """One data file: its lines, its bytes, and the SHA-256 of its content in hex."""

    lines: int
    bytes: int
    sha256: str


class ExportManifest(Record, frozen=True, kw_only=True):
    """What one named export holds.

    `mode` is "history" once there is a history file. `history_count` and the selection speak of
    that file; a later metadata sync leaves them as they are. Paths are relative to the export.
    `scope` is that of the last sync. `short_runs` are those whose source lists more lines than it
    gave rows, with how many more: waited for, or accepted as short. `missing_runs` are gone
    upstream and `out_of_scope_runs` have left the scope, each with the time of the sync that first
    found it so.
    """

    schema_version: int = SCHEMA_VERSION
    name: str
    entity: str
    project: str
    mode: ExportMode
    created_at: str
    updated_at: str
    runs_path: str
    history_path: str | None = None
    run_count: int = 0
    history_count: int = 0
    selected_history_keys: list[str] | None = None
    history_window: HistoryWindow | None = None
    scope: RunScope | None = None
    short_runs: dict[str, int] = msgspec.field(default_factory=dict)
    missing_runs: dict[str, str] = msgspec.field(default_factory=dict)
    out_of_scope_runs: dict[str, str] = msgspec.field(default_factory=dict)
    files: dict[str, DataFile] = msgspec.field(default_factory=dict)
    tool_version: str = ""


def keep_or_replace(old: ExportManifest | None, new: ExportManifest) -> ExportManifest:
    """Return the old manifest where the new one says the same of the data."""
    if old is None:
        return new
    same = replace(new, updated_at=old.updated_at, tool_version=old.tool_version)
    return old if same == old else new


def describe_export(
    request: ExportRequest,
    old: ExportManifest | None,
    tracked: Mapping[str, RunTracking],
    files: Mapping[str, DataFile],
    *,
    exported_at: str,
) -> ExportManifest:
    """Describe an export whose data files are these. A metadata sync keeps the old selection."""
    keys, window = request.selection.keys, request.selection.window
    selected_keys = None if keys is None else list(keys)
    if request.mode == ExportMode.METADATA and old is not None:
        selected_keys, window = old.selected_history_keys, old.history_window
    created_at = normalize_time(old.created_at) if old is not None else None
    marked = dict(sorted(awake(tracked, None)))
    history = files.get(HISTORY_FILE)
    return ExportManifest(
        name=request.name,
        entity=request.entity,
        project=request.project,
        mode=ExportMode.METADATA if history is None else ExportMode.HISTORY,
        created_at=created_at or exported_at,
        updated_at=exported_at,
        runs_path=RUNS_FILE,
        history_path=None if history is None else HISTORY_FILE,
        run_count=files[RUNS_FILE].lines,
        history_count=0 if history is None else history.lines,
        selected_history_keys=selected_keys,
        history_window=window,
        scope=request.scope,
        short_runs={
            run_id: run.short_by for run_id, run in marked.items() if run.short_by is not None
        },
        missing_runs={
            run_id: run.missing_since for run_id, run in marked.items() if run.missing_since
        },
        out_of_scope_runs={
            run_id: run.out_of_scope_since
            for run_id, run in marked.items()
            if run.out_of_scope_since
        },
        files=dict(files),
        tool_version=VERSION,
    )


class ExportSummary(Record, frozen=True, kw_only=True):
    """What one sync did. The fields up to `exported_at` are those of 3.0.3, with its full paths.

    `history_path` is None where the export has no history. `missing_count` runs are gone upstream
    and kept, `pruned_count` were dropped, `out_of_scope_count` are kept but no longer followed when
    they have ended. `rows_added` is how many rows the history file grew by, runs that lost rows
    aside. `unlisted_count` is how many runs W&B counts but did not list. `short` runs brought fewer
    rows than are listed, `waiting` ones not all rows that are held, of `unread` ones a part does
    not read; the rest is exported. `refused` are the runs whose history W&B refuses to give,
    `refusal` is why. Of `metadata_failures` the metadata file did not come; what is held of it
    stays, and the rest is exported.
    """

    name: str
    entity: str
    project: str
    mode: ExportMode
    sync_mode: SyncMode
    output_dir: str
    state_path: str
    manifest_path: str
    runs_path: str
    history_path: str | None = None
    run_count: int = 0
    history_count: int = 0
    exported_at: str
    new_count: int = 0
    refreshed_count: int = 0
    reused_count: int = 0
    failed_count: int = 0
    missing_count: int = 0
    pruned_count: int = 0
    out_of_scope_count: int = 0
    unlisted_count: int = 0
    rows_added: int = 0
    failures: tuple[FailedRun, ...] = ()
    short: tuple[ShortRun, ...] = ()
    waiting: tuple[WaitingRun, ...] = ()
    unread: tuple[FailedRun, ...] = ()
    metadata_failures: tuple[FailedRun, ...] = ()
    refused: tuple[str, ...] = ()
    refusal: str | None = None

    @property
    def complete(self) -> bool:
        """Say whether every run that W&B has was read, with all that it lists."""
        unread = self.failures or self.unread or self.metadata_failures or self.refused
        return not (unread or self.short or self.waiting or self.unlisted_count)


def summarize(
    request: ExportRequest,
    plan: SyncPlan,
    failures: Iterable[FailedRun],
    outcomes: Iterable[RunOutcome],
    manifest: ExportManifest,
    *,
    folder: str,
    exported_at: str,
    unlisted: int,
    rows_added: int,
) -> ExportSummary:
    """Sum up a sync whose plan was carried out but for the failures. outcomes: of listed runs.

    folder: where the export lies; the summary's paths are below it.
    """
    failed = {failure.run_id: failure for failure in failures}
    done = [run.action for run in plan.runs if run.run_id not in failed]
    history = manifest.history_path
    sorted_outcomes = sorted(outcomes, key=lambda outcome: outcome.listing.run_id)
    refused = [outcome for outcome in sorted_outcomes if outcome.refused]
    return ExportSummary(
        name=request.name,
        entity=request.entity,
        project=request.project,
        mode=request.mode,
        sync_mode=request.sync_mode,
        output_dir=folder,
        state_path=f"{folder}/{STATE_FILE}",
        manifest_path=f"{folder}/{MANIFEST_FILE}",
        runs_path=f"{folder}/{RUNS_FILE}",
        history_path=None if history is None else f"{folder}/{history}",
        run_count=manifest.run_count,
        history_count=manifest.history_count,
        exported_at=exported_at,
        new_count=done.count(RunAction.NEW),
        refreshed_count=done.count(RunAction.REFRESH),
        reused_count=done.count(RunAction.REUSE),
        failed_count=len(failed),
        missing_count=done.count(RunAction.MISSING),
        pruned_count=done.count(RunAction.PRUNE),
        out_of_scope_count=len(manifest.out_of_scope_runs),
        unlisted_count=unlisted,
        rows_added=rows_added,
        failures=tuple(failed[run_id] for run_id in sorted(failed)),
        short=tuple(
            ShortRun(
                run_id=outcome.listing.run_id,
                kind=judged.short,
                short_by=max(0, judged.evidence.difference or 0) or None,
                reason=judged.reason,
            )
            for outcome, judged in _judged(sorted_outcomes)
            if judged.short is not None
        ),
        waiting=tuple(
            WaitingRun(
                run_id=outcome.listing.run_id,
                kind=judged.evidence.kind,
                missing_rows=judged.evidence.missing_rows,
            )
            for outcome, judged in _judged(sorted_outcomes)
            if judged.standing == Standing.WAITING
        ),
        unread=tuple(
            failed_run(outcome.listing.run_id, outcome.unread)
            for outcome in sorted_outcomes
            if outcome.unread is not None
        ),
        metadata_failures=tuple(
            failed_run(outcome.listing.run_id, outcome.metadata_failure)
            for outcome in sorted_outcomes
            if outcome.metadata_failure is not None
        ),
        refused=tuple(outcome.listing.run_id for outcome in refused),
        refusal=next((run.failure.reason for run in refused if run.failure is not None), None),
    )


def _judged(outcomes: Iterable[RunOutcome]) -> Iterator[tuple[RunOutcome, Judged]]:
    for outcome in outcomes:
        for part in outcome.parts.values():
            if part.judged is not None:
                yield outcome, part.judged
