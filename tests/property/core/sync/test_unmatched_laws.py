"""Laws of what is reported as matching no run."""

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from dr_wandb.core.contract.normalize import normalize_run
from dr_wandb.core.contract.records import WandbRun
from dr_wandb.core.contract.request import ExportMode, ExportRequest
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.core.sync.unmatched import SeenNames, find_unmatched

names = st.sampled_from(["loss", "losss", "val", "val.loss", "acc", "a,b", "a", "b", "_step", "_x"])
few_names = st.lists(names, max_size=3)


def a_run(keys: list[str], **fields: Any) -> WandbRun:
    node = {"name": "run", "historyKeys": {"keys": {key: {} for key in keys}}, **fields}
    return normalize_run(node, entity="team", project="project")


runs = st.builds(
    lambda keys, tags, group, state: a_run(keys, tags=tags, group=group, state=state),
    few_names,
    few_names,
    st.none() | names,
    st.sampled_from(["finished", "running", None]),
)
scopes = st.none() | st.builds(
    lambda tags, groups, states: RunScope(tags=tags, groups=groups, states=states),
    few_names.map(tuple),
    few_names.map(tuple),
    st.lists(st.sampled_from(["finished", "runing"]), max_size=2).map(tuple),
)


def asked(keys: list[str], scope: RunScope | None) -> ExportRequest:
    return ExportRequest(
        entity="team",
        project="project",
        name="name",
        mode=ExportMode.HISTORY,
        history_selection=HistorySelection(keys=tuple(keys)),
        scope=scope,
    )


def seen_in(listed: list[WandbRun], scope: RunScope | None) -> SeenNames:
    seen = SeenNames()
    for run in listed:
        seen.add(run, inside=scope is None or scope.admits(run))
    return seen


@given(st.lists(runs, max_size=3), few_names, scopes)
def test_nothing_is_reported_that_a_run_has(
    listed: list[WandbRun], keys: list[str], scope: RunScope | None
) -> None:
    lines = find_unmatched(asked(keys, scope), seen_in(listed, scope))
    of_keys = [line for line in lines if line.startswith("--history-key")]
    metrics = {key for run in listed for key in (run.history_keys or {})["keys"]}
    missed = [
        key
        for key in sorted({*keys})
        if not key.startswith("_")
        and not any(
            name == key or name.startswith(f"{key}.") or key.startswith(f"{name}.")
            for name in metrics
        )
    ]
    if all(name.startswith("_") for name in metrics):
        assert of_keys == []
    else:
        assert [line.split()[1] for line in of_keys] == missed
    of_scope = [line for line in lines if not line.startswith("--history-key")]
    if scope is None or RunScope() == scope:
        assert of_scope == []
    elif any(scope.admits(run) for run in listed):
        tags = {tag for run in listed if scope.admits(run) for tag in run.tags}
        of_tags = [line.split()[1] for line in of_scope if line.startswith("--tag")]
        assert of_tags == [tag for tag in scope.tags if tag not in tags]
    else:
        assert of_scope, "a scope without a run is always reported"


@given(st.lists(runs, max_size=3), few_names, scopes)
@example([a_run(["loss"])], ["losss"], None)
def test_suggestions_are_names_that_there_are(
    listed: list[WandbRun], keys: list[str], scope: RunScope | None
) -> None:
    known = {"finished", "running", "failed", "crashed", "killed", "pending", "preempted"}
    known |= {"preempting"}
    for run in listed:
        known |= {*(run.history_keys or {})["keys"], *run.tags, run.group or ""}
    for line in find_unmatched(asked(keys, scope), seen_in(listed, scope)):
        assert "\n" not in line
        _, _, suggested = line.partition("did you mean ")
        for name in suggested.rstrip("?").replace(" or ", ", ").split(", "):
            assert name in known or not suggested
