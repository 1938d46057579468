"""Files that a client named: those in records, and those of them that are not in the folder."""

import pytest

from dr_wandb.core.offline.missing_files import is_pattern, missing_files, without_escapes
from dr_wandb.core.offline.named_files import named_files
from tests.support.wandb_file import (
    exit_record,
    file_of,
    files_record,
    header_record,
    record,
    run_record,
    wire_field,
)

FOUND = ["a.txt", "media/images/b.png", "x[1].txt", "x\\\\udcff"]


@pytest.mark.parametrize(
    ("named", "missing"),
    [
        ("a.txt", None),
        ("./a.txt", None),
        ("media//images/../images/b.png", None),
        ("media\\images\\b.png", None),
        ("x[[]1].txt", None),
        ("x\\udcff", None),
        ("media", None),
        ("", None),
        ("A.txt", "A.txt"),
        ("media/images/c.png", "media/images/c.png"),
        ("./gone.bin", "gone.bin"),
        ("../a.txt", "../a.txt"),
        ("/etc/passwd", "/etc/passwd"),
        ("gone\\udcff", "gone\\\\udcff"),
        ("media/y[[]0].png", "media/y[0].png"),
    ],
)
def test_name_without_a_file_is_missing(named: str, missing: str | None) -> None:
    assert missing_files([named, named], FOUND) == ([] if missing is None else [missing])


@pytest.mark.parametrize(
    ("text", "name"), [("a.txt", "a.txt"), ("a[[]0]_[*].png", "a[0]_*.png"), ("[?]", "?")]
)
def test_pattern_without_wildcards_is_a_name(text: str, name: str) -> None:
    assert not is_pattern(text)
    assert without_escapes(text) == name


@pytest.mark.parametrize("text", ["*.txt", "a?", "x[1].txt", "[[]*"])
def test_wildcards_make_a_pattern(text: str) -> None:
    assert is_pattern(text)


def test_names_are_those_before_the_exit() -> None:
    payloads = [
        run_record("run"),
        files_record("b.txt", "a.txt"),
        files_record(),
        files_record("a.txt", "x[1].txt", "*.bin"),
        record() + wire_field(6, b"\x0a\xff"),
        exit_record(),
        files_record("late.txt"),
    ]
    content = file_of([header_record(), *payloads])
    assert named_files(content, len(content)) == {"a.txt", "b.txt", "x[1].txt", "*.bin"}
    by_python = file_of([header_record(""), *payloads, files_record("y[[]1].txt")])
    assert named_files(by_python, len(by_python)) == {"a.txt", "b.txt"}


def test_names_of_python_clients_are_patterns() -> None:
    content = file_of([header_record(""), files_record("y[[]1].txt", "z[*]", "q*")])
    assert named_files(content, len(content)) == {"y[[]1].txt", "z[*]"}
