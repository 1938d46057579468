"""Laws of text for people: it stays in its line, and nothing in it can steer a terminal."""

import json
import re

from hypothesis import example, given
from hypothesis import strategies as st

from dr_wandb.core.contract.failures import Failure, WrongExport
from dr_wandb.core.contract.wording import (
    as_lines,
    count,
    failure_in_words,
    printable,
    printable_json,
)
from tests.support.failure_examples import EXAMPLES
from tests.support.strategies import clean_texts, texts

STEERS = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
any_text = st.text() | texts | st.text(st.sampled_from("a\\\x1b\x9b\n\r\t\u202e\u200b\U000e0041"))


@given(any_text)
@example("\x1b[2J\x9b\u202e\u2066\u200b\r\n\x7f\x85\u2028")
def test_printable_text_stays_in_its_line_and_steers_nothing(text: str) -> None:
    shown = printable(text)
    assert not STEERS.search(shown)
    assert len((shown + "x").splitlines()) == 1
    assert shown.isprintable()
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


@given(st.lists(any_text))
def test_lines_are_escaped_one_by_one_unless_they_are_raw(lines: list[str]) -> None:
    assert as_lines(lines, raw=True) == tuple(lines)
    assert as_lines(lines, raw=False) == tuple(map(printable, lines))


@given(st.dictionaries(clean_texts | any_text, clean_texts | any_text), st.none() | st.just(2))
@example({"\x9b": "\u202e\U000e0041"}, None)
def test_json_for_a_terminal_has_the_same_value(
    document: dict[str, str], indent: int | None
) -> None:
    exact = json.dumps(document, ensure_ascii=False, indent=indent)
    shown = printable_json(exact)
    assert json.loads(shown) == json.loads(exact)
    assert not STEERS.search(shown.replace("\n", ""))
    assert shown.count("\n") == exact.count("\n")


def failures() -> st.SearchStrategy[Failure]:
    return st.sampled_from([failure for failure, _ in EXAMPLES])


@given(failures())
def test_failure_without_strange_characters_is_described_as_it_is(failure: Failure) -> None:
    assert failure_in_words(failure) == failure.describe()


@given(any_text, any_text)
def test_values_of_a_failure_add_no_lines(path: str, found: str) -> None:
    said = failure_in_words(WrongExport(path=path, found=found, wanted="a/b"))
    assert len(said.split("\n")) == 2
    assert not STEERS.search(said.replace("\n", ""))


@given(st.integers(0, 10**12))
def test_numbers_for_people_have_separators(number: int) -> None:
    said, _, noun = count(number, "run").partition(" ")
    assert int(said.replace(",", "")) == number
    assert re.fullmatch(r"\d{1,3}(,\d{3})*", said)
    assert noun == ("run" if number == 1 else "runs")
