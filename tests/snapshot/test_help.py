"""The help of every command, as it is on narrow, usual and wide terminals.

Write the files again with `--snapshot-update`.
"""

import re

import pytest
from syrupy.assertion import SnapshotAssertion

from dr_wandb.cli import run
from dr_wandb.cli.command import SUBCOMMANDS
from tests.support.text_file import TextFile

PAGES = [
    [],
    ["--help"],
    *([name, "--help"] for name in SUBCOMMANDS),
    ["--install-completion", "--help"],
]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_help_of_every_command(
    width: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    snapshot: SnapshotAssertion,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    pages = {}
    for arguments in PAGES:
        assert run(arguments) == (0 if arguments else 2)
        page = capsys.readouterr().out
        assert max(map(len, page.splitlines())) <= width
        assert re.search(r"[^\x20-\x7e\n]", page) is None  # no escape codes, no box drawing
        pages[" ".join(("wandb-export", *arguments))] = page
    text = "\n".join(f"== {title}\n\n{page}" for title, page in pages.items())
    assert text == snapshot(extension_class=TextFile)
