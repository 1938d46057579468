"""A dataset of the project goes through all that one of the runs goes through.

Sweeps, which W&B counts, and reports, which it does not.
"""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from dr_wandb import ExportStore, combine_changes, describe_changes, iter_reports, iter_sweeps
from dr_wandb.core.contract.failures import DamagedFile, DrWandbError
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.request import SyncMode
from dr_wandb.core.inspect.holdings import describe_comparison
from dr_wandb.core.inspect.status import describe_status, describe_statuses
from dr_wandb.core.sync.describe import describe_plan, describe_unproven
from dr_wandb.core.sync.describe_result import describe_result
from dr_wandb.shell import progress
from dr_wandb.shell.inspect.status import read_status
from dr_wandb.shell.inspect.verify import compare_with_source, verify_export
from dr_wandb.shell.sources.opening import source_opener
from dr_wandb.shell.sync.changelog import read_changes
from dr_wandb.shell.sync.engine import ExportEngine
from dr_wandb.shell.sync.repeat import request_again
from tests.support import syncing
from tests.support.memory_source import MemorySource

BOTH = ("reports", "sweeps")


def sweep(sweep_id: str, **fields: Any) -> dict[str, Any]:
    node = {
        "id": f"id-of-{sweep_id}",
        "name": sweep_id,
        "displayName": f"sweep {sweep_id}",
        "method": "bayes",
        "state": "RUNNING",
        "description": None,
        "bestLoss": 0.25,
        "config": 'lr: 1e-3\nid: "008"\n',
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-01T00:00:00Z",
        "runCount": 3,
        "runCountExpected": None,
    }
    return node | fields


def report(report_id: str, **fields: Any) -> dict[str, Any]:
    node = {
        "id": report_id,
        "name": f"name-{report_id}",
        "displayName": f"Report {report_id}",
        "description": "about",
        "user": {"username": "ada", "name": "Ada"},
        "spec": '{"blocks": [1.0, "x"]}',
        "createdAt": "2026-01-01T00:00:00",
        "updatedAt": "2026-01-02T00:00:00",
    }
    return node | fields


def project() -> MemorySource:
    source = MemorySource()
    source.add_run("a")
    source.log("a", {"loss": 1})
    source.records["sweeps"] = [sweep(one) for one in ("s3", "s1", "s2", "s4")]
    source.records["reports"] = [report(one) for one in ("r2", "r1", "r3", "r4")]
    return source


def sync(source: MemorySource, data_root: Path, **fields: Any) -> Any:
    return syncing.sync(source, data_root, **{"extra_datasets": BOTH} | fields)


def lines(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    key = {"sweeps": "sweep_id", "reports": "report_id"}[name]
    return {one[key]: one for one in syncing.json_lines(folder / f"{name}.jsonl")}


def is_sound(data_root: Path) -> bool:
    return verify_export(ExportStore(name=syncing.NAME, data_root=data_root)).sound


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / syncing.NAME


def test_records_are_exported_in_order_and_verified(tmp_path: Path, folder: Path) -> None:
    summary = sync(project(), tmp_path)
    assert summary.complete
    assert summary.records["sweeps"].new_count == summary.records["sweeps"].count == 4
    assert list(lines(folder, "sweeps")) == ["s1", "s2", "s3", "s4"]
    assert list(lines(folder, "reports")) == ["r1", "r2", "r3", "r4"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"]["sweeps.jsonl"]["lines"] == 4
    assert manifest["requested"]["datasets"].keys() == {"history", *BOTH}
    assert manifest["schema_version"] == 8
    report_of = verify_export(ExportStore(name=syncing.NAME, data_root=tmp_path))
    assert report_of.sound
    assert {"sweeps.jsonl", "reports.jsonl"} <= report_of.files.keys()
    words = "\n".join(describe_result(summary, 1.0))
    assert "4 reports, 4 sweeps" in words
    assert "4 new sweeps" in words


def test_config_and_spec_are_kept_as_they_were_written(tmp_path: Path) -> None:
    source = project()
    sync(source, tmp_path)
    (first, *_), (one, *_) = iter_sweeps("export", tmp_path), iter_reports("export", tmp_path)
    assert first.config == 'lr: 1e-3\nid: "008"\n'
    assert one.spec == '{"blocks": [1.0, "x"]}'
    assert one.user is not None
    assert (one.user.username, one.user.email) == ("ada", None)


def test_export_without_datasets_of_the_project_is_as_before(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path, extra_datasets=())
    assert json.loads((folder / "manifest.json").read_text())["schema_version"] == 6
    assert not (folder / "sweeps.jsonl").exists()
    assert list(iter_sweeps("export", tmp_path)) == []
    assert not any(call[0] == "list_records" for call in source.asked)


def test_long_listing_has_a_line_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with caplog.at_level(logging.INFO, progress.LOGGER.name):
        sync(project(), tmp_path, extra_datasets=("sweeps",))
    said = [line for line in caplog.messages if "sweep" in line]
    assert said[:-1] == [f"Listed {number} sweeps so far" for number in (2, 3, 4)]


def test_project_without_any_record_has_an_empty_file(tmp_path: Path, folder: Path) -> None:
    source = project()
    source.records["sweeps"] = []
    assert sync(source, tmp_path).complete
    assert (folder / "sweeps.jsonl").read_bytes() == b""
    assert is_sound(tmp_path)


def test_sync_that_finds_nothing_new_changes_no_byte(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    before = syncing.visible(folder)
    source.advance(3600)
    source.records["sweeps"].reverse()
    source.asked.clear()
    assert sync(source, tmp_path).complete
    after = syncing.visible(folder)
    assert {**after, "state.json": b""} == {**before, "state.json": b""}
    assert sorted(call[1] for call in source.asked if call[0] == "list_records") == [*BOTH]


def test_changed_record_is_replaced_and_reported(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.records["sweeps"][1] = sweep("s1", state="FINISHED", updatedAt="2026-01-09T00:00:00Z")
    source.records["reports"].append(report("r5"))
    summary = sync(source, tmp_path)
    assert lines(folder, "sweeps")["s1"]["state"] == "FINISHED"
    assert summary.records["sweeps"].changed_count == 1
    first, second = read_changes(folder / "changes.jsonl")
    assert first.records["sweeps"].new == ("s1", "s2", "s3", "s4")
    assert second.records["reports"].new == ("r5",)
    (change,) = second.records["sweeps"].changed["s1"].fields
    assert (change.field, change.old, change.new) == ("state", "RUNNING", "FINISHED")
    words = "\n".join(describe_changes(second))
    assert 'sweeps changed: s1: state "RUNNING" -> "FINISHED"' in words
    assert "reports new: r5" in words
    together = combine_changes([first, second], "x")
    assert together.records["sweeps"].changed == {}
    assert together.records["reports"].new == ("r1", "r2", "r3", "r4", "r5")


def test_record_that_moved_in_nothing_but_its_times_is_no_reported_change(
    tmp_path: Path, folder: Path
) -> None:
    source = project()
    sync(source, tmp_path)
    source.records["sweeps"][1] = sweep("s1", id="moved", updatedAt="2026-01-09T00:00:00Z")
    sync(source, tmp_path)
    assert lines(folder, "sweeps")["s1"]["storage_id"] == "moved"
    assert len(list(read_changes(folder / "changes.jsonl"))) == 1


def test_counted_record_that_is_gone_is_kept_and_marked(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    gone = source.records["sweeps"].pop(0)
    source.advance(60)
    summary = sync(source, tmp_path)
    assert summary.complete
    assert summary.records["sweeps"].missing_count == 1
    since = lines(folder, "sweeps")["s3"]["missing_since"]
    assert since == "2026-01-01T00:01:00Z"
    before = syncing.visible(folder)
    source.advance(3600)
    sync(source, tmp_path)
    assert syncing.visible(folder)["sweeps.jsonl"] == before["sweeps.jsonl"]
    source.records["sweeps"].append(gone)
    sync(source, tmp_path)
    assert lines(folder, "sweeps")["s3"]["missing_since"] is None
    _, left, back = read_changes(folder / "changes.jsonl")
    assert left.records["sweeps"].missing == back.records["sweeps"].returned == ("s3",)
    assert is_sound(tmp_path)


def test_prune_drops_what_the_count_proves_gone(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.records["sweeps"].pop(0)
    summary = sync(source, tmp_path, prune=True)
    assert summary.records["sweeps"].pruned_count == 1
    assert list(lines(folder, "sweeps")) == ["s1", "s2", "s4"]
    assert is_sound(tmp_path)


def test_prune_drops_an_uncounted_record_only_after_two_looks(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.records["reports"].pop(0)
    sync(source, tmp_path, prune=True)
    assert lines(folder, "reports")["r2"]["missing_since"] is not None
    source.advance(9 * 60)
    sync(source, tmp_path, prune=True)
    assert "r2" in lines(folder, "reports")
    source.advance(60)
    sync(source, tmp_path, prune=True)
    assert "r2" not in lines(folder, "reports")


def test_listing_with_a_null_loses_nothing_and_proves_nothing(tmp_path: Path, folder: Path) -> None:
    """The SDK's paginators end at such a page, and lose all that follow."""
    source = project()
    sync(source, tmp_path)
    for name, new in (("sweeps", sweep("s9")), ("reports", report("r9"))):
        source.records[name] = [None, *source.records[name][1:], new]
    summary = sync(source, tmp_path)
    assert not summary.complete
    assert {name: one.unlisted_count for name, one in summary.records.items()} == dict.fromkeys(
        BOTH, 1
    )
    assert lines(folder, "sweeps").keys() == {"s1", "s2", "s3", "s4", "s9"}
    assert lines(folder, "reports").keys() == {"r1", "r2", "r3", "r4", "r9"}
    assert all(one["missing_since"] is None for one in lines(folder, "sweeps").values())
    assert any("1 of the sweeps" in line for line in describe_unproven(summary))


def test_record_that_does_not_read_is_counted_and_the_others_stay(
    tmp_path: Path, folder: Path
) -> None:
    source = project()
    source.records["reports"][0] = report("")
    summary = sync(source, tmp_path)
    assert summary.records["reports"].unlisted_count == 1
    assert list(lines(folder, "reports")) == ["r1", "r3", "r4"]


def test_listing_with_fewer_than_are_counted_marks_nothing(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.records["sweeps"].pop()
    source.count_offsets["sweeps"] = 1
    summary = sync(source, tmp_path)
    assert summary.records["sweeps"].unlisted_count == 1
    assert lines(folder, "sweeps")["s4"]["missing_since"] is None
    assert source.count_asked("list_records", "sweeps") == 4


def test_listing_that_fails_keeps_what_is_held_and_what_came(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.log("a", {"loss": 2})
    source.records["sweeps"].insert(0, sweep("s0"))
    source.fail_records("sweeps", times=3)
    summary = sync(source, tmp_path)
    assert not summary.complete
    assert summary.history_count == 2
    assert list(lines(folder, "sweeps")) == ["s0", "s1", "s2", "s3", "s4"]
    (line,) = [line for line in describe_unproven(summary) if line.startswith("sweeps")]
    assert line.startswith("sweeps could not be listed: the listing broke off;")
    assert sync(source, tmp_path).complete


def test_listing_that_lost_most_records_is_not_believed(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.records["sweeps"] = [sweep("s1")]
    before = syncing.visible(folder)["sweeps.jsonl"]
    summary = sync(source, tmp_path, prune=True)
    failure = summary.records["sweeps"].failure
    assert failure is not None
    assert "3 of 4 held records are not listed any more" in failure.reason
    assert syncing.visible(folder)["sweeps.jsonl"] == before
    sync(source, tmp_path, prune=True, allow_empty=True)
    assert list(lines(folder, "sweeps")) == ["s1"]


def test_records_of_another_kind_of_source_are_never_missing(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    other = syncing.twin(source)
    other.kind = "other"
    other.records["sweeps"] = [sweep("s1"), sweep("x")]
    for _ in range(2):
        assert sync(other, tmp_path).complete
        found = lines(folder, "sweeps")
        assert found.keys() == {"s1", "s2", "s3", "s4", "x"}
        assert all(one["missing_since"] is None for one in found.values())
    other.records["sweeps"] = [sweep("s1")]
    sync(other, tmp_path)
    missing = [one for one, found in lines(folder, "sweeps").items() if found["missing_since"]]
    assert missing == ["x"]


def test_datasets_that_are_not_asked_for_stay(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    before = syncing.visible(folder)
    source.records["sweeps"].pop()
    source.log("a", {"loss": 2})
    source.asked.clear()
    assert sync(source, tmp_path, extra_datasets=()).complete
    assert not any(call[0] == "list_records" for call in source.asked)
    for name in ("sweeps.jsonl", "reports.jsonl"):
        assert syncing.visible(folder)[name] == before[name]
    assert is_sound(tmp_path)


def test_everything_that_is_held_is_asked_for_again(tmp_path: Path) -> None:
    sync(project(), tmp_path)
    manifest_path = tmp_path / syncing.NAME / "manifest.json"
    manifest_path.write_text(manifest_path.read_text().replace('"memory"', '"api"'))
    store = ExportStore(name=syncing.NAME, data_root=tmp_path)
    request, _ = request_again(
        store, sync_mode=SyncMode.INCREMENTAL, timeout_seconds=9, max_rate=None
    )
    assert request.project_datasets == BOTH
    assert request.datasets == ("history",)


def test_plan_says_what_would_happen_and_writes_nothing(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    source.records["sweeps"][0] = sweep("s3", state="CANCELED")
    source.records["sweeps"].append(sweep("s5"))
    before = syncing.tree(folder)
    request = syncing.request_for(tmp_path, extra_datasets=BOTH)
    plan = ExportEngine(request, source=source, wait=syncing.do_not_wait).plan()
    assert syncing.tree(folder) == before
    [said] = [one for one in describe_plan(plan) if one.startswith("sweeps")]
    assert said.startswith("sweeps: 5 listed, 1 new, 1 changed; about ")
    assert plan.bytes == plan.records["sweeps"].bytes > 0
    assert "reports: 4 listed, nothing new" in describe_plan(plan)
    source.fail_records("sweeps", times=3)
    plan = ExportEngine(request, source=source, wait=syncing.do_not_wait).plan()
    assert "sweeps: could not be listed: the listing broke off" in describe_plan(plan)


def test_file_that_was_edited_is_read_into_our_form(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    before = syncing.visible(folder)["sweeps.jsonl"]
    path = folder / "sweeps.jsonl"
    content = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*content[2:], content[0].replace(":", ": ", 1)]))
    report_of = verify_export(ExportStore(name=syncing.NAME, data_root=tmp_path))
    assert {finding.file for finding in report_of.findings} == {"sweeps.jsonl"}
    assert {finding.kind for finding in report_of.findings} == {"content", "form"}
    assert sync(source, tmp_path).complete
    assert syncing.visible(folder)["sweeps.jsonl"] == before
    assert is_sound(tmp_path)


def test_line_that_does_not_read_is_named(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    path = folder / "sweeps.jsonl"
    path.write_text(path.read_text() + "{}\n")
    with pytest.raises(DrWandbError) as caught:
        sync(source, tmp_path)
    assert isinstance(caught.value.failure, DamagedFile)
    assert caught.value.failure.line == 5
    with pytest.raises(DrWandbError):
        list(iter_sweeps("export", tmp_path))
    report_of = verify_export(ExportStore(name=syncing.NAME, data_root=tmp_path))
    assert "line" in {finding.kind for finding in report_of.findings}


def test_doubled_line_and_missing_file_are_found(tmp_path: Path, folder: Path) -> None:
    source = project()
    sync(source, tmp_path)
    path = folder / "sweeps.jsonl"
    first, *rest = path.read_text().splitlines(keepends=True)
    path.write_text("".join([first, first, *rest]))
    store = ExportStore(name=syncing.NAME, data_root=tmp_path)
    assert any("appears twice" in one.problem for one in verify_export(store).findings)
    path.unlink()
    assert any(one.problem == "is missing" for one in verify_export(store).findings)
    assert sync(source, tmp_path).complete
    assert is_sound(tmp_path)


def test_edited_file_that_is_not_asked_for_is_described_as_it_is(
    tmp_path: Path, folder: Path
) -> None:
    source = project()
    sync(source, tmp_path)
    path = folder / "sweeps.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    source.log("a", {"loss": 2})
    sync(source, tmp_path, extra_datasets=())
    assert json.loads((folder / "manifest.json").read_text())["files"]["sweeps.jsonl"]["lines"] == 2
    assert is_sound(tmp_path)


def test_records_are_compared_with_w_and_b(tmp_path: Path) -> None:
    source = project()
    source.finish("a")
    sync(source, tmp_path)
    store = ExportStore(name=syncing.NAME, data_root=tmp_path)
    assert compare_with_source(store, source).level
    source.records["sweeps"][0] = sweep("s3", state="CANCELED")
    source.records["sweeps"].append(sweep("s5"))
    source.records["sweeps"].remove(sweep("s1"))
    compared = compare_with_source(store, source)
    assert not compared.level
    sweeps = compared.records["sweeps"]
    assert (sweeps.differ, sweeps.not_exported, sweeps.gone_upstream) == (
        ("s3",),
        ("s5",),
        ("s1",),
    )
    words = "\n".join(describe_comparison(compared))
    assert "sweeps: 2 exported as they are, 1 differ, 1 not exported, 1 gone upstream" in words
    source.fail_records("reports", times=3)
    compared = compare_with_source(store, source, wait=syncing.do_not_wait)
    failure = compared.records["reports"].failure
    assert failure is not None
    assert failure.reason == "the listing broke off"
    assert compared.records["reports"].gone_upstream == ()


def test_recorded_records_replay_to_the_same_bytes(tmp_path: Path, folder: Path) -> None:
    source, tape = project(), tmp_path / "tape"
    source.records["reports"].append(report("r9", spec="a" * 40 + " token=abc"))
    request = syncing.request_for(tmp_path, extra_datasets=BOTH)
    assert syncing.export(source, request, now=source.now, record=tape).complete
    head = json.loads((tape / "recording.json").read_text())
    assert (head["schema_version"], head["records"]) == (5, 11)
    again = syncing.request_for(tmp_path / "again", extra_datasets=BOTH)
    assert ExportEngine(again, source=source_opener(f"replay:{tape}")).export().complete
    names = ("sweeps.jsonl", "reports.jsonl", "runs.jsonl", "changes.jsonl")
    replayed, recorded = syncing.visible(tmp_path / "again" / syncing.NAME), syncing.visible(folder)
    assert {name: replayed[name] for name in names} == {name: recorded[name] for name in names}
    path = tape / "records.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(DrWandbError, match="has 10 lines"):
        source_opener(f"replay:{tape}")(again, tmp_path)


def test_recorded_failure_fails_again(tmp_path: Path) -> None:
    source, tape = project(), tmp_path / "tape"
    source.fail_records("sweeps", times=3)
    request = syncing.request_for(tmp_path, extra_datasets=BOTH)
    syncing.export(source, request, now=source.now, record=tape)
    again = syncing.request_for(tmp_path / "again", extra_datasets=BOTH)
    engine = ExportEngine(again, source=source_opener(f"replay:{tape}"), wait=syncing.do_not_wait)
    failure = engine.export().records["sweeps"].failure
    assert failure is not None
    assert failure.reason == "the listing broke off"


def test_dataset_that_a_source_does_not_have_is_refused(tmp_path: Path) -> None:
    source, tape = project(), tmp_path / "tape"
    request = syncing.request_for(tmp_path, extra_datasets=("sweeps",))
    syncing.export(source, request, now=source.now, record=tape)
    again = syncing.request_for(tmp_path / "again", extra_datasets=BOTH)
    with pytest.raises(InvalidRequestError, match="has no reports"):
        ExportEngine(again, source=source_opener(f"replay:{tape}")).export()


def test_status_says_what_is_held_and_what_did_not_come(tmp_path: Path) -> None:
    source = project()
    sync(source, tmp_path)
    store = ExportStore(name=syncing.NAME, data_root=tmp_path)
    whole = read_status(store)
    assert "  holds     1 run, 1 row, 4 sweeps, 4 reports" in describe_status(whole)
    assert "not complete" not in describe_statuses([whole])[1]
    source.fail_records("sweeps", times=3)
    source.records["reports"].append(None)
    sync(source, tmp_path)
    status = read_status(store)
    lines_of = describe_status(status)
    assert "  sweeps could not be listed last time: the listing broke off" in lines_of
    assert "  1 of the reports were counted last time, but not listed" in lines_of
    assert "sweeps not complete, reports not complete" in describe_statuses([status])[1]
