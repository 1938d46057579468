"""Samples of a machine, as servers and files give them, and as they are stored."""

from typing import Any

import pytest
from returns.pipeline import is_successful

from dr_wandb.core.contract import sample_columns
from dr_wandb.core.contract.codec import encode_line, run_and_key
from dr_wandb.core.contract.dataset import SYSTEM, counts_in
from dr_wandb.core.contract.records import SystemSample
from dr_wandb.core.contract.row_forms import decode_samples, form_of, is_canonical
from dr_wandb.core.contract.system import system_sample

FORM = form_of(SYSTEM)


@pytest.mark.parametrize(
    ("raw", "sample"),
    [
        (
            {"system.cpu": 12.5, "_timestamp": 1000.25, "_runtime": 3.0, "_wandb": True},
            SystemSample(run_id="r", timestamp="1000.25", runtime=3, metrics={"system.cpu": 12.5}),
        ),
        (
            {"system.disk.\\.usage/l:a": 0.0, "_timestamp": 1000, "system.gpu": None},
            SystemSample(run_id="r", timestamp="1000", metrics={"system.disk.\\.usage/l:a": 0}),
        ),
        (
            {"_timestamp": "noon", "_runtime": [1], "_wandb": {"x": 1}, "_step": 3},
            SystemSample(run_id="r", metrics={"_timestamp": "noon", "_runtime": [1], "_step": 3}),
        ),
        ({"system.cpu": float("nan")}, SystemSample(run_id="r", metrics={"system.cpu": "NaN"})),
    ],
)
def test_raw_sample_becomes_a_sample(raw: dict[str, Any], sample: SystemSample) -> None:
    assert system_sample(raw, "r") == sample
    encoded = FORM.encode([raw], "r")
    assert encoded.lines == encode_line(sample)
    assert (list(encoded.steps), list(encoded.timestamps)) == ([None], [sample.timestamp])
    assert FORM.decode(encoded.lines).unwrap() == sample
    assert decode_samples([encoded.lines]) == [sample]
    assert is_canonical(FORM, encoded.lines)
    assert run_and_key(encoded.lines) == ("r", FORM.key(sample))


@pytest.mark.parametrize(
    "line",
    [
        b'{"metrics":{"a":5.0},"run_id":"r","runtime":null,"timestamp":null}\n',
        b'{"metrics":{},"run_id":"r","runtime":1.0,"timestamp":"1"}\n',
        b'{"metrics":{},"run_id":"r","runtime":1,"timestamp":"1.0"}\n',
        b'{"run_id":"r"}\n',
    ],
)
def test_sample_of_another_tool_is_read_into_our_form(line: bytes) -> None:
    assert is_successful(FORM.decode(line))
    assert not is_canonical(FORM, line)
    assert is_canonical(FORM, encode_line(FORM.canonical(line, 2).unwrap()))


@pytest.mark.parametrize("line", [b"{}", b"[]", b'{"run_id":1}', b"[" * 5000])
def test_sample_that_does_not_read_is_a_failure(line: bytes) -> None:
    assert not is_successful(FORM.decode(line))
    assert not is_successful(FORM.canonical(line, 2))
    assert not is_canonical(FORM, line)
    assert decode_samples([line]) is None


@pytest.mark.parametrize("count", [None, 7])
def test_counts_move_with_the_run(count: int | None) -> None:
    node = {"eventsLineCount": count, "state": "running", "historyLineCount": 1}
    known = counts_in(node, [SYSTEM])[SYSTEM]
    assert known.line_count == count
    assert known != counts_in({**node, "state": "finished"}, [SYSTEM])[SYSTEM]
    moved = counts_in({**node, "historyLineCount": 2}, [SYSTEM])[SYSTEM]
    assert (known != moved) == (count is None)


def alone(rows: list[dict[str, Any]]) -> list[bytes]:
    return [encode_line(system_sample(row, "r")) for row in rows]


@pytest.mark.parametrize(
    "values",
    [
        [1, 2, 3, 4],
        [0.5, 1.5, 2.5, 3.5],
        [0.5, 2.0, -0.0, float("inf")],
        [1, 0.5, True, 2.0],
        ["NaN", 0.5, 2.0, 1],
        [1, 2, 3, None],
        [1, 2, 3, [1.0]],
        [1, 2, 3, {"a": 1.0, "b": None}],
        [1, 2, 3, 10**4300],
    ],
)
@pytest.mark.parametrize(
    "name", ["system.disk./.in %d", "_timestamp", "_runtime", "_wandb", "\ud800"]
)
def test_samples_of_the_same_names_are_encoded_as_each_alone(name: str, values: list[Any]) -> None:
    rows = [{"system.cpu": 1.25, name: value} for value in values]
    assert sorted(FORM.encode(rows, "r").lines.splitlines(keepends=True)) == sorted(alone(rows))


def test_samples_of_several_parts_come_in_the_order_of_their_times() -> None:
    parts = ("system.cpu", "system.gpu.0.gpu")
    rows: list[dict[str, Any]] = [
        {parts[number % 2]: number, "_timestamp": 10.5 - number} for number in range(10)
    ]
    encoded = FORM.encode(rows, "r")
    assert encoded.lines.splitlines(keepends=True) == alone(rows[::-1])
    assert encoded.timestamps == [f"{number}.5" for number in range(1, 11)]


def test_names_may_come_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends an object of its own gives them in no order."""
    rows = [dict(sorted(ROW.items(), reverse=bool(number % 2))) for number in range(4)]
    expected = alone(rows)
    monkeypatch.setattr(sample_columns, "system_sample", None)
    assert FORM.encode(rows, "r").lines.splitlines(keepends=True) == expected


ROW = {"_timestamp": 1.5, "system.cpu": 0.5, "system.memory": 3, "_wandb": True}


@pytest.mark.parametrize("name", ["_timestamp", "_runtime", "system.cpu", "_wandb"])
def test_samples_of_one_name_are_encoded_together(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{name: 0.5}] * 4
    expected = alone(rows)
    monkeypatch.setattr(sample_columns, "system_sample", None)
    assert FORM.encode(rows, "r").lines.splitlines(keepends=True) == expected


def test_no_samples_are_no_lines() -> None:
    assert FORM.encode([], "r") == (b"", [], [])
