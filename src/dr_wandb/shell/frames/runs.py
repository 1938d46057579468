"""The runs of an export as a table: `runs.parquet`, or made of `runs.jsonl`.

Polars reads the file itself, since that takes four fifths of the time of a detour by Arrow.

`pq.read_table` is not used: it imports pandas if that is installed, and threads of its own keep the
file for a moment after it has returned. A process that ended then was aborted, with exit code 134
(pyarrow 26, with a Python file).
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from dr_wandb.core.contract.export_files import PARQUET_RUNS, RUNS_FILE
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.shell.frames.engines import Engine, as_frame, library
from dr_wandb.shell.store.checked_parquet import DescribedFile, reading
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.runs_parquet import write_runs

T = TypeVar("T")


def runs_table(store: ExportStore, manifest: ExportManifest) -> pa.Table:
    """Return the runs, newest first. Raises DrWandbError if a file is missing or damaged."""
    return _of_file(store, manifest, _read)


def runs_frame(store: ExportStore, manifest: ExportManifest, engine: Engine) -> Any:
    """Return the runs as a frame of an engine, as `runs_table` gives them."""
    return _of_file(store, manifest, lambda path: read_frame(path, engine))


def read_frame(path: Path, engine: Engine) -> Any:
    """Read a file of runs as a frame of an engine."""
    if engine == "polars":
        return library("polars").read_parquet(path.read_bytes(), parallel="row_groups")
    return as_frame(_read(path), engine)


def _of_file(store: ExportStore, manifest: ExportManifest, read: Callable[[Path], T]) -> T:
    """Return what is read from the file of runs, which is made if the export has none."""
    described = manifest.files.get(PARQUET_RUNS)
    if described is not None:
        file = DescribedFile(store.export_dir / PARQUET_RUNS, described)
        with reading(file):
            return read(file.path)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "runs.parquet"
        write_runs(store.export_dir / RUNS_FILE, path)
        return read(path)


def _read(path: Path) -> pa.Table:
    with pq.ParquetFile(path, pre_buffer=False) as file:
        return file.read()
