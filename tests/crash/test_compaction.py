"""Folding the log is a commit: wherever it is stopped, the log is the old one or the new one."""

import errno
import shutil
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest

from dr_wandb import combine_changes, iter_changes
from dr_wandb.core.contract.changes import Compaction, SyncChanges
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.store.commit import RECORD_FILE, STAGING_FOLDER
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.sync.compaction import compact_changes
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.operations import CHANGES, MAKES, Fault, images_of, stopped_at
from tests.support.scenarios import assert_loads, is_stopped, log_on, project
from tests.support.syncing import NAME

FAULTS = {
    "interrupt": Fault(None),
    "full disk": Fault(errno.ENOSPC, lasts_for=MAKES, tears=True),
    "no permission": Fault(errno.EACCES, lasts_for=CHANGES),
    "device error": Fault(errno.EIO, tears=True),
}


def synced(data_root: Path) -> MemorySource:
    """Sync a project several times, and let it grow once more."""
    source = project()
    for _ in range(3):
        syncing.sync(source, data_root)
        source.advance(3600)
        source.log("grows", {"loss": 0.5})
    syncing.sync(source, data_root)
    source.finish("grows")
    source.advance(3600)
    syncing.sync(source, data_root)
    log_on(source)
    return source


def fold(data_root: Path) -> Compaction:
    return compact_changes(NAME, data_root, datetime(2026, 1, 1, 3, 30, tzinfo=UTC))


def sum_of(data_root: Path) -> SyncChanges:
    return combine_changes(iter_changes(NAME, data_root), "now")


def is_sound(data_root: Path) -> bool:
    return verify_export(ExportStore(name=NAME, data_root=data_root)).sound


class Folded:
    """An export before its log is folded, after that, and after another sync of either."""

    def __init__(self, folder: Path) -> None:
        self.begun, folded = folder / "begun", folder / "expected"
        self.source = synced(self.begun)
        shutil.copytree(self.begun, folded)
        self.sum = sum_of(self.begun)
        self.before = syncing.visible(self.begun / NAME)
        assert fold(folded).folded > 1
        self.after = syncing.visible(folded / NAME)
        assert self.after["changes.jsonl"] != self.before["changes.jsonl"]
        self.synced = []
        for data_root in (self.begun, folded):
            copy = folder / f"{data_root.name}-synced"
            shutil.copytree(data_root, copy)
            syncing.sync(syncing.twin(self.source), copy)
            self.synced.append(syncing.visible(copy / NAME))

    def assert_heals(self, data_root: Path) -> None:
        """The log has its sum; folding again, or syncing, ends as if nothing had been."""
        folder = data_root / NAME
        decided = (folder / RECORD_FILE).exists()
        assert_loads(data_root)
        if not decided:
            assert syncing.visible(folder) in (self.before, self.after)
        assert sum_of(data_root) == self.sum
        other = data_root.with_name(f"{data_root.name}-other")
        shutil.copytree(data_root, other)
        with syncing.without_fsync():
            fold(data_root)
            syncing.sync(syncing.twin(self.source), other)
        assert syncing.visible(folder) == self.after
        assert syncing.visible(other / NAME) in self.synced[1 if decided else 0 :]
        for healed in (data_root, other):
            assert is_sound(healed)
            assert not syncing.hidden(healed / NAME) & {STAGING_FOLDER, RECORD_FILE}
        shutil.rmtree(other)


@pytest.fixture
def folded(tmp_path: Path) -> Folded:
    return Folded(tmp_path)


def test_kill_at_any_operation_costs_nothing(folded: Folded, tmp_path: Path) -> None:
    images = images_of(lambda: fold(folded.begun), folded.begun, tmp_path / "images")
    assert images.operations > 30
    assert any((image / NAME / RECORD_FILE).exists() for _, image in images.found.values())
    for label, image in images.found.values():
        try:
            folded.assert_heals(image)
        except BaseException as error:
            error.add_note(f"killed before: {label} ({image.name})")
            raise


@pytest.mark.parametrize("kind", FAULTS)
def test_error_at_any_operation_costs_nothing(kind: str, folded: Folded, tmp_path: Path) -> None:
    number = stopped_count = 0
    while True:
        data_root = tmp_path / f"{number:03d}"
        shutil.copytree(folded.begun, data_root)
        with stopped_at(number, FAULTS[kind]) as done:
            stopped = is_stopped(partial(fold, data_root))
        try:
            if not stopped:
                assert syncing.visible(data_root / NAME) == folded.after
            folded.assert_heals(data_root)
        except BaseException as mistake:
            mistake.add_note(f"stopped before: {done[number:][:1]} (operation {number})")
            raise
        shutil.rmtree(data_root)
        stopped_count += stopped
        if len(done) <= number:
            break
        number += 1
    assert stopped_count > 15


def test_interrupted_sync_is_finished_before_its_line_is_folded(
    folded: Folded, tmp_path: Path
) -> None:
    sync = partial(syncing.sync, syncing.twin(folded.source), folded.begun)
    images = images_of(sync, folded.begun, tmp_path / "images")
    decided = [image for _, image in images.found.values() if (image / NAME / RECORD_FILE).exists()]
    assert decided
    for image in decided:
        compact_changes(NAME, image, datetime(2999, 1, 1, tzinfo=UTC))
        files = syncing.visible(image / NAME)
        assert files["history.jsonl"] == folded.synced[0]["history.jsonl"]
        assert files["changes.jsonl"].count(b"\n") == 1
        assert is_sound(image)


def test_kill_of_the_first_sync_in_its_commit_leaves_an_export_to_fold(tmp_path: Path) -> None:
    source = project()
    images = images_of(
        lambda: syncing.sync(source, tmp_path / "new"), tmp_path / "new", tmp_path / "images"
    )
    decided = [image for _, image in images.found.values() if (image / NAME / RECORD_FILE).exists()]
    assert decided
    for image in decided:
        done = compact_changes(NAME, image, datetime(2999, 1, 1, tzinfo=UTC))
        assert (done.folded, done.lines_after) == (0, 1)
        assert is_sound(image)
