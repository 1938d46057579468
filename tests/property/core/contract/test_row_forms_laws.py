"""Laws of rows in a form of their own: lines of a console, samples, files."""

from datetime import datetime
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from dr_wandb.core.contract.codec import NO_TIME, encode_line, row_key, run_and_key
from dr_wandb.core.contract.console import console_line
from dr_wandb.core.contract.dataset import CONSOLE, FILES, SYSTEM
from dr_wandb.core.contract.encoded_rows import received_row
from dr_wandb.core.contract.file_choice import FileChoice
from dr_wandb.core.contract.normalize import normalize_time
from dr_wandb.core.contract.row_forms import decode_console_lines, form_of, is_canonical
from dr_wandb.core.contract.system import system_sample
from dr_wandb.core.contract.values import clean_text
from dr_wandb.core.sync.copies import arrival_order, last_of_each
from dr_wandb.core.sync.row_pairs import compare_rows, unite_rows

FORM = form_of(CONSOLE)
SAMPLES = form_of(SYSTEM)

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


NAMES = (
    st.sampled_from(["_timestamp", "_runtime", "_wandb", "_wandb.x", "_step", "system.cpu", "100%"])
    | st.text()
    | st.just("\ud800")
)
NUMBERS = st.floats() | st.integers() | st.booleans() | st.sampled_from([0.0, -0.0, 2.0**53, 1e308])
VALUES = NUMBERS | st.text() | st.none() | st.sampled_from([{"a": 1}, [1.0], "\ud800"])
COLUMNS = st.sampled_from(
    [NUMBERS, st.floats(-5, 5), st.integers(0, 9), NUMBERS | st.text(), VALUES]
)


@st.composite
def samples_of_parts(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw samples of a few parts of a machine, each under the same names, in any order."""
    samples = []
    for names in draw(st.lists(st.lists(NAMES, unique=True, max_size=5), max_size=3)):
        row = st.fixed_dictionaries({name: draw(COLUMNS) for name in names})
        samples += draw(st.lists(row, max_size=8))
    if draw(st.booleans()):  # a client may give the names of each sample in another order
        samples = [dict(draw(st.permutations([*sample.items()]))) for sample in samples]
    return draw(st.permutations(samples))


@given(samples_of_parts())
@example([{"_timestamp": at, "a%d": 0.5} for at in (3, 1.5, 2, 4)])
@example([{"_timestamp": at} for at in (1, 2, True, 4)])
@example([{"_runtime": at} for at in (1, 2, 2**64, 4)])
@example([{"a": at} for at in (1, 2, -(2**63) - 1, "x")])
@example([{"a": 1e308}] * 4)
@example([{"a": 10**4300}] * 4)
@example([{"b": 1, "a": 2}] * 4)
@example([{"a": at} for at in ("x", float("nan"), 2.0, "\ud800")])
@example([{"b": 1, "_wandb": {}, "a": 2}] * 4)
def test_samples_are_encoded_alike_together_and_one_by_one(samples: list[dict[str, Any]]) -> None:
    encoded = SAMPLES.encode(samples, "r%d")
    lines = encoded.lines.splitlines(keepends=True)
    alone = [system_sample(raw_row, "r%d") for raw_row in samples]
    assert sorted(lines) == sorted(map(encode_line, alone))
    read = [SAMPLES.decode(line).unwrap() for line in lines]
    assert list(encoded.timestamps) == [row.timestamp for row in read]
    assert list(encoded.steps) == [None] * len(samples)
    times = [raw_row.get("_timestamp") for raw_row in samples]
    if all(type(time) in (int, float) and time == time for time in times):
        moments = [row.key for row in encoded.rows(live=True)]
        assert moments == sorted(moments)


USUAL_TIMES = st.datetimes(min_value=datetime(1000, 1, 1)).map(lambda at: at.isoformat())
USUAL_LINES = st.fixed_dictionaries(
    {
        "_step": st.integers(0, 2**53),
        "timestamp": USUAL_TIMES | USUAL_TIMES.map(lambda text: f"{text}Z"),
        "level": st.sampled_from([None, "", "error", "\ud800"]),
        "line": st.text() | st.just("\ud800"),
    },
    optional={"label": st.sampled_from([None, "", "a"])},
)


@given(st.lists(USUAL_LINES, max_size=6) | st.lists(RAW_LINES, max_size=4))
@example(
    [{"_step": 0, "timestamp": "2026-01-01T00:00:00\n2026-01-01T00:00:00", "level": "", "line": ""}]
)
@example([{"_step": 0, "timestamp": "2026-13-01T00:00:00.5", "level": "", "line": ""}])
@example([{"_step": 1.0, "timestamp": "2026-01-01T00:00:00.5", "level": "", "line": ""}])
@example([{"_step": 2**64, "timestamp": "2026-01-01T00:00:00.5", "level": "", "line": "\ud800"}])
@example([{"_step": 0, "timestamp": "2026-01-01T00:00:00.5", "level": [], "line": ""}])
@example([{"_step": 0, "timestamp": "2026-01-01T00:00:00.5\n", "level": "", "line": ""}])
@example([{"_step": 0, "timestamp": "2026-01-01T00:00:10.000", "level": "", "line": 'a\x1b"\\'}])
@example([{"_step": 0, "timestamp": "2026-01-01T00:00:10.5ZZ", "level": "", "line": "a"}])
def test_lines_are_encoded_alike_together_and_one_by_one(raw_lines: list[dict[str, Any]]) -> None:
    encoded = FORM.encode(raw_lines, "r")
    alone = [console_line(raw_line, "r") for raw_line in raw_lines]
    assert encoded.lines.splitlines(keepends=True) == list(map(encode_line, alone))
    assert list(encoded.steps) == [line.number for line in alone]
    assert list(encoded.timestamps) == [NO_TIME] * len(alone)


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


FILE_FORM = form_of(FILES)
RAW_FILES = st.fixed_dictionaries(
    {"name": st.text()},
    optional={
        "sizeBytes": st.none() | st.integers() | st.text(),
        "md5": st.none() | st.text(),
        "mimetype": st.none() | st.text(),
        "updatedAt": TIMES,
        "sha256": st.none() | st.text(),
        "absent": st.none() | st.text(),
        "newer": st.none() | st.text(),
    },
)
FEW_FILES = st.dictionaries(st.sampled_from("abcde/"), st.sampled_from(["1", "2"]))


@given(st.lists(RAW_FILES, max_size=5), st.text(min_size=1))
def test_files_are_canonical_and_in_the_order_of_their_names(
    raw_files: list[dict[str, Any]], run_id: str
) -> None:
    encoded = FILE_FORM.encode(raw_files, clean_text(run_id))
    lines = encoded.lines.splitlines(keepends=True)
    rows = [FILE_FORM.decode(line).unwrap() for line in lines]
    assert all(is_canonical(FILE_FORM, line) for line in lines)
    keys = [row_key(step, time) for step, time in zip(*encoded[1:], strict=True)]
    assert keys == [FILE_FORM.key(row) for row in rows] == [run_and_key(line)[1] for line in lines]
    assert [rows[at].path for at in sorted(range(len(rows)), key=keys.__getitem__)] == sorted(
        row.path for row in rows
    )


def file_lines(files: dict[str, str]) -> list[bytes]:
    raw = [{"name": name, "md5": md5} for name, md5 in sorted(files.items())]
    return FILE_FORM.encode(raw, "r").lines.splitlines(keepends=True)


@given(FEW_FILES, FEW_FILES)
def test_received_files_take_the_place_of_held_ones_of_the_same_name(
    held: dict[str, str], came: dict[str, str]
) -> None:
    assert list(unite_rows(file_lines(held), file_lines(came))) == file_lines(held | came)
    compared = compare_rows(file_lines(held), file_lines(came))
    assert compared.missing_rows == len(held.keys() - came.keys())
    assert compared.adds == len(came.items() - held.items())
    assert not compared.conflicts


PATTERNS = st.lists(st.sampled_from(["*", "a*", "*.txt", "media/*"]), max_size=3).map(tuple)
CHOICES = st.builds(
    FileChoice,
    fetch=st.booleans(),
    patterns=st.none() | PATTERNS,
    media=st.booleans(),
    max_bytes=st.none() | st.integers(0, 3),
)


@given(
    CHOICES, CHOICES, st.sampled_from(["a.txt", "b", "media/a", "media/b.txt"]), st.integers(0, 4)
)
def test_choice_that_covers_another_one_wants_all_that_it_wants(
    one: FileChoice, other: FileChoice, path: str, size: int
) -> None:
    def wants(choice: FileChoice) -> bool:
        return choice.admits(path) and not choice.too_large(size)

    if one.covers(other) and wants(other):
        assert wants(one)
    assert one.covers(one)
