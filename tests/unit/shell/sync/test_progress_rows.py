"""Progress counts rows that were not held before, not those that came again."""

from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import syncing
from tests.support.memory_source import MemorySource

if TYPE_CHECKING:
    from dr_wandb.core.contract.progress import Progress


def rows_told(source: MemorySource, data_root: Path, **fields: object) -> int:
    told: list[Progress] = []
    request = syncing.request_for(data_root, **fields)
    syncing.export(source, request, now=source.now, progress=told.append)
    return told[-1].rows if told else 0


def test_progress_counts_rows_that_are_new(tmp_path: Path) -> None:
    """A tail begins with a row that is held, and a full reconcile brings all of them again."""
    source = MemorySource()
    source.add_run("run")
    for _ in range(5):
        source.log("run", {"loss": 1})
    assert rows_told(source, tmp_path) == 5
    source.log("run", {"loss": 2})
    source.log("run", {"loss": 3})
    assert rows_told(source, tmp_path) == 2
    assert rows_told(source, tmp_path, sync_mode="full_reconcile") == 0
    assert rows_told(source, tmp_path) == 0
