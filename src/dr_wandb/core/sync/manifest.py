"""Describe an export after a sync: its new manifest.

Rules
- The manifest changes only when the data does: `updated_at` is the time of the last sync that
  changed a data file, the selection or the mode.
"""

from collections.abc import Collection, Mapping

from msgspec import UNSET
from msgspec.structs import replace

from dr_wandb.core.contract.dataset import DATASETS, HISTORY
from dr_wandb.core.contract.export_files import HISTORY_FILE, JSONL, RUNS_FILE, version_for
from dr_wandb.core.contract.failures import OtherHost
from dr_wandb.core.contract.known_runs import awake, total
from dr_wandb.core.contract.manifest import (
    DataFile,
    ExportManifest,
    HeldDataset,
    Requested,
    RequestedDataset,
)
from dr_wandb.core.contract.normalize import normalize_time
from dr_wandb.core.contract.request import ExportMode, ExportRequest
from dr_wandb.core.contract.selection import HistorySelection
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
    formats: Collection[str],
    history_rows: int | None,
    exported_at: str,
    source: str,
    host: str,
) -> ExportManifest:
    """Describe an export with these data files. A metadata sync keeps the old selection.

    formats: of the history. history_rows: None if there is no history. source, host: those of this
    sync, see `Requested`.
    """
    keys, window = request.selection.keys, request.selection.window
    selected_keys = None if keys is None else list(keys)
    if request.mode == ExportMode.METADATA and old is not None:
        selected_keys, window = old.selected_history_keys, old.history_window
    created_at = normalize_time(old.created_at) if old is not None else None
    marked = dict(sorted(awake(tracked, None)))
    return ExportManifest(
        schema_version=version_for(files),
        name=request.name,
        entity=request.entity,
        project=request.project,
        mode=ExportMode.METADATA if history_rows is None else ExportMode.HISTORY,
        created_at=created_at or exported_at,
        updated_at=exported_at,
        runs_path=RUNS_FILE,
        history_path=HISTORY_FILE if HISTORY_FILE in files else None,
        run_count=files[RUNS_FILE].lines,
        history_count=history_rows or 0,
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
        requested=_requested(request, old, source, host, formats),
        moved_from=_moved_from(request, old),
        datasets=_held(tracked, marked, files) or UNSET,
    )


def _held(
    tracked: Mapping[str, RunTracking],
    marked: Mapping[str, RunTracking],
    files: Mapping[str, DataFile],
) -> dict[str, HeldDataset]:
    """Describe the datasets other than the history. marked: the runs that may be short."""
    return {
        name: HeldDataset(
            rows=total(tracked, name).rows,
            short_runs={
                run_id: short_by
                for run_id, run in marked.items()
                if (short_by := run.part(name).short_by) is not None
            },
            sampled_runs={
                run_id: listed
                for run_id, run in marked.items()
                if (listed := run.part(name).sampled_from) is not None
            },
            capped_runs={
                run_id: listed
                for run_id, run in marked.items()
                if (listed := run.part(name).capped_from(dataset)) is not None
            },
        )
        for name, dataset in sorted(DATASETS.items())
        if name != HISTORY and dataset.file in files
    }


def _moved_from(request: ExportRequest, old: ExportManifest | None) -> list[str]:
    """Return the earlier addresses of the project, oldest first."""
    if old is None:
        return []
    now, before = f"{request.entity}/{request.project}", f"{old.entity}/{old.project}"
    known = [*old.moved_from, *([before] if before != now else [])]
    return [address for address in dict.fromkeys(known) if address != now]


def check_host(
    request: ExportRequest, manifest: ExportManifest | None, host: str
) -> OtherHost | None:
    """Return a failure if an export's runs are from another server, and it did not move.

    host: the server that is asked now, "" for none. An export without a server takes any.
    """
    known = requested_before(manifest).host
    if request.host_moved or not known or not host or known == host:
        return None
    return OtherHost(name=request.name, found=known, wanted=host)


def _requested(
    request: ExportRequest,
    old: ExportManifest | None,
    source: str,
    host: str,
    formats: Collection[str],
) -> Requested:
    """Return what is requested from now on; a sync that leaves a dataset alone changes nothing."""
    before = requested_before(old)
    now = {
        dataset: RequestedDataset(
            selection=request.selection_of(dataset),
            contents=request.contents_of(dataset) if DATASETS[dataset].has_content else UNSET,
        )
        for dataset in request.datasets
    }
    now |= {dataset: RequestedDataset() for dataset in request.project_datasets}
    datasets = {**before.datasets, **now}
    datasets = {name: one for name, one in datasets.items() if name not in request.drop_datasets}
    if HISTORY in datasets:
        datasets[HISTORY] = replace(datasets[HISTORY], formats=sorted(formats or {JSONL}))
    return Requested(
        datasets=dict(sorted(datasets.items())),
        include_metadata=request.include_metadata,
        any_project=request.any_project,
        source=source,
        host=host or before.host,
    )


def requested_before(manifest: ExportManifest | None) -> Requested:
    """Return what the syncs of an export requested, as far as its manifest says so."""
    if manifest is None:
        return Requested()
    if manifest.requested is not None:
        return manifest.requested
    keys, window = manifest.selected_history_keys, manifest.history_window
    selection = HistorySelection(keys=None if keys is None else tuple(keys), window=window)
    held = {} if manifest.history_path is None else {HISTORY: RequestedDataset(selection=selection)}
    return Requested(datasets=held)
