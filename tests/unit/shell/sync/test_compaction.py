"""Folding old lines of the log: one line for them, and nothing else of the export is touched."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dr_wandb import DrWandbError, combine_changes, iter_changes
from dr_wandb.core.contract.changes import Compaction, SyncChanges
from dr_wandb.core.contract.failures import DamagedFile, Locked, NoExport
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.store.commit import STAGING_FOLDER
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.lock import locked
from dr_wandb.shell.sync.compaction import compact_changes
from tests.support import syncing
from tests.support.checkout import ROOT
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME

HOURS = 6
FIXTURES = ROOT / "fixtures" / "exports"


@pytest.fixture
def source(tmp_path: Path) -> MemorySource:
    """Return a project that was synced every hour."""
    source = MemorySource()
    for run_id in ("a", "b"):
        source.add_run(run_id)
    for hour in range(HOURS):
        source.advance(3600)
        for run_id in ("a", "b"):
            source.log(run_id, {"loss": hour / 3})
        syncing.sync(source, tmp_path)
    return source


def after_hours(hours: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hours, minutes=30)


def lines_in(data_root: Path) -> list[SyncChanges]:
    return list(iter_changes(NAME, data_root))


def log_of(data_root: Path) -> Path:
    return data_root / NAME / "changes.jsonl"


def is_sound(data_root: Path, name: str = NAME) -> bool:
    return verify_export(ExportStore(name=name, data_root=data_root)).sound


def test_old_lines_become_one_at_the_time_of_the_last(source: MemorySource, tmp_path: Path) -> None:
    before, lines = syncing.visible(tmp_path / NAME), lines_in(tmp_path)
    done = compact_changes(NAME, tmp_path, after_hours(4))
    folded, *rest = lines_in(tmp_path)
    assert folded.at == lines[3].at
    assert folded.new == ("a", "b")
    assert rest == lines[4:]
    assert combine_changes([folded, *rest], "now") == combine_changes(lines, "now")
    after = syncing.visible(tmp_path / NAME)
    assert done == Compaction(
        folded=4,
        lines_before=HOURS,
        bytes_before=len(before["changes.jsonl"]),
        lines_after=3,
        bytes_after=len(after["changes.jsonl"]),
    )
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"changes.jsonl", "manifest.json", "state.json"}
    for name in ("manifest.json", "state.json"):
        told, was = json.loads(after[name]), json.loads(before[name])
        assert told.pop("files", None) != was.pop("files", None) or name == "state.json"
        told.pop("changes_length", None)
        was.pop("changes_length", None)
        assert told == was
    assert is_sound(tmp_path)
    assert not syncing.hidden(tmp_path / NAME) & {STAGING_FOLDER, ".commit.json"}
    syncing.sync(source, tmp_path)
    assert syncing.visible(tmp_path / NAME) == after


@pytest.mark.parametrize("hours", [0, 1, 4, 99])
@pytest.mark.usefixtures("source")
def test_folding_again_with_the_same_time_writes_nothing(hours: int, tmp_path: Path) -> None:
    compact_changes(NAME, tmp_path, after_hours(hours))
    before = {path: path.stat() for path in (tmp_path / NAME).iterdir() if path.name != ".lock"}
    size = log_of(tmp_path).stat().st_size
    again = compact_changes(NAME, tmp_path, after_hours(hours))
    assert (again.folded, again.bytes_before, again.bytes_after) == (0, size, size)
    after = {path: path.stat() for path in (tmp_path / NAME).iterdir() if path.name != ".lock"}
    assert after == before


def test_next_syncs_go_on_behind_the_folded_line(source: MemorySource, tmp_path: Path) -> None:
    compact_changes(NAME, tmp_path, after_hours(99))
    (folded,) = lines_in(tmp_path)
    source.advance(3600)
    source.log("a", {"loss": 9.5})
    source.finish("b")
    syncing.sync(source, tmp_path)
    assert lines_in(tmp_path)[0] == folded
    assert lines_in(tmp_path)[1].finished == {"b": "finished"}
    assert is_sound(tmp_path)
    compact_changes(NAME, tmp_path, after_hours(99))
    (again,) = lines_in(tmp_path)
    assert again.rows["a"].after == HOURS + 1
    assert is_sound(tmp_path)


def test_line_of_the_very_time_is_not_before_it(source: MemorySource, tmp_path: Path) -> None:
    moment = datetime.fromisoformat(lines_in(tmp_path)[2].at)
    assert compact_changes(NAME, tmp_path, moment).folded == 2


@pytest.mark.usefixtures("source")
def test_old_line_behind_a_newer_one_stays_in_its_order(tmp_path: Path) -> None:
    """Two computers have two clocks; the order of the lines is that of the syncs."""
    path = log_of(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[1], lines[5], lines[2]]))
    assert compact_changes(NAME, tmp_path, after_hours(4)).folded == 2
    assert path.read_bytes().splitlines(keepends=True)[1:] == [lines[5], lines[2]]


@pytest.mark.usefixtures("source")
def test_line_without_a_time_is_never_folded(tmp_path: Path) -> None:
    path = log_of(tmp_path)
    path.write_bytes(b'{"at":"some day","new":["x"]}\n' + path.read_bytes())
    assert compact_changes(NAME, tmp_path, after_hours(99)).folded == 0


@pytest.mark.usefixtures("source")
def test_segments_of_an_interrupted_sync_stay(tmp_path: Path) -> None:
    """Rows that were fetched before a crash are not asked for again."""
    staging = tmp_path / NAME / STAGING_FOLDER
    staging.mkdir()
    (staging / "r.segment").write_bytes(b"rows")
    (staging / "runs.jsonl").write_bytes(b"half")
    assert compact_changes(NAME, tmp_path, after_hours(4)).folded == 4
    assert syncing.files_below(staging) == {"r.segment": b"rows"}


@pytest.mark.usefixtures("source")
def test_export_that_is_being_synced_is_not_folded(tmp_path: Path) -> None:
    before = log_of(tmp_path).read_bytes()
    with locked(tmp_path / NAME), pytest.raises(DrWandbError) as caught:
        compact_changes(NAME, tmp_path, after_hours(4))
    assert isinstance(caught.value.failure, Locked)
    assert log_of(tmp_path).read_bytes() == before


def test_missing_export_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        compact_changes(NAME, tmp_path, after_hours(4))
    assert isinstance(caught.value, DrWandbError)
    assert isinstance(caught.value.failure, NoExport)
    assert list(tmp_path.iterdir()) == []


def test_export_without_a_log_has_nothing_to_fold(tmp_path: Path) -> None:
    syncing.sync(MemorySource(), tmp_path)
    assert not log_of(tmp_path).exists()
    done = compact_changes(NAME, tmp_path, after_hours(4))
    assert (done.folded, done.lines_after, done.bytes_after) == (0, 0, 0)
    assert not log_of(tmp_path).exists()


@pytest.mark.usefixtures("source")
def test_line_that_does_not_read_is_named_and_nothing_is_folded(tmp_path: Path) -> None:
    path = log_of(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"{\n", *lines[2:]]))
    before = syncing.files_below(tmp_path / NAME)
    with pytest.raises(DrWandbError) as caught:
        compact_changes(NAME, tmp_path, after_hours(4))
    assert isinstance(caught.value.failure, DamagedFile)
    assert caught.value.failure.line == 2
    assert syncing.files_below(tmp_path / NAME) == before


@pytest.mark.usefixtures("source")
def test_incomplete_last_line_is_removed_as_by_a_sync(tmp_path: Path) -> None:
    path = log_of(tmp_path)
    path.write_bytes(path.read_bytes() + b'{"at":')
    compact_changes(NAME, tmp_path, after_hours(4))
    assert len(lines_in(tmp_path)) == 3
    assert is_sound(tmp_path)


@pytest.mark.usefixtures("source")
def test_log_that_was_cut_short_is_said_to_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = log_of(tmp_path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    assert compact_changes(NAME, tmp_path, after_hours(4)).folded == 3
    assert "was cut short" in caplog.text


@pytest.mark.parametrize("lost", [".tracked.json", ".tracked.sqlite", "state.json"])
def test_log_is_folded_without_what_is_remembered_of_the_runs(
    lost: str, source: MemorySource, tmp_path: Path
) -> None:
    (tmp_path / NAME / lost).unlink()
    assert compact_changes(NAME, tmp_path, after_hours(4)).folded == 4
    after = log_of(tmp_path).read_bytes()
    source.advance(60)
    syncing.sync(source, tmp_path)
    assert log_of(tmp_path).read_bytes() == after
    assert is_sound(tmp_path)


def test_damaged_memory_of_the_runs_is_left_to_the_next_sync(
    source: MemorySource, tmp_path: Path
) -> None:
    (tmp_path / NAME / ".tracked.json").write_bytes(b'{"state":1}\n')
    assert compact_changes(NAME, tmp_path, after_hours(4)).folded == 4
    syncing.sync(source, tmp_path)
    assert is_sound(tmp_path)


EARLIER = sorted(
    path.relative_to(FIXTURES) for path in FIXTURES.glob("*/*") if (path / "changes.jsonl").exists()
)


@pytest.mark.parametrize("case", EARLIER, ids=str)
def test_export_of_an_earlier_version_stays_one(case: Path, tmp_path: Path) -> None:
    name, folder = case.name, tmp_path / case.name
    shutil.copytree(FIXTURES / case, folder)
    path = folder / "changes.jsonl"
    path.write_bytes(path.read_bytes() + b'{"at":"2998-01-01T00:00:00Z","missing":["x"]}\n')
    before: dict[str, Any] = {
        file: json.loads((folder / file).read_bytes()) for file in ("manifest.json", "state.json")
    }
    done = compact_changes(name, tmp_path, datetime(2999, 1, 1, tzinfo=UTC))
    assert done.lines_after == 1
    for file, was in before.items():
        assert json.loads((folder / file).read_bytes())["schema_version"] == was["schema_version"]
    assert is_sound(tmp_path, name)
