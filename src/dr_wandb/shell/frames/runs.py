"""The runs of an export as a table of Arrow: `runs.parquet`, or made of `runs.jsonl`.

`pq.read_table` is not used: it imports pandas if that is installed, and threads of its own keep the
file for a moment after it has returned. A process that ended then was aborted, with exit code 134
(pyarrow 26, with a Python file).
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq

from dr_wandb.core.contract.export_files import PARQUET_RUNS, RUNS_FILE
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.shell.store.checked_parquet import DescribedFile, reading
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.runs_parquet import write_runs


def runs_table(store: ExportStore, manifest: ExportManifest) -> pa.Table:
    """Return the runs, newest first. Raises DrWandbError if a file is missing or damaged."""
    described = manifest.files.get(PARQUET_RUNS)
    if described is not None:
        file = DescribedFile(store.export_dir / PARQUET_RUNS, described)
        with reading(file):
            return _read(file.path)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "runs.parquet"
        write_runs(store.export_dir / RUNS_FILE, path)
        return _read(path)


def _read(path: Path) -> pa.Table:
    with pq.ParquetFile(path, pre_buffer=False) as file:
        return file.read()
