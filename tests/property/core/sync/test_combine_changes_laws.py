"""The laws of several lines of `changes.jsonl` together: what they tell is what differs in all."""

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from dr_wandb.core.contract.changes import ChangedRun, FieldChange, SyncChanges
from dr_wandb.core.contract.codec import decode_changes, encode_line
from dr_wandb.core.sync.changes import MOST_FIELDS, path_of
from dr_wandb.core.sync.combine_changes import combine_changes, fields_that_differ, fold_changes
from dr_wandb.core.sync.describe import describe_changes
from tests.property.machine import changes_model as model
from tests.support.state_files import as_json

AT = "2026-01-01T00:00:00Z"


@dataclass
class Held:
    """An export as the model of changes looks at it."""

    runs: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, list[bytes]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    outside: dict[str, str] = field(default_factory=dict)

    def of(self, run_id: str) -> tuple[Any, list[bytes]]:
        return self.runs.get(run_id), self.rows.get(run_id, [])


few_keys = st.sampled_from(["a", "b", "a.b", '"a'])
few_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 2),
    lambda inner: st.dictionaries(few_keys, inner, max_size=2),
    max_leaves=4,
)
held_runs = st.fixed_dictionaries(
    {
        "run_id": st.just("r"),
        "state": st.sampled_from(["running", "finished", "crashed"]),
        "tags": st.sampled_from([[], ["x"]]),
        "config": st.dictionaries(few_keys, few_values, max_size=3),
    }
)
large_values = st.sampled_from([1, "x" * 120, "y" * 250, {"a": "x" * 120, "b": 1}])
large_runs = st.fixed_dictionaries(
    {
        "run_id": st.just("r"),
        "state": st.just("running"),
        "config": st.dictionaries(
            few_keys, large_values | st.dictionaries(few_keys, large_values, max_size=2), max_size=2
        ),
    }
)
ids = st.sampled_from(["r", "s"])


@st.composite
def held_exports(draw: Any) -> Held:
    runs = draw(st.dictionaries(ids, held_runs, max_size=2))
    counts = {run_id: draw(st.integers(0, 2)) for run_id in runs}
    some_of = st.sets(st.sampled_from(sorted(runs))) if runs else st.just(set())
    return Held(
        runs=runs,
        rows={run_id: [b"row"] * count for run_id, count in counts.items() if count},
        missing=dict.fromkeys(draw(some_of), AT),
        outside=dict.fromkeys(draw(some_of), AT),
    )


sequences = st.lists(held_exports(), min_size=2, max_size=5)


def line_between(before: Any, after: Any) -> SyncChanges:
    """Return the line that the model tells, as it reads."""
    told = model.changes_between(before, after, AT)
    return decode_changes(json.dumps(told or {"at": AT}).encode()).unwrap()


def begin_unmarked(exports: list[Held]) -> None:
    """Take marks from new runs: one that is new was seen in that sync, and within the scope."""
    for before, after in zip([Held(), *exports], exports, strict=False):
        for run_id in after.runs.keys() - before.runs.keys():
            after.missing.pop(run_id, None)
            after.outside.pop(run_id, None)


def lines_of(exports: list[Held]) -> list[SyncChanges]:
    return [line_between(*pair) for pair in pairwise(exports)]


def came_back(exports: list[Held]) -> set[str]:
    """Return the runs of the first and the last export that were dropped in between."""
    kept = {run_id for run_id in exports[0].runs if run_id in exports[-1].runs}
    return {run_id for run_id in kept if any(run_id not in export.runs for export in exports)}


def without(line: Any, run_ids: set[str]) -> Any:
    """Return a line as an object that does not speak of some runs."""
    result = as_json(line)
    for name, told in result.items():
        if isinstance(told, dict):
            result[name] = {run: what for run, what in told.items() if run not in run_ids}
        elif isinstance(told, list):
            result[name] = [run for run in told if run not in run_ids]
    return {name: told for name, told in result.items() if told}


def first_to_last(exports: list[Held]) -> Any:
    """Tell what differs, with the marks that new runs got since: nothing else knows of them."""
    first, last = exports[0], exports[-1]
    told = as_json(line_between(first, last))
    new = set(told.get("new", ()))
    for name, marked in (("missing", last.missing), ("left_scope", last.outside)):
        if found := sorted({*told.get(name, ()), *(run for run in marked if run in new)}):
            told[name] = found
    return told


@given(sequences)
def test_combined_lines_report_what_differs_between_the_first_export_and_the_last(
    exports: list[Held],
) -> None:
    begin_unmarked(exports)
    again = came_back(exports)
    combined = combine_changes(lines_of(exports), AT)
    expected = first_to_last(exports)
    rows = expected.setdefault("rows", {})
    for run_id, count in combined.rows.items():
        # Rows that were replaced, and then again, may be the first ones: nobody can tell.
        if run_id not in rows and count.before == count.after:
            rows[run_id] = as_json(count)
    assert without(combined, again) == without(
        decode_changes(json.dumps(expected).encode()).unwrap(), again
    )
    assert again <= {*combined.new} & {*combined.pruned}


nested_values = st.sampled_from(
    [None, 1, {}, {"b": 1}, {"b": 2}, {"b": 1, "c": 1}, {"b": {"c": 1}}, {"b": {"c": 2}, "c": 1}]
)
nested_configs: st.SearchStrategy[dict[str, Any]] = nested_values.map(
    lambda value: {"a": value}
) | st.just({})


@given(st.lists(nested_configs, min_size=3, max_size=6))
@example([{"a": {"b": 1}}, {"a": {"b": 2}}, {"a": 1}])
@example([{"a": 1}, {"a": {"b": 1}}, {"a": {"b": 2}}])
@example([{"a": {"b": 1}}, {"a": 1}, {"a": {"b": 2}}])
def test_objects_that_became_other_values_and_back_are_reported_as_they_differ(
    configs: list[dict[str, Any]],
) -> None:
    """The log told an old value that the config had never had at the beginning."""
    exports = [
        Held(runs={"r": {"run_id": "r", "state": "running", "config": config}})
        for config in configs
    ]
    combined = combine_changes(lines_of(exports), AT)
    assert as_json(combined) == as_json(line_between(exports[0], exports[-1]))


@given(sequences, st.integers(0, 5), st.integers(0, 5))
def test_lines_may_be_combined_in_parts(exports: list[Held], one: int, two: int) -> None:
    lines = lines_of(exports)
    low, high = sorted((min(one, len(lines)), min(two, len(lines))))
    parts = [lines[:low], lines[low:high], lines[high:]]
    whole = combine_changes(lines, AT)
    assert combine_changes([combine_changes(part, AT) for part in parts], AT) == whole


@given(st.lists(large_runs, min_size=2, max_size=5))
def test_large_values_are_never_reported_wrongly_by_combined_lines(history: list[Any]) -> None:
    """A reported value is right; a value that is missing was large in some sync."""
    exports = [Held(runs={"r": run}) for run in history]
    lines = lines_of(exports)
    combined = combine_changes(lines, AT).changed.get("r", ChangedRun())
    direct = line_between(exports[0], exports[-1]).changed.get("r", ChangedRun())
    told = {change.field: change for change in combined.fields}
    large = {path_of(change.field) for change in combined.fields if change.large}
    for change in direct.fields:
        path = path_of(change.field)
        covered = any(path[:length] in large for length in range(1, len(path) + 1))
        inside = any(place[: len(path)] == path for place in large)
        assert told.get(change.field) == change or covered or inside, change
    for change in combined.fields:
        assert change.large or change in direct.fields, change


@given(st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_several_lines_name_no_more_fields_than_one(counts: list[int]) -> None:
    lines = [
        SyncChanges(
            at=AT,
            changed={
                "r": ChangedRun(
                    fields=tuple(
                        FieldChange(field=f"config.k{place}.{number}", old=1, new=2)
                        for number in range(min(count, MOST_FIELDS))
                    ),
                    more=max(0, count - MOST_FIELDS),
                )
            },
        )
        for place, count in enumerate(counts)
    ]
    told = combine_changes(lines, AT).changed["r"]
    known = sum(min(count, MOST_FIELDS) for count in counts)
    assert len(told.fields) == min(known, MOST_FIELDS)
    assert bool(told.more) == (known > MOST_FIELDS or max(counts) > MOST_FIELDS)


@given(held_exports(), held_exports())
def test_one_line_alone_stays_as_it_is(before: Held, after: Held) -> None:
    line = line_between(before, after)
    assert combine_changes([line], AT) == line
    assert combine_changes([line, SyncChanges(at=AT)], AT) == line
    assert combine_changes([], AT).empty


# --- the summary of live runs, and folded lines

summaries = st.dictionaries(
    st.sampled_from(["loss", "a.b", "_step"]), st.integers(0, 2) | st.just("x" * 250), max_size=3
)
states = st.sampled_from(["running", "finished", "crashed"])
summary_runs = st.fixed_dictionaries(
    {
        "run_id": st.just("r"),
        "state": states,
        "tags": st.sampled_from([[], ["x"]]),
        "config": st.dictionaries(few_keys, few_values, max_size=2),
        "summary_metrics": summaries | nested_configs,
    }
)
RUNNING, FINISHED = "running", "finished"


def summary_run(state: str, **summary: Any) -> dict[str, Any]:
    return {"run_id": "r", "state": state, "summary_metrics": summary}


@st.composite
def lives(draw: Any) -> list[Held]:
    """Draw what is held of runs that live, end and live again, are dropped and come back."""
    exports = draw(sequences)
    for export in exports:
        export.runs = {run_id: draw(summary_runs) for run_id in export.runs}
    begin_unmarked(exports)
    return list(exports)


@given(lives(), st.integers(0, 5))
@example(
    [
        Held(runs={"r": run})
        for run in (
            summary_run(RUNNING, loss=9),
            summary_run(FINISHED, loss=8),
            summary_run(FINISHED, loss=9),
            summary_run(RUNNING, loss=9),
            summary_run(RUNNING, loss=4),
            summary_run(FINISHED, loss=5),
        )
    ],
    3,
)
def test_folded_line_has_the_sum_of_its_lines_and_every_later_line(
    exports: list[Held], cut: int
) -> None:
    """A loss that went back to 9, and then changed unseen, is told from 9 on, not from 4."""
    lines = lines_of(exports)
    old, rest = lines[:cut], lines[cut:]
    folded = fold_changes(old, AT)
    assert combine_changes([folded, *rest], AT) == combine_changes(lines, AT)
    assert combine_changes([folded], AT) == combine_changes(old, AT)


@given(lives())
def test_folded_line_is_a_line_and_stays_the_same_when_it_is_folded_again(
    exports: list[Held],
) -> None:
    folded = fold_changes(lines_of(exports), AT)
    encoded = encode_line(folded)
    assert encode_line(decode_changes(encoded).unwrap()) == encoded
    assert fold_changes([decode_changes(encoded).unwrap()], AT) == folded


@given(st.lists(st.tuples(states, summaries), min_size=2, max_size=6))
def test_combined_lines_have_the_summary_with_which_a_run_ended(
    history: list[tuple[str, dict[str, Any]]],
) -> None:
    exports = [Held(runs={"r": summary_run(state, **values)}) for state, values in history]
    combined = combine_changes(lines_of(exports), AT)
    told = {path_of(change.field): change for change in combined.changed.get("r", NO_FIELDS).fields}
    (first, _), (last, values) = history[0], history[-1]
    assert (first == RUNNING and last != RUNNING) == ("r" in combined.finished)
    if "r" not in combined.finished:
        return
    for key, value in values.items():
        change = told.get(("summary_metrics", key))
        if value in range(3):
            assert change is not None
            assert change.large or change.new == value
        elif change is not None:
            assert change.large


NO_FIELDS = ChangedRun()


@given(lives())
def test_fields_of_an_ordinary_line_all_differ_or_say_how_a_run_ended(exports: list[Held]) -> None:
    for line in lines_of(exports):
        for changed in line.changed.values():
            assert fields_that_differ(changed) == changed


def test_field_that_went_back_is_in_a_folded_line_and_not_in_its_words() -> None:
    there, back = (
        SyncChanges(
            at=AT,
            changed={"r": ChangedRun(fields=(FieldChange(field="notes", old=old, new=new),))},
        )
        for old, new in (("x", "y"), ("y", "x"))
    )
    folded = fold_changes([there, back], AT)
    assert folded.changed["r"].fields == (FieldChange(field="notes", old="x", new="x"),)
    assert fields_that_differ(folded.changed["r"]) is None
    assert describe_changes(folded) == (f"{AT}  nothing changed",)


def test_field_that_came_and_went_is_named_in_a_folded_line() -> None:
    came = FieldChange(field="config.a", new=1)
    went = FieldChange(field="config.a", old=1)
    lines = [SyncChanges(at=AT, changed={"r": ChangedRun(fields=(one,))}) for one in (came, went)]
    folded = fold_changes(lines, AT)
    assert encode_line(folded) == (
        b'{"at":"2026-01-01T00:00:00Z","changed":{"r":{"fields":[{"field":"config.a"}]}}}\n'
    )
    assert combine_changes([folded], AT).empty
