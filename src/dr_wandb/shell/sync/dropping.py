"""Leave datasets of an export behind."""

from collections.abc import Collection
from pathlib import Path

from msgspec.structs import replace

from dr_wandb.core.contract.dataset import DATASETS
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.store.reading import StoredExport


def without_datasets(stored: StoredExport, names: Collection[str], scratch: Path) -> StoredExport:
    """Return a stored export as if it never had these datasets.

    scratch: a folder in which no file of them is.
    """
    files = {DATASETS[name].file for name in names} & stored.state.files.keys()
    if not files:
        return stored
    LOGGER.info("%s is removed", " and ".join(sorted(files)))
    state = stored.state
    paths = {name: scratch / f"dropped-{DATASETS[name].file}" for name in names}
    return replace(
        stored,
        state=replace(
            state,
            runs={run_id: _without(run, names) for run_id, run in state.runs.items()},
            files={name: sha256 for name, sha256 in state.files.items() if name not in files},
        ),
        row_paths={**stored.row_paths, **paths},
    )


def _without(run: RunTracking, names: Collection[str]) -> RunTracking:
    parts = {dataset: part for dataset, part in run.parts.items() if dataset not in names}
    return run if len(parts) == len(run.parts) else replace(run, parts=parts)
