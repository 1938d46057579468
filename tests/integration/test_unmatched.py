"""What is asked for and no run has is named in a line, with names spelled nearly like it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.selection import HistorySelection

if TYPE_CHECKING:
    from tests.support.api_exports import Exports


@pytest.fixture
def with_runs(exports: Exports) -> Exports:
    """Return a project with some runs."""
    for number in range(4):
        run = exports.project.add_run(
            f"run-{number}", tags=["baseline"], group="first-group", sweep_name="sw33p"
        )
        run.log({"train/loss": 1.5, "m0": 1, "m1": 2})
        run.finish()
    return exports


@pytest.mark.parametrize(
    ("scope", "lines"),
    [
        (
            RunScope(tags=("basline",)),
            ["--tag basline matches no run; did you mean baseline?"],
        ),
        (
            RunScope(groups=("frist-group",)),
            ["--group frist-group matches no run; did you mean first-group?"],
        ),
        (RunScope(sweeps=("sw33",)), ["--sweep sw33 matches no run; did you mean sw33p?"]),
        (
            RunScope(run_ids=("run_0", "run-1")),
            ["--run-id run_0 matches no run; did you mean run-0?"],
        ),
        (RunScope(states=("finishd",)), ["--state finishd matches no run; did you mean finished?"]),
        (RunScope(tags=("baseline",)), []),
        (
            RunScope(filters={"displayName": "nothing"}),
            ['no run is in the scope: filter {"displayName":"nothing"}'],
        ),
        (
            RunScope(created_after="2040-01-01"),
            ["no run is in the scope: created after 2040-01-01T00:00:00Z"],
        ),
    ],
)
def test_part_of_a_scope_that_no_run_has_is_named(
    with_runs: Exports, caplog: pytest.LogCaptureFixture, scope: RunScope, lines: list[str]
) -> None:
    """W&B lists only the runs of the scope: the names come from a few runs outside of it."""
    assert with_runs.warnings(caplog, scope=scope) == lines
    assert with_runs.last is not None
    assert with_runs.last.complete


def test_metric_that_no_run_has_is_named_in_every_kind_of_sync(
    with_runs: Exports, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = HistorySelection(keys=("m0,m1", "train/los", "m0"))
    lines = [
        "--history-key m0,m1 matches no run; give the flag for each: "
        "--history-key m0 --history-key m1",
        "--history-key train/los matches no run; did you mean train/loss?",
    ]
    assert with_runs.warnings(caplog, history_selection=wrong) == lines
    with_runs.server.clock.advance(3 * 86_400)
    with_runs.project.add_run("later").finish()
    with_runs.sync(history_selection=wrong)
    assert with_runs.warnings(caplog, history_selection=wrong) == [], "most are not listed again"
    again = with_runs.warnings(caplog, history_selection=wrong, sync_mode="detect_changes")
    assert again == lines


def test_metric_is_not_missed_before_any_run_has_logged(
    exports: Exports, caplog: pytest.LogCaptureFixture
) -> None:
    exports.project.add_run("run")
    loss = HistorySelection(keys=("loss",))
    assert exports.warnings(caplog, history_selection=loss) == []


def test_names_outside_the_scope_are_suggested_from_a_few_pages_only(
    exports: Exports, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(30):
        exports.project.add_run(f"run-{number:02}", tags=["baseline"])
    exports.per_page = 2
    lines = exports.warnings(caplog, scope=RunScope(tags=("basline",)))
    assert lines == ["--tag basline matches no run; did you mean baseline?"]
    assert exports.listing_requests < 6
