"""Laws of `verify` on Parquet: what is written is sound, and no changed byte goes unnoticed."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.columnar import files
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.store.export_store import ExportStore
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.strategies import json_values
from tests.support.syncing import NAME
from tests.support.written_parquet import add_parquet

metrics = st.dictionaries(st.sampled_from(["loss", "Loss", "a.b", "x"]), json_values, max_size=3)
run_names = st.sampled_from(["a", "b", "ab", "0012", "1e5"])
projects = st.dictionaries(run_names, st.lists(metrics, max_size=5), max_size=4)


@given(projects, st.integers(3, 30), st.booleans())
def test_parquet_of_any_project_is_sound(
    project: dict[str, list[dict[str, object]]], most_cells: int, alone: bool
) -> None:
    source = MemorySource()
    for run_id, rows in project.items():
        source.add_run(run_id)
        for row in rows:
            source.log(run_id, row)
        source.advance(86_400 * 20)
    with TemporaryDirectory() as name, patch.object(files, "MOST_CELLS", most_cells):
        syncing.sync(source, Path(name))
        add_parquet(Path(name) / NAME, alone=alone)
        store = ExportStore(name=NAME, data_root=Path(name))
        report = verify_export(store)
        assert report.findings == ()
        assert report.rows == sum(map(len, project.values()))
        assert verify_export(store, quick=True).sound


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("exports")
    source = MemorySource()
    for run_id, rows in (("long", 40), ("short", 3)):
        source.add_run(run_id)
        for step in range(rows):
            source.log(run_id, {"loss": step / 3})
    with patch.object(files, "MOST_CELLS", 60):
        for name in ("both", "alone"):
            syncing.sync(source, root / name)
            add_parquet(root / name / NAME, alone=name == "alone")
    return root


@given(st.sampled_from(["both", "alone"]), st.floats(0, 0.999), st.integers(1, 255), st.data())
def test_no_changed_byte_goes_unnoticed(
    exports: Path, which: str, share: float, change: int, data: st.DataObject
) -> None:
    with TemporaryDirectory() as name:
        folder = shutil.copytree(exports / which / NAME, Path(name) / NAME)
        path = data.draw(st.sampled_from(sorted((folder / "parquet").rglob("*.parquet"))))
        content = bytearray(path.read_bytes())
        content[int(share * len(content))] ^= change
        path.write_bytes(content)
        store = ExportStore(name=NAME, data_root=Path(name))
        for quick in (False, True):
            found = verify_export(store, quick=quick).findings
            assert str(path.relative_to(folder)) in {one.file for one in found}
            assert {str(one.kind) for one in found} <= {"columns", "content"}
