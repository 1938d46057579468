"""`verify --against-server` of artifacts, sweeps and reports, through the real SDK's transport."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb.core.inspect.holdings import ComparedRecords
from dr_wandb.shell.inspect.verify import compare_with_source
from dr_wandb.shell.sources.api.source import ApiSource
from dr_wandb.shell.store.export_store import ExportStore
from tests.support.server import NullField

if TYPE_CHECKING:
    from tests.support.api_exports import Exports
    from tests.support.command import Command
    from tests.support.server import Project

RECORDS = ("artifacts", "sweeps", "reports")
LEVEL = {
    "artifacts": ComparedRecords(exported=3),
    "sweeps": ComparedRecords(exported=2),
    "reports": ComparedRecords(exported=2),
}


def fill(project: Project) -> None:
    """Two versions of data, a model that a run made of one, two sweeps and two reports."""
    data, model = project.add_collection("data"), project.add_collection("model", "model")
    used, made = data.add(), model.add()
    data.add()
    run = project.add_run("train")
    run.inputs, run.outputs = [(used, "training")], [made]
    run.finish()
    project.sweeps = [{"id": name, "name": name, "config": "lr: 1\n"} for name in "ab"]
    project.reports["runs"] = [{"id": name, "spec": "{}"} for name in "cd"]


def change(project: Project) -> list[str]:
    """Change one record of each kind, add one and remove one; return what it is about."""
    data, model = project.collections
    assert data is not None
    assert model is not None
    (_, second) = data.members.pop() or (None, None)
    assert second is not None
    project.runs[0].inputs.append((model.add(), "base"))
    project.sweeps = [{"id": name, "name": name, "config": "lr: 2\n"} for name in "bx"]
    project.reports["runs"] = [{"id": "d", "spec": '{"a": 1}'}, {"id": "y", "spec": "{}"}]
    return [f"data/{second.artifact_id}", *(f"model/{one[1].artifact_id}" for one in _all(model))]


def _all(collection: Any) -> list[Any]:
    return [one for one in collection.members if one is not None]


def compare(exports: Exports) -> dict[str, ComparedRecords]:
    compared = compare_with_source(
        ExportStore(name="n", data_root=exports.data_root),
        ApiSource(exports.shared.session, exports.request()),
        clock=lambda: exports.server.clock.now,
        wait=lambda attempts: None,
    )
    return dict(compared.records)


def test_records_are_compared_without_a_manifest(exports: Exports) -> None:
    fill(exports.project)
    exports.sync(extra_datasets=RECORDS)
    exports.server.clear_requests()
    assert compare(exports) == LEVEL
    asked = [one.operation for one in exports.server.requests]
    assert "FetchArtifactManifests" not in asked
    assert "download" not in asked


def test_each_difference_is_named(exports: Exports) -> None:
    fill(exports.project)
    exports.sync(extra_datasets=RECORDS)
    gone, old, new = change(exports.project)
    assert compare(exports) == {
        "artifacts": ComparedRecords(
            exported=1, differ=(old,), not_exported=(new,), gone_upstream=(gone,)
        ),
        "sweeps": ComparedRecords(differ=("b",), not_exported=("x",), gone_upstream=("a",)),
        "reports": ComparedRecords(differ=("d",), not_exported=("y",), gone_upstream=("c",)),
    }
    exports.sync(extra_datasets=RECORDS, sync_mode="detect_changes")
    assert all(one.level for one in compare(exports).values())


def test_link_that_moved_is_a_difference(exports: Exports) -> None:
    fill(exports.project)
    exports.sync(extra_datasets=RECORDS)
    used = exports.project.runs[0].inputs.pop()
    assert used is not None
    assert compare(exports)["artifacts"].differ == (f"data/{used[0].artifact_id}",)


@pytest.mark.parametrize(
    ("operation", "field"),
    [
        ("ProjectArtifactCollections", "artifactCollections"),
        ("ProjectArtifacts", "artifacts"),
        ("RunArtifacts", "outputArtifacts"),
    ],
)
def test_null_in_the_comparison_is_a_failure_and_no_loss(
    exports: Exports, operation: str, field: str
) -> None:
    fill(exports.project)
    exports.sync(extra_datasets=RECORDS)
    exports.server.faults.add(operation, NullField(field), times=None)
    found = compare(exports)["artifacts"]
    assert found.failure is not None
    assert not found.level
    assert (found.differ, found.gone_upstream) == ((), ())


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_command_compares_the_records(
    command: Command, project: Project, flags: tuple[str, ...]
) -> None:
    fill(project)
    with_records = [word for name in RECORDS for word in ("--with", name)]
    assert command.history(*with_records).code == 0
    level = command("verify", "n", "--against-server", *flags)
    assert level.code == 0, level.stderr
    gone, old, new = change(project)
    found = command("verify", "n", "--against-server", *flags)
    assert "Traceback" not in found.stderr
    if flags:
        records = json.loads(found.stdout)["records"]
        assert records["artifacts"]["gone_upstream"] == [gone]
        assert records["artifacts"]["differ"] == [old]
        assert records["artifacts"]["not_exported"] == [new]
        assert {name: one["differ"] for name, one in records.items()} == {
            "artifacts": [old],
            "sweeps": ["b"],
            "reports": ["d"],
        }
    else:
        assert all(name in found.stdout for name in (gone, old, new))
