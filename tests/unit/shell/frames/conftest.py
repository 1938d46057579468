"""Exports with values that readers of JSON lines get wrong."""

from pathlib import Path

import pytest

from dr_wandb.core.columnar import files
from dr_wandb.shell.frames import history
from tests.support import syncing
from tests.support.frames import FORMS, HARD
from tests.support.memory_source import MemorySource
from tests.support.written_parquet import add_parquet


@pytest.fixture(scope="package")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one export in each form, and some others."""
    root = tmp_path_factory.mktemp("exports")
    source = MemorySource()
    for run_id in ("0012", "1e5", "empty", "long"):
        source.add_run(run_id)
    for row in HARD:
        source.log("0012", row)
    source.log("1e5", {"loss": 1, "late": 2})
    for step in range(100):
        source.log("long", {"loss": step / 4, "other": 1})
    for name in FORMS:
        syncing.sync(source, root, name=name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "MOST_CELLS", 100)
        add_parquet(root / "both")
        add_parquet(root / "parquet", alone=True)
    syncing.sync(source, root, name="metadata", mode="metadata")
    return root


@pytest.fixture(autouse=True)
def nothing_is_known() -> None:
    history._survey_of.cache_clear()
