"""Rows that are written while their file is read: no kill and no error there costs anything."""

import errno
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.shell.store.commit import RECORD_FILE, STAGING_FOLDER
from tests.support import syncing
from tests.support.inline_executor import InlineExecutor
from tests.support.offline_folders import put, sync_folder, whole_run
from tests.support.operations import MAKES, Contents, Fault, images_of, stopped_at
from tests.support.scenarios import assert_loads, is_stopped
from tests.support.syncing import NAME
from tests.support.wandb_file import exit_record, rows_of, run_record

FAULTS = {
    "interrupt": Fault(None),
    "full disk": Fault(errno.ENOSPC, lasts_for=MAKES, tears=True),
    "device error": Fault(errno.EIO, tears=True),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Write two runs whose rows are written early, and one whose rows are not."""
    folder = tmp_path / "wandb"
    put(folder, "short", whole_run("short"))
    put(folder, "long", whole_run("long", range(80)))
    put(folder, "falls", [run_record("falls"), *rows_of([3, 1, 2]), exit_record()])
    return folder


def sync_early(folder: Path, data_root: Path) -> Any:
    return sync_folder(folder, data_root, executor=InlineExecutor())


def undisturbed(folder: Path, data_root: Path) -> dict[str, bytes]:
    sync_folder(folder, data_root)
    return syncing.without_source(syncing.visible(data_root / NAME))


def assert_heals(folder: Path, data_root: Path, expected: dict[str, bytes], number: int) -> None:
    """One more sync gives the bytes of an undisturbed one, with early rows or without."""
    (data_root / NAME).mkdir(parents=True, exist_ok=True)
    assert_loads(data_root)
    with syncing.without_fsync():
        (sync_early if number % 2 else sync_folder)(folder, data_root)
    assert syncing.without_source(syncing.visible(data_root / NAME)) == expected
    assert not syncing.hidden(data_root / NAME) & {STAGING_FOLDER, RECORD_FILE}


def test_kill_at_any_operation_costs_nothing(folder: Path, tmp_path: Path) -> None:
    expected = undisturbed(folder, tmp_path / "expected")
    killed = tmp_path / "killed"
    images = images_of(lambda: sync_early(folder, killed), killed, tmp_path / "images")
    labels = [label for label, _ in images.found.values()]
    assert sum(".part" in label for label in labels) > 4
    for number, (label, image) in enumerate(images.found.values()):
        try:
            assert_heals(folder, image, expected, number)
        except BaseException as error:
            error.add_note(f"killed before: {label} ({image.name})")
            raise


@pytest.mark.parametrize("kind", FAULTS)
def test_error_at_any_operation_costs_nothing(kind: str, folder: Path, tmp_path: Path) -> None:
    expected = undisturbed(folder, tmp_path / "expected")
    left = Contents(), Contents()  # synced without early rows, and with them
    number = 0
    while True:
        data_root = tmp_path / f"{number:03d}"
        with stopped_at(number, FAULTS[kind]) as done:
            stopped = is_stopped(partial(sync_early, folder, data_root))
        try:
            if not stopped:  # the state may be without the mark of an index that was not saved
                found = syncing.without_source(syncing.visible(data_root / NAME))
                assert {**found, "state.json": b""} == {
                    **expected,
                    "state.json": b"",
                }
            data_root.mkdir(exist_ok=True)
            if left[number % 2].are_new(data_root):
                assert_heals(folder, data_root, expected, number)
        except BaseException as mistake:
            mistake.add_note(f"stopped before: {done[number:][:1]} (operation {number})")
            raise
        shutil.rmtree(data_root)
        if len(done) <= number:
            break
        number += 1
    assert number > 40
