"""Law of `convert`: the lines of any export come back from its Parquet files."""

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.columnar import files
from dr_wandb.shell.store.converting import write_history_lines
from dr_wandb.shell.store.export_store import ExportStore
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.strategies import json_values
from tests.support.syncing import NAME
from tests.support.written_parquet import add_parquet

run_names = st.sampled_from(["a", "b", "ab", "0012", "1e5", "zz"])
metrics = st.dictionaries(st.sampled_from(["loss", "Loss", "a.b", "x"]), json_values, max_size=3)
projects = st.dictionaries(run_names, st.lists(metrics, max_size=5), max_size=4)


@given(projects, st.integers(3, 30))
def test_lines_of_an_export_come_back(
    project: dict[str, list[dict[str, object]]], most_cells: int
) -> None:
    source = MemorySource()
    for run_id, rows in project.items():
        source.add_run(run_id)
        for row in rows:
            source.log(run_id, row)
        source.advance(86_400 * 20)
    with TemporaryDirectory() as name, patch.object(files, "MOST_CELLS", most_cells):
        root = Path(name)
        syncing.sync(source, root)
        history = root / NAME / "history.jsonl"
        expected = history.read_bytes() if history.exists() else b""
        store = ExportStore(name=NAME, data_root=root)
        for out, alone in (("lines", None), ("both", False), ("parquet", True)):
            if alone is not None:
                add_parquet(root / NAME, alone=alone)
            write_history_lines(store, root / out)
            assert (root / out).read_bytes() == expected
