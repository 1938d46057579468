"""A function that reads an export is called again only if a file is not as described."""

from pathlib import Path

import pytest

from dr_wandb import DrWandbError, ExportStore
from dr_wandb.core.contract.failures import DamagedFile, NoProject
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.shell.store.one_moment import at_one_moment
from tests.support import syncing
from tests.support.memory_source import MemorySource


@pytest.fixture
def store(tmp_path: Path) -> ExportStore:
    syncing.sync(MemorySource(), tmp_path)
    return ExportStore(name=syncing.NAME, data_root=tmp_path)


def test_other_failure_is_raised_as_it_is(store: ExportStore) -> None:
    """A manifest that is damaged too took the place of the failure that mattered."""
    failure = NoProject(entity="e", project="p")

    def read(manifest: ExportManifest) -> None:
        (store.export_dir / "manifest.json").write_bytes(b"{")
        raise DrWandbError(failure)

    with pytest.raises(DrWandbError) as caught:
        at_one_moment(store, read)
    assert caught.value.failure == failure


def test_damaged_file_is_read_again_with_each_manifest_once(store: ExportStore) -> None:
    source = MemorySource()
    source.add_run("a")
    seen: list[int] = []

    def read(manifest: ExportManifest) -> int:
        seen.append(manifest.run_count)
        if len(seen) == 1:
            syncing.sync(source, store.data_root)
        if len(seen) < 3:
            raise DrWandbError(DamagedFile(path="a", reason="b", remedy="c"))
        return manifest.run_count

    with pytest.raises(DrWandbError):
        at_one_moment(store, read)
    assert seen == [0, 1]
    assert at_one_moment(store, read) == 1
