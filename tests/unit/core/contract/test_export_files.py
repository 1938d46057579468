"""Names of files that a commit may replace, and their order."""

import pytest

from dr_wandb.core.columnar.files import pack_name, part_name
from dr_wandb.core.columnar.table_packs import table_pack
from dr_wandb.core.contract.export_files import (
    commit_order,
    in_commit_order,
    is_committed,
    is_parquet,
    is_parquet_history,
    is_table,
    version_for,
)
from dr_wandb.core.contract.records import (
    FIRST_WITH_CELLS,
    FIRST_WITH_DATASETS,
    FIRST_WITH_FILES,
    FIRST_WITH_TABLES,
    WITHOUT_PARQUET,
)

PACK = "parquet/history/2026-11-3.parquet"
TABLE = "parquet/console/2026-11-3.parquet"
OWN = f"parquet/history/2026-11-run-{'0' * 32}-0000.parquet"


@pytest.mark.parametrize("created_at", ["2026-11-05T01:02:03Z", None, "../x"])
@pytest.mark.parametrize("run_id", ["a", "../../etc", "ü\u2028"])
def test_every_name_that_is_chosen_is_one_that_is_accepted(
    run_id: str, created_at: str | None
) -> None:
    for name in (
        pack_name(run_id, created_at),
        part_name(run_id, created_at, 0),
        part_name(run_id, created_at, 12_345),
    ):
        assert is_parquet_history(f"parquet/history/{name}")
        assert is_committed(f"parquet/history/{name}")
    for dataset in ("system", "console", "files"):
        name = table_pack(dataset, run_id, created_at)
        assert is_table(name)
        assert is_committed(name)


@pytest.mark.parametrize(
    "name",
    [
        "parquet/history/../../x.parquet",
        "parquet/history/2026-13-3.parquet",
        "parquet/history/2026-11-33.parquet",
        "parquet/history/2026-11-3.parquet\n",
        "parquet/history/sub/2026-11-3.parquet",
        "2026-11-3.parquet",
        "parquet/artifacts/2026-11-3.parquet",
        "parquet/console/../../x.parquet",
        f"parquet/console/2026-11-run-{'0' * 32}-0000.parquet",
        "../x",
        "",
    ],
)
def test_other_names_are_not_accepted(name: str) -> None:
    assert not is_parquet(name)
    assert not is_committed(name)


def test_packs_come_first_then_own_files_then_the_order_of_a_commit() -> None:
    names = [*commit_order(), OWN, PACK, TABLE]
    assert in_commit_order(reversed(names)) == [TABLE, PACK, OWN, *commit_order()]
    assert commit_order()[-1] == "state.json"


@pytest.mark.parametrize(
    ("names", "version"),
    [
        (("runs.jsonl", "history.jsonl"), WITHOUT_PARQUET),
        (("runs.jsonl", PACK), FIRST_WITH_CELLS),
        (("runs.jsonl", "console.jsonl"), FIRST_WITH_DATASETS),
        (("runs.jsonl", "console.jsonl", "files.jsonl", PACK), FIRST_WITH_FILES),
        (("runs.jsonl", "console.jsonl", TABLE), FIRST_WITH_TABLES),
    ],
)
def test_version_is_the_oldest_that_fits_the_files(names: tuple[str, ...], version: int) -> None:
    assert version_for(names) == version
