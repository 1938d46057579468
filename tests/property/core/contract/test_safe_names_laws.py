"""Laws of the names of a checkout."""

from pathlib import PurePosixPath
from unicodedata import normalize

from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.contract.safe_names import safe_path, tree_of

NAMES = st.text() | st.text(alphabet="aA./\\% :~", max_size=8)


@given(NAMES)
def test_path_stays_below_its_folder(name: str) -> None:
    path = safe_path(name)
    parts = path.split("/")
    assert all(part not in ("", ".", "..") and part.isprintable() for part in parts)
    assert not PurePosixPath(path).is_absolute()
    assert all(len(part.encode()) <= 255 for part in parts)


@st.composite
def names_of_a_folder(draw: st.DrawFn) -> set[str]:
    """Names, and names that others were given, or would need as a folder."""
    names = draw(st.sets(NAMES, max_size=6))
    for below in draw(st.lists(st.sampled_from(["", "/b", "/B/c"]), max_size=3)):
        given = sorted(f"{path}{below}" for path in tree_of(names).values())
        names |= {path for path in given if draw(st.booleans())}
    return names


@given(names_of_a_folder())
def test_different_names_have_paths_that_one_disk_holds_together(names: set[str]) -> None:
    tree = tree_of(names)
    folded = {normalize("NFC", path.casefold()) for path in tree.values()}
    assert tree.keys() == names
    assert len(folded) == len(names)
    folders = {str(one) for path in folded for one in PurePosixPath(path).parents}
    assert not folded & folders
    assert all(len(part.encode()) <= 255 for path in folded for part in path.split("/"))
    assert tree == tree_of(sorted(names, reverse=True))
