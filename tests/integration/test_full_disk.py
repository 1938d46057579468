"""A disk that fills while the SDK downloads, with its real errors: `/dev/full` takes no byte."""

from __future__ import annotations

import errno
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.contract.failures import DiskRefused, DrWandbError
from dr_wandb.shell.sources.api import downloads
from dr_wandb.shell.sources.api.source import METADATA_FILE

if TYPE_CHECKING:
    from tests.support.api_exports import Exports

FULL = Path("/dev/full")


@pytest.fixture
def full(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> Exports:
    """A project with an exported run, whose downloads go to a full disk."""
    run = exports.project.add_run("run")
    run.metadata = {"host": "here"}
    run.log_all({"loss": step + 0.5} for step in range(5))
    run.finish()
    run.export_parquet()
    project = exports.project
    names = (f"{project.entity}_{project.name}_run_0.runhistory.parquet", downloads._FILE)

    def with_links(**named: Any) -> str:
        folder: str = mkdtemp(**named)
        if "prefix" not in named:
            for name in names:
                (Path(folder) / name).symlink_to(FULL)
        return folder

    monkeypatch.setattr(downloads, "mkdtemp", with_links)
    return exports


def failure_in(caught: pytest.ExceptionInfo[DrWandbError]) -> DiskRefused:
    failure = caught.value.failure
    assert isinstance(failure, DiskRefused)
    assert failure.reason == "No space left on device"
    assert failure.free_bytes is not None
    assert caught.value.exit_code == 9
    return failure


def test_disk_that_fills_during_a_parquet_file_ends_the_sync(
    full: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run was tried three times, and named as failed one by one."""
    with pytest.raises(DrWandbError) as caught:
        full.sync()
    assert failure_in(caught).needed_bytes is not None
    assert not (full.folder() / "manifest.json").exists()
    monkeypatch.undo()
    assert full.sync().failures == ()
    full.assert_converged()


def test_disk_that_fills_during_a_file_of_a_run_ends_the_sync(full: Exports) -> None:
    with pytest.raises(DrWandbError) as caught:
        full.sync(mode="metadata", include_metadata=True)
    assert failure_in(caught).path.endswith(downloads._FILE)


def test_full_disk_is_told_as_the_error_that_it_is(full: Exports) -> None:
    files = downloads.Downloads(full.shared.session, full.request())
    with pytest.raises(OSError, match="No space left on device") as caught:
        files.exports("run", files.new_folder())
    assert caught.value.errno == errno.ENOSPC
    url = full.server.sign_file(full.project.runs[0], METADATA_FILE)
    node = {"name": METADATA_FILE, "url": url, "directUrl": url, "sizeBytes": "16", "mimetype": ""}
    with pytest.raises(OSError, match="No space left on device"):
        files.file(node)
