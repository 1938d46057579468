"""How many rows an export holds of each dataset beside the history, in numbers and in words.

Rules
- The numbers are those of the manifest.
- The words come from the values of the datasets: none is a special case.
"""

from collections.abc import Iterator, Mapping

from dr_wandb.core.contract.amounts import count
from dr_wandb.core.contract.dataset import DATASETS
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.records import Record


class HeldRows(Record, frozen=True, kw_only=True):
    """What an export holds of a dataset: `rows` of all runs together.

    Of `sampled_runs` runs W&B gave only a sample, of `capped_runs` it keeps no more rows.
    `short_runs`, which include the latter, brought fewer rows than are listed.
    """

    rows: int = 0
    short_runs: int = 0
    sampled_runs: int = 0
    capped_runs: int = 0


def held_rows(manifest: ExportManifest | None) -> dict[str, HeldRows]:
    """Return what an export holds of its datasets beside the history, by name."""
    held = manifest.other_datasets if manifest is not None else {}
    return {
        name: HeldRows(
            rows=one.rows,
            short_runs=len(one.short_runs),
            sampled_runs=len(one.sampled_runs),
            capped_runs=len(one.capped_runs),
        )
        for name, one in sorted(held.items())
    }


def count_rows(dataset: str, rows: int) -> str:
    """Say a number of rows of a dataset, as in `1,980 console lines`."""
    known = DATASETS.get(dataset)
    return count(rows, f"{dataset} row" if known is None else known.noun)


def rows_in_words(held: Mapping[str, HeldRows]) -> Iterator[str]:
    """Say how many rows of each dataset are held."""
    return (count_rows(dataset, one.rows) for dataset, one in held.items())


def limits_in_words(held: Mapping[str, HeldRows]) -> Iterator[str]:
    """Say of how many runs W&B does not give all rows, in a line for each dataset and limit."""
    for dataset, one in held.items():
        if one.sampled_runs:
            runs = count(one.sampled_runs, "run")
            yield f"{dataset}: W&B gives only a sample of the rows of {runs}"
        if one.capped_runs:
            runs = count(one.capped_runs, "run")
            yield f"{dataset}: W&B keeps no more than the held rows of {runs}"
