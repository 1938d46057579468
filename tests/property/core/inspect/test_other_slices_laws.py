"""Laws of the check of samples and console lines: many at once find what one by one finds."""

from collections.abc import Callable, Sequence
from io import BytesIO
from itertools import pairwise
from typing import Any
from unittest import mock

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from dr_wandb.core.contract.codec import run_and_key
from dr_wandb.core.contract.dataset import CONSOLE, SYSTEM
from dr_wandb.core.contract.row_forms import form_of
from dr_wandb.core.inspect import audit_rows
from dr_wandb.core.inspect.audit_rows import RowsAudit, SliceAudit
from dr_wandb.core.inspect.row_rules import RowRules
from dr_wandb.core.inspect.sound_other_rows import prove_other_rows
from dr_wandb.core.inspect.verify import Findings

KNOWN = ("a", "b")
BOTH = (CONSOLE, SYSTEM)

RAW: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    CONSOLE: st.fixed_dictionaries(
        {
            "_step": st.integers(0, 9),
            "timestamp": st.sampled_from(
                [None, "2026-01-01T00:00:01", "2026-01-01T00:00:10.5", "2026-01-01T00:00:10.120Z"]
            ),
            "level": st.sampled_from(["", "error"]),
            "line": st.text(max_size=3) | st.sampled_from(["5.0,", "null", '"', "{}"]),
        }
    ),
    SYSTEM: st.fixed_dictionaries(
        {
            "_timestamp": st.integers(0, 9)
            | st.floats(0, 9)
            | st.sampled_from([None, "noon", 2**60])
        },
        optional={
            "_runtime": st.sampled_from([0, 1.5, None]),
            "system.cpu": st.floats(0, 9) | st.sampled_from([1, "x", "NaN", [1], 2.0**60]),
            "_x": st.just(1),
            "é": st.booleans(),
        },
    ),
}


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda line: line.replace(old, new, 1)


SPOILS = (
    replaced(b":", b": "),
    replaced(b'Z"', b'"'),
    replaced(b'Z"', b'0Z"'),
    replaced(b".12Z", b".120Z"),
    replaced(b".5Z", b".\xd9\xa3Z"),
    replaced(b"2026-01-01T00:00:10", b"2026-13-01T00:00:10"),
    replaced(b"2026-01-01T00:00:0", b"2026-01-01 00:00:0"),
    replaced(b"2026-01-01T00:00:01Z", b"2026-01-01T00:00:01Z\\n2026-01-01T00:00:01Z"),
    replaced(b'"timestamp":null', b'"timestamp":"yesterday"'),
    replaced(b'"label":null,', b""),
    replaced(b'"number":', b'"more":1,"number":'),
    replaced(b'"number":1', b'"number":1.0'),
    replaced(b'"timestamp":"', b'"timestamp":"0'),
    replaced(b'"metrics":{', b'"metrics":{"A":1,'),
    replaced(b'"metrics":{', b'"metrics":{"A":5.0,'),
    replaced(b'"metrics":{', b'"metrics":{"A":null,'),
    replaced(b'"metrics":{', b'"metrics":{"A":{"b":1},'),
    replaced(b'"metrics":{', b'"metrics":{"A":[null],'),
    replaced(b'"metrics":{', b'"metrics":{"A":' + b"[" * 110 + b"]" * 110 + b","),
    replaced(b'"metrics":{', b'"metrics":{"_wandb":1,'),
    replaced(b'"metrics":{}', b'"metrics":{"_runtime":1}'),
    replaced(b'"runtime":null', b'"runtime":2.0'),
    replaced(b'"run_id":"a"', b'"run_id":"A"'),
    replaced(b"{", b""),
    replaced(b"}\n", b"}"),
    replaced(b"}\n", b"}\n\n"),
    replaced(b"}\n", b"}\r\n"),
)


def encoded(dataset: str, raw: dict[str, Any], run_id: str = "a") -> bytes:
    return form_of(dataset).encode([raw], run_id).lines


@st.composite
def files(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    """Return a dataset, and the lines of its file, most of them as they should be."""
    dataset = draw(st.sampled_from(BOTH))
    rows: list[tuple[dict[str, Any], str]] = draw(
        st.lists(st.tuples(RAW[dataset], st.sampled_from("abc")), max_size=9)
    )
    lines = [encoded(dataset, raw, run_id) for raw, run_id in rows]
    by_key = {run_and_key(line): line for line in lines}
    if draw(st.booleans()):
        lines = [by_key[key] for key in sorted(by_key)]
    if draw(st.booleans()) and lines:
        here, there = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        match draw(st.sampled_from(["duplicate", "swap", "spoil", "spoil"])):
            case "duplicate":
                lines.insert(there, lines[here])
            case "swap":
                lines[here], lines[there] = lines[there], lines[here]
            case "spoil":
                lines[here] = draw(st.sampled_from(SPOILS))(lines[here])
    return dataset, BytesIO(b"".join(lines)).readlines()


def audited(dataset: str, slices: Sequence[Sequence[bytes]], *, strict: bool = True) -> RowsAudit:
    rules = RowRules(strict=strict, dataset=dataset)
    whole = RowsAudit(dataset, Findings(), KNOWN, rules)
    for pieces in slices:
        one = SliceAudit(dataset, rules)
        for piece in pieces:
            one.add(piece)
        whole.add(one.finish())
    whole.finish()
    return whole


def nothing_proven(*_: Any) -> None:
    return None


@given(files(), st.lists(st.integers(0, 12), max_size=3), st.booleans(), st.booleans())
@settings(max_examples=400)
def test_rows_checked_together_give_what_each_alone_gives(
    file: tuple[str, list[bytes]], cuts: list[int], together: bool, strict: bool
) -> None:
    dataset, lines = file
    ends = [0, *sorted({cut for cut in cuts if cut < len(lines)} - {0}), len(lines)]
    parts = [lines[start:end] for start, end in pairwise(ends)]
    slices = [[b"".join(part)] if together else part for part in parts if part]
    found = audited(dataset, slices, strict=strict)
    with mock.patch.object(audit_rows, "prove_other_rows", nothing_proven):
        expected = audited(dataset, slices, strict=strict)
    assert found._findings.all() == expected._findings.all()
    assert (found.lines, found.torn) == (expected.lines, expected.torn)
    assert found.runs == expected.runs


def sound(dataset: str, run_id: str = "a", first: int = 0) -> list[bytes]:
    raw: list[dict[str, Any]] = [
        {"_step": at, "timestamp": f"2026-01-01T00:00:0{at % 10}.5", "level": "", "line": "x"}
        if dataset == CONSOLE
        else {"_timestamp": at + 0.5, "_runtime": at, "system.cpu": at / 7, "b": "y"}
        for at in range(first, first + 5)
    ]
    return form_of(dataset).encode(raw, run_id).lines.splitlines(keepends=True)


@pytest.mark.parametrize("dataset", BOTH)
def test_usual_rows_are_proven(dataset: str) -> None:
    rules = RowRules(strict=True, dataset=dataset)
    lines = [*sound(dataset), *sound(dataset, "b")]
    proven = prove_other_rows(b"".join(lines), None, rules)
    assert proven is not None
    assert [(one.run_id, len(one.rows.steps), one.rising) for one in proven] == [
        ("a", 5, True),
        ("b", 5, True),
    ]
    later = b"".join(sound(dataset, "b", first=5))
    key = form_of(dataset).key(form_of(dataset).decode(lines[-1]).unwrap())
    assert prove_other_rows(later, ("b", key, lines[-1]), rules) is not None
    assert prove_other_rows(later, ("a", key, lines[4]), rules) is not None
    assert prove_other_rows(later, ("c", key, lines[-1]), rules) is None
    assert prove_other_rows(lines[-1], ("b", key, lines[-1]), rules) is None
    assert prove_other_rows(b"".join(lines), None, RowRules(strict=False, dataset=dataset)) is None
    assert prove_other_rows(b"".join(lines), None, RowRules(strict=True)) is None
    assert prove_other_rows(b"".join(lines[4::-1]), None, rules) is None
    assert prove_other_rows(lines[0] + lines[0], None, rules) is None


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("dataset", BOTH)
@pytest.mark.parametrize("position", [0, 2, 4])
def test_row_with_another_spelling_is_not_proven(
    dataset: str, spoil: Callable[[bytes], bytes], position: int
) -> None:
    lines = sound(dataset)
    changed = [*lines[:position], spoil(lines[position]), *lines[position + 1 :]]
    content = b"".join(changed)
    proven = prove_other_rows(content, None, RowRules(strict=True, dataset=dataset))
    if proven is not None:
        with mock.patch.object(audit_rows, "prove_other_rows", nothing_proven):
            alone = audited(dataset, [BytesIO(content).readlines()])
        problems = alone._findings.all()
        assert all("is not in runs.jsonl" in finding.problem for finding in problems)


@given(files())
@example((SYSTEM, [b'{"metrics":{},"run_id":"a","runtime":null,"timestamp":null}\n']))
@example((SYSTEM, [b'{"metrics":{},"run_id":"a","runtime":null,"timestamp":"5.0"}\n']))
def test_nothing_is_proven_of_rows_in_which_anything_is_found(
    file: tuple[str, list[bytes]],
) -> None:
    dataset, lines = file
    rules = RowRules(strict=True, dataset=dataset)
    proven = prove_other_rows(b"".join(lines), None, rules)
    event(f"proven: {proven is not None}")
    if proven is not None:
        with mock.patch.object(audit_rows, "prove_other_rows", nothing_proven):
            problems = audited(dataset, [lines])._findings.all()
        assert all("is not in runs.jsonl" in finding.problem for finding in problems)


def test_sample_after_one_without_a_time_is_not_proven() -> None:
    before = encoded(SYSTEM, {"system.cpu": 1})
    rules = RowRules(strict=True, dataset=SYSTEM)
    key = form_of(SYSTEM).key(form_of(SYSTEM).decode(before).unwrap())
    assert prove_other_rows(b"".join(sound(SYSTEM)), ("a", key, before), rules) is None
