"""Syncs with everything, and syncs that drop a dataset."""

import json
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.contract.file_choice import NO_FILE, FileChoice
from dr_wandb.core.contract.held_rows import HeldRows
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.records import FIRST_WITH_FILES, WITHOUT_PARQUET
from dr_wandb.core.inspect.holdings import describe_comparison
from dr_wandb.core.inspect.status import describe_status
from dr_wandb.core.sync.repeat import repeat_request
from dr_wandb.shell.inspect.status import read_status
from dr_wandb.shell.inspect.verify import compare_with_source, verify_export
from dr_wandb.shell.sources.opening import source_opener
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.sync.engine import ExportEngine
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME, json_lines

BOTH = ("console", "system")
ALL = ("artifacts", "console", "files", "reports", "sweeps", "system")


def project() -> MemorySource:
    source = MemorySource()
    for run_id in ("a", "b"):
        source.add_run(run_id)
        source.log(run_id, {"loss": 1})
        source.write_line(run_id, f"line of {run_id}")
        source.sample(run_id, cpu=1)
        source.put_file(run_id, "config.yaml", f"lr: {run_id}".encode())
        source.finish(run_id)
    return source


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / NAME


def store(data_root: Path) -> ExportStore:
    return ExportStore(name=NAME, data_root=data_root)


def test_everything_is_the_history_and_all_datasets(tmp_path: Path, folder: Path) -> None:
    source = project()
    assert syncing.sync(source, tmp_path, with_everything=True, mode="metadata").complete
    for name in ("history", *BOTH):
        assert {row["run_id"] for row in json_lines(folder / f"{name}.jsonl")} == {"a", "b"}
    manifest = store(tmp_path).require_manifest()
    assert manifest.schema_version == FIRST_WITH_FILES
    assert {name: held.rows for name, held in manifest.other_datasets.items()} == {
        "console": 2,
        "files": 2,
        "system": 2,
    }
    before = syncing.visible(folder)
    source.asked.clear()
    assert syncing.sync(source, tmp_path, with_everything=True).complete
    assert {call[0] for call in source.asked} == {"list_runs", "list_records"}
    now = syncing.visible(folder)
    assert {**now, "state.json": b""} == {**before, "state.json": b""}
    repeated = repeat_request(manifest, NAME, tmp_path)
    assert repeated.extra_datasets == ALL
    assert repeated.files == NO_FILE


def test_bytes_that_were_wanted_are_requested_again(tmp_path: Path) -> None:
    source, some = project(), FileChoice(media=False)
    syncing.sync(source, tmp_path, extra_datasets=("files",), files=some)
    syncing.sync(source, tmp_path, extra_datasets=("console",))
    repeated = repeat_request(store(tmp_path).require_manifest(), NAME, tmp_path)
    assert repeated.contents_of("files") == some
    assert source.count_asked("fetch") == 2


def test_rows_of_each_dataset_are_counted_in_summary_status_and_comparison(tmp_path: Path) -> None:
    source = project()
    source.write_line("b", "one more")
    counts = {"console": HeldRows(rows=3), "system": HeldRows(rows=2)}
    assert syncing.sync(source, tmp_path, extra_datasets=BOTH).datasets == counts
    status = read_status(store(tmp_path))
    assert status.datasets == counts
    holds = "  holds     2 runs, 2 rows, 3 console lines, 2 system samples"
    assert holds in describe_status(status)
    assert syncing.sync(source, tmp_path).datasets == counts, "not asked for, and still held"
    lines = describe_comparison(compare_with_source(store(tmp_path), source))
    assert "  'a': 1 row, 1 console line, 1 system sample" in lines
    assert "  'b': 1 row, 2 console lines, 1 system sample" in lines
    assert syncing.sync(source, tmp_path, drop_datasets=BOTH).datasets == {}
    assert read_status(store(tmp_path)).datasets == {}


def test_everything_of_a_source_is_what_it_has(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, tape = project(), tmp_path / "tape"
    request = syncing.request_for(tmp_path, extra_datasets=("console",))
    assert syncing.export(source, request, now=source.now, record=tape).complete
    caplog.set_level("INFO", "dr_wandb")
    again = syncing.request_for(tmp_path / "again", with_everything=True)
    assert ExportEngine(again, source=source_opener(f"replay:{tape}")).export().complete
    assert (
        "has no artifacts, files, reports, sweeps, system: what is held of it stays" in caplog.text
    )
    replayed = tmp_path / "again" / NAME
    assert not (replayed / "system.jsonl").exists()
    assert (replayed / "console.jsonl").read_bytes() == (folder / "console.jsonl").read_bytes()
    assert ExportEngine(again, source=source_opener(f"replay:{tape}")).plan().idle
    named = syncing.request_for(tmp_path / "other", extra_datasets=BOTH)
    with pytest.raises(InvalidRequestError, match="has no system"):
        ExportEngine(named, source=source_opener(f"replay:{tape}")).export()


@pytest.mark.parametrize("fields", [{}, {"extra_datasets": ("console",)}, {"mode": "metadata"}])
def test_dropped_dataset_is_removed_and_the_others_stay(
    fields: dict[str, Any], tmp_path: Path, folder: Path
) -> None:
    source = project()
    syncing.sync(source, tmp_path, with_everything=True)
    before = syncing.visible(folder)
    source.asked.clear()
    assert syncing.sync(source, tmp_path, drop_datasets=("system",), **fields).complete
    assert {call[0] for call in source.asked} == {"list_runs"}
    after = syncing.visible(folder)
    assert before.keys() - after.keys() == {"system.jsonl"}
    for name in ("history.jsonl", "console.jsonl", "runs.jsonl", "changes.jsonl"):
        assert after[name] == before[name]
    manifest = store(tmp_path).require_manifest()
    assert [*manifest.other_datasets] == ["console", "files"]
    assert manifest.requested is not None
    assert "system" not in manifest.requested.datasets
    assert verify_export(store(tmp_path)).sound
    assert syncing.sync(source, tmp_path, drop_datasets=("system",), **fields).complete
    assert syncing.visible(folder) == after
    assert syncing.sync(source, tmp_path, with_everything=True).complete
    assert syncing.visible(folder)["system.jsonl"] == before["system.jsonl"]


def test_export_without_its_last_dataset_is_one_for_earlier_builds(
    tmp_path: Path, folder: Path
) -> None:
    source = project()
    syncing.sync(source, tmp_path, with_everything=True)
    syncing.sync(source, tmp_path, drop_datasets=ALL)
    assert set(syncing.visible(folder)).isdisjoint(f"{name}.jsonl" for name in ALL)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["schema_version"] == WITHOUT_PARQUET
    assert "datasets" not in manifest
    assert verify_export(store(tmp_path)).sound


def test_dry_run_drops_nothing(tmp_path: Path, folder: Path) -> None:
    source = project()
    syncing.sync(source, tmp_path, with_everything=True)
    before = syncing.visible(folder)
    request = syncing.request_for(tmp_path, drop_datasets=BOTH)
    ExportEngine(request, source=source, wait=syncing.do_not_wait).plan()
    assert syncing.visible(folder) == before


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"drop_datasets": ("history",)}, "the history cannot be dropped"),
        ({"drop_datasets": ("notes",)}, "there is no dataset 'notes'"),
        (
            {"extra_datasets": ("system",), "drop_datasets": ("system",)},
            "dataset system cannot be asked for and dropped at once",
        ),
        ({"with_everything": "yes"}, "with_everything must be true or false"),
    ],
)
def test_request_that_makes_no_sense_is_refused(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidRequestError, match=problem):
        syncing.request_for(Path(), **fields)
