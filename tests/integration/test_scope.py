"""Exports of a part of a project, by the flags that W&B judges and by those that anyone can."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.contract.criteria import Criterion, Operator
from dr_wandb.core.contract.scope import CRITERIA, RunScope
from tests.support.syncing import visible

if TYPE_CHECKING:
    from tests.support.api_exports import Exports
    from tests.support.command import Command
    from tests.support.server import Project, Run

DAY = 86_400


def add_runs(project: Project) -> dict[str, Run]:
    """Add six runs that differ in what a scope can tell apart, one a day."""
    fields: list[dict[str, Any]] = [
        {"tags": ["base", "v1"], "group": "g1", "state": "finished", "config": {"lr": 0.1}},
        {"tags": ["v1"], "group": "g2", "state": "failed", "config": {"lr": 0.2}},
        {"tags": [], "group": None, "state": "running", "sweep_name": "s1"},
        {"tags": ["base"], "group": "g1", "state": "running", "sweep_name": "s2"},
        {"tags": ["v2"], "group": "g 2", "state": "crashed", "config": {"lr": 0.1}},
        {"tags": ["ü,$x"], "group": "g1", "state": "finished"},
    ]
    runs = {}
    for number, own in enumerate(fields):
        run_id, created_at = f"r{number}", f"2025-11-0{number + 1}T12:00:00"
        runs[run_id] = project.add_run(run_id, created_at=created_at, **own)
        runs[run_id].log_all({"loss": index} for index in range(number + 1))
    return runs


SCOPES: list[tuple[dict[str, Any], set[str]]] = [
    ({"states": "finished"}, {"r0", "r5"}),
    ({"states": ("failed", "crashed")}, {"r1", "r4"}),
    ({"tags": "base"}, {"r0", "r3"}),
    ({"tags": ("v2", "ü,$x")}, {"r4", "r5"}),
    ({"groups": "g1"}, {"r0", "r3", "r5"}),
    ({"groups": "g 2"}, {"r4"}),
    ({"sweeps": ("s1", "s2")}, {"r2", "r3"}),
    ({"run_ids": ("r1", "r4", "nope")}, {"r1", "r4"}),
    ({"created_after": "2025-11-04T12:00:00Z"}, {"r3", "r4", "r5"}),
    ({"created_before": "2025-11-02T12:00:00Z"}, {"r0"}),
    ({"created_after": "2025-11-02", "created_before": "2025-11-04"}, {"r1", "r2"}),
    ({"groups": "g1", "states": "running"}, {"r3"}),
    ({"groups": "g1", "tags": "v2"}, set()),
    ({"filters": {"config.lr": 0.1}}, {"r0", "r4"}),
    ({"filters": {"$or": [{"state": "failed"}, {"group": "g1"}]}}, {"r0", "r1", "r3", "r5"}),
    ({"filters": {"config.lr": 0.1}, "states": "crashed"}, {"r4"}),
]


@pytest.mark.parametrize(
    ("fields", "expected"), SCOPES, ids=[str(fields)[:60] for fields, _ in SCOPES]
)
def test_scope_exports_just_the_runs_in_it(
    exports: Exports, fields: dict[str, Any], expected: set[str]
) -> None:
    add_runs(exports.project)
    scope = RunScope(**fields)
    summary = exports.sync(scope=scope)
    assert set(exports.runs()) == expected
    assert {row["run_id"] for row in exports.rows()} == expected
    assert (summary.missing_count, summary.out_of_scope_count) == (0, 0)
    before = visible(exports.folder())

    for sync_mode in ("incremental", "detect_changes"):
        exports.server.clock.advance(DAY)
        exports.sync(scope=scope, sync_mode=sync_mode)
        after = visible(exports.folder())
        assert {name for name in before if before[name] != after[name]} <= {"state.json"}
        assert exports.asked == {}
        # One more looks for names to suggest if no run has a part of the scope.
        assert exports.listing_requests <= 3
    exports.assert_converged(scope=scope)


@pytest.mark.parametrize("criterion", CRITERIA, ids=lambda criterion: criterion.flag)
def test_every_criterion_exports_just_the_runs_that_have_a_value(
    exports: Exports, criterion: Criterion
) -> None:
    """The filter that W&B gets, and the look that is taken at its answer, are of one field."""
    for number, run in enumerate(add_runs(exports.project).values()):
        run.job_type = "train" if number % 2 else "eval"
    exports.sync("every")
    values = {run_id: run[criterion.of_run] for run_id, run in exports.runs("every").items()}
    one = values["r3"] if criterion.of_run != "tags" else values["r3"][0]
    wanted = {
        Operator.ONE_OF: {
            run_id
            for run_id, value in values.items()
            if value == one or (isinstance(value, list) and one in value)
        },
        Operator.FROM: {"r3", "r4", "r5"},
        Operator.BEFORE: {"r0", "r1", "r2"},
    }[criterion.operator]
    assert 0 < len(wanted) < len(values)
    exports.sync("some", scope=RunScope(**{criterion.field: one}))
    assert set(exports.runs("some")) == wanted


def test_run_that_leaves_the_scope_is_brought_to_its_end_and_kept(exports: Exports) -> None:
    """With `--state running` a run would otherwise stop short of its last rows, or be "missing"."""
    runs = add_runs(exports.project)
    scope = RunScope(states=("running",))
    exports.sync(scope=scope)
    assert set(exports.runs()) == {"r2", "r3"}
    runs["r2"].log_all({"loss": index / 7} for index in range(4))
    runs["r2"].finish()
    summary = exports.sync(scope=scope)
    assert (summary.missing_count, summary.out_of_scope_count, summary.failed_count) == (0, 1, 0)
    assert len(exports.steps("r2")) == 7
    assert exports.runs()["r2"]["state"] == "finished"
    left = exports.tracking("r2")["out_of_scope_since"]
    assert left == summary.exported_at
    manifest = json.loads(visible(exports.folder())["manifest.json"])
    assert manifest["out_of_scope_runs"] == {"r2": left}
    assert manifest["scope"]["states"] == ["running"]

    exports.server.clock.advance(3 * DAY)
    exports.sync(scope=scope)
    exports.server.clock.advance(3 * DAY)
    exports.sync(scope=scope)
    assert exports.asked == {}
    assert exports.tracking("r2")["out_of_scope_since"] == left
    assert exports.sync(scope=scope, prune=True).pruned_count == 0

    runs["r2"].state = "running"
    back = exports.sync(scope=scope, sync_mode="detect_changes")
    assert back.out_of_scope_count == 0
    assert exports.tracking("r2")["out_of_scope_since"] is None


def test_deleted_run_outside_of_the_scope_is_missing(exports: Exports) -> None:
    runs = add_runs(exports.project)
    exports.sync(scope=RunScope(groups=("g1",)))
    exports.project.delete_run(runs["r0"])
    runs["r3"].group = "other"
    summary = exports.sync(scope=RunScope(groups=("g1",)))
    assert (summary.missing_count, summary.out_of_scope_count) == (1, 1)
    assert exports.tracking("r3")["missing_since"] is None
    assert exports.tracking("r0")["out_of_scope_since"] is None


@pytest.mark.parametrize("sync_mode", ["incremental", "detect_changes", "full_reconcile"])
def test_other_scope_adds_what_it_admits_and_keeps_what_was_there(
    exports: Exports, sync_mode: str
) -> None:
    """The watermark of one scope says nothing about older runs in another."""
    add_runs(exports.project)
    exports.sync(scope=RunScope(run_ids=("r5",)))
    summary = exports.sync(scope=RunScope(groups=("g2",)), sync_mode=sync_mode)
    assert set(exports.runs()) == {"r1", "r5"}
    assert (summary.run_count, summary.out_of_scope_count, summary.missing_count) == (2, 1, 0)
    everything = exports.sync(sync_mode=sync_mode)
    assert (everything.run_count, everything.out_of_scope_count) == (6, 0)
    exports.assert_converged()


def test_run_leaves_the_scope_when_the_filters_of_w_and_b_no_longer_match(exports: Exports) -> None:
    runs = add_runs(exports.project)
    scope = RunScope(filters={"config.lr": {"$lt": 0.15}})
    exports.sync(scope=scope)
    runs["r0"].config["lr"] = 0.5
    runs["r1"].config["lr"] = 0.01
    summary = exports.sync(scope=scope, sync_mode="detect_changes")
    assert set(exports.runs()) == {"r0", "r1", "r4"}
    assert (summary.new_count, summary.out_of_scope_count, summary.missing_count) == (1, 1, 0)
    assert exports.tracking("r0")["out_of_scope_since"] is not None
    exports.sync(scope=scope)
    assert exports.tracking("r0")["out_of_scope_since"] is not None
    assert exports.tracking("r1")["out_of_scope_since"] is None


FLAGS = [
    (("--state", "finished", "--tag", "base"), {"r0"}),
    (("--group", "g1", "--group", "g2"), {"r0", "r1", "r3", "r5"}),
    (("--sweep", "s1"), {"r2"}),
    (("--run-id", "r1", "--run-id", "r2"), {"r1", "r2"}),
    (("--created-after", "2025-11-03", "--created-before", "2025-11-05T00:00:00"), {"r2", "r3"}),
    (("--run-filter", '{"config.lr": 0.2}'), {"r1"}),
]


def test_every_flag_of_the_scope_works_and_filters_need_the_api(
    project: Project, command: Command
) -> None:
    add_runs(project)
    for number, (flags, expected) in enumerate(FLAGS):
        done = command.sync(*flags, "--quiet", "--json", name=f"n{number}")
        assert done.code == 0, done.stderr
        assert {line["run"]["run_id"] for line in done.runs()} == expected
    refused = command.sync("--run-filter", '{"a": 1}', "--source", "replay:somewhere")
    assert (refused.code, refused.stdout) == (2, "")
    assert "a run filter needs source api" in refused.stderr


def test_recording_of_a_scope_replays_to_the_same_bytes(project: Project, command: Command) -> None:
    add_runs(project)
    flags = ("--mode", "history", "--state", "finished")
    record = str(command.cwd / "recording")
    made = command.sync(*flags, "--record", record)
    assert made.code == 0, made.stderr
    replayed = command.sync(*flags, "--source", f"replay:{record}", name="m")
    assert replayed.code == 0, replayed.stderr
    for name in ("runs.jsonl", "history.jsonl", "changes.jsonl"):
        assert visible(made.folder)[name] == visible(replayed.folder)[name]
    wider = command.sync("--mode", "history", "--source", f"replay:{record}", name="o")
    assert (wider.code, wider.stdout) == (8, "")
    assert "does not hold all runs of the project" in wider.stderr
