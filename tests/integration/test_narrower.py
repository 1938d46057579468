"""A selection that would drop stored rows, or values of them, changes nothing unless that is asked.

Before, `--history-key losss` on an export of 150,000 rows left none of them, with exit 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.contract.failures import DrWandbError, SelectionNarrower
from dr_wandb.core.contract.selection import HistorySelection, HistoryWindow
from tests.support.syncing import tree

if TYPE_CHECKING:
    from tests.support.api_exports import Exports
    from tests.support.command import Command
    from tests.support.server import Project, Run

LOSS = HistorySelection(keys=("loss",))
MISSPELLED = HistorySelection(keys=("losss",))
BOTH = HistorySelection(keys=("acc", "loss"))


def last(rows: int) -> HistorySelection:
    return HistorySelection(window=HistoryWindow(max_records=rows))


def from_step(step: int) -> HistorySelection:
    return HistorySelection(window=HistoryWindow(min_step=step))


def add_run(exports: Exports, run_id: str = "run") -> Run:
    run = exports.project.add_run(run_id)
    run.log_all({"loss": index / 8, "acc": index} for index in range(10))
    run.finish()
    return run


def refused(exports: Exports, **fields: Any) -> SelectionNarrower:
    """Return why a sync stops, after looking that it changed nothing."""
    before = tree(exports.folder())
    with pytest.raises(DrWandbError) as stopped:
        exports.sync(**fields)
    assert stopped.value.exit_code == 10
    assert isinstance(stopped.value.failure, SelectionNarrower)
    assert tree(exports.folder()) == before
    assert exports.asked == {}, "it is known before anything is read"
    return stopped.value.failure


@pytest.mark.parametrize("sync_mode", ["incremental", "detect_changes", "full_reconcile"])
@pytest.mark.parametrize(
    ("selection", "removed"), [(MISSPELLED, 10), (LOSS, 10), (last(1), 9), (from_step(4), 4)]
)
def test_sync_that_would_drop_stored_rows_or_values_changes_nothing(
    exports: Exports, selection: HistorySelection, removed: int, sync_mode: str
) -> None:
    add_run(exports)
    exports.sync()
    failure = refused(exports, history_selection=selection, sync_mode=sync_mode)
    assert failure.rows_removed == removed
    assert failure.before == "everything"
    assert exports.plan(history_selection=selection, sync_mode=sync_mode).rows_removed == removed
    exports.sync()
    exports.assert_converged()


def test_rows_are_dropped_if_that_is_allowed(exports: Exports) -> None:
    add_run(exports)
    exports.sync()
    summary = exports.sync(history_selection=last(3), allow_narrower=True)
    assert summary.complete
    assert summary.rows_removed == 7
    assert exports.steps("run") == [7, 8, 9]
    assert exports.sync(history_selection=last(3)).rows_removed == 0, "as it was asked before"
    exports.assert_converged(history_selection=last(3))


@pytest.mark.parametrize(
    ("before", "now"),
    [(LOSS, BOTH), (LOSS, None), (from_step(4), from_step(2)), (last(2), last(5)), (last(2), None)],
)
def test_wider_selection_needs_no_leave(
    exports: Exports, before: HistorySelection, now: HistorySelection | None
) -> None:
    add_run(exports)
    exports.sync(history_selection=before)
    assert exports.sync(history_selection=now).complete
    exports.assert_converged(history_selection=now)


def test_narrower_selection_that_drops_nothing_needs_no_leave(exports: Exports) -> None:
    add_run(exports)
    exports.sync()
    assert exports.sync(history_selection=last(10)).complete
    both = HistorySelection(keys=("acc", "loss"), window=HistoryWindow(max_records=20))
    assert exports.sync(history_selection=both).complete
    assert len(exports.rows()) == 10


def test_run_of_which_nothing_is_stored_loses_nothing(exports: Exports) -> None:
    add_run(exports)
    exports.sync(history_selection=MISSPELLED)
    assert exports.rows() == []
    assert exports.sync(history_selection=last(1)).rows_removed == 0
    assert exports.steps("run") == [9]


def test_other_rows_may_push_stored_ones_out(exports: Exports) -> None:
    """The last three rows with either key may be none of the three that are stored."""
    run = exports.project.add_run("run")
    run.log_all({"loss": index} for index in range(3))
    run.log_all({"acc": index} for index in range(5))
    run.finish()
    exports.sync(history_selection=LOSS)
    either = HistorySelection(keys=("acc", "loss"), window=HistoryWindow(max_records=3))
    assert refused(exports, history_selection=either).rows_removed == 3


def test_run_that_was_made_again_is_no_narrower(exports: Exports) -> None:
    """Its rows are those of another run: the judge decides about the earlier ones."""
    run = add_run(exports)
    exports.sync()
    exports.project.delete_run(run)
    exports.server.clock.advance(60)
    add_run(exports)
    plan = exports.plan(history_selection=LOSS)
    assert plan.rows_removed == 0


# --- rows that only the export still has


def test_rows_of_a_run_that_is_gone_upstream_stay(
    exports: Exports, caplog: pytest.LogCaptureFixture
) -> None:
    gone = add_run(exports, "gone")
    for name in ("one", "two"):
        add_run(exports, name)
    exports.sync()
    exports.project.delete_run(gone)
    exports.sync(sync_mode="detect_changes")
    summary = exports.sync(history_selection=LOSS, allow_narrower=True)
    assert summary.rows_removed == 20
    assert [row["metrics"] for row in exports.rows("gone")] == [
        {"loss": index / 8, "acc": index} for index in range(10)
    ]
    assert all(set(row["metrics"]) == {"loss"} for row in exports.rows("one"))
    assert any(
        text.endswith("does not admit stay in 1 run")
        for text in exports.messages(caplog, history_selection=LOSS)
    )
    exports.sync(history_selection=LOSS, prune=True)
    assert exports.rows("gone") == []


def accept_as_short(exports: Exports, run: Run) -> None:
    """Let W&B lose two rows of the run, and sync until it is accepted as short."""
    for row in list(run.rows)[3:5]:
        run.rows.remove(row)
    run.line_count_offset = 2
    for _ in range(4):
        exports.server.clock.advance(660)
        exports.sync(sync_mode="full_reconcile")
    standing = exports.tracking("run")["parts"]["history"]["evidence"]["standing"]
    assert standing == "accepted"


@pytest.mark.parametrize("sync_mode", ["incremental", "full_reconcile"])
def test_rows_of_a_run_that_is_accepted_as_short_stay(exports: Exports, sync_mode: str) -> None:
    run = add_run(exports)
    exports.sync()
    accept_as_short(exports, run)
    held = exports.history()
    for _ in range(4):
        exports.server.clock.advance(660)
        summary = exports.sync(history_selection=last(1), allow_narrower=True, sync_mode=sync_mode)
        assert summary.rows_removed == 0
        assert exports.history() == held
    run.resume()
    run.log({"loss": 9.5})
    exports.sync(history_selection=last(1))
    assert exports.history().startswith(held)
    assert len(exports.rows()) == 11, "it goes on under the selection that its rows have"


def test_later_syncs_leave_what_could_not_be_dropped_until_they_are_asked_again(
    exports: Exports,
) -> None:
    run = add_run(exports)
    lost = run.rows[3:5]
    exports.sync()
    accept_as_short(exports, run)
    held = exports.history()
    exports.sync(history_selection=last(1), allow_narrower=True)
    run.line_count_offset = 0
    for row in lost:
        run.rows.append(row)
    run.rows.sort(key=lambda row: row["_step"])
    for _ in range(2):
        exports.server.clock.advance(660)
        again = exports.sync(history_selection=last(1), sync_mode="full_reconcile")
        assert again.complete
        assert exports.history() == held, "W&B gives all rows again, and nobody asked to drop any"
    summary = exports.sync(history_selection=last(1), allow_narrower=True)
    assert summary.rows_removed == 9
    assert exports.steps("run") == [9]


# --- the command


def test_command_names_the_number_and_the_flag(command: Command, project: Project) -> None:
    project.add_run("run").log_all({"loss": index} for index in range(4))
    assert command.history().code == 0
    for more in ((), ("--dry-run",)):
        narrower = command.history("--history-key", "losss", *more)
        assert narrower.code == 10
        assert "would be dropped or lose values (4 of them)" in narrower.stderr
        assert "--allow-narrower" in narrower.stderr
        assert len(narrower.rows()) == 4
    allowed = command.history("--history-key", "losss", "--allow-narrower")
    assert allowed.code == 0
    assert allowed.summary["rows_removed"] == 4
    assert allowed.rows() == []
