"""`wandb-export checkout`: the files of an export as a tree."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.cli import run
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.blobs import blob_path
from dr_wandb.shell.store.checkout import HIDDEN
from dr_wandb.shell.store.lock import locked
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.operations import observed

FILES = {
    "config.yaml": b"lr: 1\n",
    "code/train.py": b"print()\n",
    "../escape": b"hostile",
    "NAME": b"one",
    "name": b"two",
}


@pytest.fixture
def source(tmp_path: Path) -> MemorySource:
    source = MemorySource()
    source.add_run("a")
    source.add_run("b")
    for name, content in FILES.items():
        source.put_file("a", name, content)
    source.put_file("b", "config.yaml", b"lr: 1\n")
    sync(source, tmp_path)
    return source


def sync(source: MemorySource, data_root: Path, **fields: Any) -> None:
    syncing.sync(source, data_root / "data", extra_datasets=("files",), **fields)


def checkout(tmp_path: Path, *flags: str) -> int:
    target, data_root = str(tmp_path / "out"), str(tmp_path / "data")
    return run(["checkout", syncing.NAME, target, "--data-root", data_root, *flags])


def tree(tmp_path: Path) -> dict[str, bytes]:
    below = tmp_path / "out" / "runs"
    found = [path for path in below.rglob("*") if path.is_file()]
    return {str(path.relative_to(below)): path.read_bytes() for path in found}


def test_files_are_a_tree_with_an_index(source: MemorySource, tmp_path: Path) -> None:
    assert checkout(tmp_path) == 0
    found = tree(tmp_path)
    assert found["a/files/config.yaml"] == found["b/files/config.yaml"] == b"lr: 1\n"
    assert found["a/files/%2E%2E/escape"] == b"hostile"
    assert len({name.casefold() for name in found}) == 6
    index = [json.loads(line) for line in (tmp_path / "out/INDEX.jsonl").read_text().splitlines()]
    assert {line["path"]: found[line["file"].removeprefix("runs/")] for line in index} == FILES
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.yaml")}
    assert checkout(tmp_path) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"INDEX.jsonl", "runs"}


def test_runs_and_files_are_chosen(source: MemorySource, tmp_path: Path) -> None:
    assert checkout(tmp_path, "--run", "a", "--file", "*.yaml", "--file", "code/*") == 0
    assert {*tree(tmp_path)} == {"a/files/config.yaml", "a/files/code/train.py"}
    assert checkout(tmp_path, "--run", "nobody") == 2


def test_links_are_other_names_of_the_blobs(source: MemorySource, tmp_path: Path) -> None:
    assert checkout(tmp_path, "--link") == 0
    path = tmp_path / "out/runs/a/files/config.yaml"
    assert path.stat().st_nlink == 3
    assert path.stat().st_mode & 0o222 == 0
    assert checkout(tmp_path, "--link") == 0


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EPERM])
def test_flag_for_links_is_refused_if_there_can_be_none(
    source: MemorySource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    """It ended with "Invalid cross-device link", and the advice to fix this."""

    def refuse(blob: Path, path: Path) -> None:
        raise OSError(number, "no link", str(blob))

    monkeypatch.setattr(disk, "link", refuse)
    assert checkout(tmp_path, "--link") == 2
    told = f"linked into {tmp_path / 'out'} (no link): check out without --link"
    assert told in capsys.readouterr().err
    assert checkout(tmp_path) == 0


def test_file_is_copied_if_its_blob_can_have_no_more_names(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(blob: Path, path: Path) -> None:
        raise OSError(errno.EMLINK, "Too many links", str(blob))

    monkeypatch.setattr(disk, "link", refuse)
    assert checkout(tmp_path, "--link") == 0
    assert (tmp_path / "out/runs/a/files/config.yaml").stat().st_nlink == 1


def test_newer_bytes_replace_ours_and_nothing_that_was_changed(
    source: MemorySource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkout(tmp_path)
    source.advance(60)
    source.put_file("a", "config.yaml", b"lr: 2\n")
    source.put_file("b", "config.yaml", b"lr: 3\n")
    sync(source, tmp_path)
    changed = tmp_path / "out/runs/b/files/config.yaml"
    changed.write_bytes(b"mine!\n")
    capsys.readouterr()
    assert checkout(tmp_path) == 3
    assert "runs/b/files/config.yaml: not replaced" in capsys.readouterr().out
    assert changed.read_bytes() == b"mine!\n"
    assert tree(tmp_path)["a/files/config.yaml"] == b"lr: 2\n"


@pytest.mark.parametrize("what", ["file", "folder", "link", "dangling", "linked folder"])
def test_what_is_not_ours_stays(source: MemorySource, tmp_path: Path, what: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "config.yaml").write_bytes(b"theirs")
    folder = tmp_path / "out/runs/a/files"
    folder.parent.mkdir(parents=True)
    if what == "linked folder":
        folder.symlink_to(outside)
    else:
        folder.mkdir()
        path = folder / "config.yaml"
        if what == "file":
            path.write_bytes(b"theirs")
        elif what == "folder":
            path.mkdir()
        else:
            target = outside / ("config.yaml" if what == "link" else "nothing")
            path.symlink_to(target)
    assert checkout(tmp_path) == 3
    assert {path.name for path in outside.iterdir()} == {"config.yaml"}
    assert (outside / "config.yaml").read_bytes() == b"theirs"
    assert tree(tmp_path)["b/files/config.yaml"] == b"lr: 1\n"


def test_file_that_cannot_be_read_stays(
    source: MemorySource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It ended the checkout of all files, with the advice to sync again."""
    path = tmp_path / "out/runs/b/files/config.yaml"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"lr: 1\n")
    digest = disk.sha256_of

    def refuse(one: Path) -> str:
        if one == path:
            raise PermissionError(errno.EACCES, "Permission denied", str(one))
        return digest(one)

    monkeypatch.setattr(disk, "sha256_of", refuse)
    assert checkout(tmp_path) == 3
    assert "runs/b/files/config.yaml: not replaced" in capsys.readouterr().out
    assert tree(tmp_path)["a/files/config.yaml"] == b"lr: 1\n"


def test_unchanged_file_is_read_once(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert checkout(tmp_path) == 0
    digest, asked = disk.sha256_of, list[Path]()

    def digest_of(path: Path) -> str:
        asked.append(path)
        return digest(path)

    monkeypatch.setattr(disk, "sha256_of", digest_of)
    assert checkout(tmp_path) == 0
    assert len(asked) == len({*asked}) == len(tree(tmp_path))


def test_copies_are_durable_before_they_have_their_names(
    source: MemorySource, tmp_path: Path
) -> None:
    done: list[tuple[str, str]] = []
    with observed(lambda one: done.append((one.kind, one.path.name))):
        assert checkout(tmp_path) == 0
    named = [name for kind, name in done if kind == "replace" and not name.startswith(".")]
    assert len(named) == len(tree(tmp_path))
    for name in named:
        assert done.index(("sync_file", name)) < done.index(("replace", name))
    last = max(done.index(("replace", name)) for name in named)
    assert done[last:].count(("sync_folder", "files")) == 2


def test_files_that_a_sync_replaces_meanwhile_are_the_newer_ones(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout during a sync with `--prune` reported damage."""
    rename = disk.rename

    def sync_and_rename(staged: Path, path: Path) -> None:
        monkeypatch.setattr(disk, "rename", rename)
        rename(staged, path)
        source.advance(60)
        source.put_file("a", "name", b"newer")
        source.put_file("b", "config.yaml", b"lr: 2\n")
        sync(source, tmp_path, prune=True)

    checkout(tmp_path, "--run", "a", "--file", "nothing")
    monkeypatch.setattr(disk, "rename", sync_and_rename)
    assert checkout(tmp_path, "--json") == 0
    found = tree(tmp_path)
    assert b"newer" in found.values()
    assert found["b/files/config.yaml"] == b"lr: 2\n"
    index = [json.loads(line) for line in (tmp_path / "out/INDEX.jsonl").read_text().splitlines()]
    assert {one["file"]: one["size"] for one in index} == {
        f"runs/{name}": len(content) for name, content in found.items()
    }


def test_one_checkout_at_a_time_is_at_work_in_a_folder(
    source: MemorySource, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked(tmp_path / "out" / HIDDEN, "folder"):
        assert checkout(tmp_path) == 7
    assert "use another folder" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_full_disk_says_what_to_do(
    source: MemorySource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(staged: Path, path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(staged))

    with monkeypatch.context() as patch:
        patch.setattr(disk, "rename", fail)
        assert checkout(tmp_path) == 9
    assert "fix this and check out again" in capsys.readouterr().err
    assert checkout(tmp_path) == 0


def test_damaged_bytes_are_not_written(source: MemorySource, tmp_path: Path) -> None:
    export = tmp_path / "data" / syncing.NAME
    rows = [json.loads(line) for line in (export / "files.jsonl").read_text().splitlines()]
    blob = blob_path(export, next(row["sha256"] for row in rows if row["path"] == "code/train.py"))
    blob.chmod(0o644)
    blob.write_bytes(b"PRINT()\n")
    for flags in ((), ("--link",)):
        assert checkout(tmp_path, *flags) == 6
        assert "a/files/code/train.py" not in tree(tmp_path)
    blob.unlink()
    assert checkout(tmp_path, "--json") == 6


def test_folder_has_to_be_apart_and_its_index_ours(source: MemorySource, tmp_path: Path) -> None:
    data_root = str(tmp_path / "data")
    export = f"{data_root}/{syncing.NAME}"
    for target in (export, f"{export}/out", data_root):
        assert run(["checkout", syncing.NAME, target, "--data-root", data_root]) == 2
    (tmp_path / "out").write_bytes(b"a file")
    assert checkout(tmp_path) == 2
    (tmp_path / "out").unlink()
    (tmp_path / "out").symlink_to(tmp_path / "nowhere")
    assert checkout(tmp_path) == 2
    (tmp_path / "out").unlink()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/INDEX.jsonl").write_text("not ours")
    assert checkout(tmp_path) == 2
    assert (tmp_path / "out/INDEX.jsonl").read_text() == "not ours"


def test_export_without_files_says_how_to_get_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = MemorySource()
    source.add_run("a")
    syncing.sync(source, tmp_path / "data")
    assert checkout(tmp_path) == 2
    assert "--with files" in capsys.readouterr().err
