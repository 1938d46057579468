"""What is said of cells, files and runs in Parquet, by example."""

import numpy as np

from dr_wandb.core.columnar.cells import CellBatch, KeyCells
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.core.inspect.cells_of_run import problem_of_cells
from dr_wandb.core.inspect.columns import (
    history_is_in_columns,
    holds_columns,
    problem_of_parts,
)
from tests.support.cells import cells_of_rows

BATCH = cells_of_rows([normalize_row({"a": row, "b": "x"}, "run") for row in range(3)])


def changed(key: str, cells: KeyCells) -> CellBatch:
    return BATCH._replace(columns={**BATCH.columns, key: cells})


def test_cells_of_a_key_rise_by_row() -> None:
    assert problem_of_cells(BATCH) is None
    cells = BATCH.columns["a"]
    for rows in ([1, 0, 2], [0, 1, 1]):
        turned = changed("a", cells._replace(rows=np.array(rows)))
        assert problem_of_cells(turned) == "has cells of 'a' that are not in order"


def test_keys_are_sorted() -> None:
    turned = BATCH._replace(columns=dict([*BATCH.columns.items()][::-1]))
    assert problem_of_cells(turned) == "has keys that are not in order"


def test_own_files_of_a_run_are_counted_from_0() -> None:
    names = [f"parquet/history/2026-01-run-{'0' * 32}-{number:04d}.parquet" for number in range(3)]
    assert problem_of_parts(names) is None
    missing = "is of a run whose file 0000 is not in manifest.json"
    assert problem_of_parts(names[1:]) == missing


def test_export_without_a_manifest_has_no_parquet() -> None:
    manifest = ExportManifest(
        name="n",
        entity="e",
        project="p",
        mode=ExportMode.METADATA,
        created_at="",
        updated_at="",
        runs_path="runs.jsonl",
    )
    assert not holds_columns(None)
    assert not holds_columns(manifest)
    assert not history_is_in_columns(None)
