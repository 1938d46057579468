"""What readers of the Parquet files see between any two operations of a commit."""

import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dr_wandb import iter_history_rows, load_history_frame, load_runs_frame
from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.export_files import PARQUET_HISTORY, is_parquet_history
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.converting import write_history_lines
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.parquet_files import read_lines
from tests.support import parquet_exports, syncing
from tests.support.memory_source import MemorySource
from tests.support.operations import Images, images_of
from tests.support.scenarios import BOTH, project, project_with_consoles
from tests.support.syncing import NAME


def names_in(folder: Path) -> set[str]:
    return {name for name in syncing.visible(folder) if is_parquet_history(name)}


class Moments:
    """What a kill leaves at each operation of a sync in which runs change files in both ways."""

    def __init__(self, folder: Path) -> None:
        self.data_root = folder / "killed"
        self.source = project()
        for number in range(9):
            self.source.log("done", {"loss": number})
        syncing.sync(self.source, self.data_root, **BOTH)
        self.before, before = self._files()
        self.source.advance(600)
        self.source.rewind("done", 2)
        for number in range(20):
            self.source.log("empty", {"loss": number})
            self.source.log("grows", {"loss": number})
        syncing.sync(self.source, self.data_root)
        self.source.advance(601)
        self.before, before = self._files()
        self.source.rewind("grows", 1)
        for _ in range(20):
            self.source.log("parquet", {"loss": 0.5})
        again = syncing.twin(self.source)
        shutil.copytree(self.data_root, folder / "expected")
        self.images = images_of(
            lambda: syncing.sync(self.source, self.data_root, sync_mode="full_reconcile"),
            self.data_root,
            folder / "images",
        )
        self.source = again
        self.after, after = self._files()
        assert self.before != self.after
        assert [name for name in after - before if "-run-" in name]

    def _files(self) -> tuple[bytes, set[str]]:
        folder = self.data_root / NAME
        return parquet_exports.lines_in(folder), names_in(folder)


def runs_in_folder(folder: Path) -> Counter[tuple[str, bytes]]:
    """Count in how many files each row is."""
    found: Counter[tuple[str, bytes]] = Counter()
    for path in (folder / PARQUET_HISTORY).glob("*.parquet"):
        for run_id, rows in read_lines(path):
            found.update((run_id, line) for line in {*rows.lines.splitlines()})
    return found


def test_folder_of_parquet_files_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    """A run that outgrew its pack was there twice, or not at all, for a moment."""
    with parquet_exports.small_files(), syncing.without_fsync():
        moments = Moments(tmp_path)
        seen = {parquet_exports.lines_in(image / NAME) for image in images(moments.images)}
        assert seen == {moments.before, moments.after}


def test_no_row_is_in_two_files_where_folders_cannot_be_exchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "exchange", lambda one, other: False)
    with parquet_exports.small_files(), syncing.without_fsync():
        moments = Moments(tmp_path)
        for image in images(moments.images):
            twice = [row for row, count in runs_in_folder(image / NAME).items() if count > 1]
            assert not twice
            syncing.sync(syncing.twin(moments.source), image, sync_mode="full_reconcile")
            assert parquet_exports.lines_in(image / NAME) == moments.after


def test_staged_files_are_not_read_as_parquet(tmp_path: Path) -> None:
    """Readers that follow `**/*.parquet` into hidden folders see no file of an unfinished sync."""
    with parquet_exports.small_files(), syncing.without_fsync():
        moments = Moments(tmp_path)
        beside = [
            label
            for label, image in moments.images.found.values()
            if [*(image / NAME / ".staging").rglob("*.parquet")]
        ]
        assert all(is_of_exchange(label) for label in beside)


def is_of_exchange(label: str) -> bool:
    """Say whether an operation is one of those around the exchange of the folders."""
    return label.split()[0] in {"hardlink_to", "sync_folder", "exchange", "rmtree"}


def images(found: Images) -> list[Path]:
    return [image for _, image in found.found.values()]


@pytest.mark.parametrize("created_at", ["2020-03-04T00:00:00Z", "2029-03-04T00:00:00Z"])
def test_run_made_anew_in_another_month_is_not_in_two_files_of_a_table(
    created_at: str, tmp_path: Path
) -> None:
    """After a kill, a reader of the folder had the lines of both runs until the next sync."""
    source, data_root = project_with_consoles(), tmp_path / "killed"
    request = {**BOTH, "extra_datasets": ("console",)}
    syncing.sync(source, data_root, **request)
    before = runs_in_consoles(data_root)
    source.advance(600)
    source.delete("done")
    source.add_run("done", created_at=created_at)
    source.write_line("done", "anew")
    with syncing.without_fsync():
        found = images_of(
            lambda: syncing.sync(source, data_root, **request), data_root, tmp_path / "images"
        )
    after = runs_in_consoles(data_root)
    seen = [runs_in_consoles(image) for image in images(found)]
    assert before["done"] == after["done"] == 1
    assert all(one["done"] <= 1 for one in seen)


def runs_in_consoles(data_root: Path) -> Counter[str]:
    """Count in how many files of the console each run is."""
    paths = (data_root / NAME / "parquet" / "console").glob("*.parquet")
    return Counter(
        run_id for path in paths for run_id in {*pq.read_table(path)["run_id"].to_pylist()}
    )


def test_file_of_another_name_stays_in_the_folder(tmp_path: Path) -> None:
    with parquet_exports.small_files():
        source = project()
        syncing.sync(source, tmp_path, **BOTH)
        folder = tmp_path / NAME / PARQUET_HISTORY
        (folder / "notes.txt").write_text("mine")
        (folder / "2026-01-f-copy.parquet").write_text("mine too")
        change_two_packs(source)
        syncing.sync(source, tmp_path)
        assert (folder / "notes.txt").read_text() == "mine"
        assert (folder / "2026-01-f-copy.parquet").read_text() == "mine too"


def test_folder_with_a_folder_in_it_is_brought_up_to_date_file_by_file(tmp_path: Path) -> None:
    with parquet_exports.small_files():
        source = project()
        syncing.sync(source, tmp_path, **BOTH)
        folder = tmp_path / NAME / PARQUET_HISTORY
        (folder / "mine").mkdir()
        change_two_packs(source)
        syncing.sync(source, tmp_path)
        assert (folder / "mine").is_dir()
        lines = (tmp_path / NAME / "history.jsonl").read_bytes()
        assert parquet_exports.lines_in(tmp_path / NAME) == lines


def change_two_packs(source: MemorySource) -> None:
    source.advance(600)
    for run_id in ("grows", "empty"):
        source.log(run_id, {"loss": 3.5})


def rows_loaded(data_root: Path) -> bytes:
    return b"".join(encode_line(row) for row in iter_history_rows(NAME, data_root))


def rows_converted(data_root: Path) -> bytes:
    out = data_root / "lines.jsonl"
    write_history_lines(ExportStore(name=NAME, data_root=data_root), out)
    return out.read_bytes()


def rows_in_frame(data_root: Path) -> bytes:
    frame = load_history_frame(NAME, data_root, engine="polars")
    return str(frame.write_ndjson()).encode()


def runs_in_frame(data_root: Path) -> bytes:
    frame = load_runs_frame(NAME, data_root, engine="polars")
    return str(frame.select("run_id", "summary").write_ndjson()).encode()


LOADERS = (rows_loaded, rows_converted, rows_in_frame, runs_in_frame)

RENAMING = {"replace", "exchange", "rmdir", "unlink"}
"""The operations before which visible files may be another mixture of old and new ones."""


@pytest.mark.parametrize("formats", [("parquet",), ("jsonl", "parquet")])
def test_export_loads_at_each_operation_of_a_commit(
    formats: tuple[str, ...], tmp_path: Path
) -> None:
    """After a crash in a commit the loaders refused the export until the next sync."""
    source, data_root = project(), tmp_path / "a"
    syncing.sync(source, data_root, formats=formats)
    shutil.copytree(data_root, tmp_path / "before")
    source.advance(600)
    for run_id in ("empty", "grows"):
        source.log(run_id, {"loss": 0.5})
    with syncing.without_fsync():
        found = images_of(lambda: syncing.sync(source, data_root), data_root, tmp_path / "images")
    images = [image for label, image in found.found.values() if label.split()[0] in RENAMING]
    for load in LOADERS:
        before, after = load(tmp_path / "before"), load(data_root)
        loaded = [load(image) for image in images]
        assert before != after
        assert {*loaded} == {before, after}
