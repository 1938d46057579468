"""Parquet files of cells: their schema and statistics, and files that are not complete."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dr_wandb.core.columnar.cells import (
    CellBatch,
    batch_of,
)
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.core.columnar.values_as_cells import (
    cells_of_numbers,
)
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.cell_columns import SCHEMA, cells_as_arrow, cells_of_arrow
from dr_wandb.shell.store.parquet_files import Changes, merge_pack, write_part
from tests.support.cells import lines_of_rows

ROWS: list[dict[str, Any]] = [
    {"_step": 0, "_timestamp": 1.5, "_runtime": 2, "loss": 0.5, "note": "é", "_wandb": {"n": 1}},
    {"_step": 2**63, "_timestamp": 2**53 + 1, "loss": float("nan"), "big": 10**400},
    {"_step": "x", "_timestamp": "soon", "loss": 2**53 + 1, "ok": True, "_own": [1, {"b": 0.1}]},
    {},
]


def cells(*rows: dict[str, Any]) -> CellBatch:
    [batch] = cells_of_lines([lines_of_rows([normalize_row(row, "run") for row in rows])])
    return batch


def arrow(*rows: dict[str, Any]) -> pa.RecordBatch:
    return cells_as_arrow(cells(*rows), "run")


def test_every_value_has_its_cell(tmp_path: Path) -> None:
    write_part(tmp_path / "part", "run", cells(*ROWS))
    found = pq.read_table(tmp_path / "part").to_pylist()
    assert {row.pop("run_id") for row in found} == {"run"}
    assert [(*row.values(),) for row in found if row["value"] == row["value"]] == [
        (0, 0, 1.5, None, "row", None, None),
        (1, None, None, None, "row", None, None),
        (2, None, None, None, "row", None, None),
        (3, None, None, None, "row", None, None),
        (2, None, None, "_own", "json", None, '[1,{"b":0.1}]'),
        (0, 0, 1.5, "_runtime", "number", 2.0, None),
        (1, None, None, "_step", "number", 2.0**63, str(2**63)),
        (2, None, None, "_step", "text", None, "x"),
        (1, None, None, "_timestamp", "number", 2.0**53, str(2**53 + 1)),
        (2, None, None, "_timestamp", "text", None, "soon"),
        (0, 0, 1.5, "_wandb.n", "number", 1.0, None),
        (1, None, None, "big", "number", None, str(10**400)),
        (0, 0, 1.5, "loss", "number", 0.5, None),
        (2, None, None, "loss", "number", 2.0**53, str(2**53 + 1)),
        (0, 0, 1.5, "note", "text", None, "é"),
        (2, None, None, "ok", "bool", 1.0, None),
    ]
    [nan] = [row for row in found if row["value"] != row["value"]]
    assert (nan["row"], nan["key"], nan["kind"], nan["text"]) == (1, "loss", "number", None)


def test_files_have_the_schema_and_statistics_that_readers_need(tmp_path: Path) -> None:
    write_part(tmp_path / "part", "run", cells(*ROWS))
    assert str(pq.read_schema(tmp_path / "part")).splitlines() == [
        "run_id: string not null",
        "row: int64 not null",
        "step: int64",
        "timestamp: double",
        "key: string",
        "kind: string not null",
        "value: double",
        "text: string",
    ]
    metadata = pq.read_metadata(tmp_path / "part")
    assert metadata.metadata is None
    columns = [metadata.row_group(0).column(index) for index in range(metadata.num_columns)]
    assert {column.path_in_schema for column in columns if column.is_stats_set} == {
        "run_id", "row", "step", "key",
    }  # fmt: skip
    assert {column.compression for column in columns} == {"ZSTD"}


def test_merging_drops_the_pack_that_would_be_empty(tmp_path: Path) -> None:
    merge_pack(None, tmp_path / "old", [("run", [arrow({"loss": 1})])])
    assert merge_pack(tmp_path / "old", tmp_path / "new", [("run", []), ("z", [])]) is None
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_merging_does_not_hold_the_pack_in_memory(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    columns = {
        f"metric_{index}": cells_of_numbers(np.arange(9_000), random.random(9_000))
        for index in range(13)
    }
    batch = batch_of(0, 9_000, columns)
    ids = [f"{number:02d}" for number in range(20)]
    runs = ((run_id, [cells_as_arrow(batch, run_id)]) for run_id in ids)
    merge_pack(None, tmp_path / "old", runs)
    before, held = pa.total_allocated_bytes(), []

    def changes() -> Changes:
        for run_id in ("03", "07", "11", "15", "18"):
            held.append(pa.total_allocated_bytes() - before)
            yield run_id, ()

    merged = merge_pack(tmp_path / "old", tmp_path / "new", changes())
    assert merged is not None
    assert merged.rows == 15 * 14 * 9_000
    assert max(held) < (tmp_path / "old").stat().st_size
    assert pq.read_metadata(tmp_path / "new").num_row_groups == 15


def test_run_without_rows_has_no_cells(tmp_path: Path) -> None:
    assert merge_pack(None, tmp_path / "new", [("a", [arrow()])]) is None


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_file_that_cannot_be_written_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(_stream: object) -> None:
        raise error

    monkeypatch.setattr(disk, "sync_file", fail)
    with pytest.raises(type(error)):
        write_part(tmp_path / "part", "run", cells(*ROWS))


def test_changes_that_fail_end_the_merge(tmp_path: Path) -> None:
    def changes() -> Any:
        yield "a", [arrow(*ROWS)]
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        merge_pack(None, tmp_path / "new", changes())


def test_cells_of_a_row_without_a_marker_are_refused() -> None:
    batch = cells_as_arrow(cells({"loss": 1}, {"loss": 2}), "run")
    with pytest.raises(ValueError, match="marker"):
        cells_of_arrow([batch.slice(1)])


def test_pandas_is_not_imported(tmp_path: Path) -> None:
    """It takes half a second, and pyarrow imports it for `pa.array` if it is installed."""
    code = (
        "import sys; from pathlib import Path;"
        "from dr_wandb.core.columnar.from_lines import cells_of_lines;"
        "from dr_wandb.core.contract.codec import encode_line;"
        "from dr_wandb.core.contract.normalize import normalize_row;"
        "from dr_wandb.shell.store.cell_columns import cells_as_arrow;"
        "from dr_wandb.shell.store.parquet_files import merge_pack, read_lines;"
        "rows = [{'_step': 1, 'a': 0.5, 'b': 'x'}, {'a': True, '_timestamp': 2}];"
        "lines = b''.join(encode_line(normalize_row(row, 'run')) for row in rows);"
        "old, new = Path(sys.argv[1], 'old'), Path(sys.argv[1], 'new');"
        "[cells] = cells_of_lines([lines]);"
        "merge_pack(None, old, [('run', [cells_as_arrow(cells, 'run')])]);"
        "merge_pack(old, new, [('more', [cells_as_arrow(cells, 'more')])]);"
        "assert [found.lines for _, found in read_lines(new)][1] == lines;"
        "assert 'pyarrow' in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, tmp_path], check=True)


def test_schema_has_no_other_columns() -> None:
    assert SCHEMA.names == ["run_id", "row", "step", "timestamp", "key", "kind", "value", "text"]
    assert pa.types.is_dictionary(SCHEMA.field("key").type)
