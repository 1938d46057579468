"""Names of files that a commit may replace, and their order."""

import pytest

from dr_wandb.core.columnar.files import pack_name, part_name
from dr_wandb.core.contract.export_files import (
    commit_order,
    in_commit_order,
    is_committed,
    is_parquet_history,
)

PACK = "parquet/history/2026-11-3.parquet"
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


@pytest.mark.parametrize(
    "name",
    [
        "parquet/history/../../x.parquet",
        "parquet/history/2026-13-3.parquet",
        "parquet/history/2026-11-33.parquet",
        "parquet/history/2026-11-3.parquet\n",
        "parquet/history/sub/2026-11-3.parquet",
        "2026-11-3.parquet",
        "../x",
        "",
    ],
)
def test_other_names_are_not_accepted(name: str) -> None:
    assert not is_parquet_history(name)
    assert not is_committed(name)


def test_packs_come_first_then_own_files_then_the_order_of_a_commit() -> None:
    names = [*commit_order(), OWN, PACK]
    assert in_commit_order(reversed(names)) == [PACK, OWN, *commit_order()]
    assert commit_order()[-1] == "state.json"
