"""Exports whose records have an earlier shape: brought up to date by a sync, without a word."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from dr_wandb import ExportEngine
from dr_wandb.core.contract.codec import digest
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.store.export_store import ExportStore
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.state_files import edit_state, whole_state

NEW_FIELD = "job_type"


def project(runs: int = 10) -> MemorySource:
    """A project whose runs ended long ago, each with a value in the field that is new."""
    source = MemorySource()
    for number in range(runs):
        run_id = f"run-{number}"
        source.add_run(run_id, job_type="train" if number else None, notes=f"note {number}")
        for step in range(3):
            source.log(run_id, {"val": {"loss": step / 2}, "step": step})
        source.finish(run_id)
        source.advance(60)
    return source


def edit_json(path: Path, change: Any) -> None:
    document = json.loads(path.read_bytes())
    change(document)
    text = json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


def forget_field(folder: Path, field: str) -> None:
    """Make an export one that was written before snapshots had a field, in all its digests."""
    path = folder / "runs.jsonl"
    lines = []
    for line in path.read_bytes().splitlines():
        snapshot = json.loads(line)
        del snapshot["run"][field]
        text = json.dumps(snapshot, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        lines.append(text.encode() + b"\n")
    content = b"".join(lines)
    path.write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    offsets = [sum(map(len, lines[:number])) for number in range(len(lines))]
    places = {
        json.loads(line)["run"]["run_id"]: {
            "offset": offset,
            "length": len(line),
            "rows": 1,
            "digest": digest(line),
        }
        for line, offset in zip(lines, offsets, strict=True)
    }

    def change_state(state: Any) -> None:
        state["snapshot_fields"].remove(field)
        state["files"]["runs.jsonl"] = sha256
        for run_id, tracking in state["runs"].items():
            tracking["snapshot"] = places[run_id]
            tracking["fingerprint"] = tracking["seen"]["fingerprint"] = f"old {run_id}"

    def change_manifest(manifest: Any) -> None:
        manifest["files"]["runs.jsonl"] |= {"bytes": len(content), "sha256": sha256}

    edit_state(folder, change_state)
    edit_json(folder / "manifest.json", change_manifest)
    (folder / ".checked.json").unlink()


@pytest.mark.parametrize("mode", ["metadata", "history"])
def test_field_that_is_new_is_read_for_every_run_and_no_change(tmp_path: Path, mode: str) -> None:
    """One of ten snapshots got it; a later sync logged edits that nobody had made."""
    source = project()
    syncing.sync(source, tmp_path)
    source.advance(3 * 86_400)
    syncing.sync(source, tmp_path)  # all are settled now
    folder = tmp_path / syncing.NAME
    forget_field(folder, NEW_FIELD)
    assert verify_export(ExportStore(name=syncing.NAME, data_root=tmp_path)).sound
    log = syncing.visible(folder)["changes.jsonl"]
    reads = source.count_asked("read_history")
    assert syncing.sync(source, tmp_path, mode=mode).complete
    assert source.count_asked("read_history") == reads
    runs = syncing.runs_in(folder)
    assert [run[NEW_FIELD] for run in runs.values()] == [
        source.runs[run_id].job_type for run_id in runs
    ]
    assert syncing.visible(folder)["changes.jsonl"] == log
    assert verify_export(ExportStore(name=syncing.NAME, data_root=tmp_path)).sound
    before = syncing.visible(folder)
    syncing.sync(source, tmp_path, sync_mode="detect_changes")
    assert syncing.visible(folder)["changes.jsonl"] == log
    assert syncing.visible(folder)["runs.jsonl"] == before["runs.jsonl"]


def test_edit_that_comes_with_a_new_field_is_still_a_change(tmp_path: Path) -> None:
    source = project(2)
    syncing.sync(source, tmp_path)
    folder = tmp_path / syncing.NAME
    forget_field(folder, NEW_FIELD)
    source.update("run-1", notes="edited")
    syncing.sync(source, tmp_path, sync_mode="detect_changes")
    last = json.loads(syncing.visible(folder)["changes.jsonl"].splitlines()[-1])
    assert last["changed"] == {
        "run-1": {"fields": [{"field": "notes", "new": "edited", "old": "note 1"}]}
    }


def test_run_that_is_not_listed_keeps_the_field_to_be_read(tmp_path: Path) -> None:
    source = project(4)
    syncing.sync(source, tmp_path)
    folder = tmp_path / syncing.NAME
    source.delete("run-1")
    forget_field(folder, NEW_FIELD)
    syncing.sync(source, tmp_path)
    assert syncing.runs_in(folder)["run-1"][NEW_FIELD] is None
    source.undelete("run-1")
    syncing.sync(source, tmp_path)
    assert syncing.runs_in(folder)["run-1"][NEW_FIELD] == "train"
    assert "changed" not in json.loads(syncing.visible(folder)["changes.jsonl"].splitlines()[-1])


def nested_before(folder: Path) -> None:
    """Make an export one that was written with rows of the earlier shape."""
    path = folder / "history.jsonl"
    content = path.read_bytes().replace(b'"val.loss":0}', b'"val":{"loss":0}}')
    content = content.replace(b'"val.loss":0.5}', b'"val":{"loss":0.5}}')
    content = content.replace(b'"val.loss":1}', b'"val":{"loss":1}}')
    path.write_bytes(content)

    def change(state: Any) -> None:
        state["row_shape"] = 1
        for tracking in state["runs"].values():
            tracking["parts"]["history"]["row_shape"] = 1

    edit_state(folder, change)


def test_export_that_was_also_edited_is_read_into_the_present_shape(tmp_path: Path) -> None:
    source = project(3)
    syncing.sync(source, tmp_path)
    folder = tmp_path / syncing.NAME
    before = syncing.visible(folder)
    nested_before(folder)
    assert syncing.visible(folder)["history.jsonl"] != before["history.jsonl"]
    assert syncing.sync(source, tmp_path).complete
    assert syncing.visible(folder)["history.jsonl"] == before["history.jsonl"]
    state = whole_state(folder)
    assert state["row_shape"] == ROW_SHAPE
    parts = [run["parts"]["history"] for run in state["runs"].values()]
    assert {part["row_shape"] for part in parts} == {ROW_SHAPE}


def test_dry_run_of_an_earlier_shape_writes_nothing(tmp_path: Path) -> None:
    source = project(2)
    syncing.sync(source, tmp_path)
    folder = tmp_path / syncing.NAME
    forget_field(folder, NEW_FIELD)
    before = syncing.visible(folder), syncing.hidden(folder)
    engine = ExportEngine(syncing.request_for(tmp_path), source=source)
    assert engine.plan().runs
    assert (syncing.visible(folder), syncing.hidden(folder)) == before
