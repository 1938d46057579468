from pathlib import Path

import msgspec
import pytest

from dr_wandb import DrWandbError
from dr_wandb.core.contract.export_files import file_order
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.commit import (
    RECORD_FILE,
    STAGING_FOLDER,
    CommitRecord,
    StagedFile,
    commit,
    roll_forward,
    stage_document,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / STAGING_FOLDER).mkdir()
    return tmp_path


def stage(folder: Path, *names: str) -> dict[str, StagedFile]:
    return {name: stage_document(folder, name, f"new {name}".encode()) for name in names}


def leave_undone(folder: Path, *names: str) -> None:
    """Leave a commit as a crash does right after its record was written."""
    staged = stage(folder, *names)
    record = CommitRecord(files=tuple(staged[name] for name in file_order() if name in staged))
    disk.replace_file(folder / RECORD_FILE, msgspec.json.encode(record))


def test_commit_puts_files_in_place_and_leaves_no_record(folder: Path) -> None:
    commit(folder, stage(folder, *file_order()))
    assert {path.name for path in folder.iterdir()} == {*file_order(), STAGING_FOLDER}
    assert all((folder / name).read_text() == f"new {name}" for name in file_order())
    assert list((folder / STAGING_FOLDER).iterdir()) == []


def test_commit_touches_only_what_was_staged(folder: Path) -> None:
    (folder / "runs.jsonl").write_text("old")
    before = (folder / "runs.jsonl").stat()
    commit(folder, stage(folder, "state.json"))
    assert (folder / "runs.jsonl").stat() == before


def test_empty_commit_does_nothing(folder: Path) -> None:
    commit(folder, {})
    assert {path.name for path in folder.iterdir()} == {STAGING_FOLDER}


def test_files_are_renamed_in_the_documented_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record comes first, the state last: it speaks of the others."""
    renamed: list[str] = []

    def rename(source: Path, target: Path) -> None:
        renamed.append(target.name)
        source.replace(target)

    monkeypatch.setattr(disk, "rename", rename)
    commit(folder, stage(folder, *reversed(file_order())))
    of_project = ["artifacts.jsonl", "sweeps.jsonl", "reports.jsonl"]
    of_runs = ["history.jsonl", "system.jsonl", "console.jsonl", "files.jsonl"]
    data_files = [*of_runs, *of_project, "runs.jsonl", "changes.jsonl"]
    assert renamed == [RECORD_FILE, *data_files, "manifest.json", "state.json"]


def test_no_record_means_nothing_to_do(folder: Path) -> None:
    assert roll_forward(folder) is False


def test_rolling_forward_finishes_the_commit(folder: Path) -> None:
    leave_undone(folder, "runs.jsonl", "state.json")
    assert roll_forward(folder) is True
    assert (folder / "runs.jsonl").read_text() == "new runs.jsonl"
    assert (folder / "state.json").read_text() == "new state.json"
    assert roll_forward(folder) is False


def test_rolling_forward_knows_what_was_renamed_already(folder: Path) -> None:
    leave_undone(folder, "runs.jsonl", "state.json")
    (folder / STAGING_FOLDER / "runs.jsonl").rename(folder / "runs.jsonl")
    assert roll_forward(folder) is True
    assert (folder / "state.json").read_text() == "new state.json"


def test_missing_new_file_is_an_error_that_names_the_file_and_the_way_out(folder: Path) -> None:
    leave_undone(folder, "runs.jsonl", "state.json")
    (folder / STAGING_FOLDER / "runs.jsonl").unlink()
    with pytest.raises(DrWandbError, match=r"runs\.jsonl cannot be read") as caught:
        roll_forward(folder)
    assert "remove .commit.json" in str(caught.value)
    assert (folder / RECORD_FILE).exists()


@pytest.mark.parametrize("name", ["../state.json", ".lock", "notes.txt", ""])
def test_record_that_names_anything_else_is_refused(folder: Path, name: str) -> None:
    disk.write_file(folder / STAGING_FOLDER / "runs.jsonl", b"x")
    entry = StagedFile(name=name, staged=f"{STAGING_FOLDER}/runs.jsonl", bytes=1, sha256="")
    content = msgspec.json.encode(CommitRecord(files=(entry,)))
    (folder / RECORD_FILE).write_bytes(content)
    with pytest.raises(DrWandbError, match="it names"):
        roll_forward(folder)
    assert (folder / STAGING_FOLDER / "runs.jsonl").exists()


def test_record_cannot_reach_outside_the_staging_folder(folder: Path) -> None:
    (folder / "secret").write_text("x")
    entry = StagedFile(name="runs.jsonl", staged="../secret", bytes=1, sha256="0" * 64)
    (folder / RECORD_FILE).write_bytes(msgspec.json.encode(CommitRecord(files=(entry,))))
    with pytest.raises(DrWandbError):
        roll_forward(folder)
    assert (folder / "secret").exists()
    assert not (folder / "runs.jsonl").exists()
