"""Exports for frames, in each form, and what a frame of their rows has to hold."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.columnar import files
from dr_wandb.core.columnar.cells import BOOL, KINDS, NUMBER, TEXT
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.core.contract.values import json_safe
from dr_wandb.shell.executor import SharedExecutor
from dr_wandb.shell.frames import cell_files, line_file
from tests.support.cells import any_rows, cells_of_rows, lines_of_rows
from tests.support.inline_executor import InlineExecutor
from tests.support.strategies import clean_texts
from tests.support.written_parquet import put_manifest, write_history

FORMS = ("lines", "both", "parquet")

HARD: list[dict[str, Any]] = [
    {"loss": 0.5, "Loss": 1, "n": 1, "mixed": 1, "big": 1, "step": 7, 'a."b" c': "x", "flag": True},
    {"loss": math.nan, "Loss": 2, "n": 2**60 + 1, "mixed": "1", "big": 2**64, "text": "NaN"},
    {"loss": -math.inf, "mixed": [1], "big": 0.5, "text": "0012", "flag": False},
    {"loss": 3, "h": {"_type": "histogram", "bins": [1]}, "big": 2**53 + 1},
]
"""Rows whose values readers of JSON lines change, drop or refuse."""

Runs = Mapping[str, Sequence[HistoryRow]]

run_ids = st.sampled_from(["a", "b", "0012", "1e5", "NaN", "é", "a b", 'a"b']) | clean_texts.filter(
    str.strip
)
histories = st.dictionaries(run_ids, any_rows.filter(bool), max_size=4)
months = st.lists(st.sampled_from([None, "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"]))


class Cell(NamedTuple):
    """A value of a row, as it is stored."""

    kind: int
    value: Any


def history_of(runs: Runs) -> bytes:
    """Return a `history.jsonl`."""
    return b"".join(
        lines_of_rows([replace(row, run_id=run_id) for row in rows])
        for run_id, rows in sorted(runs.items())
    )


def make_exports(root: Path, runs: Runs, created: Sequence[str | None] = ()) -> list[str]:
    """Make the exports `lines` and `parquet` of a history; return their names."""
    lines = history_of(runs)
    manifest = ExportManifest(
        name="lines", entity="e", project="p", mode=ExportMode.HISTORY, created_at="",
        updated_at="", runs_path="runs.jsonl", history_path="history.jsonl",
        history_count=lines.count(b"\n"), run_count=len(runs),
    )  # fmt: skip
    (root / "lines").mkdir()
    (root / "lines" / "history.jsonl").write_bytes(lines)
    put_manifest(root / "lines", manifest)
    (root / "parquet").mkdir()
    files = write_history(root / "parquet", lines, dict(zip(runs, created, strict=False)))
    put_manifest(
        root / "parquet", replace(manifest, name="parquet", history_path=None, files=files)
    )
    return ["lines", "parquet"]


class ExpectedRow(NamedTuple):
    """A row: its number in the run, and its cells by key."""

    run_id: str
    row: int
    step: int | None
    timestamp: float | None
    cells: Mapping[str, Cell]


def expected_rows(runs: Runs) -> list[ExpectedRow]:
    """Return the rows of a history, in order, by a loop over the cells of each run."""
    return [row for run_id, rows in sorted(runs.items()) for row in _rows_of_run(run_id, rows)]


def _rows_of_run(run_id: str, rows: Sequence[HistoryRow]) -> Iterator[ExpectedRow]:
    batch = cells_of_rows([replace(row, run_id=run_id) for row in rows])
    found: list[dict[str, Cell]] = [{} for _ in rows]
    for key, cells in batch.columns.items():
        if key is None:
            continue
        texts = dict(zip(cells.text_at.tolist(), cells.texts, strict=True))
        for index, row in enumerate(cells.rows.tolist()):
            kind, value = int(cells.kinds[index]), float(cells.values[index])
            text = texts.get(index)
            stored: Any = value if text is None else text
            if kind == NUMBER and text is not None:
                stored = int(text)
            elif kind == NUMBER and value.is_integer() and abs(value) < 2**53:
                stored = int(value)
            elif kind == BOOL:
                stored = bool(value)
            found[row][key] = Cell(kind, stored)
    for number, cells_of_row in enumerate(found):
        step = int(batch.steps[number]) if batch.has_step[number] else None
        time = float(batch.timestamps[number])
        yield ExpectedRow(run_id, number, step, None if math.isnan(time) else time, cells_of_row)


def metrics_in(rows: Iterable[ExpectedRow]) -> list[str]:
    """Return the metrics of rows, without W&B's own columns."""
    return sorted({key for row in rows for key in row.cells if not key.startswith("_")})


def expected_type(cells: Sequence[Cell]) -> str:
    """Return the type of a column with these values, by what each of them is."""
    kinds = {cell.kind for cell in cells}
    values = [cell.value for cell in cells]
    if kinds <= {NUMBER}:
        if cells and all(type(one) is int and -(2**63) <= one < 2**63 for one in values):
            return "int64"
        if all(type(one) is float or is_double(one) for one in values):
            return "double"
    if kinds == {BOOL}:
        return "bool"
    if kinds <= {NUMBER, TEXT} and all(type(one) is str or is_odd(one) for one in values):
        return "string"
    return "json"


def is_double(integer: int) -> bool:
    """Say whether an integer is a double."""
    try:
        return int(float(integer)) == integer
    except OverflowError:
        return False


def is_odd(value: Any) -> bool:
    """Say whether a value is NaN or an infinity."""
    return type(value) is float and not math.isfinite(value)


def in_column(cell: Cell | None, kind: str) -> Any:
    """Return what a column of a type has of a value, as text that tells all values apart."""
    if cell is None:
        return None
    if kind == "double":
        return repr(float(cell.value))
    if kind == "string":
        return repr(str(json_safe(cell.value)))
    if kind == "json":
        if KINDS[cell.kind] == "json":
            return repr(cell.value)
        return repr(msgspec.json.encode(json_safe(cell.value), order="sorted").decode())
    return repr(cell.value)


Limit = tuple[int, int, int, int]
limits = st.tuples(
    st.integers(3, 40),
    st.integers(1, 60),
    st.sampled_from([1, 200, 1 << 20]),
    st.sampled_from([1, 200, 1 << 23]),
)
"""Cells of a file, cells at once, bytes of lines at once, and bytes of a slice."""


@contextmanager
def exports_of(
    runs: Runs, created: list[str | None], limit: Limit
) -> Iterator[tuple[Path, list[str]]]:
    """Give exports of a history in each form, to be read in small pieces."""
    most_cells, at_once, most_bytes, slice_bytes = limit
    with (
        TemporaryDirectory() as folder,
        patch.object(files, "MOST_CELLS", most_cells),
        patch.object(cell_files, "MOST_CELLS", at_once),
        patch.object(line_file, "AT_ONCE_BYTES", most_bytes),
        patch.object(line_file, "SLICE_BYTES", slice_bytes),
        patch.object(line_file, "BYTES_PER_PROCESS", 1 if slice_bytes < 1 << 23 else 1 << 27),
        patch.object(line_file, "SharedExecutor", lambda: SharedExecutor(InlineExecutor())),
        patch.object(line_file, "count_cores", lambda: 2),
    ):
        yield Path(folder), make_exports(Path(folder), runs, created)
