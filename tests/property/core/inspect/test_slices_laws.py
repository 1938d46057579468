"""The laws of slices: what is found in a data file depends on its bytes alone.

The model reads line after line, and does what the rules of the format say, slowly.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from io import BytesIO
from typing import Any
from unittest import mock

import pytest
from hypothesis import assume, event, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from returns.pipeline import is_successful

from dr_wandb.core.contract.codec import canonical_row, decode_row, encode_line, row_key
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.encoded_rows import ReceivedRow
from dr_wandb.core.contract.export_files import HISTORY_FILE
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.select import select_row
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection, HistoryWindow
from dr_wandb.core.inspect import sound_rows
from dr_wandb.core.inspect.audit import NOT_CANONICAL
from dr_wandb.core.inspect.audit_rows import RowsAudit, SliceAudit, StoredPart
from dr_wandb.core.inspect.row_rules import RowRules
from dr_wandb.core.inspect.slicing import next_cut
from dr_wandb.core.inspect.sound_rows import prove_rows
from dr_wandb.core.inspect.spelling import line_is_canonical
from dr_wandb.core.inspect.verify import Finding, FindingKind, Findings
from dr_wandb.core.sync.merge import Tally
from tests.support import strategies

KNOWN = ("a", "b")
STRICT = RowRules(strict=True)


class Model:
    """What reading a file line by line finds."""

    def __init__(self, lines: Sequence[bytes], rules: RowRules) -> None:
        self.rules = rules
        self.findings = Findings()
        self.groups: list[tuple[str, int, int, list[bytes], Tally]] = []
        self.previous: Any = None
        offset = 0
        for number, line in enumerate(lines, start=1):
            self._read(number, offset, line)
            offset += len(line)
        self.runs = {}
        for run_id, number, begin, held, tally in self.groups:
            if run_id not in KNOWN:
                problem = f"run {run_id!r} of these {len(held)} rows is not in runs.jsonl"
                self.findings.add(FindingKind.NO_RUN, HISTORY_FILE, problem, number)
            content = b"".join(held)
            byte_range = ByteRange(
                offset=begin, length=len(content), rows=len(held), digest=digest_of(content)
            )
            self.runs[run_id] = StoredPart(
                line=number, byte_range=byte_range, received=tally.received()
            )

    def _read(self, number: int, offset: int, line: bytes) -> None:
        result = decode_row(line)
        if not is_successful(result):
            if line.endswith(b"\n"):
                problem = f"cannot be read: {result.failure()}"
                self.findings.add(FindingKind.LINE, HISTORY_FILE, problem, number)
            if self.groups:
                self.groups[-1][3].append(line)
            return
        row = result.unwrap()
        if self.rules.strict:
            for problem in self._problems(line, row):
                self.findings.add(FindingKind.FORM, HISTORY_FILE, problem, number)
        if not self.groups or self.groups[-1][0] != row.run_id:
            self.groups.append((row.run_id, number, offset, [], Tally()))
        self.groups[-1][3].append(line)
        key = row_key(row.step, row.timestamp)
        self.groups[-1][4].add(ReceivedRow(key, False, 0, line, row.timestamp))

    def _problems(self, line: bytes, row: HistoryRow) -> Iterable[str]:
        shape, selection = self.rules.row_shape, self.rules.selection_of(row.run_id)
        step = "without a step" if row.step is None else f"of step {row.step}"
        name = f"the row {step} of run {row.run_id!r}"
        if line.endswith(b"\n") and not is_canonical(line, row, shape):
            yield NOT_CANONICAL
        key = row_key(row.step, row.timestamp)
        place = (row.run_id, key, line)
        if self.previous is not None:
            if shape < 2 and not key[0] and not key[2]:
                same = self.previous[:2] == place[:2]
            else:
                same = self.previous[::2] == place[::2] and selection.admits_whole_rows
            if same:
                yield f"{name} appears twice"
            elif place < self.previous:
                yield f"out of order: {name} belongs before the row above"
        self.previous = place
        if shape >= 2 and select_row(row, selection) != row:
            yield f"{name} has members its selection does not admit"


def is_canonical(line: bytes, row: HistoryRow, shape: int) -> bool:
    canonical = canonical_row(line, shape)
    return (
        line_is_canonical(line)
        and is_successful(canonical)
        and encode_line(canonical.unwrap()) == encode_line(row)
    )


def digest_of(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()


# --- files


def row(run_id: str = "a", step: int | None = 0, **fields: Any) -> HistoryRow:
    fields = {"timestamp": "1700000000.5", "runtime": 1.5, **fields}
    return HistoryRow(run_id=run_id, step=step, **fields)


metrics = st.dictionaries(
    st.sampled_from(["loss", "acc", "val.loss", "é", "_step", "null"]),
    st.sampled_from([0.25, 1, -3, 1e22, 2**60, "x", 'say "null"', "v1.0,", True, [1, 0.5], [[]], 0])
    | strategies.floats.filter(lambda number: number == number and abs(number) < 1e300),
    max_size=3,
)
plain_rows = st.builds(
    row,
    st.sampled_from(["a", "b", "c"]),
    st.integers(0, 6),
    timestamp=st.sampled_from(["1700000000.5", "1700000001", None, "5.0", "-0", "1e22", "soon"]),
    runtime=st.sampled_from([None, 1.5, 2, 7.0]),
    metrics=metrics,
    wandb_metadata=st.sampled_from([{}, {}, {"runtime": 1}]),
    extra=st.sampled_from([{}, {}, {"_x": 1}, {"_wandb.y": 1}]),
)
odd_rows = strategies.history_rows().map(lambda one: replace(one, run_id="b"))
without_step = plain_rows.map(lambda one: replace(one, step=None))
received_rows = strategies.rows_as_received.map(lambda one: replace(one, run_id="b"))
any_rows = st.one_of(plain_rows, plain_rows, plain_rows, odd_rows, received_rows, without_step)
OTHER_METRICS = (
    b'"A":5.0',
    b'"A":5.0,"B":1',
    b'"A":-0.0,"B":1',
    b'"A":[5.0]',
    b'"A":[5.0,1]',
    b'"A":1e5',
    b'"A":9007199254740991.0,"B":1',
    b'"A":0.50',
    b'"A":null',
    b'"A":[null]',
    b'"A":{}',
    b'"A":{"b":1}',
    b'"A":"\\u0041"',
    b'"A":"null"',
    b'"A":"\\"{"',
    b'"A": 1',
    b'"B":1,"A":1',
    b'"A":1,"A":1',
    b'"_step":1',
    b'"A":' + b"[" * 110 + b"]" * 110,
    b'"A":' + b"[" * 95 + b"]" * 95,
    b'"A":' + b"9" * 4400,
)
OTHER_TIMES = (
    *(b"5.0", b"-0", b"1e22", b"1_0", b"1,2", b"null", b"soon", b"1e999", b"007", b" 1"),
    *(b'\\"', b'\\",1,2', b"1.50", b"9" * 4400),
)
OTHER_BYTES = (
    (b'"runtime":1.5', b'"runtime":1.50'),
    (b'"runtime":1.5', b'"runtime":7.0'),
    (b'"metrics":', b'"metrics" :'),
    (b'"extra":{}', b'"extra":{},"extra":{}'),
    (b'"extra":{},', b""),
    (b'"extra":{}', b'"extra":{"_wandb.y":1}'),
    (b'"step":', b'"more":1,"step":'),
    (b'"step":0', b'"step":null'),
    (b'"run_id":"a"', b'"run_id":"\xff"'),
    (b'"run_id":"b"', b'"run_id":"B"'),
    (b"{", b""),
    (b"{", b"{{"),
    (b"}\n", b"}\r\n"),
    (b"}\n", b"}\n\n"),
)

Spoil = Callable[[bytes], bytes]


def spoil_metrics(inner: bytes) -> Spoil:
    pattern = re.compile(rb'"metrics":\{.*?\},"run_id"', re.DOTALL)
    return lambda line: pattern.sub(lambda _: b'"metrics":{%b},"run_id"' % inner, line, count=1)


def replace_bytes(old: bytes, new: bytes) -> Spoil:
    return lambda line: line.replace(old, new, 1)


SPOILS: tuple[Spoil, ...] = (
    *map(spoil_metrics, OTHER_METRICS),
    *(replace_bytes(b'"1700000000.5"', b'"%b"' % time) for time in OTHER_TIMES),
    *(replace_bytes(old, new) for old, new in OTHER_BYTES),
)
spoils = st.sampled_from(SPOILS)


@st.composite
def files(draw: st.DrawFn) -> list[bytes]:
    """Return the lines of a file: rows in order, most of them as they should be."""
    rows = draw(st.lists(any_rows, max_size=12))
    lines = [encode_line(one) for one in rows]
    if draw(st.booleans()):
        lines = sorted(dict.fromkeys(lines), key=place_of)
    for _ in range(draw(st.integers(0, 2)) if lines else 0):
        here, there = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
        match draw(st.sampled_from(["duplicate", "swap", "spoil", "insert", "break"])):
            case "duplicate":
                lines.insert(there, lines[here])
            case "swap":
                lines[here], lines[there] = lines[there], lines[here]
            case "spoil":
                lines[here] = draw(spoils)(lines[here])
            case "insert":
                lines.insert(here, draw(st.sampled_from([b"\n", b"oops\n", b"{}\n", b"[]\n"])))
            case "break":
                lines[here] = lines[here][:20] + b"\n"
    if lines and draw(st.integers(0, 9)) == 0:
        lines[-1] = lines[-1][:-1] if draw(st.booleans()) else lines[-1][:15]
    return lines_of(b"".join(lines))


def lines_of(content: bytes) -> list[bytes]:
    """Return lines as a file gives them: only a newline ends one."""
    return BytesIO(content).readlines()


def place_of(line: bytes) -> Any:
    one = decode_row(line).unwrap()
    return (one.run_id, row_key(one.step, one.timestamp), line)


ordinary = st.builds(
    row,
    st.just("a"),
    metrics=st.dictionaries(st.sampled_from(["loss", "acc", "é"]), st.integers() | st.text()),
    runtime=st.sampled_from([None, 1.5]),
    timestamp=st.sampled_from([None, "1700000000.5"]),
)


@st.composite
def nearly_sound_files(draw: st.DrawFn) -> list[bytes]:
    """Return the lines of a sound file, in which at most one thing was changed."""
    runs = draw(st.lists(st.lists(ordinary, min_size=1, max_size=4), min_size=1, max_size=2))
    lines = [
        encode_line(replace(one, run_id=run_id, step=step))
        for run_id, rows in zip("ab", runs, strict=False)
        for step, one in enumerate(rows)
    ]
    here = draw(st.integers(0, len(lines) - 1))
    match draw(st.sampled_from(["nothing", "spoil", "spoil", "flip", "swap", "duplicate"])):
        case "spoil":
            lines[here] = draw(spoils)(lines[here])
        case "flip":
            content = bytearray(lines[here])
            content[draw(st.integers(0, len(content) - 2))] ^= 1 << draw(st.integers(0, 6))
            lines[here] = bytes(content)
        case "swap":
            lines[0], lines[here] = lines[here], lines[0]
        case "duplicate":
            lines.insert(here, lines[here])
    return lines_of(b"".join(lines))


selections = st.sampled_from(
    [
        EVERYTHING,
        EVERYTHING,
        HistorySelection(keys=("loss", "acc", "é")),
        HistorySelection(keys=("val",)),
        HistorySelection(window=HistoryWindow(min_step=1, max_step=5)),
        HistorySelection(window=HistoryWindow(max_records=3)),
    ]
)
rules_of_rows = st.builds(
    RowRules,
    strict=st.sampled_from([True, True, True, False]),
    row_shape=st.sampled_from([2, 2, 2, 1]),
    selections=st.dictionaries(st.sampled_from(KNOWN), selections),
)


def audit(slices: Iterable[Sequence[bytes]], rules: RowRules) -> RowsAudit:
    """Check slices, each in so many pieces, and put them together."""
    whole = RowsAudit(HISTORY, Findings(), KNOWN, rules)
    for pieces in slices:
        one = SliceAudit(HISTORY, rules)
        with mock.patch.object(sound_rows, "LEAST_HALVED_BYTES", 1):
            for piece in pieces:
                one.add(piece)
        whole.add(one.finish())
    whole.finish()
    return whole


@st.composite
def groupings(draw: st.DrawFn) -> tuple[list[bytes], list[list[bytes]]]:
    """Return the lines of a file, and the pieces of its slices."""
    lines = draw(files())
    slices: list[list[bytes]] = []
    for line in lines:
        match draw(st.sampled_from(["line", "line", "piece", "slice"])):
            case "line" if slices:
                slices[-1][-1] += line
            case "piece" if slices:
                slices[-1].append(line)
            case _:
                slices.append([line])
    return lines, slices


@given(groupings(), rules_of_rows)
@settings(max_examples=300)
def test_slices_give_what_reading_line_by_line_gives(
    grouped: tuple[list[bytes], list[list[bytes]]], rules: RowRules
) -> None:
    lines, slices = grouped
    model, whole = Model(lines, rules), audit(slices, rules)
    content = b"".join(lines)
    assert whole._findings.all() == model.findings.all()
    assert (whole.lines, whole.torn) == (len(lines), bool(lines) and not content.endswith(b"\n"))
    digested = {run_id: with_digest(part, content) for run_id, part in whole.runs.items()}
    assert list(digested.items()) == list(model.runs.items())


def with_digest(part: StoredPart, content: bytes) -> StoredPart:
    """Return a part with its digest, which a run has already that was not cut."""
    known = part.byte_range
    right = digest_of(content[known.offset : known.end])
    assert known.digest in ("", right)
    return replace(part, byte_range=replace(known, digest=right))


@given(st.one_of(files(), nearly_sound_files()), rules_of_rows, st.integers(0, 3))
@settings(max_examples=400)
def test_nothing_is_proven_of_rows_in_which_anything_is_found(
    lines: list[bytes], rules: RowRules, skipped: int
) -> None:
    before, rest = lines[:skipped], b"".join(lines[skipped:])
    proven = prove_rows(rest, Model(before, rules).previous, rules)
    event(f"proven: {proven is not None}")
    if proven is not None:
        assert problems_in(lines, rules) == problems_in(before, rules)
        assert b"".join(one.rows.lines for one in proven) == rest


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("position", [0, 1, 2])
def test_row_with_another_spelling_is_not_proven(spoil: Spoil, position: int) -> None:
    lines = [encode_line(row(metrics={"A": 0.5}, step=step)) for step in range(3)]
    assert prove_rows(b"".join(lines), None, STRICT) is not None
    content = b"".join([*lines[:position], spoil(lines[position]), *lines[position + 1 :]])
    proven = prove_rows(content, None, STRICT)
    assert proven is None or not problems_in(lines_of(content), STRICT)


SELECTED = HistorySelection(keys=("loss", "val"), window=HistoryWindow(min_step=2, max_step=5))


@pytest.mark.parametrize(
    ("fields", "admitted"),
    [
        ({"metrics": {"loss": 1}}, True),
        ({"metrics": {"loss": 1, "val.loss": 2}}, True),
        ({"metrics": {"acc": 1, "loss": 1}}, False),
        ({"metrics": {}}, False),
        ({"metrics": {"loss": 1}, "first": 1}, False),
        ({"metrics": {"loss": 1}, "first": 3}, False),
        ({"metrics": {"loss": 1}, "last": None}, False),
    ],
)
def test_rows_are_proven_if_their_selection_admits_them(
    fields: dict[str, Any], admitted: bool
) -> None:
    fields = {"first": 2, "last": 4, **fields}
    first, last = fields.pop("first"), fields.pop("last")
    rules = RowRules(strict=True, selections={"a": SELECTED})
    steps = [first, first + 1, last and first + 2]
    lines = [encode_line(row(step=step, metrics={"loss": 1})) for step in steps]
    lines[1] = encode_line(row(step=first + 1, **fields))
    assert (prove_rows(b"".join(lines), None, rules) is not None) is admitted
    assert (not problems_in(lines, rules)) is admitted


@pytest.mark.parametrize(
    "rows",
    [
        [row(step=1, timestamp="1"), row(step=1, timestamp="2"), row(step=3)],
        [row(step=1), row(step=1, timestamp=None), row(step=2)],
        [row(step=1), row(step=None, timestamp="1"), row(step=None, timestamp="2.5")],
    ],
)
@pytest.mark.parametrize("cut", [0, 1, 2])
def test_rows_are_proven_if_steps_and_times_rise_together(rows: list[HistoryRow], cut: int) -> None:
    lines = [encode_line(one) for one in rows]
    before = Model(lines[:cut], STRICT).previous
    assert not problems_in(lines, STRICT)
    assert prove_rows(b"".join(lines[cut:]), before, STRICT) is not None


@pytest.mark.parametrize(
    "rows",
    [
        [row("a", 1, timestamp="2"), row("a", 1, timestamp="1")],
        [row("a", 1, timestamp=None), row("a", 1)],
        [row("a", None, timestamp="2"), row("a", None, timestamp="1")],
        [row("b", 0), row("a", 1)],
        [row("a", 1), row("a", 0)],
        [row("a", 1), row("a", 1)],
        [row("a", None), row("a", 1)],
        [row("a", 0), row("b", 1), row("b", 0)],
        [row("a", 0), row("b", 0), row("a", 1)],
    ],
)
@pytest.mark.parametrize("cut", [0, 1])
def test_rows_in_another_order_are_not_proven(rows: list[HistoryRow], cut: int) -> None:
    lines = [encode_line(one) for one in rows]
    before = Model(lines[:cut], STRICT).previous
    assert problems_in(lines, STRICT)
    assert prove_rows(b"".join(lines[cut:]), before, STRICT) is None


def problems_in(lines: list[bytes], rules: RowRules) -> list[Finding]:
    found = Model(lines, rules).findings.all()
    return [one for one in found if one.kind != FindingKind.NO_RUN]


@given(st.lists(ordinary, min_size=1, max_size=6), st.lists(ordinary, min_size=1, max_size=6))
def test_ordinary_rows_are_proven_at_once(ones: list[HistoryRow], others: list[HistoryRow]) -> None:
    """Otherwise a check takes several times as long, and nothing else is different."""
    runs = [
        [replace(one, run_id=run_id, step=step) for step, one in enumerate(rows)]
        for run_id, rows in (("a", ones), ("b", others))
    ]
    lines = b"".join(encode_line(one) for rows in runs for one in rows)
    assume(b"null" not in lines.replace(b'":null', b""))
    assume(not any(mark in lines for mark in (b".0,", b".0}", b'"_', b"{{")))
    assume(lines.count(b"{") == 4 * lines.count(b"\n"))
    proven = prove_rows(lines, None, STRICT)
    assert proven is not None
    assert [(one.run_id, list(one.rows.steps), one.rising) for one in proven] == [
        (run_id, list(range(len(rows))), True) for run_id, rows in zip("ab", runs, strict=True)
    ]


@given(
    st.lists(st.integers(1, 50), max_size=20),
    st.lists(st.integers(-5, 300)),
    st.integers(1, 40),
)
def test_cuts_go_through_a_file_from_beginning_to_end(
    lengths: list[int], wrong: list[int], most: int
) -> None:
    ends = [sum(lengths[: count + 1]) for count in range(len(lengths))]
    size = sum(lengths)
    for hints in (ends, sorted(wrong), []):
        start, cuts = 0, []
        while start < size:
            cut = next_cut(start, size, hints, most)
            assert start < cut <= min(size, start + most)
            assert cut == size or 2 * (cut - start) >= most
            cuts.append(cut)
            start = cut
        if hints is ends and all(length <= most // 2 for length in lengths):
            assert {*cuts} <= {*ends}


def test_findings_beyond_the_first_are_counted_across_slices() -> None:
    lines = [b"oops\n"] * 25
    whole = audit([[line] for line in lines], STRICT)
    *listed, more = whole._findings.all()
    assert [one.line for one in listed] == list(range(1, 11))
    assert more.problem == "and 15 more like these"
    assert whole._findings.all() == Model(lines, STRICT).findings.all()
