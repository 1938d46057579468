"""Whatever a command does, its line fits the terminal and hides no failure that it has room for."""

from hypothesis import given
from hypothesis import strategies as st

from dr_wandb.core.contract.progress import Progress, Stage
from dr_wandb.core.contract.progress_line import describe_progress

NUMBERS = st.integers(min_value=0, max_value=10**12)
PROGRESS = st.builds(
    Progress,
    stage=st.sampled_from(Stage),
    done=NUMBERS,
    total=NUMBERS,
    rows=NUMBERS,
    failed=NUMBERS,
    short=NUMBERS,
)
SECONDS = st.floats(min_value=0, max_value=10**6)


@given(PROGRESS, SECONDS, st.integers(1, 300), st.text(max_size=200))
def test_lines_fit_the_terminal(
    progress: Progress, seconds: float, width: int, waiting: str
) -> None:
    lines = describe_progress(progress, seconds, width, waiting=waiting)
    assert len(lines) == (2 if waiting else 1)
    assert all(len(line) <= width for line in lines)


@given(PROGRESS, SECONDS, st.integers(1, 300))
def test_wider_terminal_shows_no_less(progress: Progress, seconds: float, width: int) -> None:
    def words(columns: int) -> set[str]:
        (line,) = describe_progress(progress, seconds, columns)
        return set(line.split("  ")[1:])

    assert words(width) <= words(width + 50)


@given(PROGRESS, SECONDS)
def test_failures_are_shown_at_a_hundred_columns(progress: Progress, seconds: float) -> None:
    (line,) = describe_progress(progress, seconds, 100)
    assert (" failed" in line) == (progress.failed > 0)
    assert (" short" in line) == (progress.short > 0)
