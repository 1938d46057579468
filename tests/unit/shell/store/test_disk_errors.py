"""A disk that is too small is named before anything is written to it."""

import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from dr_wandb import DrWandbError
from dr_wandb.core.contract.failures import DiskRefused
from dr_wandb.shell.store.disk_errors import RESERVE_BYTES
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def leave_free(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**12, 10**12 - free, free))


@pytest.fixture
def source() -> MemorySource:
    source = MemorySource()
    for run_id in ("a", "b"):
        source.add_run(run_id, config={"text": "x" * 1000})
        for step in range(50):
            source.log(run_id, {"loss": step / 3, "note": "y" * 200})
    return source


def test_too_little_space_is_said_before_the_old_files_are_touched(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncing.sync(source, tmp_path)
    folder = tmp_path / NAME
    before = syncing.visible(folder)
    source.log("a", {"loss": 0.5})
    asked = len(source.asked)
    leave_free(monkeypatch, RESERVE_BYTES + len(before["history.jsonl"]))
    with pytest.raises(DrWandbError) as caught:
        syncing.sync(source, tmp_path)
    assert isinstance(caught.value.failure, DiskRefused)
    assert re.search(r"need 1\.1 MB, [1-9]\.\d kB more than is free", str(caught.value))
    assert str(folder) in str(caught.value)
    assert syncing.visible(folder) == before
    read = [call for call in source.asked[asked:] if call[0] == "read_history"]
    assert len(read) == 1

    leave_free(monkeypatch, RESERVE_BYTES + 2 * len(before["history.jsonl"]))
    asked = len(source.asked)
    assert syncing.sync(source, tmp_path).rows_added == 1
    assert not [call for call in source.asked[asked:] if call[0] == "read_history"]
    with syncing.fresh_export(source) as fresh:
        assert syncing.data_of(folder) == syncing.data_of(fresh)


def test_sync_without_news_needs_no_space(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncing.sync(source, tmp_path)
    leave_free(monkeypatch, 0)
    assert syncing.sync(source, tmp_path).reused_count == 2


def test_first_export_needs_space_for_its_segments_again(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_free(monkeypatch, RESERVE_BYTES + 5_000)
    with pytest.raises(DrWandbError, match="more than is free"):
        syncing.sync(source, tmp_path)
    assert syncing.visible(tmp_path / NAME) == {}
