"""Where an export of dr-wandb 3.0.3 lost, doubled or froze data, and ours must not.

Each test drives the engine on the real SDK against the stand-in server. The docstrings say what a
user of 3.0.3 lost.
"""

from __future__ import annotations

import logging
import shutil
from typing import TYPE_CHECKING, Any

import pytest

import dr_wandb
from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.normalize import normalize_row
from dr_wandb.core.contract.row_shape import flatten_row
from dr_wandb.core.contract.select import select_rows
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection, HistoryWindow
from tests.support.server import AUTO, EmptyRows, NullField, Request, Run
from tests.support.syncing import json_lines, visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dr_wandb.core.contract.unproven_runs import FailedRun, ShortRun, WaitingRun
    from tests.support.api_exports import Exports


def keep(*keys: str, **window: int) -> HistorySelection:
    return HistorySelection(keys=keys or None, window=HistoryWindow(**window))


def about(run: Run) -> Callable[[Request], bool]:
    """Match what is asked of one run alone."""
    return lambda request: request.run_id == run.run_id


def metrics(index: int) -> dict[str, Any]:
    """Return metrics that are not all there in each row."""
    row: dict[str, Any] = {"loss": 1 / (index + 1)}
    if index % 2:
        row["acc"] = index / 7
    if index % 3 == 0:
        row["eval"] = {"top1": index / 3, "note": f"n{index}"}
    return row


def selected(run: Run, selection: HistorySelection | None) -> bytes:
    """Return what `history.jsonl` must hold of a run that is the only one."""
    rows = [normalize_row(row, run.run_id) for row in run.rows]
    return b"".join(encode_line(row) for row in select_rows(rows, selection or EVERYTHING))


def add_run(exports: Exports, run_id: str = "run", rows: int = 10, **fields: Any) -> Run:
    run = exports.project.add_run(run_id, **fields)
    run.log_all(metrics(index) for index in range(rows))
    return run


# --- modes


def test_finished_run_gets_its_history_when_it_was_exported_as_metadata_before(
    exports: Exports,
) -> None:
    """3.0.3 never looked at a finished run again: its history was never exported."""
    add_run(exports).finish()
    exports.sync(mode="metadata")
    assert not (exports.folder() / "history.jsonl").exists()
    exports.sync()
    assert exports.steps("run") == list(range(10))
    exports.assert_converged()


def test_history_stays_when_a_metadata_sync_comes_between(exports: Exports) -> None:
    """3.0.3 deleted history.jsonl and kept its positions: the first rows never came back."""
    run = add_run(exports)
    exports.sync()
    before, position = exports.history(), exports.tracking("run")["parts"]["history"]["position"]

    run.tags.append("new")
    summary = exports.sync(mode="metadata")
    assert summary.refreshed_count == 1
    assert exports.history() == before
    assert exports.tracking("run")["parts"]["history"]["position"] == position
    assert exports.runs()["run"]["tags"] == ["new"]

    exports.sync()
    assert exports.asked == {}
    run.log({"loss": 2.5})
    exports.sync(mode="metadata")
    assert exports.history() == before
    exports.sync()
    assert exports.steps("run") == list(range(11))
    exports.assert_converged()


# --- selections

SELECTIONS = (
    keep("loss"),
    keep("acc"),
    keep("acc", "eval.top1"),
    None,
    keep(min_step=3),
    keep(max_step=5),
    keep(min_step=2, max_step=7),
    keep("acc", min_step=4),
    keep(max_records=3),
    keep("eval", max_records=2),
    keep(min_step=9),
    None,
)


@pytest.mark.parametrize("kind", ["live", "exported", "partly exported"])
def test_changed_selection_gives_what_a_fresh_export_would(exports: Exports, kind: str) -> None:
    """3.0.3 fetched only rows after the last one under the new selection, and kept the old ones."""
    run = add_run(exports)
    if kind != "live":
        run.finish()
        run.export_parquet(files=2, upto=10 if kind == "exported" else 7)
    for number, selection in enumerate(SELECTIONS):
        fresh = f"fresh-{number}"
        summary = exports.sync(history_selection=selection, allow_narrower=True)
        assert summary.failures == (), selection
        assert exports.history() == selected(run, selection), selection
        exports.sync(fresh, history_selection=selection)
        assert exports.history() == exports.history(fresh), selection


def test_max_records_keeps_that_many_rows_when_synced_again(exports: Exports) -> None:
    """3.0.3 kept the first rows and appended as many again: too many, with a hole between."""
    runs = [add_run(exports, f"run-{number}", rows=25) for number in range(3)]
    runs[2].finish()
    runs[2].export_parquet(files=3)
    last_ten = keep(max_records=10)
    for _ in range(2):
        exports.sync(history_selection=last_ten)
        assert [exports.steps(run.run_id) for run in runs] == [list(range(15, 25))] * 3
    runs[0].log_all(metrics(index) for index in range(4))
    exports.sync(history_selection=last_ten)
    assert exports.steps("run-0") == list(range(19, 29))
    exports.assert_converged(history_selection=last_ten)


@pytest.mark.parametrize("exported", [False, True])
def test_several_history_keys_keep_rows_that_have_any_of_them(
    exports: Exports, exported: bool
) -> None:
    """3.0.3 gave its keys to the SDK: live rows had to have all of them, exported ones none."""
    run = exports.project.add_run("run")
    logged = [{"a": 1.5}, {"b": 2.5, "c": 9.5}, {"c": 3.5}, {"a": 4.5, "b": 5.5}]
    run.log_all(logged)
    run.finish()
    if exported:
        run.export_parquet()
    exports.sync(history_selection=keep("b", "a"))
    assert [(row["step"], row["metrics"]) for row in exports.rows()] == [
        (0, {"a": 1.5}),
        (1, {"b": 2.5}),
        (3, {"a": 4.5, "b": 5.5}),
    ]


@pytest.mark.parametrize("exported", [12, 7])
@pytest.mark.parametrize("selection", [keep(min_step=4), keep(min_step=4, max_step=9)])
def test_step_window_holds_exported_rows_too(
    exports: Exports, selection: HistorySelection, exported: int
) -> None:
    run = add_run(exports, rows=12)
    run.finish()
    run.export_parquet(files=2, upto=exported)
    summary = exports.sync(history_selection=selection)
    assert summary.failures == ()
    assert exports.history() == selected(run, selection)
    run.resume()
    run.log_all(metrics(index) for index in range(12, 15))
    exports.sync(history_selection=selection)
    assert exports.history() == selected(run, selection)


# --- exported Parquet


def test_run_keeps_all_rows_when_its_parquet_was_exported_again(exports: Exports) -> None:
    """The SDK's cache went by file name alone: 3.0.3 got rows twice, or never."""
    run = add_run(exports, rows=9)
    run.finish("crashed")
    run.export_parquet(files=3)
    exports.sync()
    assert exports.steps("run") == list(range(9))
    run.resume()
    run.log_all(metrics(index) for index in range(9, 14))
    run.finish()
    run.export_parquet(files=2, file_order=[1, 0])
    exports.sync()
    assert exports.steps("run") == list(range(14))
    run.export_parquet(files=5, file_order=[3, 0, 4, 2, 1])
    exports.sync(sync_mode="full_reconcile")
    assert exports.steps("run") == list(range(14))
    exports.assert_converged()


@pytest.mark.parametrize("drop_live", [True, False])
@pytest.mark.parametrize("upto", [15, 13, 10, 5])
def test_tail_is_found_when_it_was_exported_before_it_was_read(
    exports: Exports, upto: int, drop_live: bool
) -> None:
    """A run that was read live, logged on, ended and was exported: its tail is no longer live.

    3.0.3 asked for the rows after its cursor, and found them only while they were live.
    """
    run = add_run(exports)
    exports.sync()
    run.log_all(metrics(index) for index in range(10, 15))
    if upto == 15:
        run.finish()
    run.export_parquet(files=2, upto=upto, drop_live=drop_live)
    summary = exports.sync()
    assert summary.failures == ()
    assert exports.steps("run") == list(range(15))
    exports.assert_converged()


def test_urls_of_parquet_files_may_come_in_any_order(exports: Exports) -> None:
    """With the SDK's cache, two swapped URLs gave one file twice and the other not at all."""
    exports.server.shuffle_parquet_urls = True
    run = add_run(exports, rows=20)
    run.finish()
    run.export_parquet(files=4)
    seen = set()
    for _ in range(4):
        exports.sync(sync_mode="full_reconcile")
        seen.add(exports.history())
    assert len(seen) == 1
    assert exports.steps("run") == list(range(20))


@pytest.mark.parametrize("drop_live", [True, False])
def test_row_is_one_row_when_it_is_both_live_and_exported(
    exports: Exports, drop_live: bool
) -> None:
    """3.0.3 stored both: the exported copy has nulls for what was not logged, the live one not."""
    run = add_run(exports, rows=12)
    run.export_parquet(files=2, upto=9, overlap=4, drop_live=drop_live)
    exports.sync()
    assert exports.steps("run") == list(range(12))
    assert [row["metrics"] for row in exports.rows()] == [
        flatten_row(metrics(index)) for index in range(12)
    ]
    by_parquet = exports.history()
    run.drop_exports()
    exports.sync(sync_mode="full_reconcile")
    assert exports.history() == by_parquet


# --- answers that are empty and not an error


def break_field(name: str) -> Callable[[Exports, Run], None]:
    def break_it(exports: Exports, run: Run) -> None:
        exports.server.faults.add(about(run), NullField(name), times=None)

    return break_it


def break_rows(exports: Exports, run: Run) -> None:
    exports.server.faults.add(about(run), EmptyRows(), times=None)


def break_exports(exports: Exports, run: Run) -> None:
    run.parquet_history = {"parquetUrls": [], "liveData": []}


def break_history_keys(exports: Exports, run: Run) -> None:
    """All that the listing tells of the last step is gone, and the rows with it."""
    run.history_keys = None
    break_rows(exports, run)


BREAKS: dict[str, Callable[[Exports, Run], None]] = {
    "no rows": break_rows,
    "null run": break_field("run"),
    "null parquetHistory": break_field("parquetHistory"),
    "null history": break_field("history"),
    "empty parquetHistory": break_exports,
    "null historyKeys and no rows": break_history_keys,
}


@pytest.mark.parametrize("name", BREAKS)
@pytest.mark.parametrize("change", ["logged on", "full reconcile", "first time", "exported anew"])
def test_answer_without_rows_is_a_failure_and_old_rows_stay(
    exports: Exports, name: str, change: str
) -> None:
    """3.0.3 took an empty answer for the truth: it moved the position past rows never read."""
    run = add_run(exports)
    if name in ("empty parquetHistory", "null parquetHistory"):
        run.export_parquet(files=2, upto=8)
    if name == "null history" and change != "first time":
        run.export_parquet(upto=3)
    exports.project.add_run("other").log({"loss": 1.5})
    if change != "first time":
        exports.sync()
    before = exports.rows("run") if change != "first time" else []
    if change == "logged on":
        run.log_all(metrics(index) for index in range(5))
    if change == "exported anew":
        run.log({"loss": 2.5})
        run.finish()
        run.export_parquet(files=3, upto=9)
    sync_mode = "full_reconcile" if change == "full reconcile" else "incremental"

    BREAKS[name](exports, run)
    summary = exports.sync(sync_mode=sync_mode)
    held = exports.rows("run")
    if not summary.complete:
        unproven: tuple[FailedRun | ShortRun | WaitingRun, ...] = (
            *summary.failures,
            *summary.short,
            *summary.waiting,
        )
        assert [one.run_id for one in unproven] == ["run"]
        assert held[: len(before)] == before
    else:  # what was broken was not needed
        assert exports.steps("run") == list(range(len(run.rows)))
    assert len(exports.rows("other")) == 1

    exports.server.faults.clear()
    run.history_keys = run.parquet_history = AUTO
    summary = exports.sync()
    assert summary.failures == ()
    assert exports.steps("run") == list(range(len(run.rows)))
    exports.assert_converged()


def test_position_is_the_last_row_received_when_the_server_announces_more(
    exports: Exports,
) -> None:
    """3.0.3 stored the announced last step: the rows up to it were never asked for again."""
    run = add_run(exports)
    run.last_step_override = 14
    run.line_count_offset = 5
    summary = exports.sync()
    assert [(short.run_id, short.short_by) for short in summary.short] == [("run", 5)]
    assert exports.steps("run") == list(range(10))
    assert exports.tracking("run")["last_history_step"] is None
    run.log_all(metrics(index) for index in range(10, 15))
    run.line_count_offset = 0
    summary = exports.sync()
    assert summary.complete
    assert exports.steps("run") == list(range(15))
    assert exports.tracking("run")["last_history_step"] == 14


@pytest.mark.parametrize("stale", [4, -1])
def test_rows_beyond_a_stale_last_step_are_read(exports: Exports, stale: int) -> None:
    """The last step is served from a cache; 3.0.3 read no further than it."""
    run = add_run(exports)
    run.last_step_override = stale
    summary = exports.sync()
    assert summary.failures == ()
    assert exports.steps("run") == list(range(10))
    assert exports.tracking("run")["last_history_step"] == 9
    run.log_all(metrics(index) for index in range(10, 13))
    exports.sync()
    assert exports.steps("run") == list(range(13))
    run.last_step_override = None
    exports.sync()
    exports.assert_converged()


@pytest.mark.parametrize("kind", ["live", "partly exported"])
def test_held_rows_stay_when_a_listing_is_old_and_no_answer_is(exports: Exports, kind: str) -> None:
    """Rows beyond the listed last step were not asked for, and taken for gone the second time."""
    run = add_run(exports)
    if kind != "live":
        run.export_parquet(upto=5)
    exports.sync()
    run.line_count_offset, run.last_step_override = -3, 6
    for _ in range(4):
        exports.server.clock.advance(660)
        assert exports.sync().complete
        assert exports.steps("run") == list(range(10))
    run.line_count_offset, run.last_step_override = 0, None
    exports.sync()
    exports.assert_converged()


@pytest.mark.parametrize("upto", [8, 10])
def test_live_row_without_a_step_is_found_beside_exported_ones(exports: Exports, upto: int) -> None:
    """W&B's list of live rows may not name it: it was short by a row for ever."""
    run = add_run(exports)
    run.log({"loss": 0.5}, step=run.NO_STEP)
    run.export_parquet(upto=upto)
    assert exports.sync().complete
    assert exports.steps("run") == [*range(10), None]
    exports.assert_converged()


@pytest.mark.parametrize("kind", ["live", "partly exported"])
@pytest.mark.parametrize(
    "selection", [keep(min_step=3), keep(max_step=8), keep(min_step=3, max_step=9)]
)
def test_step_window_reaches_beyond_a_stale_last_step(
    exports: Exports, selection: HistorySelection, kind: str
) -> None:
    run = add_run(exports)
    if kind != "live":
        run.export_parquet(upto=5)
    run.last_step_override = 6
    for _ in range(2):
        summary = exports.sync(history_selection=selection)
        assert summary.failures == ()
    assert exports.history() == selected(run, selection)


@pytest.mark.parametrize("known", ["stale", "null"])
def test_many_rows_beyond_what_the_server_announces_cost_few_requests(
    exports: Exports, known: str
) -> None:
    run = exports.project.add_run("run")
    run.log_all({"n": index} for index in range(6_000))
    if known == "stale":
        run.last_step_override = 4
    else:
        run.history_keys = None
    summary = exports.sync()
    assert summary.failures == ()
    assert exports.steps("run") == list(range(6_000))
    assert exports.asked.total() <= 60


# --- odd rows


@pytest.mark.parametrize("exported", [False, True])
def test_odd_rows_all_survive(exports: Exports, exported: bool) -> None:
    """The SDK's scan loses rows that share a step or come out of order at the edge of a page."""
    run = exports.project.add_run("run")
    for step in (0, 1, 1, 1, 5, 3, 3, 2, 7, 4, 7):
        run.log({"logged": len(run.rows)}, step=step)
    run.log({"logged": 11}, step=run.NO_STEP)
    run.log({"logged": 12}, step=run.NO_STEP, timestamp=run.NO_TIMESTAMP)
    run.log({"logged": 13}, step=8, timestamp=run.NO_TIMESTAMP)
    if exported:
        run.finish()
        run.export_parquet(files=3)
    summary = exports.sync()
    assert summary.failures == ()
    assert [row["metrics"]["logged"] for row in exports.rows()] == [
        *(0, 1, 2, 3, 7, 5, 6, 9, 4, 8, 10, 13, 11, 12)
    ]
    exports.sync()
    assert exports.asked == {}


def test_rows_that_share_a_step_all_survive_when_there_are_many(exports: Exports) -> None:
    """The SDK asks for as many rows as steps: of three rows on each step it lost two."""
    run = exports.project.add_run("run")
    for index in range(6_000):
        run.log({"n": index}, step=index // 3)
    summary = exports.sync()
    assert summary.failures == ()
    assert [row["metrics"]["n"] for row in exports.rows()] == list(range(6_000))
    for index in range(6_000, 6_010):
        run.log({"n": index}, step=index // 3)
    exports.sync()
    assert [row["metrics"]["n"] for row in exports.rows()] == list(range(6_010))
    assert exports.asked.total() <= 2


def test_one_step_may_have_more_rows_than_a_page(exports: Exports) -> None:
    """With more rows on one step than a page holds, the SDK's scan gave the first page of them."""
    run = exports.project.add_run("run")
    for index in range(12_500):
        run.log({"n": index}, step=0 if index < 12_000 else index)
    summary = exports.sync()
    assert summary.failures == ()
    assert [row["metrics"]["n"] for row in exports.rows()] == list(range(12_500))


@pytest.mark.parametrize("stride", [2_000, 1_000_000])
def test_sparse_steps_cost_few_requests(exports: Exports, stride: int) -> None:
    """The SDK asks once for each thousand steps: 2,000 requests for these 1,000 rows."""
    run = exports.project.add_run("run")
    for index in range(1_000):
        run.log({"loss": 1 / (index + 1)}, step=index * stride)
    summary = exports.sync()
    assert summary.failures == ()
    assert exports.steps("run") == [index * stride for index in range(1_000)]
    assert exports.asked.total() <= 20


def test_floats_keep_all_digits_over_many_syncs(exports: Exports) -> None:
    """3.0.3 decoded and encoded every stored row at each sync."""
    values = [0.1 + 0.2, 1 / 3, 5e-324, 1.7976931348623157e308, 1e-7, 123456789.123456789, 1e16]
    run = exports.project.add_run("run", created_at="2026-01-01T00:00:00")
    for count, value in enumerate(values, start=1):
        run.log({"x": value}, timestamp=1767225600.1234567 + count)
        before = exports.history() if count > 1 else b""
        exports.sync()
        assert exports.history().startswith(before)
        exports.sync(mode="metadata")
    assert [row["metrics"]["x"] for row in exports.rows()] == values
    assert [float(row["timestamp"]) for row in exports.rows()] == [
        row["_timestamp"] for row in run.rows
    ]
    exports.assert_converged()


# --- what costs nothing


def test_unchanged_runs_cost_no_history_request(exports: Exports) -> None:
    """3.0.3 scanned every running run at each sync, and downloaded all of its Parquet."""
    add_run(exports, "running")
    finished = add_run(exports, "finished")
    finished.finish()
    finished.export_parquet(files=2)
    exports.project.add_run("empty").finish()
    exports.project.add_run("starting")
    exports.sync()
    before = visible(exports.folder())
    for _ in range(2):
        summary = exports.sync()
        assert exports.asked == {}
        assert exports.listing_requests == 3  # created since: one run, the others; and those by id
        assert summary.reused_count == 4
    after = visible(exports.folder())
    assert {name for name in before if before[name] != after[name]} <= {"state.json"}


@pytest.mark.parametrize("kind", ["live", "exported"])
def test_settled_run_is_read_again_when_the_request_asks_for_more(
    exports: Exports, kind: str
) -> None:
    """3.0.3 never looked at a finished run again, whatever was asked of it."""
    run = add_run(exports)
    run.metadata = {"host": "a"}
    run.finish()
    if kind == "exported":
        run.export_parquet()
    exports.server.clock.advance(3 * 86_400)
    for _ in range(2):
        exports.sync(mode="metadata")
    for selection in (keep("acc"), keep("loss"), keep(max_records=4), None):
        for _ in range(2):
            summary = exports.sync(history_selection=selection, allow_narrower=True)
            assert summary.failures == ()
            assert exports.history() == selected(run, selection)
        assert exports.asked == {}
    exports.sync(include_metadata=True)
    assert exports.runs()["run"]["metadata"] == {"host": "a"}
    exports.sync(include_metadata=True)
    assert exports.asked == {}
    exports.sync()
    assert exports.runs()["run"]["metadata"] is None


def test_settled_run_that_is_deleted_or_resumed_is_noticed(exports: Exports) -> None:
    """The server's count of runs is compared at each sync, also where few runs are listed."""
    runs = [add_run(exports, f"run-{number}") for number in range(3)]
    for run in runs:
        run.finish()
    exports.server.clock.advance(3 * 86_400)
    for _ in range(2):
        exports.sync()
    exports.project.delete_run(runs[1])
    assert exports.sync().missing_count == 1
    assert exports.sync().missing_count == 1
    runs[0].resume()
    runs[0].log({"loss": 2.5})
    exports.sync(sync_mode="full_reconcile")
    assert exports.steps("run-0") == list(range(11))
    assert exports.steps("run-1") == list(range(10))


def test_settled_runs_are_not_even_listed(exports: Exports) -> None:
    for number in range(3):
        add_run(exports, f"run-{number}").finish()
        exports.server.clock.advance(7200)
    exports.server.clock.advance(3 * 86_400)
    exports.sync()
    exports.server.clear_requests()
    exports.sync()
    asked = [one.variables["filters"] for one in exports.server.requests_of("Runs")]
    assert len(asked) == 1
    assert "createdAt" in asked[0]


# --- listings


@pytest.mark.parametrize("mode", ["metadata", "history"])
def test_runs_that_paging_loses_are_noticed_when_one_is_deleted(
    exports: Exports, mode: str
) -> None:
    """Pages are offsets: with a run deleted in between, the next one was never listed."""
    exports.per_page = 3
    for number in range(10):
        add_run(exports, f"run-{number}", rows=2)
    deleted: list[Run] = []

    def delete_one(offset: int) -> None:
        if offset and not deleted:
            deleted.append(exports.project.runs[0])
            exports.project.delete_run(exports.project.runs[0])

    exports.server.before_page = delete_one
    summary = exports.sync(mode=mode)
    assert deleted
    assert set(exports.runs()) >= {f"run-{number}" for number in range(1, 10)}
    assert summary.unlisted_count == 0
    assert {failed.run_id for failed in summary.failures} <= {"run-0"}  # gone since it was listed


@pytest.mark.parametrize("per_page", [1, 2, 4, 5])
def test_every_run_is_listed_whatever_the_page_size(exports: Exports, per_page: int) -> None:
    exports.per_page = per_page
    for number in range(5):
        add_run(exports, f"run-{number}", rows=1)
    summary = exports.sync(mode="metadata")
    assert (summary.run_count, summary.unlisted_count) == (5, 0)
    pages = -(-5 // per_page)
    assert len(exports.server.requests_of("Runs")) <= pages + 1


def test_run_that_paging_loses_is_not_taken_for_missing(exports: Exports) -> None:
    exports.per_page = 3
    runs = [add_run(exports, f"run-{number}", rows=2) for number in range(10)]
    exports.sync()
    deletions = iter(runs[:1])

    def delete_one(offset: int) -> None:
        if offset and (run := next(deletions, None)):
            exports.project.delete_run(run)

    exports.server.before_page = delete_one
    exports.sync(sync_mode="full_reconcile")
    exports.server.before_page = None
    missing = [run.run_id for run in runs if exports.tracking(run.run_id)["missing_since"]]
    assert set(missing) <= {"run-0"}
    assert exports.sync().missing_count == 1


def test_runs_that_paging_loses_are_noticed_when_runs_come_and_go(exports: Exports) -> None:
    """A listing of the right length that has a run twice is without another one."""
    exports.per_page = 3
    for number in range(10):
        add_run(exports, f"run-{number}", rows=2, created_at=f"2026-01-02T00:00:{number:02}")
    exports.sync()
    changes = iter(["delete", "add"])

    def change(offset: int) -> None:
        match next(changes, None) if offset else None:
            case "delete":
                exports.project.delete_run(exports.project.runs[1])
            case "add":
                exports.project.add_run("older", created_at="2026-01-01T00:00:00").log({"x": 1})

    exports.server.before_page = change
    summary = exports.sync()
    assert next(changes, None) is None
    assert summary.unlisted_count == 0
    exports.server.before_page = None
    summary = exports.sync()
    assert summary.missing_count == 1
    assert set(exports.runs()) == {*(f"run-{number}" for number in range(10)), "older"}


def test_run_that_becomes_visible_late_is_found(exports: Exports) -> None:
    """3.0.3 listed runs created after its newest one: an older one that came late was lost."""
    add_run(exports, "early")
    exports.server.clock.advance(30)
    add_run(exports, "hidden")
    exports.server.clock.advance(30)
    add_run(exports, "late")
    exports.project.hidden_runs.add("hidden")
    exports.sync()
    assert set(exports.runs()) == {"early", "late"}
    exports.project.hidden_runs.clear()
    exports.sync()
    assert exports.steps("hidden") == list(range(10))
    exports.assert_converged()


def test_run_moved_in_from_long_ago_is_found(exports: Exports) -> None:
    """A run moved here from another project keeps its creation time, long before the newest."""
    exports.server.clock.advance(10 * 86_400)
    add_run(exports, "new")
    exports.sync()
    add_run(exports, "moved", created_at="2025-06-01T00:00:00")
    exports.sync()
    assert exports.steps("moved") == list(range(10))


def test_run_without_a_user_hides_no_other_run(exports: Exports) -> None:
    """A null user broke the SDK's page: the runs after it were not exported, without an error."""
    exports.per_page = 5
    for number in range(12):
        user = None if number in (2, 7) else {"username": f"u{number}", "name": f"User {number}"}
        add_run(exports, f"run-{number:02}", rows=1, user=user)
    summary = exports.sync()
    assert (summary.run_count, summary.failures) == (12, ())
    runs = exports.runs()
    assert runs["run-02"]["user"] is None
    assert runs["run-03"]["user"] == {"username": "u3", "name": "User 3"}


# --- runs that change


@pytest.mark.parametrize(("back_to", "logged"), [(5, 0), (5, 2), (5, 4), (5, 9), (-1, 0), (-1, 3)])
def test_rewind_is_noticed(exports: Exports, back_to: int, logged: int) -> None:
    """3.0.3 went on from the old last step: the rows that replaced the old ones never came."""
    run = add_run(exports)
    run.summary_follows_log = True
    run.log(metrics(9))
    exports.sync()
    exports.server.clock.advance(60)
    run.rewind(back_to)
    run.log_all({"loss": 100.5 + index} for index in range(logged))
    held = exports.steps("run")
    (waiting,) = exports.sync().waiting
    assert waiting.missing_rows == 11 - (back_to + 1)
    assert {*held} <= {*exports.steps("run")}
    exports.server.clock.advance(600)
    assert exports.sync().complete
    assert exports.steps("run") == [row["_step"] for row in run.rows]
    exports.assert_converged()


def test_resumed_run_goes_on(exports: Exports) -> None:
    """3.0.3 took finished for final: what was logged after a resume was never fetched."""
    run = add_run(exports)
    run.finish()
    run.export_parquet(files=2)
    exports.sync()
    exports.server.clock.advance(3600)
    run.resume()
    run.log_all(metrics(index) for index in range(10, 13))
    exports.sync()
    assert exports.steps("run") == list(range(13))
    assert exports.runs()["run"]["state"] == "running"
    run.finish()
    run.export_parquet()
    exports.sync()
    exports.assert_converged()


def test_late_rows_are_noticed(exports: Exports) -> None:
    """Rows of a second writer below the last step: 3.0.3 asked only for what came after it."""
    run = add_run(exports, rows=0)
    for step in range(0, 20, 2):
        run.log({"loss": step + 0.5}, step=step)
    exports.sync()
    for step in (3, 7, 7):
        run.log({"late": step + 0.5}, step=step)
    for _ in range(2):  # the tail of a run that is alive may be behind once
        assert exports.sync().complete
    assert exports.steps("run") == sorted([*range(0, 20, 2), 3, 7, 7])
    run.log({"late": 1.5}, step=1)
    run.log({"loss": 20.5}, step=20)
    for _ in range(2):
        assert exports.sync().complete
    exports.assert_converged()


def test_deleted_run_is_kept_and_counted_missing(exports: Exports) -> None:
    """3.0.3 kept a deleted run as running for ever, and said nothing."""
    kept, gone = add_run(exports, "kept"), add_run(exports, "gone")
    exports.sync()
    before = (exports.rows("gone"), exports.runs()["gone"])
    exports.project.delete_run(gone)
    for _ in range(2):
        summary = exports.sync()
        assert (summary.missing_count, summary.failures) == (1, ())
        assert (exports.rows("gone"), exports.runs()["gone"]) == before
    kept.log({"loss": 1.5})
    summary = exports.sync(sync_mode="full_reconcile")
    assert summary.missing_count == 1
    assert (exports.rows("gone"), exports.runs()["gone"]) == before
    assert exports.steps("kept") == list(range(11))


def test_run_that_comes_back_goes_on(exports: Exports) -> None:
    """W&B can undelete a run for some days."""
    run = add_run(exports)
    exports.sync()
    exports.project.hidden_runs.add("run")
    assert exports.sync(allow_empty=True).missing_count == 1
    exports.project.hidden_runs.clear()
    run.log_all(metrics(index) for index in range(10, 13))
    summary = exports.sync()
    assert (summary.missing_count, summary.failures) == (0, ())
    assert exports.steps("run") == list(range(13))
    exports.assert_converged()


@pytest.mark.parametrize("rows", [0, 4, 10, 15])
def test_run_made_again_under_the_same_id_is_another_run(exports: Exports, rows: int) -> None:
    """3.0.3 went by the id: the new run's first rows were never fetched, the old ones stayed."""
    old = add_run(exports)
    exports.sync()
    exports.project.delete_run(old)
    exports.server.clock.advance(60)
    new = exports.project.add_run("run")
    new.log_all({"loss": 50.5 + index} for index in range(rows))
    if not rows:  # that it has none is believed when two reads say so
        assert [waiting.kind for waiting in exports.sync().waiting] == ["emptied"]
        assert exports.steps("run") == list(range(10))
        exports.server.clock.advance(600)
    summary = exports.sync()
    assert summary.complete
    assert [row["metrics"] for row in exports.rows()] == [
        {"loss": 50.5 + index} for index in range(rows)
    ]
    assert exports.runs()["run"]["storage_id"] == new.storage_id
    exports.assert_converged()


# --- counts that are wrong


def test_line_count_that_is_wrong_is_accepted_the_third_time_and_reported(
    exports: Exports, caplog: pytest.LogCaptureFixture
) -> None:
    """3.0.3 compared no counts. Ours must neither lose rows nor read such a run for ever."""
    run = add_run(exports)
    run.line_count_offset = 3
    run.finish()
    for _ in range(2):
        summary = exports.sync()
        assert not summary.complete
        assert [(short.run_id, short.short_by) for short in summary.short] == [("run", 3)]
        assert exports.steps("run") == list(range(10))
    logger = logging.getLogger("dr_wandb")
    logger.addHandler(caplog.handler)
    try:
        summary = exports.sync()
    finally:
        logger.removeHandler(caplog.handler)
    assert summary.complete
    assert exports.tracking("run")["parts"]["history"]["position"]["short_by"] == 3
    warnings = {one.getMessage() for one in caplog.records if one.levelno == logging.WARNING}
    assert len(warnings) == 1
    assert "accepted as short: 3 rows short of the 13 listed lines" in warnings.pop()
    assert exports.steps("run") == list(range(10))
    exports.sync()
    assert exports.asked == {}
    run.resume()
    run.log({"loss": 1.5})
    summary = exports.sync()
    assert summary.complete
    assert exports.steps("run") == list(range(11))


# --- moving a folder


def test_export_loads_when_its_folder_was_moved(exports: Exports, tmp_path: Path) -> None:
    """3.0.3 stored paths below the data root in the manifest: in another place they lied."""
    add_run(exports)
    exports.sync()
    manifest = dr_wandb.load_manifest("n", exports.data_root)
    assert manifest is not None
    assert (manifest.runs_path, manifest.history_path) == ("runs.jsonl", "history.jsonl")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    shutil.move(exports.folder(), moved / "n")
    assert dr_wandb.load_manifest("n", moved) == manifest
    assert len(dr_wandb.load_run_snapshots("n", moved)) == 1
    assert len(list(dr_wandb.iter_history_rows("n", moved))) == 10
    content = (moved / "n" / "manifest.json").read_text()
    assert str(tmp_path) not in content
    exports.data_root = moved
    exports.sync()
    assert exports.asked == {}
    assert len(json_lines(moved / "n" / "history.jsonl")) == 10
