"""Lines of a console, as servers of any age give them, and as they are stored."""

from typing import Any

import pytest
from returns.pipeline import is_successful

from dr_wandb.core.contract.codec import NO_TIME, encode_line, locate, run_and_key
from dr_wandb.core.contract.console import console_line, read_plain
from dr_wandb.core.contract.dataset import CONSOLE, DATASETS, counts_in
from dr_wandb.core.contract.records import ConsoleLine
from dr_wandb.core.contract.row_forms import (
    decode_console_lines,
    form_of,
    is_canonical,
)

FORM = form_of(CONSOLE)


@pytest.mark.parametrize(
    ("text", "level", "timestamp", "content"),
    [
        ("2026-01-01T00:00:01.5 hello", None, "2026-01-01T00:00:01.5", "hello"),
        ("ERROR 2026-01-01T00:00:01 oh\n", "error", "2026-01-01T00:00:01", "oh"),
        ("2026-01-01T00:00:01 ", None, "2026-01-01T00:00:01", ""),
        ("2026-01-01T00:00:01 [rank-1] x", None, "2026-01-01T00:00:01", "[rank-1] x"),
        ("ERROR no time", None, None, "ERROR no time"),
        ("", None, None, ""),
    ],
)
def test_plain_line_is_taken_apart(
    text: str, level: str | None, timestamp: str | None, content: str
) -> None:
    assert read_plain(text) == (level, timestamp, content)


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (
            {"_step": 3, "timestamp": "2026-01-01T00:00:01.120000", "level": "error", "line": "x"},
            ConsoleLine(
                run_id="r",
                number=3,
                timestamp="2026-01-01T00:00:01.12Z",
                level="error",
                content="x",
            ),
        ),
        (
            {"_step": 0.0, "timestamp": "2026-01-01T00:00:01.000000Z", "label": "a", "level": ""},
            ConsoleLine(run_id="r", number=0, timestamp="2026-01-01T00:00:01Z", label="a"),
        ),
        (
            {"_step": 1, "timestamp": "2026-01-01T01:00:01.5+01:00", "line": "x"},
            ConsoleLine(run_id="r", number=1, timestamp="2026-01-01T00:00:01.5Z", content="x"),
        ),
        (
            {"_step": 1, "timestamp": "yesterday.5", "line": "x"},
            ConsoleLine(run_id="r", number=1, timestamp="yesterday.5", content="x"),
        ),
        (
            {"_step": 1, "timestamp": "2026-13-01T00:00:01.5", "line": 7},
            ConsoleLine(run_id="r", number=1, timestamp="2026-13-01T00:00:01.5", content="7"),
        ),
        (
            {"_step": 1, "timestamp": "", "line": "2026-01-01T00:00:01 is a time"},
            ConsoleLine(run_id="r", number=1, content="2026-01-01T00:00:01 is a time"),
        ),
        (
            {"_step": None, "line": "2026-01-01T00:00:01 \ud800"},
            ConsoleLine(run_id="r", number=0, timestamp="2026-01-01T00:00:01Z", content="\\ud800"),
        ),
        (
            {"_step": 2**63, "timestamp": "2026-01-01T00:00:01", "level": "", "line": "x"},
            ConsoleLine(run_id="r", number=0, timestamp="2026-01-01T00:00:01Z", content="x"),
        ),
        (
            {"_step": -(2**63), "timestamp": "2026-01-01T00:00:01", "level": "", "line": "x"},
            ConsoleLine(run_id="r", number=-(2**63), timestamp="2026-01-01T00:00:01Z", content="x"),
        ),
    ],
)
def test_raw_line_becomes_a_line(raw: dict[str, Any], line: ConsoleLine) -> None:
    assert console_line(raw, "r") == line
    encoded = FORM.encode([raw], "r")
    assert encoded.lines == encode_line(line)
    assert (list(encoded.steps), list(encoded.timestamps)) == ([line.number], [NO_TIME])
    assert FORM.decode(encoded.lines).unwrap() == line
    assert is_canonical(FORM, encoded.lines)
    assert locate(encoded.lines) == ("r", line.number, NO_TIME)
    assert run_and_key(encoded.lines) == ("r", FORM.key(line))


USUAL: dict[str, Any] = {"_step": 4, "timestamp": "2026-01-01T00:00:02.5", "level": "", "line": "x"}


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"label": "a", "level": "error"},
        {"label": 5},
        {"line": None},
        {"line": "\ud800"},
        {"timestamp": None},
        {"timestamp": "2026-01-01T00:00:10"},
        {"timestamp": "2026-01-01T00:00:10.000"},
        {"timestamp": "2026-01-01T00:00:10.000000Z"},
        {"timestamp": "2026-01-01T00:00:10.5+01:00"},
        {"timestamp": "2026-13-01T00:00:10.5"},
    ],
)
def test_lines_are_encoded_together_as_each_alone(members: dict[str, Any]) -> None:
    rows = [{**USUAL, "_step": 3}, {**USUAL, **members}]
    expected = [encode_line(console_line(row, "r")) for row in rows]
    assert FORM.encode(rows, "r").lines.splitlines(keepends=True) == expected


def test_no_lines_are_encoded_as_none() -> None:
    assert FORM.encode([], "r") == (b"", [], [])


@pytest.mark.parametrize(
    "line",
    [
        b'{"content": "x","label":null,"level":null,"number":1,"run_id":"r","timestamp":null}\n',
        b'{"content":"x","number":1,"run_id":"r"}\n',
        b'{"content":"x","label":null,"level":null,"number":1,"run_id":"r","timestamp":"2026-01-01'
        b'T00:00:00"}\n',
    ],
)
def test_line_of_another_tool_is_read_into_our_form(line: bytes) -> None:
    assert not is_canonical(FORM, line)
    assert is_canonical(FORM, encode_line(FORM.canonical(line, 2).unwrap()))


@pytest.mark.parametrize("line", [b"{}", b"[]", b'{"run_id":"r","number":"1"}', b"[" * 5000])
def test_line_that_does_not_read_is_a_failure(line: bytes) -> None:
    assert not is_successful(FORM.decode(line))
    assert not is_successful(FORM.canonical(line, 2))
    assert decode_console_lines([line]) is None


@pytest.mark.parametrize(
    ("members", "moves"),
    [
        ({}, False),
        ({"logLineCount": 6}, True),
        ({"state": "finished"}, True),
        ({"heartbeatAt": "2026-01-01T00:00:01Z"}, True),
        ({"historyLineCount": 9}, False),
        ({"summaryMetrics": "{}"}, False),
    ],
)
def test_counts_move_with_the_run(members: dict[str, Any], moves: bool) -> None:
    node = {"state": "running", "heartbeatAt": "2026-01-01T00:00:00Z", "logLineCount": 5}
    before, after = (counts_in(raw, [CONSOLE])[CONSOLE] for raw in (node, {**node, **members}))
    assert (before != after) == moves
    assert before.line_count == 5


@pytest.mark.parametrize("count", [None, -1, True, "5"])
def test_without_the_counter_any_other_one_is_a_sign(count: Any) -> None:
    node = {"logLineCount": count, "historyLineCount": 1}
    before, after = (
        counts_in({**node, "historyLineCount": lines}, [CONSOLE])[CONSOLE] for lines in (1, 2)
    )
    assert before.line_count is None
    assert before != after


def test_content_mark_of_a_source_counts_alone() -> None:
    nodes = [{"contentMark": "x", "state": state} for state in ("running", "crashed")]
    first, second = (counts_in(node, [CONSOLE])[CONSOLE] for node in nodes)
    assert first == second


@pytest.mark.parametrize(
    ("lines", "capped"), [(9_999, False), (10_000, True), (99_999, False), (100_000, True)]
)
def test_answer_of_as_many_lines_as_are_kept_is_capped(lines: int, capped: bool) -> None:
    is_capped = DATASETS[CONSOLE].is_capped
    assert is_capped is not None
    assert is_capped(lines) == capped
