"""Raw runs and rows to records, by example."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import msgspec
import pytest

from dr_wandb.core.contract.normalize import instant, normalize_row, normalize_run, normalize_time
from dr_wandb.core.contract.records import HistoryRow, RunUser, WandbRun
from dr_wandb.core.contract.values import json_safe
from dr_wandb.core.sync.left_out import LISTED

FULL_NODE = {
    "id": "UnVuOnYx",
    "name": "abc",
    "displayName": "brave-fox-1",
    "projectId": "9",
    "state": "finished",
    "createdAt": "2024-01-02T03:04:05",
    "heartbeatAt": "2024-01-02T04:04:05",
    "tags": ["a", "b"],
    "group": "g",
    "jobType": "train",
    "sweepName": "s1",
    "notes": "note",
    "description": "described",
    "commit": "c0ffee",
    "readOnly": False,
    "user": {"username": "ada", "name": "Ada"},
    "historyLineCount": 7,
    "historyKeys": {"lastStep": 6, "keys": {"loss": {"typeCounts": []}}},
    "config": '{"lr": {"desc": null, "value": 1e-3}, "_wandb": {"value": {"t": {}}}}',
    "summaryMetrics": '{"loss": NaN, "_step": 6}',
    "systemMetrics": "{}",
}


FROM_ELSEWHERE = {"run_id", "entity", "project", "path", "updated_at", "url", "metadata"}
"""Fields that are the same for an empty node, or that no listing asks for."""


def run_of(**fields: Any) -> WandbRun:
    return normalize_run({"name": "abc", **fields}, entity="team", project="project")


def test_full_node_has_every_field_that_a_listing_asks_for() -> None:
    assert {field.partition(".")[0] for field in LISTED} == FULL_NODE.keys()


def test_every_field_of_a_run_is_filled_from_a_full_node() -> None:
    """A field that is stored and never filled would be null in every export."""
    full = msgspec.structs.asdict(normalize_run(FULL_NODE, entity="team", project="project"))
    empty = msgspec.structs.asdict(run_of())
    assert {name for name, value in full.items() if value == empty[name]} == FROM_ELSEWHERE


def test_full_node_becomes_a_run() -> None:
    run = normalize_run(FULL_NODE, entity="team", project="project")
    assert run == WandbRun(
        run_id="abc",
        name="brave-fox-1",
        display_name="brave-fox-1",
        entity="team",
        project="project",
        state="finished",
        created_at="2024-01-02T03:04:05Z",
        heartbeat_at="2024-01-02T04:04:05Z",
        storage_id="UnVuOnYx",
        project_id="9",
        path=["team", "project", "abc"],
        tags=["a", "b"],
        group="g",
        job_type="train",
        sweep_name="s1",
        notes="note",
        description="described",
        commit="c0ffee",
        user=RunUser(username="ada", name="Ada"),
        read_only=False,
        config={"lr": 0.001},
        wandb_config={"_wandb": {"t": {}}},
        summary_metrics={"loss": "NaN", "_step": 6},
        system_metrics={},
        history_keys={"lastStep": 6, "keys": {"loss": {"typeCounts": []}}},
        history_line_count=7,
    )
    assert run.history_keys_last_step == 6


@pytest.mark.parametrize(
    ("raw", "user"),
    [
        (None, None),
        ({}, None),
        ({"username": None, "name": None}, None),
        ({"username": "ada"}, RunUser(username="ada")),
        ({"name": "Ada", "username": None}, RunUser(name="Ada")),
        ({"username": "ada", "name": "Ada", "id": "x"}, RunUser(username="ada", name="Ada")),
    ],
)
def test_user_is_a_name_pair_or_null(raw: Any, user: RunUser | None) -> None:
    assert run_of(user=raw).user == user


@pytest.mark.parametrize("last_step", [True, "3", None, 2.5])
def test_last_step_that_is_no_integer_is_none(last_step: Any) -> None:
    assert run_of(historyKeys={"lastStep": last_step}).history_keys_last_step is None


@pytest.mark.parametrize("count", [True, "3", None, 2.5])
def test_line_count_that_is_no_integer_is_none(count: Any) -> None:
    assert run_of(historyLineCount=count).history_line_count is None


def test_config_is_unwrapped_one_level() -> None:
    run = run_of(
        config={
            "nested": {"desc": "d", "value": {"value": 1}},
            "plain": 3,
            "null": {"desc": None, "value": None},
            "wandb_version": 1,
        }
    )
    assert run.config == {"nested": {"value": 1}, "plain": 3, "null": None}
    assert run.wandb_config == {"wandb_version": 1}


@pytest.mark.parametrize("field", ["config", "summaryMetrics", "systemMetrics"])
@pytest.mark.parametrize("text", ["{", "[1]", "1", "", '{"a": 1} x'])
def test_json_text_that_does_not_read_is_reported_with_its_field(field: str, text: str) -> None:
    with pytest.raises(ValueError, match=field):
        run_of(**{field: text})


TIMES = [
    ("2024-01-02T03:04:05", "2024-01-02T03:04:05Z"),
    ("2024-01-02T03:04:05Z", "2024-01-02T03:04:05Z"),
    ("2024-01-02T03:04:05+00:00", "2024-01-02T03:04:05Z"),
    ("2024-01-02T03:04:05+0000", "2024-01-02T03:04:05Z"),
    ("2024-01-02 03:04:05", "2024-01-02T03:04:05Z"),
    (" 2024-01-02T03:04:05Z ", "2024-01-02T03:04:05Z"),
    ("2024-01-02T05:04:05+02:00", "2024-01-02T03:04:05Z"),
    ("2024-01-01T23:34:05-03:30", "2024-01-02T03:04:05Z"),
    ("2024-01-02T03:04:05.000Z", "2024-01-02T03:04:05Z"),
    ("2024-01-02T03:04:05.5", "2024-01-02T03:04:05.5Z"),
    ("2024-01-02T03:04:05.500000+00:00", "2024-01-02T03:04:05.5Z"),
    ("2024-01-02T03:04:05.123456789Z", "2024-01-02T03:04:05.123456789Z"),
    ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
    (datetime(2024, 1, 2, 3, 4, 5), "2024-01-02T03:04:05Z"),
    (datetime(2024, 1, 2, 3, 4, 5, 500000, tzinfo=UTC), "2024-01-02T03:04:05.5Z"),
    (datetime(2024, 1, 2, 5, 4, 5, tzinfo=timezone(timedelta(hours=2))), "2024-01-02T03:04:05Z"),
    (None, None),
    ("soon", "soon"),
    ("2024-13-45T00:00:00Z", "2024-13-45T00:00:00Z"),
    ("", ""),
]


@pytest.mark.parametrize(("raw", "text"), TIMES, ids=lambda value: str(value))
def test_time_has_one_text(raw: Any, text: str | None) -> None:
    assert normalize_time(raw) == text


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-01-02T03:04:05Z", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2024-01-02T03:04:05.5Z", datetime(2024, 1, 2, 3, 4, 5, 500000, tzinfo=UTC)),
        ("2024-01-02T03:04:05.123456789Z", datetime(2024, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("2024-01-02T03:04:05", datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("soon", None),
        ("", None),
        (None, None),
    ],
)
def test_instant_is_read_from_a_time(text: str | None, moment: datetime | None) -> None:
    assert instant(text) == moment


ROWS: list[tuple[dict[str, Any], HistoryRow]] = [
    ({}, HistoryRow(run_id="run")),
    ({"_step": 4.0}, HistoryRow(run_id="run", step=4)),
    ({"_step": None, "a": None}, HistoryRow(run_id="run")),
    ({"_step": True}, HistoryRow(run_id="run", extra={"_step": True})),
    ({"_step": "4"}, HistoryRow(run_id="run", extra={"_step": "4"})),
    ({"_step": 1.5}, HistoryRow(run_id="run", extra={"_step": 1.5})),
    ({"_step": {"a": 1}}, HistoryRow(run_id="run", extra={"_step.a": 1})),
    ({"_timestamp": 1700000000.5}, HistoryRow(run_id="run", timestamp="1700000000.5")),
    ({"_timestamp": 1700000000.0}, HistoryRow(run_id="run", timestamp="1700000000")),
    ({"_timestamp": float("nan")}, HistoryRow(run_id="run", extra={"_timestamp": "NaN"})),
    ({"_timestamp": "now"}, HistoryRow(run_id="run", extra={"_timestamp": "now"})),
    ({"_timestamp": False}, HistoryRow(run_id="run", extra={"_timestamp": False})),
    ({"_runtime": 12.0}, HistoryRow(run_id="run", runtime=12)),
    ({"_runtime": float("inf")}, HistoryRow(run_id="run", extra={"_runtime": "Infinity"})),
    ({"_wandb": {"a": None, "b": 1}}, HistoryRow(run_id="run", wandb_metadata={"b": 1})),
    ({"_wandb": [1]}, HistoryRow(run_id="run", extra={"_wandb": [1]})),
    ({"_own": 1, "own": 2}, HistoryRow(run_id="run", metrics={"own": 2}, extra={"_own": 1})),
    ({"a": {"b": None, "c": [None]}}, HistoryRow(run_id="run", metrics={"a.c": [None]})),
    ({"a": {"b": None}}, HistoryRow(run_id="run")),
    ({"a": [{"b": None}]}, HistoryRow(run_id="run", metrics={"a": [{}]})),
    ({"": 1, "a.b": 2}, HistoryRow(run_id="run", metrics={"": 1, "a.b": 2})),
]


@pytest.mark.parametrize(("raw_row", "row"), ROWS, ids=lambda value: repr(value)[:40])
def test_raw_row_becomes_a_row(raw_row: dict[str, Any], row: HistoryRow) -> None:
    assert normalize_row(raw_row, "run") == row


def test_lone_surrogate_becomes_its_escape() -> None:
    assert json_safe("a\ud800b") == "a\\ud800b"


def test_nulls_stay_in_snapshots_and_go_from_rows() -> None:
    value = {"a": None, "b": [None, {"c": None}]}
    assert json_safe(value) == value
    assert json_safe(value, drop_nulls=True) == {"b": [None, {}]}
