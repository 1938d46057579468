"""Laws of the history selection, and of the requests that carry it."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.request import ExportMode, ExportRequest, SyncMode
from dr_wandb.core.contract.select import select_row, select_rows
from dr_wandb.core.contract.selection import (
    EVERYTHING,
    HistorySelection,
    HistoryWindow,
    build_selection,
)
from tests.support import strategies as some

rows = some.raw_rows.map(lambda raw_row: normalize_row(raw_row, some.RUN_ID))
OWN = {"_step": "step", "_timestamp": "timestamp", "_runtime": "runtime"}


def holds(metrics: Any, key: str) -> bool:
    """Say whether a key names something: itself, or a path whose every part is a key."""
    if not isinstance(metrics, dict):
        return False
    if key in metrics:
        return True
    parts = key.split(".")
    return any(
        holds(metrics.get(".".join(parts[:cut])), ".".join(parts[cut:]))
        for cut in range(1, len(parts))
    )


def has(row: HistoryRow, key: str) -> bool:
    if key.startswith("_"):
        own = {f"_wandb.{name}": value for name, value in row.wandb_metadata.items()}
        there = {**row.extra, **own}
        return names(there, key) or (key in OWN and getattr(row, OWN[key]) is not None)
    return names(row.metrics, key) or holds(row.metrics, key)


def names(members: dict[str, Any], key: str) -> bool:
    """Say whether a key is the name of a member, or of an object that was flattened."""
    return any(name == key or name.startswith(f"{key}.") for name in members)


def leaves(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if isinstance(value, dict) and value:
        return {
            place: leaf
            for key, member in value.items()
            for place, leaf in leaves(member, (*path, key)).items()
        }
    return {path: value}


@given(rows, some.selections)
def test_selecting_a_row_twice_is_selecting_it_once(
    row: HistoryRow, selection: HistorySelection
) -> None:
    once = select_row(row, selection)
    if once is not None:
        assert select_row(once, selection) == once


@given(some.runs_of_rows, some.selections)
def test_selecting_rows_twice_is_selecting_them_once(
    run: list[HistoryRow], selection: HistorySelection
) -> None:
    once = select_rows(run, selection)
    assert select_rows(once, selection) == once


@given(rows, some.selections)
@example(normalize_row({"a": {"b.c": 1, "b": {"c": 2}}}, "run"), HistorySelection(keys=("a.b.c",)))
@example(normalize_row({"a": {"b": 2}}, "run"), HistorySelection(keys=("a.b.c",)))
@example(normalize_row({"_wandb": 3}, "run"), HistorySelection(keys=("_wandb",)))
def test_row_is_kept_iff_it_has_at_least_one_of_the_keys(
    row: HistoryRow, selection: HistorySelection
) -> None:
    kept = select_row(row, replace(selection, window=None))
    wanted = selection.keys is None or any(has(row, key) for key in selection.keys)
    assert (kept is not None) == wanted


@given(rows, some.selections)
def test_only_the_wanted_metrics_are_kept_and_the_rest_of_the_row_stays(
    row: HistoryRow, selection: HistorySelection
) -> None:
    kept = select_row(row, replace(selection, window=None))
    if kept is None:
        return
    assert replace(kept, metrics={}) == replace(row, metrics={})
    if selection.keys is None:
        assert kept == row
        return
    before = leaves(row.metrics)
    for path, value in leaves(kept.metrics).items():
        if path:
            assert before[path] == value
            dotted = ".".join(path)
            assert any(dotted == key or dotted.startswith(f"{key}.") for key in selection.keys)


@given(rows, some.key_sets, some.key_sets)
def test_narrowing_the_keys_after_widening_them_equals_narrowing_them(
    row: HistoryRow, keys: tuple[str, ...] | None, more: tuple[str, ...] | None
) -> None:
    assume(keys is not None)
    assert keys is not None
    narrow = HistorySelection(keys=keys)
    wide = HistorySelection(keys=None if more is None else (*keys, *more))
    widened = select_row(row, wide)
    direct = select_row(row, narrow)
    assert (None if widened is None else select_row(widened, narrow)) == direct


@given(some.runs_of_rows, some.windows, some.windows)
def test_narrowing_the_window_after_widening_it_equals_narrowing_it(
    run: list[HistoryRow], narrow: HistoryWindow, other: HistoryWindow
) -> None:
    lows = (narrow.min_step, other.min_step)
    highs = (narrow.max_step, other.max_step)
    wide = HistoryWindow(
        min_step=None if None in lows else min(bound for bound in lows if bound is not None),
        max_step=None if None in highs else max(bound for bound in highs if bound is not None),
    )
    narrowed = HistorySelection(window=narrow)
    widened = select_rows(run, HistorySelection(window=wide))
    assert select_rows(widened, narrowed) == select_rows(run, narrowed)


@given(some.runs_of_rows, some.windows)
def test_windows_are_closed_below_and_open_above_and_no_step_is_step_zero(
    run: list[HistoryRow], window: HistoryWindow
) -> None:
    bounds = replace(window, max_records=None)
    kept = select_rows(run, HistorySelection(window=bounds))
    low = float("-inf") if bounds.min_step is None else bounds.min_step
    high = float("inf") if bounds.max_step is None else bounds.max_step
    assert kept == tuple(row for row in run if low <= (row.step or 0) < high)


@given(some.runs_of_rows, some.selections, st.integers(1, 8))
def test_max_records_keeps_the_last(
    run: list[HistoryRow], selection: HistorySelection, last: int
) -> None:
    unbounded = replace(selection, window=replace(selection.bounds, max_records=None))
    bounded = replace(selection, window=replace(selection.bounds, max_records=last))
    assert select_rows(run, bounded) == select_rows(run, unbounded)[-last:]


@given(rows, some.selections)
def test_selected_row_has_only_what_json_can_hold(
    row: HistoryRow, selection: HistorySelection
) -> None:
    kept = select_row(row, selection)
    if kept is not None:
        assert msgspec.json.decode(encode_line(kept), type=HistoryRow) == kept


@given(rows)
def test_everything_admits_every_row_as_it_is(row: HistoryRow) -> None:
    assert select_row(row, EVERYTHING) == row


# --- requests


@given(st.lists(some.selection_keys, min_size=1), st.data())
def test_selections_that_admit_the_same_compare_equal(keys: list[str], data: st.DataObject) -> None:
    shuffled = [*data.draw(st.permutations(keys)), *data.draw(st.lists(st.sampled_from(keys)))]
    one = HistorySelection(keys=tuple(keys))
    other = HistorySelection(keys=tuple(shuffled), window=HistoryWindow())
    assert one == other
    assert hash(one) == hash(other)
    assert msgspec.json.decode(msgspec.json.encode(one), type=HistorySelection) == one
    assert build_selection(keys=keys) == one


@given(some.selections)
def test_selection_reads_back_equal_from_json(selection: HistorySelection) -> None:
    text = msgspec.json.encode(selection)
    assert msgspec.json.decode(text, type=HistorySelection) == selection


@given(some.requests)
def test_request_reads_back_equal_from_json(request: ExportRequest) -> None:
    assert request.selection == (request.history_selection or EVERYTHING)
    text = msgspec.json.encode(request, enc_hook=str)
    json.loads(text)


@given(st.sampled_from(ExportMode), st.sampled_from(SyncMode))
def test_texts_are_accepted_for_enums(mode: ExportMode, sync_mode: SyncMode) -> None:
    by_text: Any = {"mode": str(mode.value), "sync_mode": str(sync_mode.value)}
    request = ExportRequest(entity="e", project="p", name="n", **by_text)
    assert request == ExportRequest(
        entity="e", project="p", name="n", mode=mode, sync_mode=sync_mode
    )
    assert type(request.mode) is ExportMode
    assert type(request.sync_mode) is SyncMode


bad_values: dict[str, st.SearchStrategy[Any]] = {
    "entity": st.sampled_from(["", " ", "a/b", "a\x00", 4, None]),
    "project": st.sampled_from(["", "\t", "../p", "a\\b", [], True]),
    "name": st.sampled_from(["", ".", "..", "../../etc", "/etc", "a/b", "a\nb", "x" * 201, 3]),
    "mode": st.sampled_from(["", "History", "all", None, 3, []]),
    "sync_mode": st.sampled_from(["", "full", None, {}]),
    "runs_per_page": st.sampled_from([0, -1, 1.5, "10", True, None]),
    "timeout_seconds": st.sampled_from([0, -5, 0.5, "1", False]),
}


@given(st.fixed_dictionaries({}, optional=bad_values))
def test_all_problems_of_a_request_are_reported_at_once(bad: dict[str, Any]) -> None:
    fields = {"entity": "e", "project": "p", "name": "n", **bad}
    if not bad:
        ExportRequest(**fields)
        return
    with pytest.raises(InvalidRequestError) as caught:
        ExportRequest(**fields)
    problems = caught.value.problems
    assert len(problems) == len(bad)
    in_order = [field for field in bad_values if field in bad]
    assert [problem.split(" ")[0] for problem in problems] == in_order
    assert str(caught.value) == "; ".join(problems)


@given(some.texts)
@example("\ud800")
@example("a\x7f")
@example("é" * 101)
@example(" .. ")
@example("\u3000")
def test_accepted_name_is_one_folder_below_the_data_root(name: str) -> None:
    try:
        request = ExportRequest(entity="team", project="project", name=name)
    except InvalidRequestError as refused:
        assert any(problem.startswith("name ") for problem in refused.problems)  # noqa: PT017
        return
    assert request.name == request.name.strip()
    folder = request.data_root / request.name
    assert folder.parent == request.data_root
    assert folder.name not in {"", ".", ".."}
    assert len(request.name.encode()) <= 200
    assert "\x00" not in request.name


@given(some.texts, some.texts)
@example("\ud800", "p")
def test_accepted_address_can_be_written(entity: str, project: str) -> None:
    try:
        request = ExportRequest(entity=entity, project=project, name="n")
    except InvalidRequestError:
        return
    msgspec.json.encode({"entity": request.entity, "project": request.project})


@given(st.lists(some.texts, max_size=3))
@example(["\ud800"])
def test_accepted_keys_can_be_remembered(keys: list[str]) -> None:
    try:
        selection = HistorySelection(keys=tuple(keys))
    except InvalidRequestError:
        assert any(not key.strip() for key in keys)
        return
    text = msgspec.json.encode(selection)
    assert msgspec.json.decode(text, type=HistorySelection) == selection
