"""Make an export of many rows in Parquet alone: `python -m benchmarks.many_rows FOLDER`.

By default 20,000,000 rows of two metrics, in 4,000 runs with one of eight learning rates each. The
cells are made without lines. Memory is that of a few runs.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path  # noqa: TC003 - cyclopts reads the types of its arguments
from typing import TYPE_CHECKING

import numpy as np
from cyclopts import App
from tests.support.snapshots import snapshot
from tests.support.written_parquet import WRITER, put_manifest

from dr_wandb.core.columnar.cells import STEP, TIMESTAMP, CellBatch, batch_of
from dr_wandb.core.columnar.files import pack_name
from dr_wandb.core.columnar.values_as_cells import cells_of_integers, cells_of_numbers
from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.export_files import PARQUET_HISTORY, PARQUET_RUNS, RUNS_FILE
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.records import FIRST_WITH_PARQUET
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.shell.store.cell_columns import cells_as_arrow
from dr_wandb.shell.store.parquet_files import merge_pack
from dr_wandb.shell.store.runs_parquet import write_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa

CREATED = "2026-11-01T00:00:00Z"
RATES = 8

app = App(name="python -m benchmarks.many_rows", help_format="plaintext")


@app.default
def main(folder: Path, /, *, runs: int = 4_000, rows: int = 5_000) -> int:
    """Make the export.

    Parameters
    ----------
    folder
        The folder of the export, which must not exist.
    runs
        How many runs.
    rows
        How many rows each of them has.
    """
    make_many_rows(folder, runs, rows)
    print(f"{folder} has {runs * rows:,} rows", file=sys.stderr)
    return 0


def make_many_rows(folder: Path, runs: int, rows: int) -> None:
    """Make an export of many rows."""
    (folder / PARQUET_HISTORY).mkdir(parents=True)
    numbers: dict[str, list[int]] = defaultdict(list)
    for number in range(runs):
        numbers[pack_name(run_id_of(number), CREATED)].append(number)
    files = {}
    for name, members in sorted(numbers.items()):
        path = folder / PARQUET_HISTORY / name
        written = merge_pack(None, path, _changes(members, rows))
        assert written is not None
        files[f"{PARQUET_HISTORY}/{name}"] = _described(
            len(members) * rows, written.bytes, written.sha256
        )
    with (folder / RUNS_FILE).open("wb") as stream:
        for number in reversed(range(runs)):
            rate = {"lr": rate_of(number)}
            stream.write(encode_line(snapshot(run_id_of(number), created_at=CREATED, config=rate)))
    held = write_runs(folder / RUNS_FILE, folder / PARQUET_RUNS)
    files[PARQUET_RUNS] = _described(held.runs, held.bytes, held.sha256)
    manifest = ExportManifest(
        schema_version=FIRST_WITH_PARQUET,
        name=folder.name,
        entity="entity",
        project="project",
        mode=ExportMode.HISTORY,
        created_at=CREATED,
        updated_at=CREATED,
        runs_path=RUNS_FILE,
        run_count=runs,
        history_count=runs * rows,
        files=files,
    )
    put_manifest(folder, manifest)


def run_id_of(number: int) -> str:
    """Return the id of a run."""
    return f"run{number:06d}"


def rate_of(number: int) -> float:
    """Return the learning rate of a run."""
    return 0.001 * (1 + number % RATES)


def loss_of(number: int, rows: int) -> np.ndarray:
    """Return the losses of a run; the last one of each hundredth run is NaN."""
    random = np.random.default_rng(number)
    losses = 2.0 / np.sqrt(np.arange(1, rows + 1)) + 0.01 * random.standard_normal(rows)
    if number % 100 == 0:
        losses[-1] = np.nan
    return losses


def _changes(numbers: list[int], rows: int) -> Iterator[tuple[str, list[pa.RecordBatch]]]:
    for number in numbers:
        yield run_id_of(number), [cells_as_arrow(_cells(number, rows), run_id_of(number))]


def _cells(number: int, rows: int) -> CellBatch:
    at = np.arange(rows)
    columns = {
        STEP: cells_of_integers(at, at),
        TIMESTAMP: cells_of_numbers(at, 1.7e9 + at / 2),
        "epoch": cells_of_integers(at, at // 100),
        "loss": cells_of_numbers(at, loss_of(number, rows)),
    }
    return batch_of(0, rows, columns)


def _described(lines: int, size: int, sha256: str) -> DataFile:
    return DataFile(lines=lines, bytes=size, sha256=sha256, writer=WRITER)


if __name__ == "__main__":
    app()
