"""What is said of cells, files and runs in Parquet, by example."""

import numpy as np

from dr_wandb.core.columnar.cells import CellBatch, KeyCells
from dr_wandb.core.contract.fetch_window import Received
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.core.inspect.audit_rows import StoredPart
from dr_wandb.core.inspect.cells_of_run import problem_of_cells
from dr_wandb.core.inspect.columns import (
    ColumnsPart,
    history_is_in_columns,
    holds_columns,
    in_order,
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


def test_run_is_described_by_the_digest_that_the_state_has() -> None:
    lines, cells = "0" * 32, "1" * 64
    received = Received(rows=2)

    def found(offset: int, line: int, length: int, digest: str) -> StoredPart:
        place = ByteRange(offset=offset, length=length, rows=2, digest=digest)
        return StoredPart(line=line, byte_range=place, received=received)

    held = {
        run_id: ColumnsPart(file="f", cells=cells, part=found(0, 1, 50, lines))
        for run_id in ("c", "a", "b")
    }
    known = {
        "a": ByteRange(offset=0, length=50, rows=2, digest=lines),
        "b": ByteRange(offset=50, length=0, rows=2, digest=cells),
    }
    assert in_order(held, known) == {
        "a": found(0, 1, 50, lines),
        "b": found(50, 3, 0, cells),
        "c": found(50, 5, 50, lines),
    }


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
