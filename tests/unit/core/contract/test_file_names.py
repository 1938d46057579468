"""The spelling of file names, by example."""

import pytest

from dr_wandb.core.contract.file_names import name_spelled, spell_name


@pytest.mark.parametrize(
    ("name", "spelling"),
    [
        ("media/a.png", "media/a.png"),
        ("C:\\dump\\ud8.txt", "C:\\dump\\ud8.txt"),
        ("x\ud800", "x\\ud800"),
        ("x\\ud800", "x\\\\ud800"),
        ("x\\\ud800", "x\\\\\\ud800"),
        ("ud800", "ud800"),
        ("\udcff\udcfe", "\\udcff\\udcfe"),
        ("\\UD800 \\ud7ff", "\\UD800 \\ud7ff"),
    ],
)
def test_names_that_look_alike_are_spelled_differently(name: str, spelling: str) -> None:
    assert spell_name(name) == spelling
    assert name_spelled(spelling) == name


def test_long_names_of_backslashes_are_read_at_once() -> None:
    name = "\\" * 1_000_000
    assert spell_name(name) == name_spelled(name) == name
