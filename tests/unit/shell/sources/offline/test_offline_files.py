"""The files in the folders of runs, as an export holds them."""

from __future__ import annotations

import os
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.request import check_source
from dr_wandb.shell.sources.contents import FileGoneError
from tests.support.asking import list_all
from tests.support.offline_folders import open_folder, put, sync_folder, whole_run
from tests.support.syncing import json_lines

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(folder: Path) -> Path:
    """Return the folder with the files of a run."""
    below = put(folder, "run", whole_run()).parent / "files"
    below.mkdir(exist_ok=True)
    return below


def held(folder: Path, data_root: Path, **fields: Any) -> dict[str, dict[str, Any]]:
    """Sync a folder, and return the rows of its files by path."""
    sync_folder(folder, data_root, extra_datasets=("files",), **fields)
    (export,) = data_root.iterdir()
    return {row["path"]: row for row in json_lines(export / "files.jsonl")}


def digest(content: bytes) -> str:
    return sha256(content).hexdigest()


def test_files_beside_a_run_are_exported(folder: Path, data_root: Path, files: Path) -> None:
    (files / "output.log").write_bytes(b"hello\n")
    (files / "media/images").mkdir(parents=True)
    (files / "media/images/a.png").write_bytes(b"\x89PNG")
    os.utime(files / "output.log", ns=(0, 1_767_225_600_500_000_000))
    rows = held(folder, data_root)
    assert rows["output.log"] == {
        "absent": None,
        "md5": "sZRqySSS0jR8YjW00mERhA==",
        "mimetype": None,
        "newer": None,
        "path": "output.log",
        "run_id": "run",
        "sha256": digest(b"hello\n"),
        "size": 6,
        "updated_at": "2026-01-01T00:00:00.5Z",
    }
    assert rows["media/images/a.png"]["sha256"] == digest(b"\x89PNG")


def test_file_that_changed_is_read_again(folder: Path, data_root: Path, files: Path) -> None:
    (files / "a.txt").write_bytes(b"one")
    assert held(folder, data_root)["a.txt"]["sha256"] == digest(b"one")
    (files / "a.txt").write_bytes(b"other")
    (files / "late.txt").write_bytes(b"late")
    rows = held(folder, data_root)
    assert {row["sha256"] for row in rows.values()} == {digest(b"other"), digest(b"late")}


def test_links_are_read_inside_of_the_folder_alone(
    folder: Path, data_root: Path, files: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_bytes(b"secret")
    (files / "real.txt").write_bytes(b"real")
    (files / "inside.txt").symlink_to(files / "real.txt")
    (files / "outside.txt").symlink_to(outside / "secret.txt")
    (files / "folder").symlink_to(outside)
    (files / "dangling.txt").symlink_to(files / "nothing")
    rows = held(folder, data_root)
    assert rows["inside.txt"]["sha256"] == digest(b"real")
    assert rows["outside.txt"]["absent"] == rows["folder"]["absent"] == "link outside"
    assert rows["dangling.txt"]["absent"] == "gone"
    (export,) = data_root.iterdir()
    assert not any(path.read_bytes() == b"secret" for path in export.rglob("*") if path.is_file())
    (files / "dangling.txt").unlink()
    rows = held(folder, data_root, sync_mode="full_reconcile", follow_links=(outside,))
    assert rows["outside.txt"]["sha256"] == digest(b"secret")


def test_pipe_is_not_waited_for(folder: Path, data_root: Path, files: Path) -> None:
    os.mkfifo(files / "pipe")
    assert held(folder, data_root)["pipe"]["absent"] == "gone"


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "", "nothing"])
def test_name_leads_to_no_other_folder(folder: Path, files: Path, name: str) -> None:
    (files.parent / "secret").write_bytes(b"secret")
    source = open_folder(folder, extra_datasets=("files",))
    run = list_all(source)["run"]
    with pytest.raises(FileGoneError):
        source.contents.fetch(run, name, b"".join)


def test_flag_for_links_needs_offline_files() -> None:
    with pytest.raises(InvalidRequestError, match="W&B has no links"):
        check_source("api", follow_links=True)
    check_source("offline:wandb", follow_links=True)
