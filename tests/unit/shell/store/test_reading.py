"""Files that are not the ones the state speaks of: noticed, read line by line, and continued."""

import json
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dr_wandb import DrWandbError, ExportState
from dr_wandb.core.contract.codec import digest
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.failures import DamagedFile
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.store.checked_files import CHECKED_FILE
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.reading import StoredExport, read_export
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.state_files import edit_state
from tests.support.syncing import NAME

RUNS = ("a", "b", "c")


@pytest.fixture
def source() -> MemorySource:
    source = MemorySource()
    for run_id in RUNS:
        source.add_run(run_id)
        for step in range(3):
            source.log(run_id, {"loss": step / 2})
    return source


@pytest.fixture
def folder(source: MemorySource, tmp_path: Path) -> Path:
    syncing.sync(source, tmp_path)
    return tmp_path / NAME


@pytest.fixture
def log(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(LOGGER, "propagate", True)
    caplog.set_level(logging.WARNING, "dr_wandb")
    return caplog


def read(folder: Path) -> StoredExport:
    staging = folder.parent / "scratch"
    staging.mkdir(exist_ok=True)
    store = ExportStore(name=NAME, data_root=folder.parent)
    return read_export(store, syncing.request_for(folder.parent), staging)


def positions(state: ExportState) -> set[str]:
    return {run_id for run_id, run in state.runs.items() if run.part(HISTORY).position is not None}


def edit(folder: Path, change: Callable[[list[str]], list[str]]) -> None:
    path = folder / "history.jsonl"
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def test_untouched_files_are_used_without_a_copy(folder: Path) -> None:
    stored = read(folder)
    assert not stored.copied
    assert stored.row_paths[HISTORY] == folder / "history.jsonl"
    assert positions(stored.state) == set(RUNS)


def test_untouched_files_are_not_even_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dr_wandb.shell.store.disk.sha256_of", lambda path: pytest.fail("read"))
    assert not read(folder).copied


@pytest.mark.parametrize("note", [None, b"", b"[", b"{}"])
def test_note_on_checked_files_changes_no_result(folder: Path, note: bytes | None) -> None:
    if note is None:
        (folder / CHECKED_FILE).unlink()
    else:
        (folder / CHECKED_FILE).write_bytes(note)
    assert not read(folder).copied


def test_copied_export_is_the_same_export(folder: Path, source: MemorySource) -> None:
    """Another file with the same content, as after a copy or a restore, costs no request."""
    copy = folder.parent / "copy" / NAME
    shutil.copytree(folder, copy)
    stored = read(copy)
    assert not stored.copied
    before = source.count_asked("read_history")
    syncing.sync(source, copy.parent)
    assert source.count_asked("read_history") == before
    assert syncing.visible(copy) == syncing.visible(folder)


def test_edited_row_costs_its_run_the_position_and_no_other(folder: Path) -> None:
    edit(
        folder,
        lambda lines: [line.replace('"loss":0.5', '"loss":7') for line in lines[:3]] + lines[3:],
    )
    stored = read(folder)
    assert stored.copied
    assert positions(stored.state) == {"b", "c"}
    assert "1 histories are read again" in stored.notices[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines[:1], *lines[2:]],
        lambda lines: [line for line in lines if '"run_id":"b"' not in line],
        lambda lines: [*lines, lines[0].replace('"step":0', '"step":9')],
        lambda lines: [],
    ],
    ids=["last row lost", "first run cut", "a run lost", "a row added", "emptied"],
)
def test_changed_rows_are_read_again_and_the_export_is_whole(
    folder: Path, source: MemorySource, change: Callable[[list[str]], list[str]]
) -> None:
    before = syncing.visible(folder)
    edit(folder, change)
    if not syncing.sync(source, folder.parent).complete:  # a row that W&B does not have goes later
        source.now = "2026-01-02T00:00:00Z"
        assert syncing.sync(source, folder.parent).complete
    after = syncing.visible(folder)
    assert after["history.jsonl"] == before["history.jsonl"]
    assert after["runs.jsonl"] == before["runs.jsonl"]


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: lines[::-1],
        lambda lines: [line for row in lines for line in (row, row)],
        lambda lines: [line.replace(":", ": ") for line in lines],
        lambda lines: [line.replace('"loss":1', '"loss":1.0') for line in lines],
        lambda lines: [line.replace('"loss"', '"none":null,"loss"') for line in lines],
    ],
    ids=["reversed", "doubled", "spaced", "other numbers", "nulls"],
)
def test_same_rows_in_another_form_cost_no_request(
    folder: Path, source: MemorySource, change: Callable[[list[str]], list[str]]
) -> None:
    before, asked = syncing.visible(folder), source.count_asked("read_history")
    edit(folder, change)
    assert read(folder).copied
    syncing.sync(source, folder.parent)
    assert syncing.visible(folder)["history.jsonl"] == before["history.jsonl"]
    assert source.count_asked("read_history") == asked


def test_snapshots_that_are_known_to_be_ours_are_those_that_decoding_would_give(
    folder: Path,
) -> None:
    """Without their digests the same bytes are found, and all of them are made anew."""
    runs = folder / "runs.jsonl"
    first, *rest = runs.read_bytes().splitlines(keepends=True)
    edited = rest[0].replace(b'"state":"running"', b'"state": "finished"')
    assert edited != rest[0]
    runs.write_bytes(b"".join([*rest[:0:-1], edited, first, first]))
    known = read(folder)
    kept = known.runs_path.read_bytes()

    def forget_digests(state: Any) -> None:
        for run in state["runs"].values():
            run["snapshot"]["digest"] = "0" * 32

    edit_state(folder, forget_digests)
    unknown = read(folder)
    assert unknown.runs_path.read_bytes() == kept
    marks = {run_id: bool(run.fingerprint) for run_id, run in known.state.runs.items()}
    assert list(marks.values()).count(False) == 1
    assert not marks[json.loads(edited)["run"]["run_id"]]
    assert unknown.state.runs == {
        run_id: replace(run, fingerprint="") for run_id, run in known.state.runs.items()
    }
    assert set(kept.splitlines()) > {first.strip()}
    assert b'"state":"finished"' in kept


def test_snapshot_that_is_known_to_be_ours_is_not_encoded_again(folder: Path) -> None:
    """Of thousands of runs, one that was edited costs the decoding of one snapshot."""
    runs = folder / "runs.jsonl"
    lines = [line.replace(b'":', b'": ') for line in runs.read_bytes().splitlines(keepends=True)]
    digests = {json.loads(line)["run"]["run_id"]: digest(line) for line in lines}

    def know(state: Any) -> None:
        for run_id, run in state["runs"].items():
            run["snapshot"]["digest"] = digests[run_id]

    edit_state(folder, know)
    runs.write_bytes(b"".join(lines))
    assert read(folder).runs_path.read_bytes() == b"".join(lines)


@pytest.mark.parametrize("member", ["url", "display_name", "exported_at", "username"])
def test_altered_snapshot_is_made_again(folder: Path, source: MemorySource, member: str) -> None:
    """Also where only the url differs, which two listings of one run may not agree on."""
    for run_id in RUNS:
        source.finish(run_id)
    source.advance(2 * 86_400)
    syncing.sync(source, folder.parent)
    path = folder / "runs.jsonl"
    first, *rest = path.read_bytes().splitlines(keepends=True)
    start = first.index(f'"{member}":'.encode()) + len(member) + 4
    path.write_bytes(b"".join([first[:start], b"7", first[start + 1 :], *rest]))
    assert path.read_bytes() != b"".join([first, *rest])
    syncing.sync(source, folder.parent)
    with syncing.fresh_export(source) as fresh:
        assert syncing.data_of(folder)["runs"] == syncing.data_of(fresh)["runs"]


def test_lost_snapshot_is_read_again(folder: Path, source: MemorySource) -> None:
    before, path = syncing.visible(folder), folder / "runs.jsonl"
    path.write_bytes(b"".join(syncing.lines(before, "runs.jsonl")[1:]))
    syncing.sync(source, folder.parent)
    assert syncing.visible(folder)["runs.jsonl"] == before["runs.jsonl"]
    assert syncing.visible(folder)["history.jsonl"] == before["history.jsonl"]


def test_older_snapshot_that_was_put_back_is_refreshed(folder: Path, source: MemorySource) -> None:
    """The run ended long ago, so that no incremental sync would look at it again."""
    for run_id in RUNS:
        source.finish(run_id)
    source.advance(2 * 86_400)
    source.add_run("later")  # the others are beyond the overlap of the watermark
    source.advance(30 * 86_400)
    syncing.sync(source, folder.parent)
    old = (folder / "runs.jsonl").read_bytes()
    for run_id in RUNS:
        source.update(run_id, notes="newer")
    syncing.sync(source, folder.parent, sync_mode="detect_changes")
    (folder / "runs.jsonl").write_bytes(old)
    syncing.sync(source, folder.parent)
    with syncing.fresh_export(source) as fresh:
        assert syncing.data_of(folder)["runs"] == syncing.data_of(fresh)["runs"]


def test_loss_of_a_run_that_is_gone_is_named(
    folder: Path, source: MemorySource, log: pytest.LogCaptureFixture
) -> None:
    """W&B no longer has it: only a copy of the file does."""
    rows = len(syncing.rows_in(folder)["b"])
    source.delete("b")
    syncing.sync(source, folder.parent)
    edit(folder, lambda lines: [line for line in lines if '"run_id":"b"' not in line])
    syncing.sync(source, folder.parent)
    assert f"has 0 of {rows} rows of run 'b', which is gone upstream: restore the file" in log.text


@pytest.mark.parametrize("name", ["runs.jsonl", "history.jsonl"])
def test_missing_file_is_reported_and_read_again(
    folder: Path, source: MemorySource, name: str, log: pytest.LogCaptureFixture
) -> None:
    before = syncing.visible(folder)
    (folder / name).unlink()
    syncing.sync(source, folder.parent)
    assert f"{name} is missing" in log.text
    assert syncing.visible(folder)[name] == before[name]


def test_rows_of_a_run_that_is_gone_survive_an_edit(folder: Path, source: MemorySource) -> None:
    """What W&B no longer has is kept, also where the file was changed by something else."""
    before = syncing.rows_in(folder)
    source.delete("b")
    syncing.sync(source, folder.parent)
    edit(folder, lambda lines: lines[::-1])
    source.log("a", {"loss": 5})
    syncing.sync(source, folder.parent)
    assert syncing.rows_in(folder)["b"] == before["b"]
    assert "b" in syncing.runs_in(folder)


@pytest.mark.parametrize("name", ["runs.jsonl", "history.jsonl"])
@pytest.mark.parametrize("damage", [b"{", b"\xff\xfe\n", b"[]\n", b"\n"])
def test_line_that_does_not_read_is_named(folder: Path, name: str, damage: bytes) -> None:
    path = folder / name
    number = len(syncing.lines(syncing.visible(folder), name)) + 1
    path.write_bytes(path.read_bytes() + damage)
    with pytest.raises(DrWandbError) as caught:
        read(folder)
    failure = caught.value.failure
    assert isinstance(failure, DamagedFile)
    assert (failure.path, failure.line) == (str(path), number)


def test_torn_last_line_stops_the_sync_and_touches_nothing(
    folder: Path, source: MemorySource
) -> None:
    path = folder / "history.jsonl"
    os.truncate(path, path.stat().st_size - 10)
    before = syncing.visible(folder)
    with pytest.raises(DrWandbError, match=r"history\.jsonl line 9"):
        syncing.sync(source, folder.parent)
    assert syncing.visible(folder) == before


def test_export_of_another_project_is_refused(folder: Path) -> None:
    path = folder / "runs.jsonl"
    path.write_text(path.read_text().replace('"project":"project"', '"project":"other"'))
    with pytest.raises(DrWandbError, match="belongs to entity/other"):
        read(folder)


def in_the_form_of_3_0_3(folder: Path) -> None:
    """Write the files as dr-wandb 3.0.3 does: its state has no positions, its rows more nulls."""
    rows = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    for row in rows:
        row["timestamp"] = str(float(row["timestamp"]))
        row["metrics"]["unset"] = None
        del row["extra"]
    rows.append({**rows[0], "metrics": dict(rows[0]["metrics"], more=None)})
    (folder / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"schema_version": 1, "runs_path": str(folder / "runs.jsonl")}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    state = json.loads((folder / "state.json").read_text())
    names = ("run_id", "created_at", "updated_at", "run_state", "last_history_step")
    state = {
        "schema_version": 1,
        **{name: state[name] for name in ("name", "entity", "project", "max_created_at")},
        "last_exported_at": state["last_exported_at"].replace("Z", "+00:00"),
        "runs": {
            run_id: {name: run.get(name) for name in names} for run_id, run in state["runs"].items()
        },
    }
    (folder / "state.json").write_text(json.dumps(state))
    (folder / CHECKED_FILE).unlink()


def test_export_of_3_0_3_is_read_into_our_form_without_positions(
    folder: Path, source: MemorySource
) -> None:
    before = syncing.visible(folder)
    in_the_form_of_3_0_3(folder)
    stored = read(folder)
    assert stored.copied
    assert positions(stored.state) == set()
    assert "3.0.3" in stored.notices[0]
    assert stored.row_paths[HISTORY].read_bytes() == before["history.jsonl"]
    asked = source.count_asked("read_history")
    syncing.sync(source, folder.parent)
    assert source.count_asked("read_history") == asked + len(RUNS)
    assert syncing.visible(folder)["history.jsonl"] == before["history.jsonl"]
