"""The laws of `verify`: no false alarm, no damage unseen, no run fully exported that is not."""

import json
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, note, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.contract.codec import encode_document
from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.listing import list_run
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.normalize import normalize_run
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.state import ExportState
from dr_wandb.core.inspect.compare import reasons_against
from dr_wandb.core.inspect.verify import VerifyReport, describe_report
from dr_wandb.shell.inspect.verify import compare_with_source, read_and_verify, verify_export
from dr_wandb.shell.store.documents import load_document
from dr_wandb.shell.store.export_store import ExportStore
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.state_files import put_state, whole_state
from tests.support.syncing import NAME, select

DAY = 86_400
IDS = ("a", "b", "c")
DATA = ("runs.jsonl", "history.jsonl", "changes.jsonl")
SELECTIONS = (
    None,
    None,
    None,
    select("loss"),
    select(max_records=2),
    select("loss", min_step=1, max_step=4),
)

Event = tuple[Any, ...]

run_ids = st.sampled_from(IDS)
requests = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["history", "history", "history", "metadata"]),
        "sync_mode": st.sampled_from(
            ["incremental", "incremental", "detect_changes", "full_reconcile"]
        ),
        "history_selection": st.sampled_from(SELECTIONS),
        "include_metadata": st.booleans(),
        "scope": st.sampled_from([None, None, RunScope(states=("running",))]),
        "prune": st.sampled_from([False, False, True]),
    }
)
syncs = st.tuples(st.just("sync"), requests)
plain_syncs: st.SearchStrategy[tuple[str, dict[str, Any]]] = st.just(("sync", {}))
logs = st.tuples(st.just("log"), run_ids, st.integers(1, 4))
ends = st.tuples(st.just("end"), run_ids, st.sampled_from(["finished", "crashed", "running"]))
happenings = st.one_of(
    logs,
    logs,
    ends,
    ends,
    st.tuples(st.just("late"), run_ids, st.integers(0, 4)),
    st.tuples(st.just("stepless"), run_ids),
    st.tuples(st.just("untimed"), run_ids),
    st.tuples(st.just("rewind"), run_ids, st.integers(-1, 4)),
    st.tuples(st.just("rewrite"), run_ids, st.integers(0, 3)),
    st.tuples(st.just("delete"), run_ids),
    st.tuples(st.just("anew"), run_ids, st.integers(0, 4)),
    st.tuples(st.just("edit"), run_ids, st.integers(0, 2)),
    st.tuples(st.just("offset"), run_ids, st.sampled_from([0, 1, -1])),
    st.tuples(st.just("last_step"), run_ids, st.sampled_from([None, 1, -1])),
    st.tuples(st.just("null_keys"), run_ids, st.booleans()),
    st.tuples(st.just("parquet"), run_ids, st.integers(0, 5), st.integers(0, 2)),
    st.tuples(st.just("hide"), run_ids, st.booleans()),
    st.tuples(st.just("fail"), run_ids, st.sampled_from([1, 9])),
    st.tuples(st.just("shorten"), run_ids, st.integers(0, 6), st.sampled_from([1, 9])),
    st.tuples(st.just("fail_listing"), st.sampled_from([1, 9])),
    st.tuples(st.just("wait"), st.sampled_from([60, 2 * DAY])),
)
histories = st.lists(st.one_of(happenings, happenings, plain_syncs, syncs), max_size=16)


def happen(source: MemorySource, event: Event) -> None:
    """Let one thing happen to a project; what concerns a run that is not there, creates it."""
    what, *rest = event
    if what == "wait":
        source.advance(rest[0])
    elif what == "fail_listing":
        source.fail_listing(rest[0])
    else:
        run_id, arguments = rest[0], rest[1:]
        if run_id not in source.runs:
            source.add_run(run_id, metadata={"host": "h"}, config={"lr": 0.5})
        source.advance(1)
        _ON_RUNS[what](source, run_id, *arguments)


def _log(source: MemorySource, run_id: str, rows: int) -> None:
    for row in range(rows):
        source.log(run_id, {"loss": row / 3, "note": "ü"} if row % 2 else {"acc": row})


def _rewrite(source: MemorySource, run_id: str, to_step: int) -> None:
    """Replace rows by as many others: what no count shows."""
    rows = len(source.runs[run_id].rows)
    source.rewind(run_id, to_step)
    _log(source, run_id, rows - len(source.runs[run_id].rows))


def _make_anew(source: MemorySource, run_id: str, rows: int) -> None:
    source.delete(run_id)
    source.add_run(run_id)
    _log(source, run_id, rows)


def _edit(source: MemorySource, run_id: str, value: int) -> None:
    source.update(run_id, tags=["x"] * value, summary={"best": value})


_ON_RUNS: dict[str, Callable[..., object]] = {
    "log": _log,
    "late": lambda source, run_id, step: source.log(run_id, {"loss": 7.5}, step=step),
    "stepless": lambda source, run_id: source.log(run_id, {"acc": 2.0}, step=None),
    "untimed": lambda source, run_id: source.log(run_id, {"acc": 3.0}, timestamp=None),
    "end": lambda source, run_id, state: source.finish(run_id, state),
    "rewind": lambda source, run_id, to_step: source.rewind(run_id, to_step),
    "rewrite": _rewrite,
    "delete": lambda source, run_id: source.delete(run_id),
    "anew": _make_anew,
    "edit": _edit,
    "offset": lambda source, run_id, by: source.update(run_id, line_count_offset=by),
    "last_step": lambda source, run_id, step: source.update(run_id, last_step=step),
    "null_keys": lambda source, run_id, null: source.update(run_id, null_history_keys=null),
    "parquet": lambda source, run_id, upto, overlap: source.export(run_id, upto, overlap),
    "hide": lambda source, run_id, hidden: source.hide(run_id, hidden),
    "fail": lambda source, run_id, times: source.fail_history(run_id, times),
    "shorten": lambda source, run_id, rows, times: source.shorten_history(run_id, rows, times),
}


def sync(source: MemorySource, data_root: Path, fields: dict[str, Any]) -> None:
    """Do one sync, whatever comes of it; the faults that it did not meet are over then."""
    fields = dict(fields)
    if fields.get("mode") == "metadata":
        fields["history_selection"] = None
    try:
        syncing.sync(source, data_root, allow_empty=True, **fields)
    except DrWandbError as error:
        note(str(error))
    source._faults.clear()


def store_in(data_root: Path) -> ExportStore:
    return ExportStore(name=NAME, data_root=data_root)


@given(histories, requests)
def test_exports_that_any_syncs_leave_behind_are_sound(
    events: list[Event], last: dict[str, Any]
) -> None:
    source = MemorySource()
    with TemporaryDirectory() as folder, syncing.without_fsync():
        data_root = Path(folder)
        for event in [*events, ("sync", last)]:
            if event[0] != "sync":
                happen(source, event)
                continue
            sync(source, data_root, event[1])
            if store_in(data_root).manifest_path.exists():
                before = syncing.visible(data_root / NAME)
                report = verify_export(store_in(data_root))
                assert describe_report(report)[1:] == ()
                assert report.sound
                assert syncing.visible(data_root / NAME) == before


# --- damage


@cache
def whole() -> dict[str, bytes]:
    """Return the files of an export of two syncs: rows in several runs, a run without any.

    All that is remembered is in `state.json`.
    """
    source = MemorySource()
    for run_id in ("a", "b", "é"):
        source.add_run(run_id, config={"lr": 0.5})
        _log(source, run_id, 4)
        source.advance(10)
    source.add_run("none")
    source.log("a", {"loss": 0.25}, step=None)
    with TemporaryDirectory() as folder:
        syncing.sync(source, Path(folder))
        source.advance(60)
        _log(source, "b", 2)
        source.finish("b")
        syncing.sync(source, Path(folder))
        put_state(Path(folder) / NAME, whole_state(Path(folder) / NAME))
        return syncing.visible(Path(folder) / NAME)


def report_on(files: dict[str, bytes]) -> VerifyReport:
    """Verify an export of these files; nothing may be written or raised."""
    with TemporaryDirectory() as folder:
        export = Path(folder) / NAME
        export.mkdir()
        for name, content in files.items():
            (export / name).write_bytes(content)
        report = verify_export(store_in(Path(folder)))
        assert encode_document(report)
        assert len(describe_report(report)) >= 1 + len(report.findings)
        assert syncing.visible(export) == files
        assert syncing.hidden(export) == set()
        return report


def test_example_export_is_sound_before_it_is_damaged() -> None:
    report = report_on(whole())
    assert (report.sound, report.notes, report.runs, report.rows) == (True, (), 4, 15)
    assert set(report.files) == {*DATA, "manifest.json", "state.json"}


places = st.integers(0, 10**9)


@st.composite
def damages_of_lines(draw: st.DrawFn) -> tuple[str, bytes]:
    """Return the name of a data file, and a content that differs from its own in its lines."""
    name = draw(st.sampled_from(DATA))
    lines = whole()[name].splitlines(keepends=True)
    here, there = (draw(places) % len(lines) for _ in range(2))
    match draw(st.sampled_from(["delete", "duplicate", "swap", "insert", "empty"])):
        case "delete":
            del lines[here]
        case "duplicate":
            lines.insert(there, lines[here])
        case "swap":
            lines[here], lines[there] = lines[there], lines[here]
        case "insert":
            lines.insert(here, draw(st.binary(max_size=20)) + b"\n")
        case "empty":
            lines = []
    return name, b"".join(lines)


@st.composite
def damages_of_bytes(draw: st.DrawFn) -> tuple[str, bytes]:
    name = draw(st.sampled_from(DATA))
    content = bytearray(whole()[name])
    place = draw(places) % len(content)
    match draw(st.sampled_from(["flip", "delete", "insert", "truncate"])):
        case "flip":
            content[place] ^= 1 << draw(st.integers(0, 7))
        case "delete":
            del content[place]
        case "insert":
            content.insert(place, draw(st.integers(0, 255)))
        case "truncate":
            del content[place:]
    return name, bytes(content)


@given(st.one_of(damages_of_lines(), damages_of_bytes()))
@settings(max_examples=200)
@example(("runs.jsonl", whole()["runs.jsonl"].replace(b"a", b"\x80", 1)))
@example(("history.jsonl", whole()["history.jsonl"].replace(b'"run_id":"a', b'"run_id":"\x80', 1)))
@example(("changes.jsonl", whole()["changes.jsonl"].replace(b"state", b"\x80", 1)))
@example(("history.jsonl", whole()["history.jsonl"].replace(b'"acc"', b'"\x00acc"', 1)))
def test_any_damage_of_a_data_file_is_found(damage: tuple[str, bytes]) -> None:
    name, content = damage
    report = report_on({**whole(), name: content})
    assert report.sound == (content == whole()[name])
    if not report.sound:
        strangers = {"history.jsonl"} if name == "runs.jsonl" else set()  # rows without their run
        assert {name} <= {finding.file for finding in report.findings} <= {name} | strangers


@given(st.sampled_from(["manifest.json", "state.json"]), places)
@settings(max_examples=100)
@example("manifest.json", -1)
def test_truncated_document_is_found_unless_it_says_the_same(name: str, place: int) -> None:
    whole_content = whole()[name]
    content = whole_content[: place % len(whole_content)]
    report = report_on({**whole(), name: content})
    if content == whole_content[:-1]:
        assert report.sound
        assert report.notes
    else:
        assert [(finding.file, finding.kind) for finding in report.findings] == [(name, "document")]


NOT_PROVEN = (
    "created_at",
    "updated_at",
    "tool_version",
    "selected_history_keys",
    "history_window",
    "requested",
    "moved_from",
)
"""What nothing else in an export repeats."""


@given(places, st.integers(0, 255))
@settings(max_examples=100)
def test_changed_byte_of_the_manifest_is_found_unless_only_the_manifest_says_it(
    place: int, byte: int
) -> None:
    content = bytearray(whole()["manifest.json"])
    content[place % len(content)] = byte
    files = {**whole(), "manifest.json": bytes(content)}
    report = report_on(files)
    same = told_in(files) is not None and told_in(files) == told_in(whole())
    assert report.sound == same


def told_in(files: dict[str, bytes]) -> Any:
    """Return what a manifest says, aside from what nothing else repeats; None if it has no words"""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.json"
        path.write_bytes(files["manifest.json"])
        try:
            manifest = load_document(path, ExportManifest)
        except DrWandbError:
            return None
    assert manifest is not None
    whole_manifest = json.loads(whole()["manifest.json"])
    return replace(manifest, **{name: whole_manifest[name] for name in NOT_PROVEN})


def counts_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all integers in a document."""
    if isinstance(value, dict):
        return [found for key in value for found in counts_in(value[key], (*path, key))]
    return [path] if type(value) is int else []


COUNTED_UPSTREAM = {"history_line_count", "last_step", "line_count", "row_shape"}
"""What W&B said, how often, or in which shape: nothing in an export repeats it, but for a
position's own step and the shape of all rows."""


def provable(path: tuple[Any, ...]) -> bool:
    told_twice = path[-2:] == ("position", "last_step") or path == ("row_shape",)
    return path[-1] not in COUNTED_UPSTREAM or told_twice


@given(st.sampled_from(["manifest.json", "state.json"]), places, st.sampled_from([-1, 1, 1000]))
@settings(max_examples=200)
def test_edited_count_is_found(name: str, place: int, by: int) -> None:
    document = json.loads(whole()[name])
    paths = [path for path in counts_in(document) if provable(path)]
    *parents, last = paths[place % len(paths)]
    target = document
    for key in parents:
        target = target[key]
    target[last] += by
    note(f"{parents} {last}")
    report = report_on({**whole(), name: json.dumps(document).encode()})
    assert not report.sound
    assert {finding.file for finding in report.findings} == {name}


@pytest.mark.parametrize("name", [*DATA, "manifest.json", "state.json"])
def test_removed_file_is_found_and_hides_nothing_else(name: str) -> None:
    files = {other: content for other, content in whole().items() if other != name}
    assert name in [finding.file for finding in report_on(files).findings]
    other = "history.jsonl" if name != "history.jsonl" else "runs.jsonl"
    damaged = {**files, other: b"{}\n" + files[other]}
    assert {finding.file for finding in report_on(damaged).findings} >= {name, other}


@given(st.dictionaries(st.sampled_from([*DATA, "manifest.json", "state.json"]), st.binary()))
def test_files_of_any_bytes_are_reported_and_never_raise(contents: dict[str, bytes]) -> None:
    report = report_on({**whole(), **contents})
    assert report.sound == (not contents)


# --- what is fully exported


def assert_certain(source: MemorySource, data_root: Path) -> None:
    """What counts as fully exported is what a full reconcile of the project now writes."""
    compared = compare_with_source(
        store_in(data_root),
        syncing.twin(source),
        clock=lambda: datetime.fromisoformat(source.now),
        wait=syncing.do_not_wait,
    )
    held = syncing.runs_in(data_root / NAME)
    parts = (
        compared.fully_exported,
        compared.not_fully_exported,
        compared.gone_upstream,
        compared.not_exported,
    )
    shown = {run_id for run_id, run in source.runs.items() if not run.hidden}
    assert sorted(run.run_id for part in parts for run in part) == sorted({*held, *shown})
    assert {run.run_id for run in compared.gone_upstream} == held.keys() - shown
    assert {run.run_id for run in compared.not_exported} == shown - held.keys()
    assert all(run.reasons for run in compared.not_fully_exported)
    with syncing.fresh_export(source) as fresh:
        rows, fresh_rows = syncing.rows_in(data_root / NAME), syncing.rows_in(fresh)
        fresh_runs = syncing.runs_in(fresh)
    for run in compared.fully_exported:
        assert source.runs[run.run_id].state != "running"
        assert rows.get(run.run_id, []) == fresh_rows.get(run.run_id, []), run.run_id
        assert len(fresh_rows.get(run.run_id, [])) == len(source.runs[run.run_id].rows) == run.rows
        assert without_metadata(held[run.run_id]) == fresh_runs[run.run_id]
    for run_id in proven_by_counts(source, data_root):
        assert rows.get(run_id, []) == fresh_rows.get(run_id, []), run_id


def proven_by_counts(source: MemorySource, data_root: Path) -> list[str]:
    """Return the runs that would be fully exported if no snapshot ever showed a difference."""
    checked = read_and_verify(store_in(data_root))
    proven = []
    shown = {run_id for run_id, run in source.runs.items() if not run.hidden}
    for run_id in checked.runs.keys() & shown:
        node = source.runs[run_id].node(source.entity, source.project)
        run = normalize_run(node, entity=source.entity, project=source.project)
        assert checked.state is not None
        listing = list_run(run, checked.state.runs[run_id].fingerprint)
        if not list(reasons_against(checked, listing)):
            proven.append(run_id)
    return proven


def without_metadata(run: dict[str, Any]) -> dict[str, Any]:
    return {**run, "metadata": None}


then_happens = st.lists(happenings, max_size=3)
ended = [("end", run_id, "finished") for run_id in IDS]


@given(st.lists(happenings, max_size=8), histories, requests | st.just({}), then_happens)
@example(
    # An answer cut short, and a count that is as much too low: they agree, but rows are missing.
    [("log", "a", 4), ("late", "a", 1), ("offset", "a", -1), ("shorten", "a", 4, 9)],
    [],
    {},
    [],
)
@example([], [("log", "a", 1)], {}, [("hide", "a", True)])
@example([("log", "a", 4)], [], {}, [("rewrite", "a", 1)])
@example([("log", "a", 4)], [], {}, [("anew", "a", 4)])
@example([("log", "a", 4)], [], {}, [("log", "a", 1), ("offset", "a", -1)])
@example([("log", "a", 4)], [], {"history_selection": select("loss")}, [])
@example([("log", "a", 4), ("offset", "a", 1)], [*[("sync", {})] * 3], {}, [])
@example([("log", "a", 4)], [("sync", {}), ("log", "a", 2), ("fail", "a", 9)], {}, [])
def test_run_is_fully_exported_only_if_a_full_reconcile_gives_the_same_rows(
    begun: list[Event], events: list[Event], last: dict[str, Any], then: list[Event]
) -> None:
    """Else somebody deletes a run of which rows are missing."""
    events = [*begun, *ended, *events]
    everything = [*events, ("sync", last), *then]
    if any(event[0] == "untimed" for event in everything):
        # A row without a time that comes while a count is corrected leaves no trace in a listing.
        everything = [event for event in everything if event[0] != "offset"]
    source = MemorySource()
    with TemporaryDirectory() as folder, syncing.without_fsync():
        data_root = Path(folder)
        for event in everything:
            if event[0] == "sync":
                sync(source, data_root, event[1])
            else:
                happen(source, event)
        if store_in(data_root).manifest_path.exists():
            source._faults.clear()
            assert_certain(source, data_root)


@given(st.lists(st.one_of(logs, plain_syncs), max_size=8))
def test_run_that_ended_is_fully_exported_after_a_sync(events: list[Event]) -> None:
    source = MemorySource()
    with TemporaryDirectory() as folder, syncing.without_fsync():
        for event in events:
            if event[0] == "sync":
                sync(source, Path(folder), {})
            else:
                happen(source, event)
        for run_id in source.runs:
            source.finish(run_id)
        syncing.sync(source, Path(folder))
        compared = compare_with_source(store_in(Path(folder)), source, wait=syncing.do_not_wait)
        assert {run.run_id for run in compared.fully_exported} == set(source.runs)
        assert compared.level


@given(st.one_of(damages_of_lines(), damages_of_bytes()))
@settings(max_examples=30)
def test_nothing_is_fully_exported_in_an_export_that_is_damaged(damage: tuple[str, bytes]) -> None:
    name, content = damage
    source = MemorySource()
    with TemporaryDirectory() as folder:
        export = Path(folder) / NAME
        export.mkdir()
        for file, whole_content in {**whole(), name: content}.items():
            (export / file).write_bytes(whole_content)
        compared = compare_with_source(store_in(Path(folder)), source, wait=syncing.do_not_wait)
    assert compared.report.sound == (content == whole()[name])
    assert compared.fully_exported == ()
    assert load_document(export / "state.json", ExportState) is None
