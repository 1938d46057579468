"""Find out what an export holds, to ask for all of it again."""

from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.request import ExportRequest, SyncMode
from dr_wandb.core.sync.manifest import requested_before
from dr_wandb.core.sync.repeat import repeat_request
from dr_wandb.shell.sources import source_beside
from dr_wandb.shell.store.documents import read_state
from dr_wandb.shell.store.export_store import ExportStore


def request_again(
    store: ExportStore, *, sync_mode: SyncMode, timeout_seconds: int, max_rate: float | None
) -> tuple[ExportRequest, str]:
    """Return the request for everything that an export holds, and the name of its source.

    Raises ExportNotFoundError if there is no export, InvalidRequestError if its source is none
    that the command can open.
    """
    manifest = store.require_manifest()
    request = repeat_request(
        manifest,
        store.name,
        store.data_root,
        holds_metadata=manifest.requested is None and _holds_metadata(store),
        sync_mode=sync_mode,
        timeout_seconds=timeout_seconds,
        max_rate=max_rate,
    )
    source = source_beside(requested_before(manifest).source, store.export_dir)
    if source != "api" and ":" not in source:
        problem = f"{store.name} was last synced from a source of a program: {source}"
        raise InvalidRequestError([problem])
    return request, source


def _holds_metadata(store: ExportStore) -> bool:
    read = read_state(store.state_path)
    return read is not None and any(run.metadata_included for run in read.state.runs.values())
