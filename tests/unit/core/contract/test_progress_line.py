"""The line of a terminal that says how far a command is."""

import pytest

from dr_wandb.core.contract.progress import Progress, Stage
from dr_wandb.core.contract.progress_line import ASCII_BLOCKS, describe_progress, describe_waiting

FETCHING = Progress(done=120, total=1980, rows=1234567, failed=2, short=1)
BAR = "━" + "─" * 31


@pytest.mark.parametrize(
    ("width", "line"),
    [
        (
            120,
            f"Fetching {BAR} 120/1,980 runs  1,234,567 rows  2.0 runs/s  15:30 left  "
            "2 failed, 1 short",
        ),
        (
            100,
            f"Fetching ━{'─' * 16} 120/1,980 runs  1,234,567 rows  2.0 runs/s  15:30 left  "
            "2 failed, 1 short",
        ),
        (80, f"Fetching {'─' * 9} 120/1,980 runs  1,234,567 rows  15:30 left  2 failed, 1 short"),
        (60, "Fetching 120/1,980 runs  15:30 left  2 failed, 1 short"),
        (44, "Fetching 120/1,980 runs  2 failed, 1 short"),
        (30, "Fetching 120/1,980 runs"),
        (10, "Fetching 1"),
    ],
)
def test_least_important_goes_first_if_there_is_little_room(width: int, line: str) -> None:
    assert describe_progress(FETCHING, 60.0, width) == (line,)


@pytest.mark.parametrize(
    ("progress", "seconds", "line"),
    [
        (Progress(stage=Stage.STARTING, done=0, total=0), 0.2, "Starting"),
        (Progress(stage=Stage.STARTING, done=0, total=0), 3.9, "Starting  0:03"),
        (Progress(stage=Stage.LISTING, done=1500, total=0), 0.5, "Listing 1,500 runs so far"),
        (
            Progress(stage=Stage.LISTING, done=1500, total=0),
            10.0,
            "Listing 1,500 runs so far  150.0 runs/s  0:10",
        ),
        (
            Progress(stage=Stage.LISTING, done=500, total=2000),
            10.0,
            "Listing ########------------------------ 500/2,000 runs  50.0 runs/s  0:30 left",
        ),
        (
            Progress(stage=Stage.RECORDS, dataset="artifacts", done=500, total=2000),
            10.0,
            "Artifacts ########------------------------ 500/2,000  50.0/s  0:30 left",
        ),
        (
            Progress(stage=Stage.RECORDS, dataset="reports", done=7, total=0),
            0.2,
            "Reports 7 so far",
        ),
        (Progress(done=0, total=8), 2.0, f"Fetching {'-' * 32} 0/8 runs  0:02"),
        (Progress(done=8, total=8), 2.0, f"Fetching {'#' * 32} 8/8 runs  4.0 runs/s  0:02"),
        (
            Progress(stage=Stage.WRITING, done=8, total=8, rows=50, failed=1),
            3.0,
            "Writing  50 rows  0:03  1 failed",
        ),
        (
            Progress(stage=Stage.VERIFYING, done=20_000_000, total=80_000_000),
            2.0,
            "Verifying ########------------------------ 20.0 MB of 80.0 MB  10.0 MB/s  0:06 left",
        ),
        (Progress(stage=Stage.VERIFYING, done=900, total=0), 0.0, "Verifying 900 bytes"),
        (
            Progress(stage=Stage.CONVERTING, done=2_000, total=8_000),
            2.0,
            f"Converting ########{24 * '-'} 2,000/8,000 rows  1,000.0 rows/s  0:06 left",
        ),
    ],
)
def test_each_stage_says_what_is_known(progress: Progress, seconds: float, line: str) -> None:
    assert describe_progress(progress, seconds, 100, blocks=ASCII_BLOCKS) == (line,)


def test_wait_has_a_line_of_its_own() -> None:
    waiting = describe_waiting("throttled by W&B", 12.7)
    shown = describe_progress(Progress(done=1, total=2), 0.0, 24, waiting=waiting)
    assert shown == ("Fetching 1/2 runs", "  waiting 0:12: throttle")


def test_reason_of_a_wait_cannot_steer_the_terminal() -> None:
    """It may be what a server answered, or the name of a run."""
    said = describe_waiting("HTTP 502: \x1b[2J\u202ebad\ngateway", 1.0)
    assert said == r"waiting 0:01: HTTP 502: \x1b[2J\u202ebad\ngateway"


def test_bytes_of_files_are_shown() -> None:
    progress = Progress(done=1, total=2, bytes=5_000_000)
    (line,) = describe_progress(progress, 0.5, 100)
    assert "5.0 MB of files" in line
