"""What the rows cost that a live run gained: one page of them, and no Parquet file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.server import EmptyRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.api_exports import Exports
    from tests.support.server import Run

TAIL = {"HistoryPage": 1}
"""The requests for a tail that is live."""

DOWNLOADED = {"HistoryPage": 1, "RunParquetHistory": 1}
"""Those for a tail whose first rows are only exported, downloads apart."""

ITEMS: dict[str, Callable[[dict[str, Any]], Any] | None] = {
    "an object": None,
    "a step that is a double": lambda row: {**row, "_step": float(row["_step"])},
    "JSON text": json.dumps,
    "without a step": lambda row: {},
}
"""Forms in which `liveData` lists a live row."""


def log(run: Run, count: int, *, double: bool) -> None:
    """Log rows that count on; double: with steps such as 199.0."""
    for _ in range(count):
        step = run.next_step
        run.log({"loss": step + 0.5}, step=float(step) if double else step)


def assert_downloaded(exports: Exports) -> None:
    """Expect one file; the SDK asked for its size beforehand until 0.30."""
    assert exports.asked.pop("download") in (1, 2)
    assert exports.asked == DOWNLOADED


def grow(exports: Exports, run: Run, *, double: bool, times: int = 2) -> None:
    """Log 5 rows and sync, several times, and look at what each sync asks."""
    for _ in range(times):
        log(run, 5, double=double)
        exports.sync()
        assert exports.asked == TAIL
        assert exports.steps("run") == list(range(len(run.rows)))
    exports.assert_converged()


@pytest.mark.parametrize("double", [False, True], ids=["integers", "doubles"])
def test_tail_is_one_request_before_anything_is_exported(exports: Exports, double: bool) -> None:
    run = exports.project.add_run("run")
    log(run, 40, double=double)
    exports.sync()
    grow(exports, run, double=double)


@pytest.mark.parametrize("double", [False, True], ids=["integers", "doubles"])
@pytest.mark.parametrize("exported", [30, 39], ids=["above", "at"])
def test_tail_above_or_at_the_first_live_step_is_one_request(
    exports: Exports, exported: int, double: bool
) -> None:
    """A double in `liveData` cost four requests and a download of all rows, for each live run."""
    run = exports.project.add_run("run")
    log(run, 40, double=double)
    run.export_parquet(upto=exported, double_steps=double)
    exports.sync()
    grow(exports, run, double=double)


@pytest.mark.parametrize("form", ITEMS)
def test_form_of_the_list_of_live_rows_does_not_matter_to_a_tail(
    exports: Exports, form: str
) -> None:
    run = exports.project.add_run("run")
    log(run, 40, double=False)
    run.export_parquet(upto=30)
    exports.sync()
    run.live_item = ITEMS[form]
    log(run, 5, double=False)
    exports.sync()
    assert exports.asked == TAIL
    assert exports.steps("run") == list(range(45))


def test_tail_below_the_first_live_step_brings_the_exported_rows(exports: Exports) -> None:
    """The last step that is held has been exported since, and some of the new rows with it."""
    run = exports.project.add_run("run")
    log(run, 40, double=True)
    run.export_parquet(upto=30, double_steps=True)
    exports.sync()
    log(run, 20, double=True)
    run.export_parquet(upto=50, double_steps=True)
    exports.sync()
    assert_downloaded(exports)
    assert exports.steps("run") == list(range(60))
    grow(exports, run, double=True)


def test_tail_of_a_resumed_run_that_is_all_exported_is_in_its_files(exports: Exports) -> None:
    run = exports.project.add_run("run")
    log(run, 40, double=False)
    run.finish()
    run.export_parquet()
    exports.sync()
    run.resume()
    log(run, 5, double=False)
    run.finish()
    run.export_parquet()
    exports.sync()
    assert_downloaded(exports)
    assert exports.steps("run") == list(range(45))
    exports.assert_converged()


def test_tail_is_one_request_if_the_live_rows_hold_the_exported_ones_too(exports: Exports) -> None:
    """`history` answers clients that know no Parquet as well."""
    run = exports.project.add_run("run")
    log(run, 40, double=False)
    run.export_parquet(upto=30, drop_live=False)
    exports.sync()
    log(run, 5, double=False)
    run.export_parquet(upto=43, drop_live=False)
    exports.sync()
    assert exports.asked == TAIL
    assert exports.steps("run") == list(range(45))
    exports.assert_converged()


def test_rows_of_the_first_step_that_were_exported_apart_are_not_lost(exports: Exports) -> None:
    """Only some rows of the last step are still live: the tail has not all, so all is read."""
    run = exports.project.add_run("run")
    log(run, 10, double=False)
    run.log({"other": 1.5}, step=9)
    exports.sync()
    log(run, 5, double=False)
    run.export_parquet(upto=10)
    exports.sync()
    assert exports.steps("run") == [*range(10), *range(9, 15)]
    exports.assert_converged()


def test_tail_that_comes_empty_is_read_whole_in_the_same_sync(exports: Exports) -> None:
    run = exports.project.add_run("run")
    log(run, 40, double=True)
    run.export_parquet(upto=30, double_steps=True)
    exports.sync()
    log(run, 5, double=True)
    fault = exports.server.faults.add("HistoryPage", EmptyRows(), times=1)
    summary = exports.sync()
    assert (fault.hits, summary.failures) == (1, ())
    assert exports.steps("run") == list(range(45))
    exports.assert_converged()
