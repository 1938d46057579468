"""What must be so of the files of an export after any sync."""

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from hypothesis import event, note

from dr_wandb import (
    ExportSummary,
    combine_changes,
    iter_history_rows,
    load_manifest,
    load_run_snapshots,
)
from dr_wandb.core.contract.changes import Compaction
from dr_wandb.core.contract.codec import decode_changes, encode_line, row_key
from dr_wandb.core.contract.export_files import CHANGES_OF_STORE_FILE, STORE_FILE, is_parquet
from dr_wandb.core.contract.known_runs import resting
from dr_wandb.core.contract.request import ExportMode, ExportRequest
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.store.documents import read_state
from dr_wandb.shell.store.export_store import ExportStore
from tests.property.machine.changes_model import changes_between
from tests.property.machine.view import View
from tests.support import syncing
from tests.support.syncing import ALWAYS_THERE, NAME, SOMETIMES_THERE

SHOWN_HIDDEN = {".lock", ".checked.json", STORE_FILE, CHANGES_OF_STORE_FILE}


def check_files(folder: Path, request: ExportRequest, summary: ExportSummary) -> None:
    """Only the documented files are there; they load, in the documented order and spelling."""
    files = syncing.visible(folder)
    manifest = load_manifest(NAME, folder.parent)
    assert manifest is not None
    store = ExportStore(name=NAME, data_root=folder.parent)
    state = store.load_state(entity=request.entity, project=request.project)
    in_parquet = set(filter(is_parquet, files))
    assert ALWAYS_THERE <= files.keys() - in_parquet <= ALWAYS_THERE | SOMETIMES_THERE
    assert ("history.jsonl" in files) == (manifest.history_path is not None)
    assert manifest.history_path or in_parquet or request.mode == ExportMode.METADATA
    assert syncing.hidden(folder) <= SHOWN_HIDDEN
    snapshots = load_run_snapshots(NAME, folder.parent)
    rows = list(iter_history_rows(NAME, folder.parent))
    assert [encode_line(record) for record in snapshots] == syncing.lines(files, "runs.jsonl")
    assert b"".join(map(encode_line, rows)) == View(folder).history
    newest_first = sorted(snapshots, key=lambda one: (instant(one), one.run.run_id), reverse=True)
    assert snapshots == newest_first
    in_order = sorted(
        rows, key=lambda row: (row.run_id, row_key(row.step, row.timestamp), encode_line(row))
    )
    assert rows == in_order
    assert (manifest.run_count, manifest.history_count) == (len(snapshots), len(rows))
    assert (summary.run_count, summary.history_count) == (len(snapshots), len(rows))
    for run_id in state.runs:
        of_run = [row for row in rows if row.run_id == run_id]
        assert list(iter_history_rows(NAME, folder.parent, run_ids=[run_id])) == of_run
    assert {row.run_id for row in rows} <= {snapshot.run.run_id for snapshot in snapshots}
    assert state.runs.keys() >= {snapshot.run.run_id for snapshot in snapshots}
    assert (manifest.scope, state.scope) == (request.scope, request.scope)
    data = {name: content for name, content in files.items() if name.endswith(".jsonl")}
    assert manifest.files.keys() == data.keys() | in_parquet
    for name, content in data.items():
        described = manifest.files[name]
        assert described.lines == len(syncing.lines(files, name)), name
        assert described.bytes == len(content), name
        assert described.sha256 == hashlib.sha256(content).hexdigest(), name
    assert verify_export(store).findings == ()
    check_remembered(store, request)


def check_remembered(store: ExportStore, request: ExportRequest) -> None:
    """Nothing that is remembered is lost, and the runs that rest are settled ones."""
    read = read_state(store.state_path)
    assert read is not None
    assert not read.lost
    rest = resting(read.state.runs, request)
    event(f"a run rests: {bool(rest)}")
    for run_id in rest:
        run = read.state.runs[run_id]
        assert run.settled(request, read.state.last_exported_at)
        assert (run.missing_since, run.out_of_scope_since, run.short_by) == (None, None, None)


def instant(snapshot: Any) -> datetime:
    return datetime.fromisoformat(snapshot.run.created_at)


def check_summary(before: View, after: View, summary: ExportSummary) -> None:
    """Every run is counted once, and the rows added are those that the runs grew by."""
    assert after.state is not None
    counted = (
        summary.new_count
        + summary.refreshed_count
        + summary.reused_count
        + summary.failed_count
        + summary.missing_count
    )
    assert counted == len(after.state.runs)
    assert summary.pruned_count == len(before.tracked.keys() - after.state.runs.keys())
    assert summary.failed_count == len(summary.failures)
    assert summary.missing_count == len(after.missing)
    assert summary.out_of_scope_count == len(after.outside)
    growth = (len(rows) - len(before.of(run_id)[1]) for run_id, rows in after.rows.items())
    assert summary.rows_added == sum(max(0, rows) for rows in growth)


def check_exported_at(before: View, after: View) -> None:
    """A snapshot that is still the same keeps its time: exception 1."""
    for run_id, snapshot in after.snapshots.items():
        if before.runs.get(run_id) == snapshot["run"]:
            assert snapshot == before.snapshots[run_id], run_id


def check_changes(before: View, after: View, at: str) -> dict[str, Any] | None:
    """One line more says exactly what differs, or there is none; earlier lines stay."""
    told = changes_between(before, after, at)
    assert after.changes[: len(before.changes)] == before.changes
    added = after.changes[len(before.changes) :]
    note(f"told {added}, where the model tells {told}")
    assert [json.loads(line) for line in added] == ([] if told is None else [told])
    assert [encode_line(decode_changes(line).unwrap()) for line in added] == added
    assert after.state is not None
    assert after.state.changes_length == len(after.files.get("changes.jsonl", b""))
    return told


def check_folded(before: View, after: View, done: Compaction) -> None:
    """The first lines became one that has their sum; nothing else is known in another way."""
    assert done.folded != 1
    assert after.changes[min(done.folded, 1) :] == before.changes[done.folded :]
    was, now = (
        combine_changes((decode_changes(line).unwrap() for line in view.changes), "now")
        for view in (before, after)
    )
    assert now == was
    for name in before.files.keys() | after.files.keys():
        content, old = after.files.get(name), before.files.get(name)
        if name in ("manifest.json", "state.json") and content and old:
            assert without_log(content) == without_log(old)
        elif name != "changes.jsonl":
            assert content == old
    log, manifest = after.files["changes.jsonl"], json.loads(after.files["manifest.json"])
    assert after.state is not None
    if done.folded:
        assert after.state.changes_length == len(log) == done.bytes_after
        assert manifest["files"]["changes.jsonl"]["bytes"] == len(log)
    else:
        assert log == before.files["changes.jsonl"]


def without_log(content: bytes) -> Any:
    """Return a document without what it says of the log."""
    document = json.loads(content)
    document.pop("changes_length", None)
    document.get("files", {}).pop("changes.jsonl", None)
    return document
