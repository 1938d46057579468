"""When a sync removes the bytes that no file names, and when it does not."""

from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.store.checkout import check_out
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.loading import open_blob
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME, json_lines, sync


class Synced:
    """An export of two runs with a file each, of which one run is gone upstream since."""

    def __init__(self, data_root: Path) -> None:
        self.data_root = data_root
        self.folder = data_root / NAME
        self.catalogue = self.folder / "files.jsonl"
        self.source = MemorySource()
        for run_id in ("gone", "there"):
            self.source.add_run(run_id)
            self.source.put_file(run_id, "a.txt", run_id.encode())
            self.source.finish(run_id)
        self.sync()
        self.source.delete("gone")

    def sync(self, **fields: Any) -> None:
        fields = {"extra_datasets": ("files",)} | fields
        assert sync(self.source, self.data_root, **fields).complete

    @property
    def blobs(self) -> set[bytes]:
        return {path.read_bytes() for path in self.folder.glob("blobs/sha256/*/*")}


@pytest.fixture
def synced(tmp_path: Path) -> Synced:
    return Synced(tmp_path)


BOTH = {b"gone", b"there"}


@pytest.mark.parametrize("damage", ["missing", "cut", "empty"])
@pytest.mark.parametrize("fields", [{}, {"mode": "metadata", "extra_datasets": ()}])
def test_nothing_is_pruned_if_the_lines_that_name_blobs_were_lost(
    damage: str, fields: dict[str, Any], synced: Synced, caplog: pytest.LogCaptureFixture
) -> None:
    """The only copies of files that W&B no longer had were removed, with exit 0."""
    lines = synced.catalogue.read_bytes().splitlines(keepends=True)
    if damage == "missing":
        synced.catalogue.unlink()
    else:
        synced.catalogue.write_bytes(lines[1] if damage == "cut" else b"")
    synced.sync(prune=True, **fields)
    assert synced.blobs == BOTH
    (said,) = (one.getMessage() for one in caplog.records if "--prune" in one.getMessage())
    assert said.startswith("--prune removed no blob: files.jsonl was missing, or was changed")


def test_nothing_is_pruned_from_an_export_without_lines(
    synced: Synced, caplog: pytest.LogCaptureFixture
) -> None:
    """Blobs of an export whose state and lines were lost were removed by the next --prune."""
    for path in synced.folder.iterdir():
        if path.is_file():
            path.unlink()
    synced.sync(mode="metadata", extra_datasets=(), prune=True)
    assert synced.blobs == BOTH
    assert "no files.jsonl named any when the sync began" in caplog.text
    synced.sync(mode="metadata", extra_datasets=(), prune=True, drop_datasets=("files",))
    assert synced.blobs == set()


def test_bytes_of_a_missing_run_go_with_its_lines(
    synced: Synced, caplog: pytest.LogCaptureFixture
) -> None:
    synced.sync(prune=True, sync_mode="full_reconcile")
    assert [row["run_id"] for row in json_lines(synced.catalogue)] == ["there"]
    assert synced.blobs == {b"there"}
    assert "--prune" not in caplog.text


@pytest.mark.parametrize("where", ["blobs", "blobs/sha256", "blobs/sha256/*"])
def test_link_to_the_blobs_of_another_export_is_refused(
    where: str, synced: Synced, tmp_path: Path
) -> None:
    """A sync with --prune removed the blobs of the other export, to which the link led."""
    other = Synced(tmp_path / "other")
    for path in sorted(synced.folder.glob(where)):
        target = other.folder / path.relative_to(synced.folder)
        path.rename(tmp_path / f"moved-{path.name}")
        path.symlink_to(target)
    row = json_lines(synced.catalogue)[0]
    store = ExportStore(name=NAME, data_root=synced.data_root)
    for use in (
        lambda: synced.sync(prune=True),
        lambda: synced.sync(sync_mode="full_reconcile"),
        lambda: open_blob(NAME, synced.data_root, row["sha256"]),
        lambda: check_out(store, tmp_path / "tree"),
        lambda: verify_export(store),
    ):
        with pytest.raises(DrWandbError, match="a link"):
            use()
    assert other.blobs == BOTH
