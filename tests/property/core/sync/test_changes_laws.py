"""The laws of `changes.jsonl`: what one line tells of a sync."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dr_wandb.core.contract.changes import ChangedRun, RowCount, SyncChanges
from dr_wandb.core.contract.codec import decode_changes, decode_snapshot, encode_line, fingerprint
from dr_wandb.core.contract.normalize import normalize_run
from dr_wandb.core.contract.records import RunSnapshot, WandbRun
from dr_wandb.core.sync.changes import MOST_FIELDS, SMALL_BYTES, compare_runs, path_of
from tests.property.machine import changes_model as model
from tests.support import strategies as some
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.state_files import as_json
from tests.support.syncing import NAME

AT = "2026-01-01T00:00:00Z"

# --- one run, before and after


keys = st.sampled_from(["a", "b", "a.b", '"a', 'b"', "", ".", "state", "é"]) | some.texts
small = st.none() | st.booleans() | st.integers(-1, 2) | st.sampled_from([0.5, "1", "x" * 150])
objects = st.recursive(
    small | some.scalars, lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=6
)
configs = st.dictionaries(keys, objects, max_size=4)

nodes = st.fixed_dictionaries(
    {
        "name": st.just("run"),
        "displayName": st.sampled_from(["one", None]),
        "state": st.sampled_from(["running", "finished", "crashed", None]),
        "tags": st.lists(st.sampled_from(["x", "y", "z" * 250]), max_size=2),
        "notes": st.sampled_from([None, "", "some", "ü" * 150]),
        "user": st.sampled_from([None, {"username": "ada"}, {"username": "bob", "name": "Bob"}]),
        "readOnly": st.sampled_from([None, True, False]),
        "config": configs.map(lambda config: {key: {"value": config[key]} for key in config}),
        "summaryMetrics": configs,
        "systemMetrics": configs,
        "heartbeatAt": st.sampled_from(["2026-01-01T00:00:00", "2026-01-02T00:00:00"]),
        "historyLineCount": st.integers(0, 2),
        "historyKeys": st.sampled_from([None, {"lastStep": 3}]),
        "url": st.sampled_from([None, "/run"]),
    }
)


def stored(node: dict[str, Any]) -> WandbRun:
    """Return a run as it is once it was written and read."""
    run = normalize_run(node, entity="team", project="project")
    line = encode_line(RunSnapshot(run=run, exported_at=AT))
    return decode_snapshot(line).unwrap().run


snapshots = nodes.map(stored)
edits = st.tuples(
    nodes, nodes, st.sets(st.sampled_from(["config", "state", "tags", "user", "url"]))
)


def edited(old: dict[str, Any], other: dict[str, Any], fields: set[str]) -> dict[str, Any]:
    """Return a node some fields of which are those of another one."""
    return {**old, **{name: other[name] for name in fields}}


def calm(run: WandbRun, *, alive: bool) -> WandbRun:
    """Return a run without what moves by itself. alive: it was so all the time."""
    values: dict[str, Any] = dict.fromkeys(model.BY_ITSELF)
    if alive:
        values["summary_metrics"] = {}
    return msgspec.structs.replace(run, **values)


def stayed_alive(*runs: WandbRun) -> bool:
    return all(run.state not in model.ENDED for run in runs)


@given(nodes, nodes, st.booleans())
def test_run_is_reported_as_changed_exactly_when_more_than_what_moves_by_itself_differs(
    old: dict[str, Any], other: dict[str, Any], alike: bool
) -> None:
    new = edited(old, other, {"heartbeatAt", "systemMetrics", "url"}) if alike else other
    before, after = stored(old), stored(new)
    alive = stayed_alive(before, after)
    same = fingerprint(calm(before, alive=alive)) == fingerprint(calm(after, alive=alive))
    assert (compare_runs(before, after) is None) == same


@given(edits)
def test_reported_changes_of_a_run_equal_those_of_the_model(edit: Any) -> None:
    old, other, fields = edit
    before, after = stored(old), stored(edited(old, other, fields))
    told = compare_runs(before, after)
    expected = model.runs_between(as_json(before), as_json(after))
    assert ({} if told is None else as_json(told)) == expected


def summary_run(state: str | None, summary: Any) -> WandbRun:
    return stored({"name": "run", "state": state, "summaryMetrics": summary})


@given(configs, configs, st.sampled_from(["running", None, "pending"]))
def test_summary_of_a_run_that_is_alive_is_no_change(old: Any, new: Any, state: Any) -> None:
    assert compare_runs(summary_run(state, old), summary_run(state, new)) is None


@given(configs, configs, st.sampled_from(sorted(model.ENDED)))
def test_line_of_the_end_of_a_run_has_its_whole_summary(old: Any, new: Any, state: str) -> None:
    """What was the same in the sync before would be in no line at all."""
    after = summary_run(state, new)
    told = compare_runs(summary_run("running", old), after)
    assert told is not None
    assert not told.more
    by_path = {path_of(change.field): change for change in told.fields}
    for path, value in model.flat(as_json(after)["summary_metrics"]).items():
        change = by_path.get(("summary_metrics", *path))
        if not isinstance(value, dict) and len(model.compact(value).encode()) <= SMALL_BYTES:
            assert change is None or change.large or as_json(change.new) == value
            around = [by_path.get(("summary_metrics", *path[:end])) for end in range(len(path))]
            assert change is not None or any(around)


def test_fields_that_differ_are_named_before_those_that_are_as_before() -> None:
    summary = {f"a{number:03d}": number for number in range(MOST_FIELDS)}
    told = compare_runs(
        summary_run("running", {**summary, "z": 1}), summary_run("finished", {**summary, "z": 2})
    )
    assert told is not None
    assert told.more == 2
    assert [change.field for change in told.fields if change.old != change.new] == [
        "state",
        "summary_metrics.z",
    ]


def put(value: dict[str, Any], path: tuple[str, ...], new: Any) -> None:
    for key in path[:-1]:
        value = value[key]
    if new is msgspec.UNSET:
        del value[path[-1]]
    else:
        value[path[-1]] = msgspec.to_builtins(new)


@given(nodes, nodes)
def test_small_changes_applied_to_the_old_snapshot_give_the_new_one(
    old: dict[str, Any], other: dict[str, Any]
) -> None:
    before, after = stored(old), stored(other)
    told = compare_runs(before, after) or ChangedRun()
    result = msgspec.to_builtins(before)
    for change in told.fields:
        if change.large:
            source = msgspec.to_builtins(after)
            path = path_of(change.field)
            for key in path:
                present = isinstance(source, dict) and key in source
                source = source[key] if present else msgspec.UNSET
            put(result, path, source)
        else:
            put(result, path_of(change.field), change.new)
    alive = stayed_alive(before, after)
    calm_result = calm(msgspec.convert(result, WandbRun), alive=alive)
    expected = msgspec.structs.replace(calm(after, alive=alive), name=before.name)
    assert fingerprint(calm_result) == fingerprint(expected)


@given(st.integers(0, 3 * MOST_FIELDS), st.integers(0, 2 * SMALL_BYTES))
def test_line_stays_small_whatever_changed(count: int, length: int) -> None:
    new = {
        "name": "run",
        "state": "finished",
        "config": {f"k{number}": {"value": "x" * length} for number in range(count)},
    }
    told = compare_runs(stored({"name": "run", "state": "running"}), stored(new))
    assert told is not None
    assert len(told.fields) == min(MOST_FIELDS, count + 1)
    assert len(told.fields) + told.more == count + 1
    assert [change.field for change in told.fields if change.field == "state"]
    for change in told.fields:
        assert change.large == (change.field != "state" and length + 2 > SMALL_BYTES)
        assert change.large == (change.new is msgspec.UNSET)
    assert len(msgspec.json.encode(told)) < MOST_FIELDS * (2 * SMALL_BYTES + 100)


@given(st.lists(st.lists(keys, min_size=1, max_size=4).map(tuple), min_size=2, max_size=6))
@example([("a.b", "c"), ("a", "b", "c")])
@example([('"a', 'b"'), ("a.b",)])
def test_name_of_a_change_leads_back_to_its_path_alone(paths: list[tuple[str, ...]]) -> None:
    clean = [tuple(map(json.loads, map(json.dumps, path))) for path in paths]
    clean = [path for path in clean if all(is_text(key) for key in path)]
    names = [name_of(path) for path in clean]
    assert [path_of(name) for name in names] == clean
    assert len(set(names)) == len(set(clean))


def is_text(key: str) -> bool:
    return key == key.encode("utf-8", "replace").decode()


def name_of(path: tuple[str, ...]) -> str:
    """Return the name that a change at this place of the config gets."""
    old: Any = 1
    new: Any = 2
    for key in reversed(path):
        old, new = {key: old}, {key: new}
    told = compare_runs(
        WandbRun(run_id="r", name="r", entity="e", project="p", config=old),
        WandbRun(run_id="r", name="r", entity="e", project="p", config=new),
    )
    assert told is not None
    (change,) = told.fields
    return change.field.removeprefix("config.")


# --- lines


@given(st.lists(st.tuples(nodes, nodes), max_size=3), st.sets(some.run_ids))
def test_line_reads_back_equal(pairs: list[Any], ids: set[str]) -> None:
    changed = {
        f"run{number}": told
        for number, (old, new) in enumerate(pairs)
        if (told := compare_runs(stored(old), stored(new)))
    }
    line = SyncChanges(
        at=AT,
        new=tuple(sorted(ids)),
        changed=changed,
        finished=dict.fromkeys(sorted(ids), "finished"),
        missing=tuple(sorted(ids)),
        rows={run_id: RowCount(before=1, after=2) for run_id in ids},
    )
    encoded = encode_line(line)
    read = decode_changes(encoded).unwrap()
    assert encode_line(read) == encoded
    assert encoded.count(b"\n") == 1
    assert read.empty == (not ids and not changed)
    assert (read.rows_added, read.rows_removed) == (len(ids), 0)


# --- what a sync tells


def changes_of(data_root: Path) -> list[dict[str, Any]]:
    files = syncing.visible(data_root / NAME)
    return [json.loads(line) for line in syncing.lines(files, "changes.jsonl")]


@pytest.fixture
def project() -> MemorySource:
    source = MemorySource()
    source.add_run("a", config={"flag": True})
    source.log("a", {"loss": 0.5})
    return source


def test_edit_from_true_to_one_is_taken_over_when_python_takes_both_for_equal(
    project: MemorySource, tmp_path: Path
) -> None:
    """A config value edited from true to 1 stayed true in the export for ever."""
    syncing.sync(project, tmp_path)
    project.update("a", config={"flag": 1})
    syncing.sync(project, tmp_path)
    assert syncing.runs_in(tmp_path / NAME)["a"]["config"] == {"flag": 1}
    assert syncing.runs_in(tmp_path / NAME)["a"]["config"]["flag"] is not True
    told = changes_of(tmp_path)[-1]["changed"]["a"]["fields"]
    assert told == [{"field": "config.flag", "old": True, "new": 1}]


def test_end_of_a_run_is_reported_when_its_history_failed_in_the_sync_that_first_saw_it(
    project: MemorySource, tmp_path: Path
) -> None:
    """A run that ended while its history could not be read was never told as finished."""
    syncing.sync(project, tmp_path)
    project.log("a", {"loss": 1.5})
    project.finish("a")
    project.poisoned.add("a")
    assert not syncing.sync(project, tmp_path).complete
    project.poisoned.clear()
    syncing.sync(project, tmp_path)
    assert changes_of(tmp_path)[-1]["finished"] == {"a": "finished"}


def test_run_that_was_never_read_is_not_reported_as_pruned_when_it_is_dropped(
    project: MemorySource, tmp_path: Path
) -> None:
    """The log said that a run was dropped which the export had never held."""
    project.add_run("b")
    project.unreadable.add("b")
    syncing.sync(project, tmp_path)
    project.delete("b")
    assert syncing.sync(project, tmp_path, prune=True).pruned_count == 1
    assert all("pruned" not in line for line in changes_of(tmp_path))


def test_sync_in_which_only_the_summary_of_a_live_run_moved_writes_no_line(
    project: MemorySource, tmp_path: Path
) -> None:
    """Hourly syncs of 300 live runs wrote 2.2 GB a year, nearly all of it steps and times."""
    syncing.sync(project, tmp_path, mode="metadata")
    before = syncing.visible(tmp_path / NAME)
    project.advance(60)
    project.log("a", {"loss": 0.25})
    syncing.sync(project, tmp_path, mode="metadata")
    after = syncing.visible(tmp_path / NAME)
    assert after["changes.jsonl"] == before["changes.jsonl"]
    assert syncing.runs_in(tmp_path / NAME)["a"]["summary_metrics"]["loss"] == 0.25


def test_end_of_a_run_is_told_once_with_its_summary_even_if_that_was_known(
    project: MemorySource, tmp_path: Path
) -> None:
    syncing.sync(project, tmp_path)
    project.advance(60)
    project.log("a", {"loss": 0.25})
    syncing.sync(project, tmp_path)
    assert changes_of(tmp_path)[-1].keys() == {"at", "rows"}
    project.advance(60)
    project.finish("a")
    syncing.sync(project, tmp_path)
    *_, line = lines = changes_of(tmp_path)
    fields = {told["field"]: told for told in line["changed"]["a"]["fields"]}
    loss = {"field": "summary_metrics.loss", "old": 0.25, "new": 0.25}
    assert fields["summary_metrics.loss"] == loss
    assert {"summary_metrics._step", "summary_metrics._timestamp", "state"} <= fields.keys()
    project.advance(60)
    syncing.sync(project, tmp_path)
    assert changes_of(tmp_path) == lines
    project.update("a", summary={"loss": 0.75})
    syncing.sync(project, tmp_path)
    (told,) = (
        told
        for told in changes_of(tmp_path)[-1]["changed"]["a"]["fields"]
        if told["field"] == "summary_metrics.loss"
    )
    assert told == {"field": "summary_metrics.loss", "old": 0.25, "new": 0.75}
