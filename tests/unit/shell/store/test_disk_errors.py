"""A disk that is too small is named before anything is written to it."""

import errno
import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dr_wandb import DrWandbError
from dr_wandb.core.contract.failures import DiskRefused
from dr_wandb.core.sync import estimate
from dr_wandb.core.sync.estimate import ROW_BYTES
from dr_wandb.shell.store.disk_errors import RESERVE_BYTES, free_bytes
from dr_wandb.shell.store.rows_file import RowsFile
from dr_wandb.shell.store.writing import LineWriter
from dr_wandb.shell.sync.segment_writer import SegmentWriter
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
    assert re.search(
        r"; 1\.1 MB needed, 1\.1 MB free, so [1-9]\.\d kB more must be freed\n", str(caught.value)
    )
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
    with pytest.raises(DrWandbError, match="more must be freed"):
        syncing.sync(source, tmp_path)
    assert syncing.visible(tmp_path / NAME) == {}


def refuse_writes(
    monkeypatch: pytest.MonkeyPatch, owner: type, method: str, error: int, after: int = 0
) -> None:
    """Let a method fail as on a full disk, from a call on."""
    true, calls = getattr(owner, method), iter(range(10**6))

    def refuse(self: Any, *arguments: Any) -> Any:
        if next(calls) < after:
            return true(self, *arguments)
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(owner, method, refuse)


def failure_of(source: MemorySource, data_root: Path) -> DiskRefused:
    with pytest.raises(DrWandbError) as caught:
        syncing.export(source, syncing.request_for(data_root), now=source.now, workers=1)
    assert isinstance(caught.value.failure, DiskRefused)
    assert caught.value.exit_code == 9
    return caught.value.failure


def kept(data_root: Path) -> tuple[int, int]:
    segments = list((data_root / NAME / ".staging").glob("*.segment"))
    return len(segments), sum(path.stat().st_size for path in segments)


def test_disk_that_is_full_while_rows_are_fetched_says_what_is_needed_and_kept(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_free(monkeypatch, 10_000)
    refuse_writes(monkeypatch, SegmentWriter, "finish", errno.ENOSPC, after=1)
    failure = failure_of(source, tmp_path)
    parts, size = kept(tmp_path)
    assert parts == 1
    assert (failure.parts, failure.part_bytes) == (parts, size)
    assert failure.needed_bytes == 2 * 100 * ROW_BYTES - size
    assert failure.free_bytes is not None
    assert failure.free_bytes >= 10_000
    assert failure.estimated
    text = failure.describe()
    assert "No space left on device; about " in text
    assert f"unchanged, kept for the next sync: 1 part ({size / 1000:.1f} kB); " in text


def test_disk_that_is_full_while_new_files_are_written_says_what_they_need(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_free(monkeypatch, 2 * RESERVE_BYTES)
    refuse_writes(monkeypatch, LineWriter, "write", errno.ENOSPC)
    failure = failure_of(source, tmp_path)
    assert failure.needed_bytes is not None
    assert failure.path == str(tmp_path / NAME)
    assert failure.free_bytes is not None
    assert 0 <= failure.free_bytes - 2 * RESERVE_BYTES < 10_000  # and the files that go
    assert (failure.parts, failure.part_bytes) == kept(tmp_path)
    assert not failure.estimated
    monkeypatch.undo()
    syncing.sync(source, tmp_path)
    files = syncing.visible(tmp_path / NAME)
    written = sum(len(files[name]) for name in syncing.DATA_FILES)
    assert written <= failure.needed_bytes <= written + RESERVE_BYTES


def test_disk_quota_says_nothing_of_free_space(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_writes(monkeypatch, RowsFile, "write", errno.EDQUOT)
    failure = failure_of(source, tmp_path)
    assert (failure.free_bytes, failure.parts) == (None, 0)
    assert failure.needed_bytes == 2 * 100 * ROW_BYTES


def test_need_is_not_known_if_more_came_than_was_estimated(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "ROW_BYTES", 1)
    refuse_writes(monkeypatch, SegmentWriter, "finish", errno.ENOSPC, after=1)
    failure = failure_of(source, tmp_path)
    assert (failure.needed_bytes, failure.parts) == (None, 1)
    assert " needed" not in failure.describe()


def test_error_of_another_kind_says_nothing_of_space(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_writes(monkeypatch, RowsFile, "write", errno.EIO)
    failure = failure_of(source, tmp_path)
    assert (failure.needed_bytes, failure.free_bytes) == (None, None)


def test_disk_that_may_be_too_small_is_warned_of_in_one_line_and_used(
    source: MemorySource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    leave_free(monkeypatch, 2 * 100 * ROW_BYTES - 1)
    with caplog.at_level("WARNING", "dr_wandb"), pytest.raises(DrWandbError):
        syncing.sync(source, tmp_path)
    (line,) = [one.getMessage() for one in caplog.records]
    folder = tmp_path / NAME
    need = "this sync needs about 60.0 kB there, and 60.0 kB is free"
    assert line == f"{folder} may be too small: {need}"
    assert [call for call in source.asked if call[0] == "read_history"]


def test_disk_with_enough_space_is_not_warned_of(
    source: MemorySource,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    leave_free(monkeypatch, 2 * 100 * ROW_BYTES + RESERVE_BYTES)
    with caplog.at_level("WARNING", "dr_wandb"):
        syncing.sync(source, tmp_path)
    leave_free(monkeypatch, 0)
    with caplog.at_level("WARNING", "dr_wandb"):
        syncing.sync(source, tmp_path)  # nothing is new
    assert [one.getMessage() for one in caplog.records] == []


def test_free_space_of_a_folder_that_is_not_there_is_that_of_its_parent(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "a" / "b") is not None


def test_free_space_that_cannot_be_found_out_is_not_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(errno.EACCES, "no")

    monkeypatch.setattr(shutil, "disk_usage", refuse)
    assert free_bytes(tmp_path) is None
