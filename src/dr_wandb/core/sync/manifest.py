"""Describe an export after a sync: its new manifest.

Rules
- The manifest changes only when the data does: `updated_at` is the time of the last sync that
  changed a data file, the selection or the mode.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from dr_wandb.core.contract.export_files import HISTORY_FILE, RUNS_FILE
from dr_wandb.core.contract.known_runs import awake
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.normalize import normalize_time
from dr_wandb.core.contract.request import ExportMode, ExportRequest
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.contract.version import VERSION


def keep_or_replace(old: ExportManifest | None, new: ExportManifest) -> ExportManifest:
    """Return the old manifest if the new one says the same about the data."""
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
    """Describe an export with these data files. A metadata sync keeps the old selection."""
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
