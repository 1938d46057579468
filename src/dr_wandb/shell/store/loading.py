"""Load what an export holds, by its name."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.records import (
    ConsoleLine,
    HistoryRow,
    RunFile,
    RunSnapshot,
    SystemSample,
)
from dr_wandb.shell.store.export_store import ExportStore


def load_manifest(name: str, data_root: Path) -> ExportManifest | None:
    """Load the manifest of an export, None if there is no export of that name."""
    return ExportStore(name=name, data_root=data_root).load_manifest()


def load_run_snapshots(name: str, data_root: Path) -> list[RunSnapshot]:
    """Load the run snapshots of an export, newest first."""
    return ExportStore(name=name, data_root=data_root).load_run_snapshots()


def iter_history_rows(
    name: str,
    data_root: Path,
    *,
    run_ids: Iterable[str] | None = None,
    keys: Iterable[str] | None = None,
) -> Iterator[HistoryRow]:
    """Load the history rows of an export, one at a time, as `ExportStore.iter_history_rows` does.

    run_ids: load the rows of these runs only, without reading those of others. keys: load the rows
    that have at least one of these metrics, with just these.
    """
    store = ExportStore(name=name, data_root=data_root)
    return store.iter_history_rows(run_ids=run_ids, keys=keys)


def iter_console_lines(
    name: str, data_root: Path, *, run_ids: Iterable[str] | None = None
) -> Iterator[ConsoleLine]:
    """Load the lines that programs printed, as `ExportStore.iter_console_lines` does."""
    store = ExportStore(name=name, data_root=data_root)
    return store.iter_console_lines(run_ids=run_ids)


def iter_system_samples(
    name: str, data_root: Path, *, run_ids: Iterable[str] | None = None
) -> Iterator[SystemSample]:
    """Load the samples of machines, as `ExportStore.iter_system_samples` does."""
    store = ExportStore(name=name, data_root=data_root)
    return store.iter_system_samples(run_ids=run_ids)


def iter_files(
    name: str, data_root: Path, *, run_ids: Iterable[str] | None = None
) -> Iterator[RunFile]:
    """Load what is known of the files of runs, as `ExportStore.iter_files` does."""
    return ExportStore(name=name, data_root=data_root).iter_files(run_ids=run_ids)


def open_blob(name: str, data_root: Path, sha256: str) -> IO[bytes]:
    """Open the bytes of a file of an export for reading. sha256: that of its row."""
    return ExportStore(name=name, data_root=data_root).open_blob(sha256)
