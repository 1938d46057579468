"""Help pages fit the width, and lose no word: laws for any page, then what readers rely on."""

import re

from hypothesis import example, given
from hypothesis import strategies as st

from dr_wandb.cli.help_layout import Entry, Section, lay_out

WORDS = st.lists(st.text("ab`-:[].", min_size=1, max_size=30), min_size=1, max_size=30)
TEXTS = WORDS.map(" ".join)
ENTRIES = st.builds(Entry, TEXTS, st.just("") | TEXTS)
SECTIONS = st.builds(Section, TEXTS, st.lists(ENTRIES, max_size=5))
PARTS = st.lists(TEXTS | SECTIONS, max_size=4)
WIDTHS = st.integers(1, 120)


@given(TEXTS, PARTS, WIDTHS)
@example("Usage: a", [Section("Flags", [Entry("--flag A-VERY-LONG-VALUE", "text")])], 20)
def test_page_has_every_word_whole_and_in_order(
    usage: str, parts: list[str | Section], width: int
) -> None:
    words = usage.split()
    for part in parts:
        if isinstance(part, Section):
            words += f"{part.title}:".split()
            words += [word for entry in part.entries for word in " ".join(entry).split()]
        else:
            words += part.split()
    assert lay_out(usage, parts, width).split() == words


@given(TEXTS, PARTS, WIDTHS)
@example("Usage: a", [Section("Codes", [Entry("0", "a-word-of-24-characters.")])], 24)
def test_line_is_longer_than_the_width_only_if_it_is_one_word(
    usage: str, parts: list[str | Section], width: int
) -> None:
    titles = [f"{part.title}:" for part in parts if isinstance(part, Section)]
    for line in lay_out(usage, parts, width).splitlines():
        assert len(line) <= width or len(line.split()) == 1 or line in titles
        assert line == line.rstrip()


def test_texts_of_a_section_stand_in_one_column() -> None:
    flags = Section("Flags", [Entry("--a", "One."), Entry("--bcd INT", "Two words.")])
    codes = Section("Codes", [Entry("0", "fine")])
    assert lay_out("Usage: x", ["About it.", flags, codes], 40) == (
        "Usage: x\n\nAbout it.\n\n"
        "Flags:\n  --a        One.\n  --bcd INT  Two words.\n\n"
        "Codes:\n  0  fine\n"
    )


def test_text_goes_below_a_label_that_takes_more_than_a_third_of_the_width() -> None:
    flags = [Entry("--quiet", "Say no word."), Entry("--include-metadata", "Store it, too.")]
    assert lay_out("Usage: x", [Section("Flags", flags)], 40) == (
        "Usage: x\n\nFlags:\n"
        "  --quiet  Say no word.\n"
        "  --include-metadata\n"
        "           Store it, too.\n"
    )


def test_usage_goes_on_further_to_the_right_than_another_usage_begins() -> None:
    usage = "Usage: tool ENTITY PROJECT\n       tool COMMAND"
    assert lay_out(usage, [], 20) == ("Usage: tool ENTITY\n         PROJECT\n       tool COMMAND\n")


def test_flag_is_not_torn_at_its_hyphens() -> None:
    page = lay_out("Usage: x", ["See --source offline:DIR, or --dry-run, or both of them."], 22)
    assert re.findall(r"\S*-\S*", page) == ["--source", "--dry-run,"]
