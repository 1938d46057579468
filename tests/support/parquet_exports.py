"""Exports with Parquet files: make these small, and read them as a reader of the folder does."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dr_wandb.core.columnar import files
from dr_wandb.core.contract.export_files import PARQUET_HISTORY
from dr_wandb.shell.store.parquet_files import read_lines, rows_of_part


@contextmanager
def small_files(most_cells: int | None = 20) -> Iterator[None]:
    """Give runs of few cells files of their own; None leaves the limits as they are."""
    with pytest.MonkeyPatch.context() as patch:
        if most_cells is not None:
            patch.setattr(files, "MOST_CELLS", most_cells)
        yield


def lines_in(folder: Path) -> bytes:
    """Return the lines of all Parquet files in the folder of the history, by run and row."""
    found = []
    for path in (folder / PARQUET_HISTORY).glob("*.parquet"):
        for run_id, rows in read_lines(path):
            first = rows_of_part(path).start if "-run-" in path.name else 0
            found.append((run_id, first, path.name, rows.lines))
    return b"".join(lines for *_, lines in sorted(found))
