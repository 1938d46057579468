"""What is known of held rows: differences, moments, and when the next look is due."""

import pytest

from dr_wandb.core.contract.dataset import Counts
from dr_wandb.core.contract.evidence import (
    LAST_LOOK,
    NO_DIFFERENCE,
    SECOND_LOOK,
    Difference,
    Evidence,
    Look,
    Standing,
    difference_between,
    later_by,
    same_moment,
)
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection

NOON = "2026-01-02T12:00:00Z"


def counts(
    lines: int | None = 4, step: int | None = 3, logged: str | None = "1700000000.5"
) -> Counts:
    return Counts(line_count=lines, last_step=step, last_logged_at=logged)


# Differences


def test_listing_does_not_differ_from_the_rows_that_it_counts() -> None:
    assert difference_between(counts(), 4, 3, "1700000000.5") == NO_DIFFERENCE


@pytest.mark.parametrize(("lines", "rows"), [(6, 2), (3, -1)])
def test_difference_has_the_lines_that_are_listed_beyond_the_held_rows(
    lines: int, rows: int
) -> None:
    found = difference_between(counts(lines), 4, 3, "1700000000.5")
    assert found == Difference(rows=rows)


@pytest.mark.parametrize("held", [2, None])
def test_difference_has_the_listed_step_when_another_is_held(held: int | None) -> None:
    assert difference_between(counts(), 4, held, "1700000000.5") == Difference(last_step=3)


@pytest.mark.parametrize("held", ["1700000000.500002", "1", None])
def test_difference_has_the_listed_time_when_another_is_held(held: str | None) -> None:
    found = difference_between(counts(), 4, 3, held)
    assert found == Difference(last_logged_at="1700000000.5")


def test_difference_has_all_that_differs() -> None:
    expected = Difference(rows=4, last_step=3, last_logged_at="1700000000.5")
    assert difference_between(counts(), 0, None, None) == expected


def test_times_within_a_microsecond_are_no_difference() -> None:
    logged = counts(logged="1700000000.5000002")
    assert difference_between(logged, 4, 3, "1700000000.5") == NO_DIFFERENCE


def test_fields_that_are_not_listed_are_no_difference() -> None:
    unknown = counts(lines=None, step=None, logged=None)
    assert difference_between(unknown, 4, 3, "1700000000.5") == NO_DIFFERENCE


def test_count_of_zero_is_a_difference_as_it_is_known() -> None:
    empty = counts(lines=0, step=None, logged=None)
    assert difference_between(empty, 4, 3, "1700000000.5") == Difference(rows=-4)


# Moments


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (None, None),
        ("1700000000.5", "1700000000.5"),
        ("1700000000.5", "1700000000.50"),
        ("1700000000.5", "1700000000.5000002"),
        ("1700000000.5", "1700000000.4999998"),
        ("1700000000", "1700000000.0"),
        ("soon", "soon"),
    ],
)
def test_spellings_of_one_moment_are_the_same_moment(one: str | None, other: str | None) -> None:
    assert same_moment(one, other)
    assert same_moment(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (None, "1700000000.5"),
        (None, "0"),
        ("1700000000.5", "1700000000.500002"),
        ("0", "1e-06"),
        ("soon", "1700000000.5"),
        ("soon", "later"),
        ("NaN", "1"),
    ],
)
def test_different_times_are_not_the_same_moment(one: str | None, other: str | None) -> None:
    assert not same_moment(one, other)
    assert not same_moment(other, one)


# Time that has passed


@pytest.mark.parametrize(
    ("now", "passed"),
    [
        ("2026-01-02T12:10:00Z", True),
        ("2026-01-02T13:10:00+01:00", True),
        ("2026-01-02T12:09:59.999999Z", False),
        ("2026-01-02T12:10:00+01:00", False),
        ("2026-01-02T11:00:00Z", False),
    ],
)
def test_later_by_compares_instants(now: str, passed: bool) -> None:
    assert later_by(SECOND_LOOK, NOON, now) is passed


@pytest.mark.parametrize(("before", "now"), [(None, NOON), (NOON, None), ("soon", NOON)])
def test_time_has_not_passed_when_it_is_not_known(before: str | None, now: str | None) -> None:
    assert not later_by(SECOND_LOOK, before, now)


# Looks


def look(*, confirmed_at: str | None = None, ended: bool = False) -> Look:
    return Look(difference=Difference(rows=1), since=NOON, confirmed_at=confirmed_at, ended=ended)


def test_second_look_is_due_ten_minutes_after_the_first() -> None:
    assert not look().due("2026-01-02T12:09:59Z")
    assert look().due("2026-01-02T12:10:00Z")


def test_last_look_is_due_a_day_after_the_difference_was_confirmed() -> None:
    confirmed = look(confirmed_at="2026-01-02T12:30:00Z")
    assert not confirmed.due("2026-01-02T12:40:00Z")
    assert not confirmed.due("2026-01-03T12:29:59Z")
    assert confirmed.due("2026-01-03T12:30:00Z")
    assert LAST_LOOK.days == 1


def test_no_look_is_due_after_the_last_one() -> None:
    assert not look(confirmed_at=NOON, ended=True).due("2027-01-02T12:00:00Z")


# Evidence


def test_only_proof_acceptance_and_a_sample_leave_nothing_to_be_done() -> None:
    stands = {standing for standing in Standing if standing.stands}
    assert stands == {Standing.PROVEN, Standing.ACCEPTED, Standing.SAMPLED}


def test_evidence_speaks_of_one_run_under_one_selection() -> None:
    evidence = Evidence(created_at=NOON)
    same = RunListing(run_id="run", created_at="2026-01-02T12:00:00.25Z")
    another = RunListing(run_id="run", created_at="2026-01-02T12:00:01Z")
    assert evidence.speaks_of(same, EVERYTHING)
    assert not evidence.speaks_of(another, EVERYTHING)
    assert not evidence.speaks_of(same, HistorySelection(keys=("loss",)))


def test_evidence_speaks_of_a_run_whose_creation_is_not_known() -> None:
    assert Evidence().speaks_of(RunListing(run_id="run", created_at=NOON), EVERYTHING)
    assert Evidence(created_at=NOON).speaks_of(RunListing(run_id="run"), EVERYTHING)
