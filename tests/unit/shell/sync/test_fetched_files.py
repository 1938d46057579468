"""Bytes that have come are not fetched again: after trouble, for another run, in another sync."""

import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.contract.file_choice import FileChoice
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.sync.plan import PlannedFiles
from dr_wandb.core.sync.summary import ExportSummary
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.sources import RowBatch, SourceError
from dr_wandb.shell.sources.contents import Save, T
from dr_wandb.shell.store.blobs import BlobStore
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.sync.engine import ExportEngine
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME, json_lines

FILES = {"extra_datasets": ("files",)}
LARGE = b"0123456789" * 500
"""More bytes than the lines of the export, so that these are read."""


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


def runs_with(content: bytes, *run_ids: str) -> MemorySource:
    source = MemorySource()
    add_runs(source, content, *run_ids)
    return source


def add_runs(source: MemorySource, content: bytes, *run_ids: str, **facts: Any) -> None:
    for run_id in run_ids:
        source.add_run(run_id)
        source.put_file(run_id, "same.bin", content, **facts)
        source.finish(run_id)


class Meeting(MemorySource):
    """Gives no bytes until all runs are listed, so that all threads want them at once."""

    def __init__(self) -> None:
        super().__init__()
        self.all_listed = threading.Event()

    def read_files(self, *arguments: Any) -> Iterator[RowBatch]:
        """List the files of a run."""
        batches = [*super().read_files(*arguments)]
        if self.count_asked("read_files") == len(self.runs):
            self.all_listed.set()
        yield from batches

    def fetch(self, run: RunListing, name: str, save: Save[T]) -> T:
        """Wait for the listings, and give the bytes."""
        self.all_listed.wait()
        return super().fetch(run, name, save)


def test_same_bytes_are_fetched_once_over_all_runs(tmp_path: Path) -> None:
    """The same bytes in 500 runs were one blob, and were fetched 500 times."""
    source = runs_with(LARGE, *"abcdefgh")
    assert sync(source, tmp_path).complete
    assert len(fetched(source)) == 1
    source.advance(60)
    add_runs(source, LARGE, "i", "j")
    assert sync(source, tmp_path).complete
    assert fetched(source) == []
    with syncing.fresh_export(source, **FILES) as fresh:
        assert (tmp_path / NAME / "files.jsonl").read_bytes() == (
            fresh / "files.jsonl"
        ).read_bytes()


def test_same_bytes_are_fetched_once_though_many_threads_want_them(tmp_path: Path) -> None:
    source = Meeting()
    add_runs(source, LARGE, *"abcdefgh")
    request = syncing.request_for(tmp_path, **FILES)
    assert syncing.export(source, request, now=source.now, workers=8).complete
    assert len(fetched(source)) == 1


def test_thread_that_waits_for_bytes_fetches_them_if_they_do_not_come(tmp_path: Path) -> None:
    source = runs_with(LARGE, "a", "b")
    source.lose_bytes("a", "same.bin")
    request = syncing.request_for(tmp_path, **FILES)
    syncing.export(source, request, now=source.now, workers=8)
    absent = [row["absent"] for row in json_lines(tmp_path / NAME / "files.jsonl")]
    assert absent in ([None, None], ["gone", None])


def test_altered_bytes_of_another_run_are_not_used(tmp_path: Path) -> None:
    source = runs_with(LARGE, "a")
    sync(source, tmp_path)
    (path,) = (tmp_path / NAME).glob("blobs/sha256/*/*")
    path.chmod(0o644)
    path.write_bytes(LARGE[::-1])
    source.advance(60)
    add_runs(source, LARGE, "b")
    assert sync(source, tmp_path).complete
    assert fetched(source) == [("b", "same.bin")]
    assert path.read_bytes() == LARGE
    assert verify_export(ExportStore(name=NAME, data_root=tmp_path)).sound


@pytest.mark.parametrize(
    "facts", [{"sizeBytes": "7"}, {"sizeBytes": "0"}, {"sizeBytes": None}, {"md5": None}]
)
def test_bytes_of_another_run_are_not_used_if_the_listing_says_too_little(
    facts: dict[str, Any], tmp_path: Path
) -> None:
    source = runs_with(LARGE, "a")
    sync(source, tmp_path)
    source.advance(60)
    add_runs(source, LARGE, "b", **facts)
    sync(source, tmp_path)
    assert fetched(source) == [("b", "same.bin")]


ONE = bytes.fromhex(
    "d131dd02c5e6eec4693d9a0698aff95c2fcab58712467eab4004583eb8fb7f89"
    "55ad340609f4b30283e488832571415a085125e8f7cdc99fd91dbdf280373c5b"
    "d8823e3156348f5bae6dacd436c919c6dd53e2b487da03fd02396306d248cda0"
    "e99f33420f577ee8ce54b67080a80d1ec69821bcb6a8839396f9652b6ff72a70"
)
"""Wang and others, 2004: two contents of one MD5 and one size, which differ in these bytes."""
TWO = bytes(b ^ 0x80 if at in (19, 45, 59, 83, 109, 123) else b for at, b in enumerate(ONE))


def test_files_that_were_made_to_have_one_md5_differ_after_a_full_reconcile(tmp_path: Path) -> None:
    """Exception 12 of docs/sync.md: W&B says the same of both."""
    source = MemorySource()
    for run_id, content in (("a", ONE), ("b", TWO)):
        source.add_run(run_id)
        source.put_file(run_id, "x.bin", content)
    for mode, held in (("incremental", ({ONE}, {TWO})), ("full_reconcile", ({ONE, TWO},))):
        assert sync(source, tmp_path / mode, sync_mode=mode).complete
        assert blobs(tmp_path / mode) in held


def test_file_that_is_listed_as_empty_is_fetched(tmp_path: Path) -> None:
    """W&B may list a file as empty until its bytes are uploaded."""
    source = runs_with(b"", "a")
    sync(source, tmp_path)
    source.advance(60)
    add_runs(source, b"late", "b", sizeBytes="0", md5="1B2M2Y8AsgTpgAmY7PhCfg==")
    source.put_file("b", "large.bin", LARGE)
    sync(source, tmp_path)
    rows = json_lines(tmp_path / NAME / "files.jsonl")
    assert [row["absent"] for row in rows] == [None, None, "mismatch"]


def test_full_reconcile_fetches_each_file_by_itself(tmp_path: Path) -> None:
    source = runs_with(LARGE, *"abc")
    assert sync(source, tmp_path, sync_mode="full_reconcile").complete
    assert len(fetched(source)) == 3


def test_few_bytes_are_fetched_rather_than_many_lines_read(tmp_path: Path) -> None:
    """A small new file made a sync read the lines of all files that the export has."""
    source = runs_with(b"small", "a")
    sync(source, tmp_path)
    source.advance(60)
    add_runs(source, b"small", "b")
    sync(source, tmp_path)
    assert fetched(source) == [("b", "same.bin")]


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


def plan_of(source: Any, data_root: Path, **fields: Any) -> PlannedFiles | None:
    request = syncing.request_for(data_root, **FILES | fields)
    return ExportEngine(request, source=source, wait=syncing.do_not_wait).plan().files


class WithoutBytes(MemorySource):
    """A source that lists files and has no bytes, as a recording."""

    contents = None  # type: ignore[assignment]


def test_plan_counts_no_file_that_cannot_come(tmp_path: Path) -> None:
    """The plan for a recording named all files, of which the sync fetched none."""
    source = WithoutBytes()
    source.runs = project(3).runs
    assert plan_of(source, tmp_path) == PlannedFiles()


def test_plan_counts_no_bytes_that_are_here(tmp_path: Path) -> None:
    """Files that an interrupted sync had fetched were announced once more."""
    source = runs_with(LARGE, "a")
    interrupted(source, tmp_path)
    assert plan_of(source, tmp_path) == PlannedFiles()
    sync(source, tmp_path)
    source.advance(60)
    add_runs(source, LARGE, "b")
    assert plan_of(source, tmp_path) == PlannedFiles()
    again = {"sync_mode": "full_reconcile"}
    assert plan_of(source, tmp_path, **again) == PlannedFiles(files=1, bytes=len(LARGE))
    (path,) = (tmp_path / NAME).glob("blobs/sha256/*/*")
    path.unlink()
    assert plan_of(source, tmp_path) == PlannedFiles(files=1, bytes=len(LARGE))


def test_plan_changes_nothing(tmp_path: Path) -> None:
    source = project(2)
    interrupted(source, tmp_path)
    before = syncing.tree(tmp_path)
    plan_of(source, tmp_path)
    assert syncing.tree(tmp_path) == before
