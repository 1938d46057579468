"""The bytes of files in a sync: what is fetched, how often, and what one file costs the others."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.file_choice import EVERY_FILE
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.sync.summary import ExportSummary
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.blobs import BlobStore
from dr_wandb.shell.store.disk_errors import RESERVE_BYTES
from dr_wandb.shell.sync.file_contents import FileContents
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME, json_lines

DAY = 24 * 60 * 60


def sync(source: MemorySource, data_root: Path, **fields: Any) -> ExportSummary:
    source.asked.clear()
    return syncing.sync(source, data_root, extra_datasets=("files",), **fields)


def fetched(source: MemorySource) -> int:
    return source.count_asked("fetch")


def absences(data_root: Path) -> dict[str, str | None]:
    rows = json_lines(data_root / NAME / "files.jsonl")
    return {row["path"]: row["absent"] for row in rows}


def project(*names: str) -> MemorySource:
    source = MemorySource()
    source.add_run("r")
    for name in names:
        source.put_file("r", name, name.encode())
    source.finish("r")
    return source


def failing(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception], *names: str) -> None:
    """Let the bytes of some files fail, of all if none are named."""
    fetch = MemorySource.fetch

    def fail(source: MemorySource, run: Any, name: str, save: Any) -> Any:
        if names and name not in names:
            return fetch(source, run, name, save)
        source.asked.append(("fetch", run.run_id, name))
        raise error()

    monkeypatch.setattr(MemorySource, "fetch", fail)


def outage() -> SourceError:
    return SourceError("the storage is down", RunFailureKind.UNREACHABLE, retryable=False)


def test_files_of_a_short_outage_are_held_a_day_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three syncs within the two minutes of an outage left these files without bytes for ever."""
    source = project("a", "b")
    with monkeypatch.context() as patch:
        failing(patch, outage)
        for complete in (False, False, True):
            assert sync(source, tmp_path).complete is complete
            source.advance(60)
    assert sync(source, tmp_path).complete
    assert fetched(source) == 0
    source.advance(DAY)
    assert sync(source, tmp_path).complete
    assert absences(tmp_path) == {"a": None, "b": None}
    source.advance(2 * DAY)
    assert sync(source, tmp_path).complete
    assert fetched(source) == 0


@pytest.mark.parametrize("rest", ["notes", "segments"])
def test_names_that_an_interrupted_sync_left_are_durable_before_the_commit(
    rest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut after a sync could leave lines that name blobs which were not there."""
    source = project("a", "b")
    with monkeypatch.context() as patch:
        patch.setattr(BlobStore, "settle", interrupt)
        with pytest.raises(KeyboardInterrupt):
            sync(source, tmp_path)
    folder = tmp_path / NAME
    if rest == "notes":
        for path in (folder / ".staging").glob("*.segment"):
            path.unlink()
    durable: list[Path] = []
    sync_folder = disk.sync_folder

    def note(path: Path) -> None:
        durable.append(path)
        sync_folder(path)

    monkeypatch.setattr(disk, "sync_folder", note)
    assert sync(source, tmp_path).complete
    assert fetched(source) == 0
    blobs = {path.parent for path in folder.glob("blobs/sha256/*/*")}
    assert len(blobs) == 2
    first_commit = durable.index(folder / ".staging")
    assert {*durable[:first_commit]} >= {
        *blobs,
        folder,
        folder / "blobs",
        folder / "blobs" / "sha256",
    }


def test_unexpected_error_of_one_file_costs_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files of a run were lost because of one whose address did not parse."""
    source = project("a", "b", "c")
    failing(monkeypatch, lambda: ValueError("Invalid IPv6 URL"), "b")
    summary = sync(source, tmp_path)
    assert (summary.failures, summary.complete) == ((), False)
    assert absences(tmp_path) == {"a": None, "b": "failed", "c": None}


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError()])
def test_error_of_this_machine_ends_the_sync(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = project("a")
    failing(monkeypatch, lambda: error)
    with pytest.raises((DrWandbError, MemoryError)):
        sync(source, tmp_path)
    assert not (tmp_path / NAME / "files.jsonl").exists()


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def listing(run_id: str) -> RunListing:
    return RunListing(run_id=run_id, state="finished", created_at=None)


class Disk:
    """A small disk with the bytes that a source gives, ten at a time."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
        self.size = size + RESERVE_BYTES
        self.written = 0
        self.meanwhile: Callable[[], None] = lambda: None
        staging = folder / ".staging"
        staging.mkdir()
        source: Any = self
        self.contents = FileContents(source, EVERY_FILE, folder, staging, prove=False, threads=3)
        monkeypatch.setattr(
            shutil, "disk_usage", lambda _: SimpleNamespace(free=self.size - self.written)
        )

    def fill(self, run_id: str, size: int) -> dict[str, Any]:
        (row,) = self.contents.fill(listing(run_id), [{"name": "a", "sizeBytes": size}], {})
        return row

    def find(self, run: RunListing, name: str) -> None:
        """Say that a file is gone."""

    def fetch(self, run: RunListing, name: str, save: Callable[[Any], Any]) -> Any:
        def chunks() -> Any:
            for _ in range(int(run.run_id) // 10):
                yield b"0123456789"
                self.written += 10
            meanwhile, self.meanwhile = self.meanwhile, lambda: None
            meanwhile()
            yield b"12345"
            self.written += 5

        return save(chunks())


@pytest.fixture
def make_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Disk]]:
    made: list[Disk] = []

    def make(size: int) -> Disk:
        made.append(Disk(tmp_path, monkeypatch, size))
        return made[-1]

    yield make
    for one in made:
        one.contents.close()


def test_bytes_that_are_written_are_not_to_come_any_more(make_disk: Callable[[int], Disk]) -> None:
    """A sync ended for a lack of space (exit 9) when twice its bytes would not have fitted."""
    disk, rows = make_disk(100), []
    disk.meanwhile = lambda: rows.append(disk.fill("20", 25))
    rows.append(disk.fill("60", 65))
    assert [row["absent"] for row in rows] == [None, None]
    assert disk.written == 90


def test_files_that_do_not_fit_are_not_counted_as_to_come(make_disk: Callable[[int], Disk]) -> None:
    """After files that did not fit, no file fitted."""
    disk = make_disk(30)
    with pytest.raises(DrWandbError, match="too little space"):
        disk.fill("60", 65)
    assert disk.fill("20", 25)["absent"] is None


def test_files_that_were_fetched_before_an_interrupt_need_no_space_again(
    tmp_path: Path, make_disk: Callable[[int], Disk]
) -> None:
    """A sync that was killed when most was there could not go on: all had to fit once more."""
    disk = make_disk(30)
    row = disk.fill("20", 25)
    disk.contents.close()
    source: Any = disk
    again = FileContents(source, EVERY_FILE, tmp_path, tmp_path / ".staging", prove=False)
    assert again.fill(listing("20"), [{"name": "a", "sizeBytes": 25, "md5": row["md5"]}], {})
    again.close()
    assert disk.written == 25
