"""Names for people, by example."""

import pytest

from dr_wandb.core.contract.checked_out import CheckedOut, describe_checkout
from dr_wandb.core.contract.safe_names import safe_part, safe_path, tree_of


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("output.log", "output.log"),
        ("media/images/a b.png", "media/images/a b.png"),
        (".gitignore", ".gitignore"),
        ("ünïcode ☃", "ünïcode ☃"),
        ("../../etc", "%2E%2E/%2E%2E/etc"),
        (".", "%2E"),
        ("/etc/passwd", "%/etc/passwd"),
        ("", "%"),
        ("a//b", "a/%/b"),
        ("C:evil", "C%3Aevil"),
        ("100%", "100%25"),
        ("a\\b", "a%5Cb"),
        (" a ", "%20a%20"),
        ("a.", "a%2E"),
        ("tab\t\x1b[31m", "tab%09%1B[31m"),
        ("\u202e", "%E2%80%AE"),
        ("\ud800", "%ED%A0%80"),
    ],
)
def test_name_becomes_a_path(name: str, path: str) -> None:
    assert safe_path(name) == path


def test_long_names_are_cut_and_stay_different() -> None:
    one, other = safe_part("x" * 300), safe_part("x" * 301)
    assert one != other
    assert len(one.encode()) <= 217
    assert safe_part("☃" * 100).encode().decode()
    deep = safe_path("/".join(["deep"] * 400))
    assert deep.startswith("long~")
    assert len(deep) == 37


def test_names_that_one_disk_cannot_hold_together_get_a_mark() -> None:
    tree = tree_of(["NAME", "name", "a", "a/b", "A/c", "other"])
    assert tree["other"] == "other"
    assert tree["a/b"] == "a/b"
    assert all("~" in tree[name] for name in ("NAME", "name", "a"))
    assert len({path.casefold() for path in tree.values()}) == 6


def test_mark_of_a_name_is_no_name_of_another_one() -> None:
    """A file named `A~559aead0` was overwritten in a checkout by one named `A`."""
    mark = "A~559aead0"
    names = ["a", "A", mark, f"{mark}~2", f"{mark}~3/x"]
    tree = tree_of(names)
    assert tree == {**{name: name for name in names}, "a": "a~ca978112", "A": f"{mark}~4"}
    assert tree_of(reversed(names)) == tree


@pytest.mark.parametrize(
    ("one", "other"), [("\u00e4", "a\u0308"), ("\u1f80", "\u03b1\u0345\u0313")]
)
def test_spellings_of_one_letter_are_one_name(one: str, other: str) -> None:
    assert all("~" in path for path in tree_of([one, other]).values())


def test_checkout_is_described() -> None:
    names = tuple(f"runs/r/files/{number}" for number in range(12))
    done = CheckedOut(folder="f", files=1, bytes=5, absent=2, in_the_way=names, damaged=("d",))
    lines = list(describe_checkout(done))
    assert lines[0] == "1 file written to f, 5 bytes; 0 there already; INDEX.jsonl names them"
    assert lines[1] == "2 files not held: `absent` in files.jsonl says why"
    assert lines[-2].startswith("and 2 more: not replaced")
    assert lines[-1] == "d: damaged in the export: run `wandb-export verify`"
    assert len(lines) == 14
    assert not done.complete
    assert list(describe_checkout(CheckedOut(folder="f")))[1:] == []
