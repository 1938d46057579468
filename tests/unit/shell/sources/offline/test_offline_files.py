"""The files in the folders of runs, as an export holds them."""

import errno
import os
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.request import check_source
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.sync.plan import PlannedFiles
from dr_wandb.shell.sources.contents import FileGoneError
from dr_wandb.shell.sources.offline.wandb_decoder import WandbDecoder
from dr_wandb.shell.sync.engine import ExportEngine
from tests.support.asking import list_all, list_nodes
from tests.support.offline_folders import days_later, open_folder, put, sync_folder, whole_run
from tests.support.syncing import json_lines, request_for
from tests.support.wandb_file import exit_record, files_record


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


def test_plan_counts_no_file_that_a_link_hides(
    folder: Path, data_root: Path, files: Path, tmp_path: Path
) -> None:
    """A link out of the folder was counted as a file to fetch, before each sync again."""
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (files / "outside.txt").symlink_to(tmp_path / "secret.txt")
    (files / "real.txt").write_bytes(b"real")
    request = request_for(data_root, extra_datasets=("files",))
    plan = ExportEngine(request, source=open_folder(folder, extra_datasets=("files",))).plan()
    assert plan.files == PlannedFiles(files=1, bytes=4)
    assert held(folder, data_root)["outside.txt"]["absent"] == "link outside"


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


def test_link_to_a_folder_is_not_followed(
    folder: Path, data_root: Path, files: Path, tmp_path: Path
) -> None:
    """One link to a checkpoint ended the sync of all runs of its folder, and left a file open."""
    (files / "checkpoint-10").mkdir()
    (files / "checkpoint-10/weights.bin").write_bytes(b"weights")
    (files / "latest").symlink_to("checkpoint-10")
    (files / "itself").symlink_to(".")
    outside = tmp_path / "outside"
    (outside / "folder").mkdir(parents=True)
    (files / "outside").symlink_to(outside / "folder")
    rows = held(folder, data_root, follow_links=(outside,))
    assert {name: row["absent"] for name, row in rows.items()} == {
        "checkpoint-10/weights.bin": None,
        "outside": "link outside",
    }
    summary = sync_folder(folder, data_root, extra_datasets=("files",), follow_links=(outside,))
    assert summary.complete
    assert not summary.short


def test_folder_in_the_place_of_a_file_is_closed_again(folder: Path, files: Path) -> None:
    """Each fetch of a name that had become a folder left a descriptor open."""
    (files / "folder").mkdir()
    source = open_folder(folder, extra_datasets=("files",))
    run = list_all(source)["run"]
    before = {*Path("/dev/fd").iterdir()}
    with pytest.raises(FileGoneError, match="not a file"):
        source.contents.fetch(run, "folder", b"".join)
    assert {*Path("/dev/fd").iterdir()} == before


def test_folder_that_cannot_be_read_keeps_what_is_held_of_it(
    folder: Path, data_root: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files below a folder without permission were taken for deleted ones, with exit code 0.

    After two syncs their rows were gone, and with `--prune` their bytes.
    """
    (files / "below").mkdir()
    (files / "below/a.bin").write_bytes(b"a")
    (files / "b.bin").write_bytes(b"b")
    before = held(folder, data_root)
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("/below"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", refuse)
        source = open_folder(folder, extra_datasets=("files",))
        (node,) = list_nodes(source)
        assert node["fileCount"] is None
        for day in range(1, 4):
            later = days_later(day)
            summary = sync_folder(folder, data_root, extra_datasets=("files",), prune=True, **later)
            ((run_id, kind, reason),) = [
                (one.run_id, one.kind, one.reason) for one in summary.failures
            ]
            assert (run_id, kind) == ("run", RunFailureKind.UNREADABLE)
            assert reason.endswith("/files/below cannot be read: Permission denied")
    (export,) = data_root.iterdir()
    assert len([*export.glob("blobs/sha256/*/*")]) == 2
    (files / "b.bin").unlink()
    assert held(folder, data_root, **days_later(5)) == before
    rows = held(folder, data_root, **days_later(6))
    assert rows == {"below/a.bin": before["below/a.bin"]}


def test_files_that_are_named_like_ours_are_exported(
    folder: Path, data_root: Path, files: Path
) -> None:
    """A user's `model.wandb` and `notes.synced` had no row, and nothing said so."""
    (files / "below").mkdir()
    names = {"model.wandb", "notes.synced", "below/x.wandb"}
    for name in names:
        (files / name).write_bytes(name.encode())
    assert {*held(folder, data_root)} == names


def test_run_file_is_no_file_of_its_run(folder: Path, data_root: Path) -> None:
    below = folder / "copied" / "files"
    below.mkdir(parents=True)
    for number, place in enumerate((below.parent, below)):
        path = put(folder, "run", whole_run(steps=range(5 * number, 5 * number + 5)))
        path.replace(place / "run-run.wandb")
        path.parent.rmdir()
    (below / "run-run.wandb.synced").touch()
    (below / "b.txt").write_bytes(b"b")
    assert {*held(folder, data_root)} == {"b.txt"}


def test_named_file_that_is_missing_has_a_line(folder: Path, data_root: Path) -> None:
    """A file that a script had saved and deleted since was not in the export at all."""
    named = ["a.txt", "gone.bin", "../secret", "/etc/passwd", "media\\b.png", "link/c.txt"]
    path = put(folder, "run", [*whole_run()[:-1], files_record(*named), exit_record()])
    files = path.parent / "files"
    (files / "media").mkdir(parents=True)
    (files / "a.txt").write_bytes(b"a")
    (files / "media/b.png").write_bytes(b"b")
    (path.parent / "secret").write_bytes(b"secret")
    (path.parent / "outside").mkdir()
    (path.parent / "outside/c.txt").write_bytes(b"c")
    (files / "link").symlink_to(path.parent / "outside")
    expected = {
        "../secret": "gone",
        "/etc/passwd": "gone",
        "a.txt": None,
        "gone.bin": "gone",
        "link": "link outside",
        "link/c.txt": "link outside",
        "media/b.png": None,
    }
    rows = held(folder, data_root)
    assert {name: row["absent"] for name, row in rows.items()} == expected
    (export,) = data_root.iterdir()
    assert len([*export.glob("blobs/sha256/*/*")]) == 2
    (files / "gone.bin").write_bytes(b"back")
    assert held(folder, data_root)["gone.bin"]["sha256"] == digest(b"back")
    (files / "a.txt").unlink()
    rows = held(folder, data_root)
    assert (rows["a.txt"]["sha256"], rows["a.txt"]["newer"]) == (digest(b"a"), "gone")


def test_names_are_not_read_again_if_nothing_changed(
    folder: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "run", [*whole_run()[:-1], files_record("gone.bin"), exit_record()])
    before = held(folder, data_root)
    assert {*before} == {"gone.bin"}
    with monkeypatch.context() as patch:
        patch.setattr(WandbDecoder, "named_files", lambda *_: pytest.fail("read"))
        assert held(folder, data_root) == before
        sync_folder(folder, data_root)
        assert held(folder, data_root) == before
    put(folder, "run", [*whole_run()[:-1], files_record("gone.bin", "other"), exit_record()])
    assert {*held(folder, data_root)} == {"gone.bin", "other"}


def test_names_of_all_folders_of_a_run_count(folder: Path, data_root: Path) -> None:
    for number in range(2):
        named = files_record("first.txt", f"{number}.txt")
        records = [*whole_run(steps=range(number, number + 1))[:-1], named, exit_record()]
        path = put(folder / f"{number}", "run", records)
        (path.parent / "files").mkdir()
        (path.parent / "files" / f"{number}.txt").write_bytes(b"")
    rows = held(folder, data_root)
    assert {name: row["absent"] for name, row in rows.items()} == {
        "0.txt": None,
        "1.txt": None,
        "first.txt": "gone",
    }


@pytest.mark.skipif(sys.platform == "darwin", reason="names of its disks are UTF-8")
def test_names_that_look_alike_are_files_of_their_own(
    folder: Path, data_root: Path, files: Path
) -> None:
    """A name that is no UTF-8, and one that is what it was spelled as, were one file."""
    for name in (b"x\xff", b"x\\udcff"):
        Path(os.fsdecode(bytes(files) + b"/" + name)).write_bytes(name)
    rows = held(folder, data_root)
    assert {name: row["sha256"] for name, row in rows.items()} == {
        "x\\udcff": digest(b"x\xff"),
        "x\\\\udcff": digest(b"x\\udcff"),
    }


def test_root_folder_admits_every_link(
    folder: Path, data_root: Path, files: Path, tmp_path: Path
) -> None:
    """`--follow-links /` admitted nothing."""
    (tmp_path / "a.txt").write_bytes(b"a")
    (files / "a.txt").symlink_to(tmp_path / "a.txt")
    assert held(folder, data_root, follow_links=(Path("/"),))["a.txt"]["sha256"] == digest(b"a")


def test_flag_for_links_needs_offline_files() -> None:
    with pytest.raises(InvalidRequestError, match="W&B has no links"):
        check_source("api", follow_links=True)
    check_source("offline:wandb", follow_links=True)
