"""Artifacts go through all that a dataset of the project goes through, with their links to runs."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dr_wandb import (
    ComparedRecords,
    DrWandbError,
    ExportStore,
    Progress,
    RunFailure,
    RunFailureKind,
    Stage,
    combine_changes,
    describe_changes,
    iter_artifact_entries,
    iter_artifacts,
)
from dr_wandb.core.sync.describe import describe_plan, describe_unproven
from dr_wandb.shell.inspect.verify import compare_with_source, verify_export
from dr_wandb.shell.sources.datasets import NOTHING_KNOWN, Known, RecordPage
from dr_wandb.shell.sources.opening import source_opener
from dr_wandb.shell.store import divided_lines
from dr_wandb.shell.sync.changelog import read_changes
from dr_wandb.shell.sync.engine import ExportEngine
from tests.support import syncing
from tests.support.memory_source import MemorySource

ARTIFACTS = ("artifacts",)


def project() -> MemorySource:
    """Two versions of data, a model of them, and something on a shelf."""
    source = MemorySource()
    for run_id in ("eval", "train"):
        source.add_run(run_id)
        source.finish(run_id)
    first, second = source.add_version("data"), source.add_version("data")
    model = source.add_version("model", metadata='{"acc": 0.5}')
    source.add_version("shelf")
    source.use("train", second, "training")
    source.make("train", model)
    source.use("eval", model)
    source.use("eval", first)
    return source


def sync(source: MemorySource, data_root: Path, **fields: Any) -> Any:
    return syncing.sync(source, data_root, **{"extra_datasets": ARTIFACTS} | fields)


def lines(folder: Path) -> dict[str, dict[str, Any]]:
    return {one["artifact_id"]: one for one in syncing.json_lines(folder / "artifacts.jsonl")}


def read_manifests(source: MemorySource) -> list[str]:
    return [call[1] for call in source.asked if call[0] == "read_manifest"]


@pytest.fixture(params=[divided_lines.PIECE, 40], autouse=True)
def piece(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How much of a line is in memory: lines of our tests are shorter than that, or longer."""
    monkeypatch.setattr(divided_lines, "PIECE", request.param)
    return int(request.param)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / syncing.NAME


def test_lineage_goes_both_ways(tmp_path: Path, folder: Path) -> None:
    assert sync(project(), tmp_path).complete
    found = lines(folder)
    assert found["data-1"]["used_by"] == [{"run_id": "train", "used_as": "training"}]
    assert found["model-0"]["created_by"] == ["train"]
    assert found["model-0"]["used_by"] == [{"run_id": "eval", "used_as": None}]
    assert (found["shelf-0"]["created_by"], found["shelf-0"]["used_by"]) == ([], [])
    assert verify_export(ExportStore(name=syncing.NAME, data_root=tmp_path)).sound


def test_sync_that_finds_nothing_new_reads_no_manifest_and_asks_no_run(
    tmp_path: Path, folder: Path
) -> None:
    source = project()
    sync(source, tmp_path)
    assert len(read_manifests(source)) == 4
    before = syncing.visible(folder)
    source.asked.clear()
    assert sync(source, tmp_path).complete
    assert read_manifests(source) == []
    assert [call[2] for call in source.asked if call[0] == "list_records"] == [()]
    after = syncing.visible(folder)
    assert {**after, "state.json": b""} == {**before, "state.json": b""}


def test_version_that_was_not_listed_gets_its_new_link(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.use("train", "shelf-0", "config")
    source.update("train", tags=["moved"])
    sync(source, tmp_path, sync_mode="detect_changes")
    assert lines(folder)["shelf-0"]["used_by"] == [{"run_id": "train", "used_as": "config"}]
    assert lines(folder)["shelf-0"]["entries"] is not None
    (*_, change) = read_changes(folder / "changes.jsonl")
    changed = change.records["artifacts"].changed["shelf/shelf-0"].fields
    assert [one.field for one in changed] == ["used_by"]
    assert "artifacts changed: shelf/shelf-0" in "\n".join(describe_changes(change))


def test_incremental_sync_asks_only_runs_whose_totals_moved(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.add_run("third")
    source.use("third", "data-0")
    source.asked.clear()
    sync(source, tmp_path)
    assert [call[2] for call in source.asked if call[0] == "list_records"] == [("third",)]
    assert {one["run_id"] for one in lines(folder)["data-0"]["used_by"]} == {"eval", "third"}


def test_links_of_a_run_that_is_gone_stay(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.delete("eval")
    assert sync(source, tmp_path).complete
    assert lines(folder)["model-0"]["used_by"] == [{"run_id": "eval", "used_as": None}]


def test_version_that_is_gone_with_its_links_is_marked_as_gone(
    tmp_path: Path, folder: Path
) -> None:
    """A version that was deleted looked as if it were there: its runs had lost links, too."""
    source = project()
    sync(source, tmp_path)
    source.collections["data"].pop()
    source.links["train"]["inputs"] = []
    assert sync(source, tmp_path).complete
    line = lines(folder)["data-1"]
    assert line["missing_since"] is not None
    assert line["used_by"] == [{"run_id": "train", "used_as": "training"}]


def test_version_that_left_a_collection_keeps_its_links_in_the_other(
    tmp_path: Path, folder: Path
) -> None:
    """The line that is gone took the links of the version that is there, and for good."""
    source = MemorySource()
    for run_id in ("one", "two"):
        source.add_run(run_id)
        source.finish(run_id)
    version = source.add_version("a")
    source.add_version("a")
    shelf = {**source.collections["a"][0], "collection": {"name": "z-shelf"}}
    source.collections["z-shelf"] = [copy.deepcopy(shelf)]
    source.use("one", version)
    sync(source, tmp_path)
    del source.collections["z-shelf"]
    sync(source, tmp_path)
    source.use("two", version)
    sync(source, tmp_path)

    def users() -> dict[str, list[str]]:
        found = syncing.json_lines(folder / "artifacts.jsonl")
        return {one["collection"]: [use["run_id"] for use in one["used_by"]] for one in found[::-1]}

    assert users() == {"a": ["one", "two"], "z-shelf": ["one"]}
    label = {"alias": "best", "artifactCollection": {"name": "a"}}
    source.collections["a"][0]["artifact"]["aliases"].append(label)
    for mode in ("incremental", "incremental", "detect_changes"):
        assert sync(source, tmp_path, sync_mode=mode).complete
        assert users() == {"a": ["one", "two"], "z-shelf": ["one"]}
    source.collections["z-shelf"] = [shelf]
    sync(source, tmp_path)
    assert users() == {"a": ["one", "two"], "z-shelf": ["one", "two"]}


def test_version_of_another_project_is_kept_without_being_listed(
    tmp_path: Path, folder: Path
) -> None:
    source = project()
    artifact = {"id": "foreign", "versionIndex": 7, "artifactSequence": {"name": "shared"}}
    collection = {"name": "shared", "project": "other/place"}
    source.beside = [
        {"collection": collection, "version": None, "artifact": artifact},
        {"collection": {"name": "data", "project": ""}, "artifact": {"id": "data-1"}},
        {"collection": collection, "artifact": {}},
    ]
    source.use("train", "foreign", "base")
    assert sync(source, tmp_path).complete
    found = lines(folder)
    assert len(found) == 5
    assert (found["foreign"]["project"], found["foreign"]["version"]) == ("other/place", 7)
    assert found["foreign"]["used_by"] == [{"run_id": "train", "used_as": "base"}]
    source.beside = []
    for mode in ("incremental", "detect_changes"):
        assert sync(source, tmp_path, sync_mode=mode, prune=True).complete
        assert lines(folder)["foreign"] == found["foreign"]
    store = ExportStore(name=syncing.NAME, data_root=tmp_path)
    assert verify_export(store).sound
    assert compare_with_source(store, source).records["artifacts"].level


def test_collection_that_is_gone_is_marked_and_pruned(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    del source.collections["shelf"]
    assert sync(source, tmp_path).records["artifacts"].missing_count == 1
    assert lines(folder)["shelf-0"]["missing_since"] is not None
    assert sync(source, tmp_path, prune=True).records["artifacts"].pruned_count == 1
    assert "shelf-0" not in lines(folder)


def test_file_that_was_edited_is_listed_anew(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    before = syncing.visible(folder)["artifacts.jsonl"]
    path = folder / "artifacts.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    assert sync(source, tmp_path, sync_mode="full_reconcile").complete
    assert syncing.visible(folder)["artifacts.jsonl"] == before


def test_entries_that_were_edited_are_found(tmp_path: Path, folder: Path) -> None:
    sync(project(), tmp_path)
    path = folder / "artifacts.jsonl"
    path.write_text(path.read_text().replace('"digest":"digest-1"', '"digest":"digest-2"'))
    report = verify_export(ExportStore(name=syncing.NAME, data_root=tmp_path))
    problems = [finding.problem for finding in report.findings]
    assert "the entries of 'data/data-1' do not have the digest of the version" in problems


def test_listing_that_fails_reads_no_manifest_twice(tmp_path: Path, folder: Path) -> None:
    source = project()
    source.fail_records("artifacts", times=3)
    summary = sync(source, tmp_path)
    assert summary.records["artifacts"].failure is not None
    assert len(lines(folder)) == 3
    assert any(line.startswith("artifacts could not be") for line in describe_unproven(summary))
    source.asked.clear()
    assert sync(source, tmp_path).complete
    assert read_manifests(source) == ["shelf-0"]
    assert lines(folder)["data-1"]["used_by"] == [{"run_id": "train", "used_as": "training"}]


def test_plan_reads_no_manifest(tmp_path: Path) -> None:
    source = project()
    request = syncing.request_for(tmp_path, extra_datasets=ARTIFACTS)
    plan = ExportEngine(request, source=source, wait=syncing.do_not_wait).plan()
    assert any(one.startswith("artifacts: 4 listed, 4 new; ") for one in describe_plan(plan))
    assert read_manifests(source) == []


def test_recorded_artifacts_replay_to_the_same_bytes(tmp_path: Path, folder: Path) -> None:
    source, tape = project(), tmp_path / "tape"
    sync(source, tmp_path)
    source.add_version("data")
    request = syncing.request_for(tmp_path, extra_datasets=ARTIFACTS, sync_mode="full_reconcile")
    assert syncing.export(source, request, now=source.now, record=tape).complete
    again = syncing.request_for(tmp_path / "again", extra_datasets=ARTIFACTS)
    assert ExportEngine(again, source=source_opener(f"replay:{tape}")).export().complete
    replayed = syncing.visible(tmp_path / "again" / syncing.NAME)["artifacts.jsonl"]
    assert replayed == syncing.visible(folder)["artifacts.jsonl"]


def test_sum_of_changes_is_that_of_one_sync(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.add_version("data")
    sync(source, tmp_path)
    first, second = read_changes(folder / "changes.jsonl")
    together = combine_changes([first, second], "x").records["artifacts"]
    assert "data/data-2" in together.new
    assert json.loads((folder / "manifest.json").read_text())["files"]["artifacts.jsonl"]


def test_manifest_that_did_not_come_is_read_by_the_next_sync(tmp_path: Path, folder: Path) -> None:
    source = project()
    manifest = source.collections["shelf"][0].pop("manifest")
    assert sync(source, tmp_path).complete
    assert lines(folder)["shelf-0"]["entries"] is None
    source.collections["shelf"][0]["manifest"] = manifest
    sync(source, tmp_path, sync_mode="detect_changes")
    assert lines(folder)["shelf-0"]["entries"] is not None


class StoppedError(BaseException):
    """Ends a sync at once."""


def test_manifests_that_an_interrupted_sync_has_read_are_not_read_again(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = project()

    def stop(*_: Any, **__: Any) -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr("dr_wandb.shell.sync.engine.finish", stop)
        with pytest.raises(StoppedError):
            sync(source, tmp_path)
    assert len(read_manifests(source)) == 4
    kept = folder / ".staging" / "artifacts.jsonl.kept"
    kept.write_bytes(kept.read_bytes().replace(b'"digest":"digest-1"', b'"digest":"other!-1"'))
    with kept.open("ab") as stream:
        stream.write(b'{"artifact_id":"torn')
    source.asked.clear()
    assert sync(source, tmp_path).complete
    assert read_manifests(source) == ["data-1"]
    whole = project()
    sync(whole, tmp_path / "whole")
    expected = syncing.visible(tmp_path / "whole" / syncing.NAME)["artifacts.jsonl"]
    assert syncing.visible(folder)["artifacts.jsonl"] == expected
    assert not (folder / ".staging").exists()


def test_each_manifest_is_once_in_what_interrupted_syncs_leave(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each interrupted sync added another copy, and a version with links had two at once."""
    source = project()
    many(source)
    source.use("train", "many-0")
    shelf = copy.deepcopy(source.collections["many"][0])
    source.collections["other"] = [{**shelf, "collection": {"name": "other"}}]

    def stop(*_: Any, **__: Any) -> None:
        raise StoppedError

    kept = folder / ".staging" / "artifacts.jsonl.kept"

    def interrupt(**fields: Any) -> tuple[int, int]:
        with monkeypatch.context() as patch:
            patch.setattr("dr_wandb.shell.sync.engine.finish", stop)
            with pytest.raises(StoppedError):
                sync(source, tmp_path, **fields)
        return kept.read_bytes().count(b'"d299"'), kept.stat().st_size

    assert interrupt()[0] == 1
    first = interrupt()
    assert [interrupt() for _ in range(3)] == [first] * 3
    assert sync(source, tmp_path).complete
    assert len(read_manifests(source)) == 6
    sync(source, tmp_path / "whole")
    expected = syncing.visible(tmp_path / "whole" / syncing.NAME)["artifacts.jsonl"]
    assert syncing.visible(folder)["artifacts.jsonl"] == expected
    assert interrupt(sync_mode="full_reconcile")[0] == 0, "the visible file has it"
    assert sync(source, tmp_path, sync_mode="full_reconcile").complete
    assert syncing.visible(folder)["artifacts.jsonl"] == expected


def many(source: MemorySource, count: int = 300) -> str:
    """Add a version with many entries, which are tricky to divide."""
    tricky = ['},{"algorithm":', ',"entries":[', '],"file_count":']
    contents = {
        f"{number:04}/{tricky[number % 3]}": {"digest": f"d{number}"} for number in range(count)
    }
    return source.add_version(
        "many", contents=contents, metadata='{"entries": [], "file_count": 1}'
    )


def test_file_that_was_reformatted_is_read_into_our_form(tmp_path: Path, folder: Path) -> None:
    source = project()
    many(source)
    sync(source, tmp_path)
    path, before = folder / "artifacts.jsonl", syncing.visible(folder)
    records = [dict(reversed(one.items())) for one in syncing.json_lines(path)]
    path.write_text("".join(json.dumps(one) + "\n" for one in reversed(records)))
    assert [one.entries for one in iter_artifacts(syncing.NAME, tmp_path)] != []
    assert sync(source, tmp_path, sync_mode="detect_changes").complete
    after = syncing.visible(folder)
    assert after["artifacts.jsonl"] == before["artifacts.jsonl"]


def test_version_that_is_gone_keeps_its_entries_and_returns(tmp_path: Path, folder: Path) -> None:
    source = project()
    many(source)
    sync(source, tmp_path)
    before = syncing.visible(folder)["artifacts.jsonl"]
    gone = source.collections.pop("many")
    sync(source, tmp_path)
    marked = lines(folder)["many-0"]
    assert marked["missing_since"] is not None
    assert len(marked["entries"]) == 300
    sync(source, tmp_path, sync_mode="detect_changes")
    assert verify_export(ExportStore(name=syncing.NAME, data_root=tmp_path)).sound
    source.collections["many"] = gone
    sync(source, tmp_path)
    assert syncing.visible(folder)["artifacts.jsonl"] == before
    (*_, last) = read_changes(folder / "changes.jsonl")
    assert last.records["artifacts"].returned == ("many/many-0",)
    assert last.records["artifacts"].changed == {}


@pytest.mark.parametrize(("count", "large"), [(0, False), (1, False), (300, True)])
def test_changes_give_entries_that_are_few(
    tmp_path: Path, folder: Path, count: int, large: bool
) -> None:
    source = project()
    many(source, count)
    manifest = source.collections["many"][0].pop("manifest")
    sync(source, tmp_path)
    source.collections["many"][0]["manifest"] = manifest
    sync(source, tmp_path, sync_mode="detect_changes")
    (*_, last) = read_changes(folder / "changes.jsonl")
    (change,) = last.records["artifacts"].changed["many/many-0"].fields
    assert (change.field, change.large) == ("entries", large)
    if not large:
        assert (change.old, change.new) == (None, lines(folder)["many-0"]["entries"])


def test_entries_that_were_edited_are_read_again(tmp_path: Path, folder: Path) -> None:
    source = project()
    many(source)
    sync(source, tmp_path)
    path, before = folder / "artifacts.jsonl", syncing.visible(folder)
    path.write_bytes(path.read_bytes().replace(b'"digest":"d7"', b'"digest":"d8"'))
    source.asked.clear()
    assert sync(source, tmp_path, sync_mode="full_reconcile").complete
    assert read_manifests(source) == ["many-0"]
    assert syncing.visible(folder)["artifacts.jsonl"] == before["artifacts.jsonl"]
    (*_, last) = read_changes(folder / "changes.jsonl")
    changed = last.records["artifacts"].changed["many/many-0"].fields
    assert [(one.field, one.large) for one in changed] == [("entries", True)]


def test_entries_are_loaded_with_their_versions_or_apart(tmp_path: Path) -> None:
    source = project()
    many(source)
    del source.collections["shelf"][0]["manifest"]
    sync(source, tmp_path)
    whole = list(iter_artifacts(syncing.NAME, tmp_path))
    assert [len(one.entries or ()) for one in whole] == [1, 1, 300, 1, 0]
    bare = list(iter_artifacts(syncing.NAME, tmp_path, entries=False))
    assert bare == [replace(one, entries=None) for one in whole]
    apart = list(iter_artifact_entries(syncing.NAME, tmp_path))
    expected = [
        (without, entry)
        for one, without in zip(whole, bare, strict=True)
        for entry in one.entries or ()
    ]
    assert apart == expected


def test_entries_that_do_not_read_are_named(tmp_path: Path, folder: Path) -> None:
    source = project()
    many(source)
    sync(source, tmp_path)
    path = folder / "artifacts.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"digest":"d7"', b'"digest":null'))
    for loaded in (iter_artifacts, iter_artifact_entries):
        with pytest.raises(DrWandbError, match=r"artifacts\.jsonl line 3 cannot be read"):
            list(loaded(syncing.NAME, tmp_path))
    report = verify_export(ExportStore(name=syncing.NAME, data_root=tmp_path))
    assert any("cannot be read" in one.problem for one in report.findings)


def test_progress_names_the_dataset_and_counts_its_records(tmp_path: Path) -> None:
    source, seen = project(), list[Progress]()
    request = syncing.request_for(tmp_path, extra_datasets=ARTIFACTS)
    ExportEngine(request, source=source, progress=seen.append).export()
    of_records = [one for one in seen if one.stage == Stage.RECORDS]
    assert {one.dataset for one in of_records} == {"artifacts"}
    assert [one.done for one in of_records] == sorted(one.done for one in of_records)
    assert (of_records[-1].done, of_records[-1].total) == (4, 4)


def test_plan_estimates_what_the_sync_will_ask_and_write(tmp_path: Path, folder: Path) -> None:
    source = project()
    source.kind = "api"
    for nodes in source.collections.values():
        for node in nodes:
            node["artifact"]["fileCount"] = 1
    request = syncing.request_for(tmp_path, extra_datasets=ARTIFACTS)
    plan = ExportEngine(request, source=source, wait=syncing.do_not_wait).plan()
    planned = plan.records["artifacts"]
    assert planned.requests == 2  # the links of two runs, and four addresses
    sync(source, tmp_path)
    size = (folder / "artifacts.jsonl").stat().st_size
    assert size / 1.5 <= planned.bytes <= 1.5 * size
    again = ExportEngine(request, source=source, wait=syncing.do_not_wait).plan()
    assert (again.records["artifacts"].requests, again.records["artifacts"].bytes) == (0, 0)


def test_version_whose_project_w_and_b_does_not_name_stays_one_of_this_project(
    tmp_path: Path, folder: Path
) -> None:
    """Its line lost its entries and its aliases once a run that used it was asked again."""
    source = project()
    sync(source, tmp_path)
    before = lines(folder)["data-1"]
    node = {"collection": {"name": "data", "project": ""}, "artifact": {"id": "data-1"}}
    source.beside = [node]
    source.use("eval", "shelf-0")
    sync(source, tmp_path)
    assert lines(folder)["shelf-0"]["used_by"] != []
    assert lines(folder)["data-1"] == before


def compared(source: MemorySource, data_root: Path) -> ComparedRecords:
    store = ExportStore(name=syncing.NAME, data_root=data_root)
    return compare_with_source(store, source, wait=syncing.do_not_wait).records["artifacts"]


def test_comparison_with_w_and_b_asks_runs_for_their_links(tmp_path: Path) -> None:
    source = project()
    sync(source, tmp_path)
    assert compared(source, tmp_path) == ComparedRecords(exported=4)
    source.use("eval", "shelf-0", "config")
    found = compared(source, tmp_path)
    assert (found.exported, found.differ, found.level) == (3, ("shelf/shelf-0",), False)
    sync(source, tmp_path, sync_mode="detect_changes")
    assert compared(source, tmp_path).level


def test_run_that_has_no_links_any_more_is_seen_by_a_comparison(tmp_path: Path) -> None:
    source = project()
    sync(source, tmp_path)
    del source.links["eval"]
    assert compared(source, tmp_path).differ == ("data/data-0", "model/model-0")


def test_links_of_runs_that_are_gone_are_no_difference(tmp_path: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.delete("eval")
    sync(source, tmp_path)
    assert compared(source, tmp_path).level


def test_version_of_another_project_that_is_not_held_is_named(tmp_path: Path) -> None:
    source = project()
    sync(source, tmp_path)
    collection = {"name": "shared", "project": "other/place"}
    source.beside = [
        {"collection": collection, "artifact": {"id": "foreign"}},
        {"collection": {"name": "data", "project": ""}, "artifact": {"id": "data-1"}},
        {"collection": collection, "artifact": {}},
    ]
    source.use("train", "foreign")
    assert compared(source, tmp_path).not_exported == ("shared/foreign",)
    sync(source, tmp_path, sync_mode="detect_changes")
    assert compared(source, tmp_path).level


def test_runs_that_cannot_be_asked_are_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = project()
    sync(source, tmp_path)
    given = source.list_artifacts

    def list_artifacts(known: Known = NOTHING_KNOWN) -> Iterator[RecordPage]:
        failure = RunFailure(kind=RunFailureKind.TIMEOUT, reason="no answer in time")
        for page in given(known):
            yield replace(page, links={}, unread=dict.fromkeys(known.runs, failure))

    monkeypatch.setattr(source, "list_artifacts", list_artifacts)
    found = compared(source, tmp_path)
    reason = "the artifacts of 2 runs could not be read: no answer in time"
    assert found.failure == RunFailure(kind=RunFailureKind.TIMEOUT, reason=reason)
    assert (found.exported, found.differ, found.level) == (4, (), False)
