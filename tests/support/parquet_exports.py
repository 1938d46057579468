"""Exports with Parquet files: make these small, and read them as a reader of the folder does."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dr_wandb.core.columnar import files
from dr_wandb.core.contract.export_files import PARQUET_HISTORY
from dr_wandb.shell.store.parquet_files import read_lines, rows_of_part

_SEEN: dict[tuple[tuple[str, bytes], ...], bytes] = {}
"""The lines of files that were read before: laws look at the same ones again and again."""

MOST_SEEN = 200


@contextmanager
def small_files(most_cells: int | None = 20) -> Iterator[None]:
    """Give runs of few cells files of their own; None leaves the limits as they are."""
    with pytest.MonkeyPatch.context() as patch:
        if most_cells is not None:
            patch.setattr(files, "MOST_CELLS", most_cells)
        yield


def lines_in(folder: Path) -> bytes:
    """Return the lines of all Parquet files in the folder of the history, by run and row."""
    paths = sorted((folder / PARQUET_HISTORY).glob("*.parquet"))
    key = tuple((path.name, path.read_bytes()) for path in paths)
    if key not in _SEEN:
        if len(_SEEN) == MOST_SEEN:
            _SEEN.clear()
        _SEEN[key] = _lines_of(paths)
    return _SEEN[key]


def _lines_of(paths: Iterable[Path]) -> bytes:
    found = []
    for path in paths:
        for run_id, rows in read_lines(path):
            first = rows_of_part(path).start if "-run-" in path.name else 0
            found.append((run_id, first, path.name, rows.lines))
    return b"".join(lines for *_, lines in sorted(found))
