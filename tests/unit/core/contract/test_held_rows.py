"""How many rows an export holds of each dataset beside the history."""

from msgspec import UNSET, UnsetType

from dr_wandb.core.contract.dataset import CONSOLE, SYSTEM
from dr_wandb.core.contract.held_rows import (
    HeldRows,
    held_rows,
    limits_in_words,
    rows_in_words,
)
from dr_wandb.core.contract.manifest import ExportManifest, HeldDataset
from dr_wandb.core.contract.request import ExportMode


def manifest(datasets: dict[str, HeldDataset] | UnsetType) -> ExportManifest:
    return ExportManifest(
        name="n",
        entity="e",
        project="p",
        mode=ExportMode.HISTORY,
        created_at="2026-01-01T00:00:00Z",
        updated_at="2026-01-01T00:00:00Z",
        runs_path="runs.jsonl",
        datasets=datasets,
    )


def test_rows_and_runs_are_counted_for_each_dataset() -> None:
    held = {
        SYSTEM: HeldDataset(rows=7, sampled_runs={"a": 9, "b": 8}),
        CONSOLE: HeldDataset(rows=1, short_runs={"a": 2, "b": 1}, capped_runs={"a": 3}),
    }
    found = held_rows(manifest(held))
    assert found == {
        CONSOLE: HeldRows(rows=1, short_runs=2, capped_runs=1),
        SYSTEM: HeldRows(rows=7, sampled_runs=2),
    }
    assert list(rows_in_words(found)) == ["1 console line", "7 system samples"]
    assert list(limits_in_words(found)) == [
        "console: W&B keeps no more than the held rows of 1 run",
        "system: W&B gives only a sample of the rows of 2 runs",
    ]


def test_dataset_of_a_later_build_is_counted_in_rows() -> None:
    later = {"traces": HeldRows(rows=2)}
    assert list(rows_in_words(later)) == ["2 traces rows"]
    assert list(limits_in_words(later)) == []


def test_export_without_other_datasets_holds_none() -> None:
    assert held_rows(None) == held_rows(manifest(UNSET)) == {}
