"""`wandb-export console`: what it prints of the lines of a run."""

from pathlib import Path

import pytest

from dr_wandb.cli import console, output, run
from dr_wandb.core.contract.failures import EXIT_OK, EXIT_USAGE
from tests.support.offline_folders import put, sync_folder
from tests.support.wandb_file import console_record, exit_record, run_record


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    """Return the folder of an export of two runs."""
    folder = tmp_path / "wandb"
    texts = [
        console_record("hello\n"),
        console_record("oh no\n", error=True),
        console_record("\x1b[31mred\x1b[0m\tü\n"),
    ]
    put(folder, "a", [run_record("a"), *texts, exit_record()])
    put(folder, "b", [run_record("b"), console_record("other\n"), exit_record()])
    sync_folder(folder, tmp_path / "data", extra_datasets=("console",))
    sync_folder(folder, tmp_path / "data", name="without")
    return tmp_path / "data"


def printed(capsys: pytest.CaptureFixture[str], data_root: Path, *flags: str) -> str:
    assert run(["console", "export", "a", "--data-root", str(data_root), *flags]) == EXIT_OK
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        ((), "hello\noh no\n\x1b[31mred\x1b[0m\tü\n"),
        (("--stderr",), "oh no\n"),
        (("--tail", "2"), "oh no\n\x1b[31mred\x1b[0m\tü\n"),
        (("--tail", "1", "--stderr"), "oh no\n"),
        (("--tail", "0"), ""),
    ],
)
def test_lines_are_printed_as_they_are_to_a_pipe(
    flags: tuple[str, ...], text: str, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(capsys, data_root, *flags) == text


def test_terminal_gets_nothing_that_can_steer_it_unless_it_is_wanted(
    data_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "on_terminal", lambda: True)
    last = ("--tail", "1")
    assert printed(capsys, data_root, *last) == "\\x1b[31mred\\x1b[0m\tü\n"
    assert printed(capsys, data_root, *last, "--raw") == "\x1b[31mred\x1b[0m\tü\n"


def test_printing_ends_when_nobody_reads_on(
    data_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "LINES_AT_ONCE", 1)
    monkeypatch.setattr(console, "reader_is_gone", lambda: True)
    assert printed(capsys, data_root) == "hello\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["without", "a"], "without has no consoles: sync it with --with console"),
        (["export", "c"], "has no run 'c'"),
        (["export", "a", "--tail", "-1"], "tail must be 0 or more"),
    ],
)
def test_mistakes_are_usage_errors(
    arguments: list[str], words: str, data_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["console", *arguments, "--data-root", str(data_root)]) == EXIT_USAGE
    assert words in capsys.readouterr().err


def test_missing_export_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["console", "none", "a", "--data-root", str(tmp_path)]) == 6
    assert "none" in capsys.readouterr().err
