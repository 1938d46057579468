"""Ask again for everything that an export holds."""

from pathlib import Path

from dr_wandb.core.contract.dataset import FILES, HISTORY
from dr_wandb.core.contract.file_choice import NO_FILE
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.request import ExportMode, ExportRequest, SyncMode
from dr_wandb.core.sync.manifest import requested_before


def repeat_request(
    manifest: ExportManifest,
    name: str,
    data_root: Path,
    *,
    holds_metadata: bool = False,
    sync_mode: SyncMode = SyncMode.INCREMENTAL,
    timeout_seconds: int = 120,
    max_rate: float | None = None,
) -> ExportRequest:
    """Return the request that brings each dataset of an export up to date.

    The scope, and the selection of each dataset, are those that were last requested. name,
    data_root: of the export now. holds_metadata: it holds metadata files, for a manifest that does
    not say whether they were requested. The source to ask is `requested_before(manifest).source`.
    """
    before = requested_before(manifest)
    history = before.datasets.get(HISTORY)
    noted = manifest.requested is not None
    return ExportRequest(
        entity=manifest.entity,
        project=manifest.project,
        name=name,
        data_root=data_root,
        mode=ExportMode.METADATA if history is None else ExportMode.HISTORY,
        sync_mode=sync_mode,
        timeout_seconds=timeout_seconds,
        include_metadata=before.include_metadata if noted else holds_metadata,
        history_selection=None if history is None else history.selection,
        scope=manifest.scope,
        any_project=before.any_project,
        max_rate=max_rate,
        extra_datasets=tuple(before.datasets),
        files=before.datasets[FILES].contents or NO_FILE if FILES in before.datasets else None,
    )
