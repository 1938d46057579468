"""The words in which a diagnosis, a comparison, and a run that is behind are reported."""

from dr_wandb.core.contract.dataset import HISTORY, Counts
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.part import PartTracking, Position
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.inspect.diagnosis import Check, Diagnosis, describe_diagnosis
from dr_wandb.core.inspect.holdings import ComparedRecords, Comparison, describe_comparison
from dr_wandb.core.inspect.shortfalls import Lag, LagKind, lag_of
from dr_wandb.core.inspect.verify import VerifyReport

KEY = Check(name="key", found="none", remedy="log in")
HTTP_503 = RunFailure(kind=RunFailureKind.SERVER_ERROR, reason="HTTP 503")
DISK = Check(name="data root", found="12 GB free")


def test_each_check_of_a_diagnosis_has_a_line_with_its_remedy_or_ok() -> None:
    lines = describe_diagnosis(Diagnosis(checks=(KEY, DISK)))
    assert lines == ("key        none: log in", "data root  12 GB free: ok")
    assert describe_diagnosis(Diagnosis(checks=())) == ()


def test_diagnosis_escapes_what_could_steer_a_terminal_unless_it_is_wanted_raw() -> None:
    told = Diagnosis(checks=(Check(name="user", found="a\x1b[2J"),))
    assert describe_diagnosis(told) == ("user  a\\x1b[2J: ok",)
    assert describe_diagnosis(told, raw=True) == ("user  a\x1b[2J: ok",)


def test_export_can_begin_when_no_check_has_a_remedy() -> None:
    assert Diagnosis(checks=(DISK,)).ready
    assert not Diagnosis(checks=(DISK, KEY)).ready


def test_comparison_names_how_many_runs_are_counted_and_not_listed() -> None:
    comparison = Comparison(
        name="n",
        address="https://api.wandb.ai",
        compared_at="2026-01-01T00:00:00Z",
        report=VerifyReport(name="n", files={}),
        unlisted=2,
    )
    assert not comparison.level
    assert "W&B counts 2 runs that it does not list" in describe_comparison(comparison)


def test_comparison_says_why_not_all_records_of_a_dataset_were_listed() -> None:
    comparison = Comparison(
        name="n",
        address="https://api.wandb.ai",
        compared_at="2026-01-01T00:00:00Z",
        report=VerifyReport(name="n", files={}),
        records={"sweeps": ComparedRecords(failure=HTTP_503)},
    )
    assert not comparison.level
    assert "W&B did not list all sweeps: HTTP 503" in describe_comparison(comparison)


def lag(lines: int | None, *, whole: bool = True) -> Lag | None:
    """Return the lag of a run whose four rows were read when four lines were listed."""
    position = Position(rows=4, whole=whole, last_step=3, listed=Counts(line_count=4, last_step=3))
    seen = RunListing(run_id="a", history_line_count=lines, last_step=9)
    parts = {HISTORY: PartTracking(position=position)}
    return lag_of(RunTracking(run_id="a", seen=seen, parts=parts))


def test_run_with_more_lines_than_rows_is_so_many_rows_behind() -> None:
    assert lag(7) == Lag(kind=LagKind.ROWS, reason="3 rows behind")


def test_run_that_moved_on_without_more_lines_has_logged_since() -> None:
    logged_since = Lag(kind=LagKind.LOGGED_SINCE, reason="logged since it was read")
    assert lag(4) == logged_since
    assert lag(None) == logged_since
    assert lag(7, whole=False) == logged_since
