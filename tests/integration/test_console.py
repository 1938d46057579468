"""The console of runs, from W&B and from files, as an export holds it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.contract.held_rows import HeldRows
from dr_wandb.core.contract.records import FIRST_WITH_DATASETS
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.inspect.holdings import describe_comparison
from dr_wandb.core.inspect.status import describe_status
from dr_wandb.core.inspect.verify import describe_report
from dr_wandb.core.sync.repeat import repeat_request
from dr_wandb.shell.inspect.status import read_status
from dr_wandb.shell.inspect.verify import compare_with_source, verify_export
from dr_wandb.shell.sources.api.session import ApiSession
from dr_wandb.shell.sources.api.source import ApiSource
from dr_wandb.shell.sources.opening import source_opener
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.sync.engine import ExportEngine
from tests.support.offline_logging import Machine
from tests.support.server import EmptyRows, GraphQLErrors, NullField

if TYPE_CHECKING:
    from pathlib import Path

    from dr_wandb.core.contract.manifest import ExportManifest
    from dr_wandb.core.sync.summary import ExportSummary
    from tests.support.api_exports import Exports


def sync(exports: Exports) -> ExportSummary:
    return exports.sync(extra_datasets=("console",))


def held(exports: Exports, name: str = "n") -> list[dict[str, Any]]:
    path = exports.data_root / name / "console.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def contents(exports: Exports) -> list[str]:
    return [line["content"] for line in held(exports)]


def store_of(exports: Exports) -> ExportStore:
    return ExportStore(name="n", data_root=exports.data_root)


def manifest_of(exports: Exports) -> ExportManifest:
    return store_of(exports).require_manifest()


def test_lines_of_a_run_are_exported_with_their_streams(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.write_line("hello")
    run.write_line("oh no", error=True)
    run.write_line("", label="node-1")
    run.finish()
    summary = sync(exports)
    assert summary.complete
    assert held(exports) == [
        {
            "content": "hello",
            "label": None,
            "level": None,
            "number": 0,
            "run_id": "run",
            "timestamp": "2026-01-01T00:00:00Z",
        },
        {
            "content": "oh no",
            "label": None,
            "level": "error",
            "number": 1,
            "run_id": "run",
            "timestamp": "2026-01-01T00:00:00.001Z",
        },
        {
            "content": "",
            "label": "node-1",
            "level": None,
            "number": 2,
            "run_id": "run",
            "timestamp": "2026-01-01T00:00:00.002Z",
        },
    ]
    sync(exports)
    assert exports.asked == {}


def test_console_is_read_page_by_page_up_to_the_count_of_the_server(exports: Exports) -> None:
    run = exports.project.add_run("run")
    for number in range(2500):
        run.write_line(f"line {number}")
    run.finish()
    run.console_page = 1000
    sync(exports)
    assert exports.asked == {"RunConsoleLogPage": 3}
    assert contents(exports) == [f"line {number}" for number in range(2500)]


def test_tail_brings_the_lines_that_may_have_changed(exports: Exports) -> None:
    run = exports.project.add_run("run")
    for number in range(1000):
        run.write_line(f"line {number}")
    sync(exports)
    run.rewrite_line(990, "100 %")
    run.write_line("next")
    summary = sync(exports)
    assert summary.complete
    assert exports.asked == {"RunConsoleLogTail": 1}
    expected = [f"line {number}" for number in range(1000)]
    expected[990] = "100 %"
    assert contents(exports) == [*expected, "next"]
    sync(exports)
    assert exports.asked == {}


def test_lines_that_change_while_their_number_stands_still_are_read(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.write_line(" 10 %")
    sync(exports)
    exports.server.clock.advance(60)
    run.rewrite_line(0, "100 %")
    run.finish()
    sync(exports)
    assert contents(exports) == ["100 %"]


def test_capped_console_is_held_and_named_as_short(exports: Exports) -> None:
    run = exports.project.add_run("run")
    for number in range(10_000):
        run.write_line(f"line {number}")
    run.log_line_count = 12_345
    run.finish()
    summary = sync(exports)
    assert summary.complete
    assert manifest_of(exports).short_runs == {"run": 2345}
    assert manifest_of(exports).other_datasets["console"].short_runs == {"run": 2345}
    assert manifest_of(exports).other_datasets["console"].capped_runs == {"run": 12_345}
    assert summary.datasets == {"console": HeldRows(rows=10_000, short_runs=1, capped_runs=1)}
    status = read_status(store_of(exports))
    assert "  console: W&B keeps no more than the held rows of 1 run" in describe_status(status)
    sync(exports)
    assert exports.asked == {}


def test_server_without_pages_gives_the_last_lines(
    exports: Exports, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = 'Unknown argument "useImprovedPagination" on field "logLines" of type "Run".'
    exports.server.faults.add("RunConsoleLogPage", GraphQLErrors([unknown]), times=None)
    for run_id in ("a", "b"):
        run = exports.project.add_run(run_id)
        run.write_line("ERROR 2026-01-01T00:00:01.500000 oh no\n", timestamp=None, level=None)
        run.write_line("2026-01-01T00:00:02 hello\n", timestamp=None, level=None)
        run.write_line("no time", timestamp=None, level=None)
        run.finish()
    exports.workers = 1
    sync(exports)
    assert exports.asked == {"RunConsoleLogPage": 1, "RunConsoleLogTail": 2}
    assert "before 0.77" in caplog.text
    assert [
        (line["run_id"], line["level"], line["timestamp"], line["content"])
        for line in held(exports)
    ] == [
        (run_id, *line)
        for run_id in ("a", "b")
        for line in (
            ("error", "2026-01-01T00:00:01.5Z", "oh no"),
            (None, "2026-01-01T00:00:02Z", "hello"),
            (None, None, "no time"),
        )
    ]


def test_server_without_the_counter_is_asked_once_if_anything_moved(exports: Exports) -> None:
    unknown = 'Cannot query field "logLineCount" on type "Run".'
    exports.server.faults.add(
        lambda request: request.operation == "Runs" and "logLineCount" in request.document,
        GraphQLErrors([unknown]),
        times=None,
    )
    run = exports.project.add_run("run")
    run.write_line("one")
    sync(exports)
    sync(exports)
    assert exports.asked == {}
    exports.server.clock.advance(60)
    run.write_line("two")
    sync(exports)
    assert exports.asked == {"RunConsoleLogPage": 1}
    assert contents(exports) == ["one", "two"]


def test_null_and_repeated_lines_do_no_harm(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.write_line("zero")
    run.console.append(None)
    run.write_line("two")
    run.write_line("two again", number=2)
    run.write_line("three", number=None)
    run.log_line_count = 3
    run.finish()
    summary = sync(exports)
    assert summary.complete
    assert [(line["number"], line["content"]) for line in held(exports)] == [
        (0, "zero"),
        (2, "two again"),
        (3, "three"),
    ]


def test_empty_answer_without_an_error_is_named_and_read_again(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.write_line("hello")
    run.finish()
    exports.server.faults.add(
        lambda request: request.operation.startswith("RunConsoleLog"), EmptyRows(), times=2
    )
    summary = sync(exports)
    assert [(short.run_id, short.short_by) for short in summary.short] == [("run", 1)]
    assert sync(exports).complete
    assert contents(exports) == ["hello"]


@pytest.mark.parametrize("field", ["pageInfo", "endCursor"])
def test_page_without_a_cursor_ends_the_answer(exports: Exports, field: str) -> None:
    run = exports.project.add_run("run")
    for number in range(15):
        run.write_line(f"line {number}")
    run.finish()
    run.console_page = 10
    exports.server.faults.add("RunConsoleLogPage", NullField(field), times=2)
    summary = sync(exports)
    assert [(short.run_id, short.short_by) for short in summary.short] == [("run", 5)]
    assert len(contents(exports)) == 10
    assert sync(exports).complete
    assert len(contents(exports)) == 15


def test_fault_in_a_console_is_that_of_its_part_alone(exports: Exports) -> None:
    for run_id in ("a", "b"):
        run = exports.project.add_run(run_id)
        run.log({"loss": 1})
        run.write_line("hello")
        run.finish()
    exports.server.faults.add(
        lambda request: request.operation.startswith("RunConsoleLog") and request.run_id == "a",
        GraphQLErrors(["the console is broken"]),
        times=None,
    )
    summary = sync(exports)
    assert [failed.run_id for failed in summary.failures] == ["a"]
    assert {line["run_id"] for line in held(exports)} == {"b"}
    assert len(exports.rows("a")) == 1
    exports.server.faults.clear()
    assert sync(exports).complete
    assert len(held(exports)) == 2


def test_console_that_was_reset_stays_until_a_second_read(exports: Exports) -> None:
    run = exports.project.add_run("run")
    for number in range(5):
        run.write_line(f"line {number}")
    run.finish()
    sync(exports)
    run.console[:] = []
    run.write_line("again")
    summary = sync(exports)
    assert [waiting.run_id for waiting in summary.waiting] == ["run"]
    assert len(contents(exports)) == 5
    exports.server.clock.advance(11 * 60)
    sync(exports)
    assert contents(exports) == ["again"]


def test_listing_has_the_counter_only_if_the_console_is_wanted(exports: Exports) -> None:
    exports.project.add_run("run")
    exports.sync()
    documents = [request.document for request in exports.server.requests]
    assert not any("logLineCount" in document for document in documents)
    exports.server.clear_requests()
    sync(exports)
    assert any("logLineCount" in request.document for request in exports.server.requests)


def test_export_with_a_console_verifies_and_reads_an_edited_file(exports: Exports) -> None:
    run = exports.project.add_run("run")
    for number in range(20):
        run.write_line(f"line {number}", error=number % 3 == 0)
    run.finish()
    sync(exports)
    store = store_of(exports)
    report = verify_export(store)
    assert report.sound, describe_report(report)
    assert report.files["console.jsonl"].lines == 20
    path = exports.folder() / "console.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    respelled = lines[3].replace(b'","', b'", "', 1)
    path.write_bytes(b"".join([*lines[5:], *lines[:3], respelled]))
    kinds = {finding.problem for finding in verify_export(store).findings}
    assert any("out of order" in problem for problem in kinds)
    assert any("not spelled" in problem or "canonical" in problem for problem in kinds), kinds
    sync(exports)
    assert path.read_bytes() == whole
    assert verify_export(store).sound


def test_console_of_a_file_is_the_output_log_and_the_one_online(
    exports: Exports, tmp_path: Path
) -> None:
    """The same run has the same lines, whichever way it came."""
    with Machine(tmp_path / "machine") as machine:
        machine.start("print_much").end()
        (path,) = machine.tree.rglob("run-printed.wandb")
        request = exports.request("offline", extra_datasets=("console",), any_project=True)
        assert ExportEngine(request, source=source_opener(f"offline:{machine.tree}")).export()
    offline = held(exports, "offline")
    assert len(offline) > 500
    log = (path.parent / "files" / "output.log").read_bytes()
    assert "".join(f"{line['content']}\n" for line in offline).encode() == log
    run = exports.project.add_run("printed")
    for line in offline:
        run.write_line(line["content"], error=line["level"] == "error")
    run.finish()
    sync(exports)
    members = ("run_id", "number", "level", "content")
    assert [[line[member] for member in members] for line in held(exports)] == [
        [line[member] for member in members] for line in offline
    ]


def test_runs_that_are_gone_keep_their_console_until_they_are_pruned(exports: Exports) -> None:
    for run_id in ("a", "b", "c"):
        run = exports.project.add_run(run_id)
        run.write_line(f"line of {run_id}")
        run.finish()
    sync(exports)
    gone = exports.project.find_run("a")
    assert gone is not None
    exports.project.delete_run(gone)
    sync(exports)
    assert contents(exports) == ["line of a", "line of b", "line of c"]
    exports.sync(prune=True)
    assert contents(exports) == ["line of b", "line of c"], "a console that is not wanted stays"
    exports.sync(mode="metadata")
    assert contents(exports) == ["line of b", "line of c"]
    assert verify_export(store_of(exports)).sound


@pytest.mark.parametrize("mode", ["detect_changes", "full_reconcile"])
def test_console_of_a_settled_run_is_read_again_on_request(exports: Exports, mode: str) -> None:
    run = exports.project.add_run("run")
    run.write_line("hello")
    run.finish()
    exports.server.clock.advance(2 * 86_400)
    exports.project.add_run("newer").finish()
    sync(exports)
    run.write_line("again")
    sync(exports)
    assert contents(exports) == ["hello"], "a settled run is not looked at"
    exports.sync(extra_datasets=("console",), sync_mode=mode)
    assert contents(exports) == ["hello", "again"]
    assert exports.asked["RunConsoleLogPage"] == 1


def test_scope_chooses_the_runs_whose_console_is_read(exports: Exports) -> None:
    for run_id in ("a", "b"):
        exports.project.add_run(run_id, tags=[run_id]).write_line(run_id)
    exports.sync(extra_datasets=("console",), scope=RunScope(tags=("b",)))
    assert contents(exports) == ["b"]


def test_recorded_console_replays_to_the_same_bytes(exports: Exports, tmp_path: Path) -> None:
    run = exports.project.add_run("run")
    for number in range(30):
        run.write_line(f"line {number} {{json}}", error=number % 2 == 0, label="x")
    run.finish()
    request = exports.request(extra_datasets=("console",))
    tape = tmp_path / "tape"
    clock = exports.server.clock
    engine = ExportEngine(
        request,
        source=ApiSource(exports.shared.session, request),
        clock=lambda: clock.now,
        record=tape,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ApiSession, "close", lambda session: None)
        assert engine.export().complete
    again = exports.request("again", extra_datasets=("console",))
    assert ExportEngine(again, source=source_opener(f"replay:{tape}")).export().complete
    names = ("console.jsonl", "history.jsonl", "changes.jsonl")
    assert [(exports.folder("again") / name).read_bytes() for name in names[:1]] == [
        (exports.folder() / name).read_bytes() for name in names[:1]
    ]


def test_comparison_says_of_each_run_what_is_held_of_its_console(exports: Exports) -> None:
    for run_id, lines in (("short", 4), ("whole", 3)):
        run = exports.project.add_run(run_id)
        run.summary_follows_log = True
        run.log({"loss": 1})
        for number in range(lines):
            run.write_line(f"line {number}")
        run.finish()
    sync(exports)
    short = exports.project.find_run("short")
    assert short is not None
    short.write_line("later")
    compared = compare_with_source(
        store_of(exports),
        ApiSource(exports.shared.session, exports.request(extra_datasets=("console",))),
        clock=lambda: exports.server.clock.now,
        wait=lambda attempts: None,
    )
    assert [(run.run_id, run.other_rows) for run in compared.fully_exported] == [
        ("whole", {"console": 3})
    ]
    (partly,) = compared.not_fully_exported
    assert [doubt.reason for doubt in partly.reasons] == ["console: 1 row behind"]
    assert not any("console" in what for what in compared.not_held)
    words = "\n".join(describe_comparison(compared))
    assert "'whole': 1 row, 3 console lines" in words
    assert "'short': 1 row, 4 console lines; console: 1 row behind" in words


def test_exports_that_hold_a_console_are_synced_again_with_it(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.write_line("one")
    sync(exports)
    manifest = store_of(exports).require_manifest()
    request = repeat_request(manifest, "n", exports.data_root)
    assert request.extra_datasets == ("console",)
    assert manifest.schema_version == FIRST_WITH_DATASETS
