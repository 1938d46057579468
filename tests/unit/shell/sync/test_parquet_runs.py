"""`runs.parquet` in a sync: made of `runs.jsonl`, and written only if that differs."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dr_wandb.core.contract.export_files import PARQUET_RUNS
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.runs_parquet import write_runs
from tests.support import syncing
from tests.support.memory_source import MemorySource


@pytest.fixture
def source() -> MemorySource:
    made = MemorySource()
    for run_id in ("a", "b"):
        made.add_run(run_id)
        made.log(run_id, {"loss": 1})
    return made


def sync(source: MemorySource, data_root: Path, **fields: object) -> ExportStore:
    request = syncing.request_for(data_root, mode="history", **fields)
    syncing.export(source, request, now=source.now)
    return ExportStore(name=request.name, data_root=data_root)


def look_at(path: Path) -> tuple[int, int]:
    """Return what changes if a file is written or replaced."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def test_it_is_made_of_the_snapshots_as_they_are_now(source: MemorySource, tmp_path: Path) -> None:
    store = sync(source, tmp_path, formats=("parquet",))
    path = store.export_dir / PARQUET_RUNS
    first = look_at(path)
    assert pq.read_table(path, columns=["run_id"]).column(0).to_pylist() == ["b", "a"]
    assert verify_export(store).sound
    sync(source, tmp_path)
    assert look_at(path) == first, "nothing is new"
    source.add_run("c")
    sync(source, tmp_path)
    assert pq.read_metadata(path).num_rows == 3
    assert verify_export(store).sound
    again = tmp_path / "again"
    write_runs(store.runs_path, again)
    assert again.read_bytes() == path.read_bytes()


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b"")])
def test_it_is_made_again_if_it_is_lost(
    source: MemorySource, tmp_path: Path, damage: object
) -> None:
    store = sync(source, tmp_path, formats=("jsonl", "parquet"))
    path = store.export_dir / PARQUET_RUNS
    before = path.read_bytes()
    assert callable(damage)
    damage(path)
    assert not verify_export(store).sound
    sync(source, tmp_path)
    assert path.read_bytes() == before
    assert verify_export(store).sound


def test_it_goes_with_the_format(source: MemorySource, tmp_path: Path) -> None:
    store = sync(source, tmp_path, formats=("jsonl", "parquet"))
    sync(source, tmp_path, drop_formats=("parquet",))
    assert not (store.export_dir / "parquet").exists()
    assert verify_export(store).sound
