"""How few requests a sync needs, as the server sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dr_wandb.shell.store.rows_file import RowsFile

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.api_exports import Exports


def test_terminal_run_that_is_exported_costs_one_query_and_its_files_and_then_nothing(
    exports: Exports,
) -> None:
    run = exports.project.add_run("run")
    run.log_all({"loss": 1 / (step + 1.5)} for step in range(50))
    run.finish()
    run.export_parquet(files=3)
    exports.sync()
    assert exports.asked == {"RunParquetHistory": 1, "download": 3}
    exports.sync()
    assert exports.asked == {}
    assert len(exports.rows("run")) == 50


@pytest.mark.parametrize("exported", [True, False])
def test_fetched_run_is_written_to_one_file(
    exported: bool, exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each exported run had a second file, which was made and removed without a row."""
    made: list[str] = []
    make = RowsFile.__init__

    def note(self: RowsFile, path: Path) -> None:
        made.append(path.name)
        make(self, path)

    monkeypatch.setattr(RowsFile, "__init__", note)
    run = exports.project.add_run("run")
    run.log_all({"loss": step + 0.5} for step in range(5))
    run.finish()
    if exported:
        run.export_parquet()
    exports.sync()
    assert len(exports.rows("run")) == 5
    assert len(made) == 1


def test_running_run_with_nothing_new_costs_nothing(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.log_all({"loss": step + 0.5} for step in range(20))
    exports.sync()
    exports.sync()
    assert exports.asked == {}


def test_tail_of_a_run_whose_first_rows_are_exported_downloads_nothing(exports: Exports) -> None:
    """A Parquet file can only be had as a whole: each tail would cost all the rows before it."""
    run = exports.project.add_run("run")
    run.log_all({"loss": step + 0.5} for step in range(40))
    run.export_parquet(files=2, upto=30)
    exports.sync()
    assert exports.asked["download"] == 2
    for _ in range(2):
        run.log_all({"loss": 0.25} for _ in range(5))
        exports.sync()
        assert exports.asked == {"HistoryPage": 1}
    assert exports.steps("run") == list(range(50))
    exports.assert_converged()


def test_tail_that_was_exported_since_is_downloaded(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.log_all({"loss": step + 0.5} for step in range(40))
    run.export_parquet(upto=30)
    exports.sync()
    run.log_all({"loss": 0.25} for _ in range(5))
    run.export_parquet(upto=43)
    exports.sync()
    assert exports.asked["download"] == 1
    assert exports.steps("run") == list(range(45))
    exports.assert_converged()


def test_rows_far_apart_do_not_cost_a_request_for_each_thousand_steps(exports: Exports) -> None:
    """At the SDK's page of a thousand steps, these three runs cost 6,000 requests."""
    for number in range(3):
        run = exports.project.add_run(f"run-{number}")
        for row in range(1_000):
            run.log({"loss": row + 0.5}, step=2_000 * row)
    exports.sync()
    assert exports.asked["HistoryPage"] <= 60
    assert len(exports.rows()) == 3_000


def test_files_in_another_order_than_their_rows_are_put_in_order(exports: Exports) -> None:
    run = exports.project.add_run("run")
    run.log_all({"loss": step + 0.5} for step in range(30))
    run.finish()
    run.export_parquet(files=3, file_order=[2, 0, 1])
    exports.sync()
    assert exports.steps("run") == list(range(30))
