"""The folder of Parquet files is exchanged as a whole, if the system can do that."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from dr_wandb.core.contract.export_files import PARQUET_HISTORY
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.parquet_folder import (
    exchange_folder,
    find_parquet,
    make_folders,
    remove_empty_folders,
)

OLD, NEW, GOES, STAYS = (f"{PARQUET_HISTORY}/2026-11-{digit}.parquet" for digit in "0123")


def export(tmp_path: Path) -> tuple[Path, dict[str, Path]]:
    """Return an export with three files, and a new one for each of two names."""
    folder, staging = tmp_path / "export", tmp_path / "export" / ".staging"
    staging.mkdir(parents=True)
    make_folders(folder, [OLD])
    for name in (OLD, GOES, STAYS):
        (folder / name).write_text("old")
    staged = {}
    for name in (OLD, NEW):
        staged[name] = staging / f"{Path(name).stem}.cells"
        staged[name].write_text("new")
    return folder, staged


def contents(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in find_parquet(folder)}


def test_new_folder_has_what_is_new_and_what_stays(tmp_path: Path) -> None:
    folder, staged = export(tmp_path)
    done = exchange_folder(folder, staged, [GOES, "history.jsonl"], folder / ".staging")
    assert done == staged.keys()
    assert contents(folder) == {OLD: "new", NEW: "new", STAYS: "old"}
    assert all(path.exists() for path in staged.values())
    assert not [*(folder / ".staging").rglob("*.parquet")]


@pytest.mark.parametrize("again", [1, 2])
def test_exchange_can_be_done_again(again: int, tmp_path: Path) -> None:
    folder, staged = export(tmp_path)
    for _ in range(again + 1):
        exchange_folder(folder, staged, [GOES], folder / ".staging")
    assert contents(folder) == {OLD: "new", NEW: "new", STAYS: "old"}


def test_single_change_needs_no_exchange(tmp_path: Path) -> None:
    folder, staged = export(tmp_path)
    del staged[NEW]
    assert not exchange_folder(folder, staged, [], folder / ".staging")
    assert not exchange_folder(folder, {}, [GOES, STAYS], folder / ".staging")
    assert contents(folder) == {OLD: "old", GOES: "old", STAYS: "old"}


def cannot_link(patch: pytest.MonkeyPatch) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no links here", str(target))

    patch.setattr(disk, "link", link)


def cannot_exchange(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(disk, "exchange", lambda one, other: False)


@pytest.mark.parametrize("cannot", [cannot_link, cannot_exchange])
def test_nothing_changes_if_the_system_cannot(
    cannot: Callable[[pytest.MonkeyPatch], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, staged = export(tmp_path)
    cannot(monkeypatch)
    assert not exchange_folder(folder, staged, [GOES], folder / ".staging")
    assert contents(folder) == {OLD: "old", GOES: "old", STAYS: "old"}
    assert not [*(folder / ".staging").rglob("*.parquet")]


def test_full_disk_is_no_missing_ability(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, staged = export(tmp_path)

    def link(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "no space", str(target))

    monkeypatch.setattr(disk, "link", link)
    with pytest.raises(OSError, match="no space"):
        exchange_folder(folder, staged, [GOES], folder / ".staging")
    assert contents(folder) == {OLD: "old", GOES: "old", STAYS: "old"}


def test_exchange_of_what_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        disk.exchange(tmp_path / "a", tmp_path / "b")


def test_empty_folders_go(tmp_path: Path) -> None:
    make_folders(tmp_path, [OLD])
    (tmp_path / OLD).write_text("old")
    remove_empty_folders(tmp_path)
    assert find_parquet(tmp_path) == {OLD}
    (tmp_path / OLD).unlink()
    remove_empty_folders(tmp_path)
    assert not (tmp_path / "parquet").exists()


def test_only_files_of_ours_are_found(tmp_path: Path) -> None:
    make_folders(tmp_path, [OLD])
    for name in (OLD, "parquet/runs.parquet", "parquet/other.parquet", f"{PARQUET_HISTORY}/a.txt"):
        (tmp_path / name).write_text("")
    assert find_parquet(tmp_path) == {OLD, "parquet/runs.parquet"}
