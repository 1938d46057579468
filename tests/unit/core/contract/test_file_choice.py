"""Which files a choice wants, by example."""

from typing import Any

import pytest

from dr_wandb.core.contract.file_choice import (
    EVERY_FILE,
    NO_FILE,
    FileChoice,
    build_file_choice,
    files_in_words,
    read_size,
)
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.request import ExportRequest


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("*.log", "output.log", True),
        ("*.log", "logs/a/output.log", True),
        ("*.log", "output.log.gz", False),
        ("code/*", "code/a/b.py", True),
        ("code", "code/a.py", False),
        ("a_b", "axb", False),
        ("a%", "abc", False),
        ("[ab].txt", "a.txt", True),
        ("?.txt", "ab.txt", False),
        ("*", "line\nbreak", True),
        ("A.txt", "a.txt", False),
    ],
)
def test_pattern_fits_whole_paths(pattern: str, path: str, fits: bool) -> None:
    assert FileChoice(patterns=(pattern,)).admits(path) is fits


def test_choice_leaves_media_and_large_files() -> None:
    choice = FileChoice(media=False, max_bytes=10)
    assert choice.admits("mediator.txt")
    assert not choice.admits("media/images/a.png")
    assert choice.too_large(11)
    assert not choice.too_large(10)
    assert not choice.too_large(None)
    assert not EVERY_FILE.too_large(2**60)
    assert not NO_FILE.admits("a")


def test_equal_choices_are_one_choice() -> None:
    spelled: Any = "b"
    assert FileChoice(patterns=("b", "a", "b")) == FileChoice(patterns=("a", "b"))
    assert FileChoice(patterns=spelled) == FileChoice(patterns=("b",))
    assert FileChoice(patterns=()) == EVERY_FILE


def test_choice_names_all_problems() -> None:
    blank: Any = ("", 1)
    with pytest.raises(InvalidRequestError) as caught:
        FileChoice(patterns=blank, max_bytes=-1)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [
        (EVERY_FILE, FileChoice(patterns=("a",))),
        (EVERY_FILE, NO_FILE),
        (NO_FILE, NO_FILE),
        (FileChoice(patterns=("a", "b")), FileChoice(patterns=("a",))),
        (FileChoice(max_bytes=10), FileChoice(max_bytes=9)),
        (FileChoice(media=False), FileChoice(media=False, max_bytes=9)),
    ],
)
def test_wider_choice_covers_a_narrower_one(wide: FileChoice, narrow: FileChoice) -> None:
    assert wide.covers(narrow)
    assert narrow.covers(wide) is (wide == narrow)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (EVERY_FILE, "every file"),
        (NO_FILE, "no files"),
        (
            FileChoice(patterns=("b", "a"), media=False, max_bytes=1000),
            "files a, b; no media; at most 1,000 bytes",
        ),
    ],
)
def test_choice_is_described(choice: FileChoice, words: str) -> None:
    assert files_in_words(choice) == words


def test_choice_without_flags_is_none() -> None:
    assert build_file_choice() is None
    assert build_file_choice(patterns=["a"], no_media=True, max_bytes=5) == FileChoice(
        patterns=("a",), media=False, max_bytes=5
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("1000", 1000), ("20kB", 20_000), ("1.5 MB", 1_500_000), ("2g", 2 * 10**9)],
)
def test_size_is_read(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1 XB", "1e3", "٣"])
def test_text_that_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="a size is a number of bytes"):
        read_size(text)


def request(**fields: Any) -> ExportRequest:
    return ExportRequest(entity="e", project="p", name="n", **fields)


def test_bytes_are_wanted_if_files_are_named() -> None:
    assert request().files is None
    assert request(extra_datasets=("files",)).files == EVERY_FILE
    assert request(with_everything=True).files == NO_FILE
    assert request(with_everything=True, extra_datasets=("files",)).files == EVERY_FILE
    some = FileChoice(patterns=("a",))
    assert request(extra_datasets=("files",), files=some).contents_of("files") == some
    assert request(with_everything=True, files=some).contents_of("files") == some
    assert request(extra_datasets=("files",), files=some).contents_of("console") == NO_FILE
    assert request().contents_of("files") == NO_FILE
    assert request(files=NO_FILE).files == NO_FILE


def test_choice_of_files_needs_the_files() -> None:
    with pytest.raises(InvalidRequestError, match="--with files"):
        request(files=EVERY_FILE)
    wrong: Any = "every"
    with pytest.raises(InvalidRequestError, match="files must be a FileChoice"):
        request(extra_datasets=("files",), files=wrong)
