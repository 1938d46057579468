"""Laws of rows in a form of their own: lines of a console, samples."""

from datetime import datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.console import console_line
from dr_wandb.core.contract.dataset import CONSOLE
from dr_wandb.core.contract.encoded_rows import received_row
from dr_wandb.core.contract.normalize import normalize_time
from dr_wandb.core.contract.row_forms import decode_console_lines, form_of, is_canonical
from dr_wandb.core.contract.system import system_sample
from dr_wandb.core.sync.copies import arrival_order, last_of_each
from dr_wandb.core.sync.row_pairs import compare_rows, unite_rows

FORM = form_of(CONSOLE)

TIMES = st.none() | st.just("") | st.datetimes().map(lambda at: at.isoformat()) | st.text()
RAW_LINES = st.fixed_dictionaries(
    {"_step": st.integers(0, 2**53), "line": st.text(), "timestamp": TIMES},
    optional={"level": st.sampled_from([None, "", "error"]), "label": st.none() | st.text()},
)
FEW = st.lists(
    st.fixed_dictionaries({"_step": st.integers(0, 9), "line": st.sampled_from("abc")}),
    max_size=20,
)


@given(st.lists(RAW_LINES, max_size=5), st.text(min_size=1))
def test_encoded_lines_are_canonical_and_read_back(
    raw_lines: list[dict[str, Any]], run_id: str
) -> None:
    encoded = FORM.encode(raw_lines, run_id)
    lines = encoded.lines.splitlines(keepends=True)
    rows = [FORM.decode(line).unwrap() for line in lines]
    assert b"".join(map(encode_line, rows)) == encoded.lines
    assert all(is_canonical(FORM, line) for line in lines)
    assert decode_console_lines(lines) == rows
    assert [FORM.canonical(line, 2).unwrap() for line in lines] == rows


@given(
    st.datetimes(min_value=datetime(1000, 1, 1)) | st.just(datetime(2026, 1, 1)),
    st.sampled_from(["", ".", ".5", ".500", ".000", ".123456789", ".x", "5"]),
    st.sampled_from(["", "Z", "ZZ", "+01:00", " "]),
)
def test_time_of_a_line_is_spelled_as_any_other(at: datetime, fraction: str, zone: str) -> None:
    text = at.replace(microsecond=0).isoformat() + fraction + zone
    line = console_line({"_step": 0, "timestamp": text}, "r")
    assert line.timestamp == normalize_time(text)


NAMES = st.sampled_from(["_timestamp", "_runtime", "_wandb", "_wandb.x", "system.cpu"]) | st.text()
NUMBERS = st.floats() | st.integers() | st.booleans()


@given(st.dictionaries(NAMES, NUMBERS, max_size=6))
def test_sample_of_numbers_has_the_shape_of_any_row(raw_row: dict[str, Any]) -> None:
    sample, other = system_sample(raw_row, "r"), system_sample({**raw_row, "other": "text"}, "r")
    expected = {name: value for name, value in other.metrics.items() if name != "other"}
    if "other" not in raw_row:
        assert list(sample.metrics.items()) == list(expected.items())
        assert (sample.timestamp, sample.runtime) == (other.timestamp, other.runtime)


def by_number(raw_lines: list[dict[str, Any]]) -> dict[int, str]:
    return {line["_step"]: line["line"] for line in raw_lines}


def lines_of(known: dict[int, str]) -> list[bytes]:
    raw = [{"_step": number, "line": known[number]} for number in sorted(known)]
    return FORM.encode(raw, "r").lines.splitlines(keepends=True)


@given(st.lists(FEW, max_size=4), st.randoms())
def test_last_copy_of_a_line_counts_whatever_the_order_of_arrival(
    parts: list[list[dict[str, Any]]], random: Any
) -> None:
    parts = [[{"_step": n, "line": text} for n, text in by_number(part).items()] for part in parts]
    rows = [
        received_row(line, live=False, file=number)
        for number, part in enumerate(parts)
        for line in FORM.encode(part, "r").lines.splitlines(keepends=True)
    ]
    random.shuffle(rows)
    kept = [row.content for row in last_of_each(sorted(rows, key=arrival_order))]
    merged: dict[int, str] = {}
    for part in parts:
        merged |= by_number(part)
    assert kept == lines_of(merged)


@given(FEW, FEW)
def test_received_lines_are_written_over_the_held_ones(
    held: list[dict[str, Any]], came: list[dict[str, Any]]
) -> None:
    before, after = by_number(held), by_number(came)
    assert list(unite_rows(lines_of(before), lines_of(after))) == lines_of(before | after)
    compared = compare_rows(lines_of(before), lines_of(after))
    assert compared.missing_rows == len(before.keys() - after.keys())
    assert compared.adds == len(after.keys() - before.keys())
