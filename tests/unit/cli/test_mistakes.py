"""Mistakes that people make on the command line: each gets one or two lines that help."""

from pathlib import Path

import pytest

from dr_wandb.cli import run
from dr_wandb.cli.command import as_flags, split_address

RECORDING = Path(__file__).parents[3] / "fixtures/recorded/tiny-vision"
REPLAY = ("--name", "demo", "--source", f"replay:{RECORDING}", "--quiet", "--dry-run")


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run(arguments)
    return code, capsys.readouterr().err


def test_no_arguments_print_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    shown = capsys.readouterr()
    assert "Usage: wandb-export" in shown.out
    assert shown.err == ""


@pytest.mark.parametrize(
    "address",
    [
        "demo-lab/tiny-vision",
        "https://wandb.ai/demo-lab/tiny-vision",
        "https://wandb.ai/demo-lab/tiny-vision/runs/abc?x=1",
    ],
)
def test_project_in_one_word_is_understood(
    address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for before in ((), ("export",)):
        code, _ = said(capsys, *before, address, *REPLAY, "--data-root", str(tmp_path))
        assert code == 0


def test_words_that_are_no_address_stay_as_they_are() -> None:
    for tokens in (
        ["e", "p"],
        ["export", "e", "p"],
        ["a/b", "p/q"],
        ["scan", "runs/wandb"],
        ["status", "a/b"],
        ["-h"],
        ["/e/p"],
        ["export"],
        [],
    ):
        assert split_address(tokens) == tokens


def test_misspelled_subcommand_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = said(capsys, "verfy", "demo")
    assert code == 2
    assert lines.endswith("did you mean: wandb-export verify\n")
    _, lines = said(capsys, "my-team", "demo")
    assert "did you mean" not in lines


def test_tilde_behind_an_equals_sign_is_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No shell expands it there: the export came into a folder called `~`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    arguments = [one for one in REPLAY if one != "--dry-run"]
    code, _ = said(capsys, "demo-lab", "tiny-vision", *arguments, "--data-root=~/kept")
    assert code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_status_of_a_data_root_that_is_not_there_is_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = tmp_path / "missing"
    code, lines = said(capsys, "status", "--data-root", str(missing))
    assert (code, lines) == (2, f"there is no folder {missing}: give --data-root\n")


def test_times_that_contradict_each_other_are_a_mistake(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    times = ("--created-after", "2027-01-01", "--created-before", "2026-01-01")
    code, lines = said(capsys, "demo-lab", "tiny-vision", *REPLAY, *times)
    assert code == 2
    assert lines == (
        "--created-after 2027-01-01T00:00:00Z is not before --created-before "
        "2026-01-01T00:00:00Z: no run can be in scope\n"
    )


@pytest.mark.parametrize(
    ("window", "line"),
    [
        (
            ("--min-step", "5", "--max-step", "5"),
            "--min-step 5 to --max-step 5 admits no step: --max-step is exclusive\n",
        ),
        (
            ("--max-step", "0"),
            "--max-step 0 admits no step: --max-step is exclusive\n",
        ),
    ],
)
def test_empty_step_window_is_a_mistake(
    window: tuple[str, ...], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, lines = said(capsys, "demo-lab", "tiny-vision", *REPLAY, "--mode", "history", *window)
    assert (code, lines) == (2, line)


@pytest.mark.parametrize(
    ("flags", "lines"),
    [
        (
            ("--history-key", "losss"),
            "--history-key losss matches no run; did you mean loss, train.loss or val/loss?\n",
        ),
        (
            ("--history-key", "loss,val/loss"),
            "--history-key loss,val/loss matches no run; give the flag for each: "
            "--history-key loss --history-key val/loss\n",
        ),
        (("--history-key", "val/loss", "--history-key", "train", "--history-key", "_x"), ""),
        (
            ("--state", "runing"),
            "--state runing matches no run; did you mean running?\n",
        ),
        (("--state", "finished", "--tag", "x"), "no run is in the scope: state finished; tag x\n"),
        (
            ("--state", "finishd", "--tag", "x"),
            "no run is in the scope: state finishd; tag x\n"
            "--state finishd matches no run; did you mean finished?\n",
        ),
        (("--run-id", "nothing-like-it"), "--run-id nothing-like-it matches no run\n"),
        (
            ("--created-after", "2040-01-01"),
            "no run is in the scope: created after 2040-01-01T00:00:00Z\n",
        ),
    ],
)
def test_what_no_run_has_is_reported_and_the_export_is_made(
    flags: tuple[str, ...], lines: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [one for one in REPLAY if one != "--dry-run"]
    arguments += ["--mode", "history", "--data-root", str(tmp_path), *flags]
    assert said(capsys, "demo-lab", "tiny-vision", *arguments) == (0, lines)


def test_problems_name_flags() -> None:
    assert as_flags("min_step 10 is beyond max_step 5") == "--min-step 10 is beyond --max-step 5"
    assert as_flags("--max-step and my_min_step") == "--max-step and my_min_step"
