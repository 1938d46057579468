"""Laws of text for people."""

import re

from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.contract.wording import count


@given(st.integers(0, 10**12))
def test_numbers_for_people_have_separators(number: int) -> None:
    said, _, noun = count(number, "run").partition(" ")
    assert int(said.replace(",", "")) == number
    assert re.fullmatch(r"\d{1,3}(,\d{3})*", said)
    assert noun == ("run" if number == 1 else "runs")
