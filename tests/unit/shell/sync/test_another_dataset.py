"""A second dataset goes through all that the history goes through.

It is made up: notes that people write beside a run, numbered from 0. To have it took one value and
one method of a source.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.contract.dataset import DATASETS, Counts, Dataset
from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import ListingQuery, RunListing
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.sync.combine_changes import combine_changes
from dr_wandb.core.sync.describe import describe_changes
from dr_wandb.core.sync.plan_kinds import FetchKind
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.sources import RowBatch, RunPage, SourceError
from dr_wandb.shell.sources.opening import source_opener
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.sync.changelog import read_changes
from dr_wandb.shell.sync.engine import ExportEngine
from tests.support import syncing
from tests.support.memory_source import MemorySource

NOTES = "notes"


def count_notes(raw_run: Mapping[str, Any]) -> Counts:
    return Counts(line_count=raw_run["notesCount"], last_step=raw_run["lastNote"])


@pytest.fixture(autouse=True)
def notes(monkeypatch: pytest.MonkeyPatch) -> Dataset:
    dataset = Dataset(name=NOTES, file="notes.jsonl", counts=count_notes)
    monkeypatch.setitem(DATASETS, NOTES, dataset)
    return dataset


class NotedSource(MemorySource):
    """A project whose runs have notes."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(**fields)
        self.notes: dict[str, list[dict[str, Any]]] = {}
        self.count_offset = 0
        self.failing_notes = 0

    def note(self, run_id: str, text: str) -> None:
        notes = self.notes.setdefault(run_id, [])
        notes.append({"_step": len(notes), "_timestamp": 1000.5 + len(notes), "text": text})

    def list_runs(self, query: ListingQuery) -> Iterator[RunPage]:
        for page in super().list_runs(query):
            for run in page.runs:
                assert isinstance(run, dict)
                notes = self.notes.get(str(run["name"]), [])
                run["notesCount"] = len(notes) + self.count_offset
                run["lastNote"] = len(notes) - 1 if notes else None
            yield page

    def read_notes(self, run: RunListing, window: FetchWindow, attempt: int) -> Iterator[RowBatch]:
        self.asked.append(("read_notes", run.run_id, window, attempt))
        if self.failing_notes:
            self.failing_notes -= 1
            raise SourceError("no notes today", RunFailureKind.SERVER_ERROR)
        rows = [row for row in self.notes.get(run.run_id, []) if window.has(row["_step"])]
        yield RowBatch(rows=rows, live=True)


def project() -> NotedSource:
    source = NotedSource()
    for run_id in ("a", "b"):
        source.add_run(run_id)
        source.log(run_id, {"loss": 1})
        source.note(run_id, f"first of {run_id}")
        source.note(run_id, f"second of {run_id}")
    return source


def sync(source: NotedSource, data_root: Path, **fields: Any) -> Any:
    return syncing.sync(source, data_root, **{"extra_datasets": (NOTES,)} | fields)


def noted(folder: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (folder / "notes.jsonl").read_text().splitlines():
        row = json.loads(line)
        found.setdefault(row["run_id"], []).append(row["metrics"]["text"])
    return found


ALL = {run: [f"first of {run}", f"second of {run}"] for run in ("a", "b")}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / syncing.NAME


def test_rows_of_both_datasets_are_exported_and_verified(tmp_path: Path, folder: Path) -> None:
    summary = sync(project(), tmp_path)
    assert summary.complete
    assert noted(folder) == ALL
    assert summary.history_count == 2
    assert summary.rows_added == 6
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"]["notes.jsonl"]["lines"] == 4
    report = verify_export(ExportStore(name=syncing.NAME, data_root=tmp_path))
    assert report.sound
    assert "notes.jsonl" in report.files


def test_sync_that_finds_nothing_new_asks_for_no_notes(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    before = syncing.visible(folder)
    source.asked.clear()
    assert sync(source, tmp_path).complete
    assert {call[0] for call in source.asked} == {"list_runs"}
    assert syncing.visible(folder) == before


def test_only_the_dataset_that_moved_is_read(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.note("b", "third of b")
    source.asked.clear()
    request = syncing.request_for(tmp_path, extra_datasets=(NOTES,))
    plan = ExportEngine(request, source=source, wait=syncing.do_not_wait).plan()
    fetches = {run.run_id: run.fetches for run in plan.runs}
    assert fetches["a"] == {}
    assert list(fetches["b"]) == [NOTES]
    assert fetches["b"][NOTES].kind == FetchKind.TAIL
    assert sync(source, tmp_path).complete
    (read,) = [call for call in source.asked if call[0] == "read_notes"]
    assert read[1:3] == ("b", FetchWindow(start=1, stop=3))
    assert noted(folder) == {**ALL, "b": [*ALL["b"], "third of b"]}
    assert not any(call[0] == "read_history" for call in source.asked)


def test_changes_of_rows_are_reported_for_each_dataset(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.note("b", "third of b")
    source.log("b", {"loss": 2})
    sync(source, tmp_path)
    first, second = read_changes(folder / "changes.jsonl")
    assert {run: count.after for run, count in first.other_rows[NOTES].items()} == {"a": 2, "b": 2}
    assert second.other_rows[NOTES]["b"].before == 2
    assert second.rows["b"].after == 2
    assert "  notes rows: b: 2 -> 3" in describe_changes(second)
    together = combine_changes([first, second], "x")
    assert together.other_rows[NOTES]["b"].after == 3


def test_notes_that_fail_leave_the_history_and_what_is_held(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.log("b", {"loss": 2})
    source.note("b", "third of b")
    source.failing_notes = 3
    summary = sync(source, tmp_path)
    assert [(failed.run_id, failed.reason) for failed in summary.failures] == [
        ("b", "no notes today")
    ]
    assert noted(folder) == ALL
    assert summary.history_count == 3
    assert sync(source, tmp_path).complete
    assert noted(folder)["b"] == [*ALL["b"], "third of b"]


def test_notes_are_judged_as_rows_of_the_history_are(tmp_path: Path, folder: Path) -> None:
    source = project()
    source.count_offset = 2
    for _ in range(2):
        summary = sync(source, tmp_path)
        assert {run.run_id: run.short_by for run in summary.short} == {"a": 2, "b": 2}
        assert noted(folder) == ALL
    assert sync(source, tmp_path).complete  # accepted as short
    source.count_offset = 0
    source.notes["a"].pop()
    summary = sync(source, tmp_path)
    assert [(run.run_id, run.kind) for run in summary.waiting] == [("a", "shrunk")]
    assert noted(folder) == ALL
    source.advance(11 * 60)
    assert sync(source, tmp_path).complete
    assert noted(folder)["a"] == ["first of a"]


@pytest.mark.parametrize("mode", ["history", "metadata"])
def test_notes_that_are_not_asked_for_stay(mode: str, tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    before = syncing.visible(folder)["notes.jsonl"]
    source.note("a", "third of a")
    source.log("a", {"loss": 2})
    source.asked.clear()
    assert sync(source, tmp_path, extra_datasets=(), mode=mode).complete
    assert not any(call[0] == "read_notes" for call in source.asked)
    assert syncing.visible(folder)["notes.jsonl"] == before
    assert verify_export(ExportStore(name=syncing.NAME, data_root=tmp_path)).sound
    assert sync(source, tmp_path).complete
    assert noted(folder)["a"] == [*ALL["a"], "third of a"]


def test_notes_alone_are_exported_beside_the_snapshots(tmp_path: Path, folder: Path) -> None:
    source = project()
    summary = sync(source, tmp_path, mode="metadata")
    assert summary.complete
    assert noted(folder) == ALL
    assert not (folder / "history.jsonl").exists()
    assert verify_export(ExportStore(name=syncing.NAME, data_root=tmp_path)).sound


def test_pruned_runs_take_their_notes_along(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.delete("a")
    sync(source, tmp_path, prune=True, allow_empty=True)
    assert noted(folder) == {"b": ALL["b"]}
    assert verify_export(ExportStore(name=syncing.NAME, data_root=tmp_path)).sound


def test_file_of_notes_that_was_edited_is_read_into_our_form(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    before = syncing.visible(folder)
    path = folder / "notes.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    report = verify_export(ExportStore(name=syncing.NAME, data_root=tmp_path))
    assert {finding.file for finding in report.findings} == {"notes.jsonl"}
    assert sync(source, tmp_path).complete
    assert syncing.visible(folder)["notes.jsonl"] == before["notes.jsonl"]


def test_recorded_notes_replay_to_the_same_bytes(tmp_path: Path, folder: Path) -> None:
    source, tape = project(), tmp_path / "tape"
    request = syncing.request_for(tmp_path, extra_datasets=(NOTES,))
    assert syncing.export(source, request, now=source.now, record=tape).complete
    assert json.loads((tape / "recording.json").read_text())["schema_version"] == 4
    again = syncing.request_for(tmp_path / "again", extra_datasets=(NOTES,))
    assert ExportEngine(again, source=source_opener(f"replay:{tape}")).export().complete
    names = ("notes.jsonl", "history.jsonl", "runs.jsonl", "changes.jsonl")
    replayed, recorded = syncing.visible(tmp_path / "again" / syncing.NAME), syncing.visible(folder)
    assert {name: replayed[name] for name in names} == {name: recorded[name] for name in names}
    with pytest.raises(InvalidRequestError, match="has no notes"):
        syncing.sync(MemorySource(), tmp_path / "other", extra_datasets=(NOTES,))


def test_unknown_dataset_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="there is no dataset 'notez'"):
        syncing.request_for(Path(), extra_datasets=("notez",))


class CrashError(BaseException):
    """Ends a sync at once."""


@pytest.mark.parametrize("crash_at", range(8))
def test_sync_that_crashes_while_files_are_put_in_place_is_finished(
    crash_at: int, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = project()
    sync(source, tmp_path)
    source.note("a", "third of a")
    source.log("a", {"loss": 2})
    shutil.copytree(tmp_path, tmp_path / "whole", ignore=shutil.ignore_patterns("whole"))
    renames = 0

    def rename(path: Path, target: Path) -> None:
        nonlocal renames
        if target.parent == folder:
            renames += 1
            if renames > crash_at:
                raise CrashError
        path.replace(target)

    with monkeypatch.context() as patch:
        patch.setattr(disk, "rename", rename)
        try:
            sync(source, tmp_path)
        except CrashError:
            pass
        else:
            assert crash_at > 4
    assert sync(source, tmp_path).complete
    assert sync(syncing_twin(source), tmp_path / "whole").complete
    healed, whole = syncing.visible(folder), syncing.visible(tmp_path / "whole" / syncing.NAME)
    assert healed == whole
    assert noted(folder)["a"] == [*ALL["a"], "third of a"]


def syncing_twin(source: NotedSource) -> NotedSource:
    """Return another source of the same project as it is now."""
    other = NotedSource(now=source.now)
    other.runs, other.notes = source.runs, source.notes
    return other
