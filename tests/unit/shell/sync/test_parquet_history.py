"""A sync writes the Parquet files of the runs that changed, and no other."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from dr_wandb import DrWandbError, load_manifest
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.core.contract.export_files import (
    PARQUET_HISTORY,
    PARQUET_RUNS,
    is_parquet,
    is_parquet_history,
)
from dr_wandb.core.contract.failures import InTheWay
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.records import FIRST_WITH_CELLS, WITHOUT_PARQUET
from dr_wandb.shell.background import in_lanes
from dr_wandb.shell.store import parquet_files
from dr_wandb.shell.store.disk_errors import RESERVE_BYTES
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.parquet_files import read_run
from dr_wandb.shell.sync import parquet_history, parquet_packs
from dr_wandb.shell.sync.parquet_packs import WRITER
from dr_wandb.shell.sync.repeat import request_again
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.parquet_exports import lines_in, small_files
from tests.support.scenarios import BOTH
from tests.support.syncing import NAME

RUNS = ("b", "e", "d", "k")
"""Of these, "b" and "e" are in one pack."""


class Usage(NamedTuple):
    """What `shutil.disk_usage` returns."""

    total: int
    used: int
    free: int


@pytest.fixture(autouse=True)
def _small() -> Any:
    with small_files(most_cells=30):
        yield


def project() -> MemorySource:
    source = MemorySource()
    for run_id in RUNS:
        source.add_run(run_id)
        source.log(run_id, {"loss": 0.5})
    source.add_run("long")
    for number in range(42):
        source.log("long", {"loss": number})
    return source


@pytest.fixture
def source(tmp_path: Path) -> MemorySource:
    source = project()
    syncing.sync(source, tmp_path, **BOTH)
    source.advance(600)
    return source


def inodes(data_root: Path) -> dict[str, int]:
    """Return a number of each Parquet file that another file of that name does not have."""
    folder = data_root / NAME / PARQUET_HISTORY
    return {path.name: path.stat().st_ino for path in folder.iterdir()}


def data_in(data_root: Path) -> dict[str, bytes]:
    """Return all files but the state, which has the time of the last sync."""
    files = syncing.visible(data_root / NAME)
    return {name: content for name, content in files.items() if name != "state.json"}


def written(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {name for name, inode in after.items() if before.get(name) != inode}


def check(data_root: Path) -> None:
    """The files give the lines of the history, and are those in the manifest."""
    folder = data_root / NAME
    assert lines_in(folder) == (folder / "history.jsonl").read_bytes()
    manifest = load_manifest(NAME, data_root)
    assert manifest is not None
    there = {name for name in syncing.visible(folder) if name.startswith("parquet/")}
    named = {name: file for name, file in manifest.files.items() if is_parquet(name)}
    assert named.keys() == there
    assert named.pop(PARQUET_RUNS).lines == manifest.run_count
    assert sum(file.lines for file in named.values()) == manifest.history_count
    assert {file.writer for file in named.values()} == {WRITER}


def test_only_the_pack_of_a_run_that_changed_is_written(
    source: MemorySource, tmp_path: Path
) -> None:
    before = inodes(tmp_path)
    source.log("b", {"loss": 0.25})
    syncing.sync(source, tmp_path)
    assert written(before, inodes(tmp_path)) == {"2026-01-3.parquet"}
    check(tmp_path)


def test_only_the_last_part_of_a_long_run_is_written(source: MemorySource, tmp_path: Path) -> None:
    before = inodes(tmp_path)
    source.log("long", {"loss": 0.25})
    syncing.sync(source, tmp_path)
    assert written(before, inodes(tmp_path)) == {max(name for name in before if "-run-" in name)}
    check(tmp_path)


@pytest.mark.parametrize("formats", [("jsonl", "parquet"), ("parquet",)])
def test_parts_below_a_tail_are_not_made_again(
    formats: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long run that is alive was turned into cells as a whole at every sync."""
    source = project()
    syncing.sync(source, tmp_path, formats=formats)
    source.advance(600)
    source.log("long", {"loss": 0.25})
    began_at = []

    def watched(batches: Any, first: int) -> Any:
        began_at.append(first)
        return cells_of_lines(batches, first)

    monkeypatch.setattr(parquet_packs, "cells_of_lines", watched)
    syncing.sync(source, tmp_path)
    assert began_at == [40]
    with syncing.fresh_export(source, formats=formats) as fresh:
        files = {name: one for name, one in data_in(tmp_path).items() if is_parquet_history(name)}
        assert files.items() <= syncing.visible(fresh).items()


@pytest.mark.parametrize("formats", [("jsonl", "parquet"), ("parquet",)])
def test_files_do_not_depend_on_the_number_of_threads(
    formats: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = project()
    syncing.sync(syncing.twin(source), tmp_path / "one", formats=formats)
    lanes = []

    def watched(given: Any, work: Any) -> Any:
        lanes.append([count for _, count in given])
        return in_lanes(given, work)

    monkeypatch.setattr(parquet_history, "in_lanes", watched)
    monkeypatch.setattr(parquet_history, "count_cores", lambda: 3)
    monkeypatch.setattr(parquet_history, "ROWS_PER_THREAD", 1)
    syncing.sync(source, tmp_path / "several", formats=formats)
    assert lanes == [[3]]
    one, several = (syncing.visible(tmp_path / name / NAME) for name in ("one", "several"))
    assert one == several


def test_run_that_outgrows_its_pack_moves_to_files_of_its_own_and_back(
    source: MemorySource, tmp_path: Path
) -> None:
    before = inodes(tmp_path)
    for number in range(20):
        source.log("e", {"loss": number})
    syncing.sync(source, tmp_path)
    moved = written(before, inodes(tmp_path))
    assert "2026-01-3.parquet" in moved
    assert sum("-run-3f79bb7b435b05321651daefd374cdc6-" in name for name in moved) == 3
    check(tmp_path)
    source.rewind("e", 0)
    for _ in range(2):
        source.advance(601)
        syncing.sync(source, tmp_path)
    assert inodes(tmp_path).keys() == before.keys()
    check(tmp_path)


def test_sync_that_finds_nothing_new_writes_no_file(source: MemorySource, tmp_path: Path) -> None:
    files, before = data_in(tmp_path), inodes(tmp_path)
    for mode in ("history", "metadata"):
        syncing.sync(source, tmp_path, mode=mode)
        assert data_in(tmp_path) == files
        assert inodes(tmp_path) == before


def test_sync_that_finds_nothing_new_does_not_import_pyarrow(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dr_wandb.shell.sync.parquet_history", None)
    for formats in (("jsonl", "parquet"), ()):
        syncing.sync(source, tmp_path, formats=formats)
    syncing.sync(source, tmp_path, drop_formats=("jsonl",))
    syncing.sync(source, tmp_path)
    source.log("b", {"loss": 0.25})
    with pytest.raises(ImportError):
        syncing.sync(source, tmp_path)


def test_run_that_goes_leaves_no_file(source: MemorySource, tmp_path: Path) -> None:
    for run_id in ("long", "d"):
        source.delete(run_id)
    syncing.sync(source, tmp_path, mode="metadata", prune=True)
    assert {*inodes(tmp_path)} == {"2026-01-3.parquet", "2026-01-8.parquet"}
    check(tmp_path)


def test_format_that_is_new_is_made_of_what_is_held(tmp_path: Path) -> None:
    source = project()
    syncing.sync(source, tmp_path)
    again = syncing.twin(source)
    syncing.sync(again, tmp_path, mode="metadata", formats=("parquet",))
    assert not again.count_asked("read_history")
    check(tmp_path)
    manifest = load_manifest(NAME, tmp_path)
    assert manifest is not None
    assert manifest.requested is not None
    assert manifest.requested.datasets["history"].formats == ["jsonl", "parquet"]
    syncing.sync(source, tmp_path, drop_formats=("parquet",))
    assert not (tmp_path / NAME / "parquet").exists()
    dropped = load_manifest(NAME, tmp_path)
    assert dropped is not None
    assert not any(map(is_parquet_history, dropped.files))


def test_schema_version_says_whether_there_are_parquet_files(
    source: MemorySource, tmp_path: Path
) -> None:
    """A build from before them would leave them behind, so it must refuse the export."""

    def versions() -> set[int]:
        files = ("manifest.json", "state.json")
        return {
            json.loads((tmp_path / NAME / name).read_bytes())["schema_version"] for name in files
        }

    assert versions() == {FIRST_WITH_CELLS}
    syncing.sync(source, tmp_path, drop_formats=("parquet",))
    assert versions() == {WITHOUT_PARQUET}


@pytest.mark.parametrize("damage", [b"", b"PAR1", None])
def test_file_that_is_lost_or_damaged_is_made_again(
    damage: bytes | None, source: MemorySource, tmp_path: Path
) -> None:
    folder = tmp_path / NAME / PARQUET_HISTORY
    files, before = data_in(tmp_path), inodes(tmp_path)
    own = max(name for name in before if "-run-" in name)
    for name in (own, "2026-01-3.parquet"):
        (folder / name).unlink() if damage is None else (folder / name).write_bytes(damage)
    again = syncing.twin(source)
    syncing.sync(again, tmp_path, mode="metadata")
    assert not again.count_asked("read_history")
    assert data_in(tmp_path) == files
    kept = before.keys() - {own, "2026-01-3.parquet"}
    assert {name: inodes(tmp_path)[name] for name in kept} == {name: before[name] for name in kept}


def test_edited_lines_are_in_the_parquet_files_too(source: MemorySource, tmp_path: Path) -> None:
    path = tmp_path / NAME / "history.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"loss":0.5', b'"loss":0.75', 1))
    syncing.sync(source, tmp_path, mode="metadata")
    assert b'"loss":0.75' in path.read_bytes()
    check(tmp_path)


def test_file_of_ours_that_the_manifest_does_not_name_is_removed(
    source: MemorySource, tmp_path: Path
) -> None:
    """A plain reader of the folder would have rows of it twice."""
    folder = tmp_path / NAME / PARQUET_HISTORY
    (folder / "2025-12-3.parquet").write_bytes((folder / "2026-01-3.parquet").read_bytes())
    syncing.sync(source, tmp_path)
    check(tmp_path)


def test_manifest_that_names_another_path_has_no_say_over_it(
    source: MemorySource, tmp_path: Path
) -> None:
    beside = tmp_path / "beside.parquet"
    beside.write_bytes(b"mine")
    path = tmp_path / NAME / "manifest.json"
    manifest = json.loads(path.read_bytes())
    one = manifest["files"]["parquet/history/2026-01-3.parquet"]
    for name in ("../beside.parquet", "parquet/history/../../../beside.parquet"):
        manifest["files"][name] = one
    path.write_text(json.dumps(manifest))
    source.log("b", {"loss": 0.25})
    syncing.sync(source, tmp_path)
    assert beside.read_bytes() == b"mine"
    check(tmp_path)


def test_folder_that_is_a_link_is_refused(source: MemorySource, tmp_path: Path) -> None:
    folder = tmp_path / NAME / "parquet"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DrWandbError) as caught:
        syncing.sync(source, tmp_path)
    assert caught.value.failure == InTheWay(path=str(folder), found="a link", wanted="a folder")


def test_format_that_does_not_fit_is_a_usage_error(source: MemorySource, tmp_path: Path) -> None:
    files = syncing.visible(tmp_path / NAME)
    with pytest.raises(InvalidRequestError, match="without its history"):
        syncing.sync(source, tmp_path, drop_formats=("jsonl", "parquet"))
    with pytest.raises(InvalidRequestError, match="needs --mode history"):
        syncing.sync(source, tmp_path, name="other", mode="metadata", **BOTH)
    assert syncing.visible(tmp_path / NAME) == files


def test_repeated_sync_keeps_the_formats(source: MemorySource, tmp_path: Path) -> None:
    store = ExportStore(name=NAME, data_root=tmp_path)
    request = syncing.request_for(tmp_path)
    path = tmp_path / NAME / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"source": "memory"', b'"source": "api"'))
    again, _ = request_again(store, sync_mode=request.sync_mode, timeout_seconds=120, max_rate=None)
    source.log("b", {"loss": 0.25})
    syncing.export(source, again, now=source.now)
    check(tmp_path)


# --- Parquet alone


@pytest.fixture
def alone(tmp_path: Path) -> MemorySource:
    source = project()
    syncing.sync(source, tmp_path, formats=("parquet",))
    source.advance(600)
    return source


def test_export_in_parquet_alone_has_no_file_of_lines(alone: MemorySource, tmp_path: Path) -> None:
    source = alone
    manifest = load_manifest(NAME, tmp_path)
    assert manifest is not None
    assert (manifest.mode, manifest.history_path, manifest.history_count) == ("history", None, 46)
    assert manifest.schema_version == FIRST_WITH_CELLS
    assert manifest.requested is not None
    assert manifest.requested.datasets["history"].formats == ["parquet"]
    assert not (tmp_path / NAME / "history.jsonl").exists()
    with syncing.fresh_export(source) as fresh:
        assert lines_in(tmp_path / NAME) == (fresh / "history.jsonl").read_bytes()


def test_growth_of_parquet_alone_writes_the_files_of_that_run(
    alone: MemorySource, tmp_path: Path
) -> None:
    source = alone
    before = inodes(tmp_path)
    source.log("b", {"loss": 0.25})
    source.log("long", {"loss": 0.25})
    again = syncing.twin(source)
    syncing.sync(again, tmp_path)
    last = max(name for name in before if "-run-" in name)
    assert written(before, inodes(tmp_path)) == {"2026-01-3.parquet", last}
    windows = {call[1]: call[2].start for call in again.asked if call[0] == "read_history"}
    assert windows == {"b": None, "long": 41}
    with syncing.fresh_export(source) as fresh:
        assert lines_in(tmp_path / NAME) == (fresh / "history.jsonl").read_bytes()


def test_growth_of_parquet_alone_reads_the_end_of_a_run(
    alone: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone.log("long", {"loss": 0.25})
    parts = sorted(name for name in inodes(tmp_path) if "-run-" in name)
    read = set()

    def watched(path: Path, run_id: str) -> Any:
        read.add(path.name)
        return read_run(path, run_id)

    monkeypatch.setattr(parquet_files, "read_run", watched)
    syncing.sync(alone, tmp_path)
    assert read == {*parts[-2:]}
    with syncing.fresh_export(alone, formats=("parquet",)) as fresh:
        expected = {name: one for name, one in syncing.visible(fresh).items() if is_parquet(name)}
    found = {name: one for name, one in data_in(tmp_path).items() if is_parquet_history(name)}
    assert found.items() <= expected.items()


def test_lines_can_be_had_back_from_parquet_alone(alone: MemorySource, tmp_path: Path) -> None:
    again = syncing.twin(alone)
    syncing.sync(again, tmp_path, mode="metadata", formats=("jsonl",))
    assert not again.count_asked("read_history")
    check(tmp_path)
    syncing.sync(again, tmp_path, mode="metadata", drop_formats=("jsonl",))
    assert not (tmp_path / NAME / "history.jsonl").exists()
    with syncing.fresh_export(alone) as fresh:
        assert lines_in(tmp_path / NAME) == (fresh / "history.jsonl").read_bytes()


@pytest.mark.parametrize("name", ["2026-01-3.parquet", "own"])
@pytest.mark.parametrize("damage", [b"PAR1", None])
def test_runs_of_a_lost_file_of_parquet_alone_are_read_again(
    damage: bytes | None, name: str, alone: MemorySource, tmp_path: Path
) -> None:
    folder = tmp_path / NAME / PARQUET_HISTORY
    before = syncing.visible(tmp_path / NAME)
    own = sorted(one for one in inodes(tmp_path) if "-run-" in one)
    path = folder / (own[1] if name == "own" else name)
    path.unlink() if damage is None else path.write_bytes(damage)
    again = syncing.twin(alone)
    summary = syncing.sync(again, tmp_path)
    assert summary.complete
    read = {call[1] for call in again.asked if call[0] == "read_history"}
    assert read == ({"long"} if name == "own" else {"b", "e"})
    after = syncing.visible(tmp_path / NAME)
    same = {file for file in before if after[file] == before[file]}
    assert before.keys() - same <= {"state.json", "manifest.json", "changes.jsonl"}


def test_lost_file_with_a_run_that_is_gone_upstream_stops_the_sync(
    alone: MemorySource, tmp_path: Path
) -> None:
    """Its rows would be gone for good; a copy may have them."""
    alone.delete("b")
    syncing.sync(alone, tmp_path)
    path = tmp_path / NAME / PARQUET_HISTORY / "2026-01-3.parquet"
    content = path.read_bytes()
    path.unlink()
    with pytest.raises(DrWandbError, match="restore the file from a copy") as caught:
        syncing.sync(alone, tmp_path)
    assert caught.value.exit_code == 6
    path.write_bytes(content)
    assert syncing.sync(alone, tmp_path).complete


@pytest.mark.parametrize("lost", [["state.json"], [".tracked.sqlite", ".tracked.json"]])
def test_state_of_parquet_alone_is_rebuilt(
    lost: list[str], alone: MemorySource, tmp_path: Path
) -> None:
    before = syncing.visible(tmp_path / NAME)
    for name in lost:
        (tmp_path / NAME / name).unlink()
    syncing.sync(alone, tmp_path, mode="metadata")
    after = syncing.visible(tmp_path / NAME)
    assert {**after, "state.json": b""} == {**before, "state.json": b""}


def test_lines_that_are_missing_beside_parquet_are_made_again(
    source: MemorySource, tmp_path: Path
) -> None:
    """They were read from W&B again, though the export has them."""
    before = data_in(tmp_path)
    (tmp_path / NAME / "history.jsonl").unlink()
    again = syncing.twin(source)
    syncing.sync(again, tmp_path, mode="metadata")
    assert data_in(tmp_path) == before


def test_file_of_lines_that_is_not_of_parquet_alone_says_nothing(
    alone: MemorySource, tmp_path: Path
) -> None:
    stray = tmp_path / NAME / "history.jsonl"
    stray.write_bytes(b"")
    alone.log("b", {"loss": 0.25})
    syncing.sync(alone, tmp_path)
    assert stray.read_bytes() == b""
    with syncing.fresh_export(alone) as fresh:
        assert lines_in(tmp_path / NAME) == (fresh / "history.jsonl").read_bytes()


def test_parquet_alone_needs_no_room_for_the_lines_of_runs_that_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = project()
    for number in range(40):
        source.log("long", {"text": "x" * 50_000, "loss": number})
    syncing.sync(source, tmp_path, formats=("parquet",))
    source.advance(600)
    source.log("b", {"loss": 0.25})
    free = RESERVE_BYTES + 100_000
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - free, free))
    assert syncing.sync(source, tmp_path).complete
    with pytest.raises(DrWandbError, match="too little space for the new files"):
        syncing.sync(source, tmp_path, formats=("jsonl",))


@pytest.mark.parametrize("formats", [("jsonl", "parquet"), ("parquet",)])
def test_run_made_anew_in_another_month_takes_its_held_rows_along(
    formats: tuple[str, ...], tmp_path: Path
) -> None:
    """Its rows stay until those of the new run are read, but its file has another name."""
    source = project()
    syncing.sync(source, tmp_path, formats=formats)
    lines = lines_in(tmp_path / NAME)
    source.advance(40 * 86_400)
    for run_id in ("b", "long"):
        source.delete(run_id)
        source.add_run(run_id)
    syncing.sync(source, tmp_path, mode="metadata", allow_empty=True)
    assert lines_in(tmp_path / NAME) == lines
    names = {name for name in inodes(tmp_path) if name.startswith("2026-02")}
    assert "2026-02-3.parquet" in names
    assert sum("-run-" in name for name in names) == 5
    assert not [name for name in inodes(tmp_path) if name.startswith("2026-01-run")]
