"""Leave datasets of an export behind."""

from collections.abc import Collection, Iterable
from pathlib import Path

from msgspec import UNSET
from msgspec.structs import replace

from dr_wandb.core.contract.dataset import DATASETS, PROJECT_DATASETS
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.store.reading import StoredExport


def files_of(names: Iterable[str]) -> set[str]:
    """Return the files of datasets, of runs or of the project."""
    return {(DATASETS.get(name) or PROJECT_DATASETS[name]).file for name in names}


def without_datasets(stored: StoredExport, names: Collection[str], scratch: Path) -> StoredExport:
    """Return a stored export as if it never had these datasets.

    scratch: a folder in which no file of them is.
    """
    files = files_of(names) & stored.state.files.keys()
    if not files:
        return stored
    LOGGER.info("%s is removed", " and ".join(sorted(files)))
    state = stored.state
    of_runs = [name for name in names if name in DATASETS]
    paths = {name: scratch / f"dropped-{DATASETS[name].file}" for name in of_runs}
    records = {} if state.records is UNSET else state.records
    rest = {name: part for name, part in records.items() if name not in names}
    return replace(
        stored,
        state=replace(
            state,
            runs={run_id: _without(run, names) for run_id, run in state.runs.items()},
            records=rest or UNSET,
            files={name: sha256 for name, sha256 in state.files.items() if name not in files},
        ),
        row_paths={**stored.row_paths, **paths},
    )


def _without(run: RunTracking, names: Collection[str]) -> RunTracking:
    parts = {dataset: part for dataset, part in run.parts.items() if dataset not in names}
    return run if len(parts) == len(run.parts) else replace(run, parts=parts)
