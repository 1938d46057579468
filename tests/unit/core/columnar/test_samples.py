"""Samples as cells, and back."""

import pytest

from dr_wandb.core.columnar.cells import JSON, NUMBER, TEXT, CellBatch
from dr_wandb.core.columnar.samples import cells_of_samples, lines_of_samples
from dr_wandb.core.columnar.table_packs import table_packs
from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.records import SystemSample

USUAL = SystemSample(
    run_id="r",
    timestamp="1700000000.5",
    runtime=3,
    metrics={"system.cpu": 0.5, "system.gpu.0.name": "A100", "system.disks": ["a", 1]},
)


def cells_of(*samples: SystemSample) -> CellBatch:
    (batch,) = cells_of_samples([b"".join(map(encode_line, samples))])
    return batch


def test_metrics_are_cells_and_the_time_is_that_of_each() -> None:
    batch = cells_of(USUAL, SystemSample(run_id="r"))
    assert batch.timestamps.tolist()[0] == 1700000000.5
    assert not batch.has_step.any()
    assert [*batch.columns] == [
        None,
        "_runtime",
        "system.cpu",
        "system.disks",
        "system.gpu.0.name",
    ]
    kinds = {key: cells.kinds.tolist() for key, cells in batch.columns.items() if key}
    assert kinds == {
        "_runtime": [NUMBER],
        "system.cpu": [NUMBER],
        "system.disks": [JSON],
        "system.gpu.0.name": [TEXT],
    }
    assert batch.columns[None].texts == []


@pytest.mark.parametrize(
    "sample",
    [
        USUAL,
        SystemSample(run_id="r"),
        SystemSample(run_id="r", metrics={"_timestamp": "no time"}),
        SystemSample(run_id="r", runtime=1, metrics={"_runtime": 2}),
        SystemSample(run_id="r", timestamp="1", metrics={"_timestamp": 2}),
        SystemSample(run_id="r", timestamp="1.0"),
        SystemSample(run_id="r", timestamp="at noon"),
        SystemSample(run_id="r", metrics={"a": None, "_step": 1}),
        SystemSample(run_id="r", metrics={"a": 2**70, "b": 2**53 + 1, "c": True, "d": "NaN"}),
    ],
)
def test_samples_give_their_lines_back(sample: SystemSample) -> None:
    batch = cells_of(USUAL, sample)
    assert lines_of_samples(batch, "r") == encode_line(USUAL) + encode_line(sample)


def test_samples_are_numbered_over_all_batches() -> None:
    line = encode_line(USUAL)
    batches = list(cells_of_samples([line * 3, b"", line]))
    assert [(batch.first, batch.row_count) for batch in batches] == [(0, 3), (3, 0), (3, 1)]


def test_run_without_rows_is_in_no_pack() -> None:
    assert table_packs("system", {}) == {}
