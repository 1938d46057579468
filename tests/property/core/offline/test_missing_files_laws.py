"""Laws of the files that a client named and that are not in the folder of its run."""

import posixpath

from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.contract.file_names import name_spelled, spell_name
from dr_wandb.core.offline.missing_files import missing_files, without_escapes

PARTS = st.sampled_from(["a", "b", "..", ".", "", "x[1]", "x[[]1]", "c\\d", "\\ud800", "\ud800"])
NAMES = st.one_of(st.lists(PARTS, min_size=1, max_size=4).map("/".join), st.text(max_size=8))
PLAIN = st.lists(st.sampled_from(["a", "b", "x[1]", "c"]), min_size=1, max_size=3).map("/".join)


@given(st.lists(NAMES), st.lists(PLAIN))
def test_missing_names_are_named_and_not_found(named: list[str], found: list[str]) -> None:
    missing = missing_files(named, found)
    assert missing == sorted({*missing})
    assert not {*missing} & {*found, "", "."}
    normal = {posixpath.normpath(without_escapes(name)) for name in named}
    assert {name_spelled(name) for name in missing} <= normal
    assert missing_files(reversed([*named, *named]), found) == missing


@given(st.lists(NAMES))
def test_no_name_is_missing_once_all_are_found(named: list[str]) -> None:
    missing = missing_files(named, [])
    assert missing_files(named, missing) == []
    normal = {spell_name(posixpath.normpath(without_escapes(one))) for one in named if one}
    assert {*missing} <= normal
    assert {*missing} >= {one for one in normal if not {"[", "."} & {*one}}
