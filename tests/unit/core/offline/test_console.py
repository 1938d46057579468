"""The lines of a console, assembled as wandb-core does (each seen in `output.log` of 0.31.0)."""

from typing import Any

import pytest

from dr_wandb.core.offline.console import (
    LINES_AT_ONCE,
    MOST_COLUMNS,
    MOST_ROWS,
    ConsoleAssembler,
    console_of,
)
from dr_wandb.core.offline.records import ConsoleText, Stream
from tests.support.wandb_file import (
    console_record,
    exit_record,
    file_of,
    header_record,
    output_record,
    record,
    run_record,
)


def assemble(*texts: str | tuple[Stream, str]) -> list[tuple[str | None, str]]:
    """Return level and content of each line of texts, which are of stdout unless they say so."""
    assembler = ConsoleAssembler()
    for text in texts:
        stream, written = text if isinstance(text, tuple) else (Stream.STDOUT, text)
        assembler.write(ConsoleText(stream=stream, raw=written.encode()))
    rows = assembler.finish()
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    return [(row["level"], row["line"]) for row in rows]


def contents(*texts: str) -> list[str]:
    return [content for _, content in assemble(*texts)]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", []),
        ("hello", ["hello"]),
        ("a\nb\n", ["a", "b"]),
        ("\n\nq\n\n", ["", "", "q"]),
        ("abcdef\rXY", ["XYcdef"]),
        ("10 %\r100 %\n", ["100 %"]),
        ("l1\nl2\n\x1b[A\x1b[Aup\n", ["up", "l2"]),
        ("a\x1b[Bb", ["a", " b"]),
        ("a\n\x1b[A\x1b[A\x1b[Ab", ["b"]),
        ("\x1b[31mred\x1b[0m\t\btab", ["\x1b[31mred\x1b[0m\t\btab"]),
        ("\x1b[2A\x1b\n!", ["\x1b[2A\x1b\n!"]),
        ("é漢😀", ["é漢😀"]),
        ("x" * 5000 + "\ny", ["x" * MOST_COLUMNS, "y"]),
        ("x" * 5000 + "\ry", ["y" + "x" * (MOST_COLUMNS - 1)]),
        ("trailing  ", ["trailing"]),
        ("trailing  \rX", ["Xrailing  "]),
        ("same\rsame", ["same"]),
        ("ab\r  ", ["  "]),
        ("\x1b", []),
        ("\x1b[", []),
    ],
)
def test_text_becomes_lines(text: str, lines: list[str]) -> None:
    # ESC[B keeps the column of the cursor: the line below is filled with blanks up to it.
    assert contents(text) == lines
    assert contents(*text) == lines, "text may be split anywhere"


def test_lines_of_both_streams_are_in_the_order_in_which_they_were_started() -> None:
    err = Stream.STDERR
    assert assemble("out ", (err, "err "), "more\n", (err, "more\n"), (err, "last\n")) == [
        (None, "out more"),
        ("error", "err more"),
        ("error", "last"),
    ]


def test_line_that_is_too_far_up_does_not_change() -> None:
    err = Stream.STDERR
    near = [f"{number}\n" for number in range(MOST_ROWS - 1)]
    assert assemble((err, "A"), *near, (err, "\rB"))[0] == ("error", "B")
    assert assemble((err, "A"), *near, "more\n", (err, "\rB"))[0] == ("error", "A")


def test_cursor_stays_within_the_rows_of_the_terminal() -> None:
    lines = [f"{number}\n" for number in range(50)]
    found = contents(*lines, "\x1b[A" * 45 + "TOP", "\x1b[B" * 60 + "BOTTOM")
    assert found[19] == "TOP"
    assert found[-1].lstrip() == "BOTTOM"
    assert contents("\n" * 100 + "x") == [""] * 31 + ["x"]


def test_text_of_a_logger_becomes_lines_of_its_own() -> None:
    long = "y" * 5000
    assert assemble("half", (Stream.LOGGER, f"a\n{long}\n"), " and half\n") == [
        (None, "half and half"),
        (None, "a"),
        (None, long),
    ]


def test_character_may_be_split() -> None:
    assembler = ConsoleAssembler()
    for byte in "é漢".encode():
        assembler.write(ConsoleText(stream=Stream.STDOUT, raw=bytes([byte])))
    assert [row["line"] for row in assembler.finish()] == ["é漢"]


def test_lines_have_the_time_of_the_text_that_started_them() -> None:
    assembler = ConsoleAssembler(first=7)
    assembler.write(ConsoleText(stream=Stream.LOGGER, raw=b"no time yet"))
    for seconds, text in ((1, b"a"), (2, b"b\n"), (3, b"c")):
        at = (1_767_225_600 + seconds, 500_000_000)
        assembler.write(ConsoleText(stream=Stream.STDOUT, raw=text, time=at))
    assembler.write(ConsoleText(stream=Stream.LOGGER, raw=b"d"))
    rows = assembler.finish()
    assert [(row["_step"], row["timestamp"], row["line"]) for row in rows] == [
        (7, "", "no time yet"),
        (8, "2026-01-01T00:00:01.500Z", "ab"),
        (9, "2026-01-01T00:00:03.500Z", "c"),
        (10, "2026-01-01T00:00:03.500Z", "d"),
    ]
    assert assembler.finish() == []


def read(*payloads: bytes, first: int = 0) -> list[dict[str, Any]]:
    data = file_of(payloads)
    return [row for batch in console_of(data, len(data), first) for row in batch]


def test_console_of_a_file_ends_with_its_process() -> None:
    rows = read(
        header_record(),
        run_record(),
        console_record("a\n"),
        b"\xff\xff",
        console_record("b\n", error=True),
        exit_record(),
        console_record("late\n"),
    )
    assert [(row["level"], row["line"]) for row in rows] == [(None, "a"), ("error", "b")]


@pytest.mark.parametrize(("producer", "lines"), [("0.31.0", ["raw"]), ("", ["redirected", "raw"])])
def test_redirected_output_is_a_console_only_in_files_of_python(
    producer: str, lines: list[str]
) -> None:
    rows = read(header_record(producer), output_record("redirected\n"), console_record("raw\n"))
    assert [row["line"] for row in rows] == lines


def test_output_of_an_unknown_stream_is_skipped() -> None:
    unknown = b"\x6a\x06\x08\x07\x1a\x02x\n"  # output_raw with output_type 7
    assert [row["line"] for row in read(header_record(), unknown, console_record("y"))] == ["y"]


def test_long_console_comes_in_batches() -> None:
    text = "".join(f"{number}\n" for number in range(100))
    payloads = [console_record(text) for _ in range(2 * LINES_AT_ONCE // 100 + 1)]
    data = file_of([header_record(), *payloads])
    sizes = [len(batch) for batch in console_of(data, len(data))]
    assert sizes[0] >= LINES_AT_ONCE > sizes[0] - 100
    assert sum(sizes) == 100 * len(payloads)


def test_record_of_the_future_is_no_console() -> None:
    assert read(header_record(), record(request=None)) == []
