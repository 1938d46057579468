"""The file of a run: a function of its id, its time of creation and its size."""

import pytest

from dr_wandb.core.columnar.files import (
    MOST_CELLS,
    MOST_TEXT_BYTES,
    Size,
    month_of,
    pack_name,
    part_name,
)


@pytest.mark.parametrize(
    ("created_at", "month"),
    [
        ("2026-11-29T11:55:45Z", "2026-11"),
        ("2026-12-31T23:59:59.999999999Z", "2026-12"),
        ("0001-01-01T00:00:00Z", "0001-01"),
        (None, "unknown"),
        ("", "unknown"),
        ("soon", "unknown"),
        ("2026-11", "unknown"),
        ("2026-13-01T00:00:00Z", "unknown"),
        ("2026-00-01T00:00:00Z", "unknown"),
        ("2026-11-29T11:55:45+01:00", "unknown"),
        ("../../11-29T11:55:45Z", "unknown"),
        ("٢٠٢٦-11-29T11:55:45Z", "unknown"),
        ("2026-11-29T11:55:45Z\n", "unknown"),
    ],
)
def test_month_is_that_of_a_time_in_utc(created_at: str | None, month: str) -> None:
    assert month_of(created_at) == month


def test_names_of_files_come_from_the_month_and_the_digest_of_the_run() -> None:
    assert pack_name("abcd1234", "2026-11-29T11:55:45Z") == "2026-11-e.parquet"
    assert part_name("abcd1234", "2026-11-29T11:55:45Z", 7) == (
        "2026-11-run-e9cee71ab932fde863338d08be4de9df-0007.parquet"
    )
    assert part_name("../é\n", None, 12345) == (
        "unknown-run-e51db464c103252c247a182437ce4cd3-12345.parquet"
    )


@pytest.mark.parametrize(
    ("size", "own"),
    [
        (Size(MOST_CELLS - 1, MOST_TEXT_BYTES - 1), False),
        (Size(MOST_CELLS, 0), True),
        (Size(1, MOST_TEXT_BYTES), True),
    ],
)
def test_run_of_a_certain_size_has_files_of_its_own(size: Size, own: bool) -> None:
    assert size.has_own_files is own
