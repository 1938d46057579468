"""Load the records of the project that an export holds."""

from collections.abc import Iterator
from pathlib import Path

from dr_wandb.core.contract.artifacts import WandbArtifact
from dr_wandb.core.contract.dataset import PROJECT_DATASETS
from dr_wandb.core.contract.manifest_entries import ArtifactEntry
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.project_records import WandbReport, WandbSweep
from dr_wandb.shell.store.export_store import ExportStore


def iter_artifacts(name: str, data_root: Path, *, entries: bool = True) -> Iterator[WandbArtifact]:
    """Load the artifact versions of an export, as `ExportStore.iter_artifacts` does."""
    return ExportStore(name=name, data_root=data_root).iter_artifacts(entries=entries)


def iter_artifact_entries(
    name: str, data_root: Path
) -> Iterator[tuple[WandbArtifact, ArtifactEntry]]:
    """Load the entries of all manifests, as `ExportStore.iter_artifact_entries` does."""
    return ExportStore(name=name, data_root=data_root).iter_artifact_entries()


def iter_sweeps(name: str, data_root: Path) -> Iterator[WandbSweep]:
    """Load the sweeps of an export, one at a time, by their ids."""
    return ExportStore(name=name, data_root=data_root).iter_sweeps()


def iter_reports(name: str, data_root: Path) -> Iterator[WandbReport]:
    """Load the reports of an export, one at a time, by their ids."""
    return ExportStore(name=name, data_root=data_root).iter_reports()


def require_records(store: ExportStore, dataset: str) -> None:
    """Raise InvalidRequestError if an export does not hold a dataset of the project."""
    if PROJECT_DATASETS[dataset].file not in store.require_manifest().files:
        missing = f"{store.name} has no {dataset}: sync it with --with {dataset}"
        raise InvalidRequestError([missing])
