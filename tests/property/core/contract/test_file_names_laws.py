"""Laws of the spelling of file names: no two names share one, and each gives its name back."""

from hypothesis import example, given
from hypothesis import strategies as st

from dr_wandb.core.contract.file_names import name_spelled, spell_name
from dr_wandb.core.contract.values import clean_text

PIECES = st.sampled_from(["\\", "\\\\", "u", "d", "8", "0", "f", "\ud800", "\udcff", "\udf0f"])
NAMES = st.one_of(
    st.text(st.characters(exclude_categories=())),
    st.lists(PIECES, max_size=12).map("".join),
    st.lists(st.sampled_from(["\\", "ud800", "\ud800", "a"]), max_size=6).map("".join),
)


@given(NAMES)
@example("x\ud800")
@example("x\\ud800")
@example("x\\\\ud800")
@example("\\\ud800ud800")
def test_spelling_gives_its_name_back(name: str) -> None:
    spelling = spell_name(name)
    assert spelling.encode().decode() == spelling
    assert clean_text(spelling) == spelling
    assert name_spelled(spelling) == name


@given(NAMES)
def test_name_without_surrogates_and_backslashes_is_its_own_spelling(name: str) -> None:
    if clean_text(name) == name and "\\" not in name:
        assert spell_name(name) == name
