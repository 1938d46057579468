"""A commit that was decided and then interrupted: finished first of all, or told how to undo."""

import shutil
from pathlib import Path

import msgspec
import pytest

from dr_wandb import DrWandbError
from dr_wandb.core.contract.failures import DamagedFile
from dr_wandb.shell.store.commit import RECORD_FILE, STAGING_FOLDER, CommitRecord
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.operations import images_of
from tests.support.scenarios import SCENARIOS, log_on, project, undisturbed
from tests.support.syncing import NAME


def committing(tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    """Return an export whose commit was decided, but not one file renamed; and its new files."""
    scenario = SCENARIOS["growth"]
    expected = undisturbed(scenario, tmp_path / "expected")
    source = scenario.begin(tmp_path / "killed")
    images = images_of(
        lambda: scenario.sync(source, tmp_path / "killed"), tmp_path / "killed", tmp_path / "images"
    )
    folders = (image / NAME for _, image in images.found.values())
    return next(folder for folder in folders if (folder / RECORD_FILE).exists()), expected


def test_decided_commit_is_rolled_forward_before_anything_is_asked(tmp_path: Path) -> None:
    folder, expected = committing(tmp_path)
    assert syncing.visible(folder) != expected
    source = MemorySource()
    source.fail_listing(9)
    with pytest.raises(DrWandbError):
        syncing.sync(source, folder.parent)
    assert syncing.visible(folder) == expected


@pytest.mark.parametrize("name", ["history.jsonl", "runs.jsonl", "manifest.json", "state.json"])
def test_commit_whose_new_file_is_gone_says_so(name: str, tmp_path: Path) -> None:
    folder, _ = committing(tmp_path)
    before = syncing.visible(folder)
    record = msgspec.json.decode((folder / RECORD_FILE).read_bytes(), type=CommitRecord)
    (staged,) = (file for file in record.files if file.name == name)
    (folder / staged.staged).unlink()
    with pytest.raises(DrWandbError, match="a commit was interrupted") as caught:
        syncing.sync(MemorySource(), folder.parent)
    assert isinstance(caught.value.failure, DamagedFile)
    assert caught.value.failure.path == str(folder / name)
    assert RECORD_FILE in str(caught.value)
    assert syncing.visible(folder) == before
    assert (folder / RECORD_FILE).exists()


@pytest.mark.parametrize("name", ["history.jsonl", "runs.jsonl", "manifest.json", "state.json"])
def test_commit_whose_new_file_was_changed_replaces_nothing(name: str, tmp_path: Path) -> None:
    """A new file of the right size was put in place whatever it held."""
    folder, _ = committing(tmp_path)
    before = syncing.visible(folder)
    staged = folder / STAGING_FOLDER / name
    content = staged.read_bytes()
    staged.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    source = project()
    with pytest.raises(DrWandbError, match="the new file is missing") as caught:
        syncing.sync(source, folder.parent)
    assert caught.value.exit_code == 6
    assert f"remove {RECORD_FILE} beside it and sync again" in str(caught.value)
    assert syncing.visible(folder) == before
    (folder / RECORD_FILE).unlink()
    log_on(source)
    if not syncing.sync(source, folder.parent).complete:  # rows go after two reads without them
        source.advance(600)
        assert syncing.sync(source, folder.parent).complete
    with syncing.fresh_export(source) as fresh:
        assert syncing.data_of(folder) == syncing.data_of(fresh)


@pytest.mark.parametrize("content", [b"", b"{", b'{"files":[{"name":"../x"}]}'])
def test_commit_record_that_does_not_read_is_a_clear_error(content: bytes, tmp_path: Path) -> None:
    folder, _ = committing(tmp_path)
    (folder / RECORD_FILE).write_bytes(content)
    with pytest.raises(DrWandbError, match=RECORD_FILE):
        syncing.sync(MemorySource(), folder.parent)


def test_remedy_in_the_error_of_a_broken_commit_works(tmp_path: Path) -> None:
    folder, _ = committing(tmp_path)
    shutil.rmtree(folder / STAGING_FOLDER)
    source = project()
    with pytest.raises(DrWandbError, match=f"remove {RECORD_FILE}"):
        syncing.sync(source, folder.parent)
    (folder / RECORD_FILE).unlink()
    log_on(source)
    if not syncing.sync(source, folder.parent).complete:  # rows go after two reads without them
        source.advance(600)
        assert syncing.sync(source, folder.parent).complete
    with syncing.fresh_export(source) as fresh:
        assert syncing.data_of(folder) == syncing.data_of(fresh)


def test_commit_record_cannot_remove_a_file_of_another_name(tmp_path: Path) -> None:
    folder, _ = committing(tmp_path)
    record = msgspec.json.decode((folder / RECORD_FILE).read_bytes())
    record["gone"] = ["parquet/history/../../../mine"]
    (folder / RECORD_FILE).write_bytes(msgspec.json.encode(record))
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(DrWandbError, match="it names"):
        syncing.sync(MemorySource(), folder.parent)
    assert (tmp_path / "mine").read_text() == "mine"
