"""The samples of machines, from W&B and from files, as an export holds them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.contract.held_rows import HeldRows
from dr_wandb.core.inspect.doubts import DoubtKind
from dr_wandb.core.inspect.verify import describe_report
from dr_wandb.shell.inspect.verify import compare_with_source, verify_export
from dr_wandb.shell.sources.api.source import ApiSource
from dr_wandb.shell.sources.opening import source_opener
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.sync.engine import ExportEngine
from tests.support.offline_folders import put
from tests.support.server import EmptyRows, GraphQLErrors, Status
from tests.support.syncing import json_lines
from tests.support.wandb_file import exit_record, run_record, stats_record

if TYPE_CHECKING:
    from pathlib import Path

    from dr_wandb.core.inspect.holdings import Comparison
    from dr_wandb.core.sync.summary import ExportSummary
    from tests.support.api_exports import Exports
    from tests.support.server import Run

START = 1_767_225_600
DAY = 86_400


def sync(exports: Exports, **fields: Any) -> ExportSummary:
    return exports.sync(extra_datasets=("system",), **fields)


def held(exports: Exports, name: str = "n") -> list[dict[str, Any]]:
    return json_lines(exports.data_root / name / "system.jsonl")


def store_of(exports: Exports) -> ExportStore:
    return ExportStore(name="n", data_root=exports.data_root)


def sampled(exports: Exports) -> dict[str, int]:
    return store_of(exports).require_manifest().other_datasets["system"].sampled_runs


def compare(exports: Exports) -> Comparison:
    return compare_with_source(
        store_of(exports),
        ApiSource(exports.shared.session, exports.request(extra_datasets=("system",))),
        clock=lambda: exports.server.clock.now,
        wait=lambda attempts: None,
    )


def log_samples(run: Run, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        times = {"_timestamp": START + number / 4, "_runtime": number / 4, "_wandb": True}
        values = {"system.cpu": number / 3} if number % 2 else {"system.disk./.usageGB": number}
        run.log_system({**values, **times})


def times(exports: Exports) -> list[float]:
    return [float(row["timestamp"]) for row in held(exports)]


def test_samples_of_a_run_are_exported(exports: Exports) -> None:
    run = exports.project.add_run("run")
    names = ("gpu.0.gpu", "disk.\\.usagePercent", "disk./a b.in", "cpu/l:node-1", 'q"ü')
    for number, name in enumerate(names):
        run.log_system({f"system.{name}": number / 2, "_timestamp": 1000.25 + number})
    run.log_system({"system.cpu": float("nan"), "_timestamp": "odd", "_wandb": True})
    run.finish()
    assert sync(exports).complete
    assert exports.asked == {"RunFullHistory": 1}
    assert held(exports)[:2] == [
        {
            "metrics": {"system.gpu.0.gpu": 0},
            "run_id": "run",
            "runtime": None,
            "timestamp": "1000.25",
        },
        {
            "metrics": {"system.disk.\\.usagePercent": 0.5},
            "run_id": "run",
            "runtime": None,
            "timestamp": "1001.25",
        },
    ]
    assert [*held(exports)[4]["metrics"]] == ['system.q"ü']
    assert held(exports)[5]["metrics"] == {"_timestamp": "odd", "system.cpu": "NaN"}
    sync(exports)
    assert exports.asked == {}
    report = verify_export(store_of(exports))
    assert report.sound, describe_report(report)


def test_sample_of_an_ended_run_is_held_until_all_are_exported(exports: Exports) -> None:
    run = exports.project.add_run("run")
    log_samples(run, 900)
    run.most_samples = 300
    run.finish()
    summary = sync(exports)
    assert summary.complete
    assert exports.asked == {"EventsFiles": 1, "RunFullHistory": 1}
    assert sampled(exports) == {"run": 900}
    assert summary.datasets == {"system": HeldRows(rows=300, sampled_runs=1)}
    assert len(held(exports)) == 300
    sync(exports)
    assert exports.asked == {}
    run.export_events(files=2)
    exports.server.clock.advance(DAY + 60)
    assert sync(exports).complete
    assert exports.asked == {"EventsFiles": 1, "RunFullHistory": 1, "download": 2}
    assert sampled(exports) == {}
    assert len(held(exports)) == 900
    assert {row["runtime"] for row in held(exports)} == {None}
    exports.server.clock.advance(2 * DAY)
    sync(exports)
    assert exports.asked == {}
    assert verify_export(store_of(exports)).sound


@pytest.mark.parametrize("cap", [1, 2, 4])
def test_exported_samples_of_all_pages_of_files_are_read(
    exports: Exports, monkeypatch: pytest.MonkeyPatch, cap: int
) -> None:
    """Those of the files of the first page were taken, and the run stayed a sampled one."""
    monkeypatch.setattr(exports.server, "max_records_per_page", cap)
    run = exports.project.add_run("run")
    log_samples(run, 900)
    run.most_samples = 300
    run.finish()
    run.export_events(files=3)
    assert sync(exports).complete
    assert exports.asked["download"] == 3
    assert exports.asked["EventsFiles"] == 4 // cap
    assert (len(held(exports)), sampled(exports)) == (900, {})


def test_samples_of_a_run_that_goes_on_are_united(exports: Exports) -> None:
    run = exports.project.add_run("run")
    log_samples(run, 400)
    run.most_samples = 300
    assert sync(exports).complete
    first = times(exports)
    log_samples(run, 300, first=400)
    assert sync(exports).complete
    assert {*first} <= {*times(exports)}
    assert 300 < len(times(exports)) <= 600
    assert sampled(exports) == {"run": 700}


def test_sampled_run_is_looked_at_daily_until_two_weeks_after_its_end(exports: Exports) -> None:
    run = exports.project.add_run("run")
    log_samples(run, 900)
    run.most_samples = 300
    run.finish()
    exports.project.add_run("newer", created_at="2026-01-10T00:00:00").finish()
    looks = []
    for _ in range(20):
        sync(exports)
        looks.append(exports.asked["RunFullHistory"])
        exports.server.clock.advance(DAY + 60)
    assert looks == [1] * 15 + [0] * 5
    assert sampled(exports) == {"run": 900}


def test_live_run_is_not_asked_for_its_artifact(exports: Exports) -> None:
    run = exports.project.add_run("run")
    log_samples(run, 900)
    run.most_samples = 300
    sync(exports)
    assert exports.asked == {"RunFullHistory": 1}


def test_old_artifact_does_not_take_the_place_of_a_larger_sample(exports: Exports) -> None:
    run = exports.project.add_run("run")
    log_samples(run, 900)
    run.most_samples = 300
    run.export_events(keep=100)
    run.finish()
    assert sync(exports).complete
    assert len(held(exports)) == 300


def test_artifact_that_does_not_download_leaves_the_sample(exports: Exports) -> None:
    run = exports.project.add_run("run")
    log_samples(run, 900)
    run.most_samples = 300
    run.export_events()
    run.finish()
    exports.server.faults.add("download", Status(403), times=None)
    assert sync(exports).complete
    assert sampled(exports) == {"run": 900}
    exports.server.faults.clear()
    exports.server.clock.advance(DAY + 60)
    assert sync(exports).complete
    assert len(held(exports)) == 900


def test_server_without_artifacts_or_counter_gives_what_it_can(exports: Exports) -> None:
    fault = exports.server.faults.add
    artifacts = 'Cannot query field "artifactCollection" on type "Project".'
    fault("EventsFiles", GraphQLErrors([artifacts]), times=None)
    fault(
        lambda request: request.operation == "Runs" and "eventsLineCount" in request.document,
        GraphQLErrors(['Cannot query field "eventsLineCount" on type "Run".']),
        times=None,
    )
    exports.workers = 1
    for run_id in ("a", "b"):
        run = exports.project.add_run(run_id)
        log_samples(run, 900)
        run.most_samples = 300
        run.finish()
    assert sync(exports).complete
    assert exports.asked == {"EventsFiles": 1, "RunFullHistory": 2}
    assert len(held(exports)) == 600
    sync(exports)
    assert exports.asked == {}


def test_empty_answer_without_an_error_is_named(exports: Exports) -> None:
    run = exports.project.add_run("run")
    log_samples(run, 5)
    run.finish()
    exports.server.faults.add("RunFullHistory", EmptyRows(), times=2)
    summary = sync(exports)
    assert [(short.run_id, short.short_by) for short in summary.short] == [("run", 5)]
    assert sync(exports).complete
    assert len(held(exports)) == 5


def test_fault_in_samples_is_that_of_their_part_alone(exports: Exports) -> None:
    for run_id in ("a", "b"):
        run = exports.project.add_run(run_id)
        run.log({"loss": 1})
        log_samples(run, 3)
        run.finish()
    exports.server.faults.add(
        lambda request: request.operation == "RunFullHistory" and request.run_id == "a",
        GraphQLErrors(["the samples are broken"]),
        times=None,
    )
    summary = sync(exports)
    assert [failed.run_id for failed in summary.failures] == ["a"]
    assert {row["run_id"] for row in held(exports)} == {"b"}
    assert len(exports.rows("a")) == 1


def test_comparison_names_a_sample(exports: Exports) -> None:
    for run_id, most in (("part", 300), ("whole", None)):
        run = exports.project.add_run(run_id)
        run.summary_follows_log = True
        run.log({"loss": 1})
        log_samples(run, 400)
        run.most_samples = most
        run.finish()
    sync(exports)
    compared = compare(exports)
    assert [run.run_id for run in compared.fully_exported] == ["whole"]
    (partly,) = compared.not_fully_exported
    assert [(doubt.kind, doubt.reason) for doubt in partly.reasons] == [
        (DoubtKind.SAMPLED, "system: a sample of 300 of 400 rows")
    ]


def test_edited_file_of_samples_is_read_into_our_form(exports: Exports) -> None:
    run = exports.project.add_run("run")
    log_samples(run, 30)
    run.finish()
    sync(exports)
    path = exports.folder() / "system.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    respelled = lines[3].replace(b'"runtime":0.75', b'"runtime":0.750')
    assert respelled != lines[3]
    path.write_bytes(b"".join([*lines[:3], respelled, *lines[5:], lines[4], lines[4]]))
    problems = [finding.problem for finding in verify_export(store_of(exports)).findings]
    assert any("out of order: the sample at" in problem for problem in problems)
    assert any("appears twice" in problem for problem in problems)
    sync(exports)
    assert path.read_bytes() == whole


def test_samples_of_a_file_are_those_of_the_run_online(exports: Exports, tmp_path: Path) -> None:
    values = [{"cpu": 12.5}, {"cpu": 0.0, "disk./.usageGB": 3}, {"gpu.0.temp/l:a": 61.25}]
    stats = [stats_record(START + 10 * at, **value) for at, value in enumerate(values)]
    late = stats_record(START + 99, cpu=1)
    put(tmp_path / "wandb", "run", [run_record("run"), *stats, exit_record(), late])
    request = exports.request("offline", extra_datasets=("system",), any_project=True)
    source = source_opener(f"offline:{tmp_path / 'wandb'}")
    assert ExportEngine(request, source=source).export().complete
    run = exports.project.add_run("run")
    for at, value in enumerate(values):
        named = {f"system.{name}": one for name, one in value.items()}
        seconds = 10 * at
        run.log_system(
            {**named, "_timestamp": float(START + seconds), "_runtime": float(seconds)}
            | {"_wandb": True}
        )
    run.finish()
    sync(exports)
    assert held(exports, "offline") == held(exports)
    assert len(held(exports)) == 3


@pytest.mark.parametrize("text", ["[1]", "{", "1"])
def test_sample_that_does_not_read_fails_its_part(exports: Exports, text: str) -> None:
    run = exports.project.add_run("run")
    log_samples(run, 2)
    run.finish()
    run.raw_events = [json.dumps({"system.cpu": 1, "_timestamp": 1.5}), None, text]
    assert [failed.run_id for failed in sync(exports).failures] == ["run"]
    run.raw_events = [*run.raw_events[:2], json.dumps({"system.cpu": 2, "_timestamp": 2.5})]
    assert sync(exports).complete
    assert len(held(exports)) == 2
