"""Bytes that have come are not fetched again: after trouble, for another run, in another sync."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.contract.file_choice import FileChoice
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.sync.summary import ExportSummary
from dr_wandb.shell.sources import RowBatch, SourceError
from dr_wandb.shell.store.blobs import BlobStore
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME

FILES = {"extra_datasets": ("files",)}


def sync(source: MemorySource, data_root: Path, **fields: Any) -> ExportSummary:
    source.asked.clear()
    return syncing.sync(source, data_root, **FILES | fields)


def fetched(source: MemorySource) -> list[tuple[Any, ...]]:
    return sorted(call[1:] for call in source.asked if call[0] == "fetch")


def blobs(data_root: Path) -> set[bytes]:
    return {path.read_bytes() for path in (data_root / NAME).glob("blobs/sha256/*/*")}


def project(files: int) -> MemorySource:
    source = MemorySource()
    source.add_run("r")
    for number in range(files):
        source.put_file("r", f"{number}.txt", b"%d" % number)
    source.finish("r")
    return source


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def interrupted(source: MemorySource, data_root: Path, **fields: Any) -> None:
    """Sync until all bytes have come, with nothing left of it but notes and blobs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BlobStore, "settle", interrupt)
        with pytest.raises(KeyboardInterrupt):
            sync(source, data_root, **fields)
    for path in (data_root / NAME / ".staging").glob("*.segment"):
        path.unlink()


def break_listings_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the second page of every listing of files fail."""
    read = MemorySource.read_files

    def read_some(source: MemorySource, *arguments: Any) -> Iterator[RowBatch]:
        yield next(read(source, *arguments))
        raise SourceError("the second page failed", RunFailureKind.SERVER_ERROR)

    monkeypatch.setattr(MemorySource, "read_files", read_some)


def test_files_of_a_page_are_fetched_once_if_a_later_page_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one page of a run failed, each sync fetched the files of all others again."""
    source = project(5)
    with monkeypatch.context() as patch:
        break_listings_off(patch)
        for names in (["0.txt", "1.txt", "2.txt"], []):
            assert [one.run_id for one in sync(source, tmp_path).failures] == ["r"]
            assert [name for _, name in fetched(source)] == names
    assert sync(source, tmp_path).complete
    assert [name for _, name in fetched(source)] == ["3.txt", "4.txt"]
    assert not (tmp_path / NAME / ".staging").exists()


@pytest.mark.parametrize(
    "between",
    [
        {"mode": "metadata", "extra_datasets": ()},
        {"files": FileChoice(patterns=("0*",))},
        {"files": FileChoice(max_bytes=0)},
        {"mode": "metadata", "extra_datasets": (), "prune": True},
    ],
)
def test_sync_that_wants_other_files_costs_no_fetch(
    between: dict[str, Any], tmp_path: Path
) -> None:
    """A sync with other flags, after an interrupt, had all bytes fetched again, or removed them."""
    source = project(1)
    assert sync(source, tmp_path).complete
    source.advance(60)
    source.put_file("r", "1.txt", b"1")
    source.put_file("r", "2.txt", b"2")
    interrupted(source, tmp_path)
    assert sync(source, tmp_path, **between).complete
    assert fetched(source) == []
    assert blobs(tmp_path) == {b"0", b"1", b"2"}
    assert sync(source, tmp_path, sync_mode="detect_changes").complete
    assert fetched(source) == []
    assert not (tmp_path / NAME / ".staging").exists()
    with syncing.fresh_export(source, **FILES) as fresh:
        assert (tmp_path / NAME / "files.jsonl").read_bytes() == (
            fresh / "files.jsonl"
        ).read_bytes()


def test_notes_of_a_run_that_is_gone_hold_no_bytes_back_from_prune(tmp_path: Path) -> None:
    source = project(1)
    source.add_run("gone")
    assert sync(source, tmp_path).complete
    source.advance(60)
    source.put_file("gone", "x.txt", b"x")
    interrupted(source, tmp_path)
    source.delete("gone")
    sync(source, tmp_path, mode="metadata", extra_datasets=(), prune=True)
    assert blobs(tmp_path) == {b"0"}
    assert not (tmp_path / NAME / ".staging").exists()


def test_dropped_files_leave_no_notes(tmp_path: Path) -> None:
    source = project(2)
    interrupted(source, tmp_path)
    dropped = {"extra_datasets": (), "drop_datasets": ("files",), "prune": True}
    assert sync(source, tmp_path, **dropped).complete
    assert blobs(tmp_path) == set()
    assert not (tmp_path / NAME / ".staging").exists()


def test_memory_does_not_grow_with_the_files_of_runs_that_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some 600 bytes of each file that was fetched stayed in memory until the sync had ended."""
    runs, files = 20, 50
    source = MemorySource(rows_per_batch=files)
    for run in range(runs):
        source.add_run(f"run{run}")
        for number in range(files):
            source.put_file(f"run{run}", f"{number}.txt", b"%d of %d" % (number, run))
        source.finish(f"run{run}")
    held: list[int] = []

    def measure(_: BlobStore) -> None:
        snapshot = tracemalloc.take_snapshot()
        of_files = [f"*/{name}.py" for name in ("run_files", "row_forms", "fetched_blobs", "blobs")]
        filters = [tracemalloc.Filter(True, name) for name in of_files]
        statistics = snapshot.filter_traces(filters).statistics("filename")
        held.append(sum(one.size for one in statistics))

    monkeypatch.setattr(BlobStore, "settle", measure)
    tracemalloc.start()
    try:
        sync(source, tmp_path)
    finally:
        tracemalloc.stop()
    assert held[0] < 100 * runs * files
