"""The samples of the machine in a `.wandb` file, as W&B's clients send them."""

from typing import Any

import pytest

from dr_wandb.core.offline.system import SAMPLES_AT_ONCE, samples_of
from tests.support.wandb_file import (
    exit_record,
    file_of,
    header_record,
    rows_of,
    run_record,
    stats_record,
)

START = 1_767_225_600


def read(*payloads: bytes) -> list[dict[str, Any]]:
    data = file_of(payloads)
    return [row for batch in samples_of(data, len(data)) for row in batch]


def test_samples_up_to_the_exit_have_times_and_values() -> None:
    assert read(
        header_record(),
        run_record(started="2026-01-01T00:00:00.250000Z"),
        *rows_of(range(2)),
        stats_record(START + 1, cpu=0.5, **{"disk./.usageGB": 2}),
        stats_record(START + 16),
        exit_record(),
        stats_record(START + 31, cpu=1),
    ) == [
        {
            "system.cpu": 0.5,
            "system.disk./.usageGB": 2,
            "_timestamp": START + 1.0,
            "_runtime": START + 1.0 - (START + 0.25),
        },
        {"_timestamp": START + 16.0, "_runtime": START + 16.0 - (START + 0.25)},
    ]


@pytest.mark.parametrize(
    ("producer", "started", "times"),
    [
        ("0.31.0", None, {"_timestamp": START + 1.0}),
        ("", "2026-01-01T00:00:00.750000Z", {"_timestamp": START + 1, "_runtime": 1}),
        ("", None, {"_timestamp": START + 1}),
    ],
)
def test_times_are_those_that_the_client_sent(
    producer: str, started: str | None, times: dict[str, Any]
) -> None:
    (row,) = read(header_record(producer), run_record(started=started), stats_record(START + 1))
    assert row == times
    assert {*map(type, row.values())} == {*map(type, times.values())}


def test_sample_without_a_time_has_its_values() -> None:
    assert read(header_record(), stats_record(None, cpu=7)) == [{"system.cpu": 7}]


def test_many_samples_come_in_batches() -> None:
    count = 2 * SAMPLES_AT_ONCE + 1
    data = file_of([header_record(), *(stats_record(START + at) for at in range(count))])
    assert [len(batch) for batch in samples_of(data, len(data))] == [
        SAMPLES_AT_ONCE,
        SAMPLES_AT_ONCE,
        1,
    ]
