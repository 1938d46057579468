"""An export remembers what was requested: `sync` repeats it, another server or project stops."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace

from dr_wandb import load_manifest, verify_export
from dr_wandb.core.contract.codec import encode_document
from dr_wandb.core.contract.failures import DrWandbError, OtherHost, WrongExport
from dr_wandb.core.contract.request import ExportRequest, SyncMode
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.sync.repeat import request_again
from tests.support.syncing import tree

if TYPE_CHECKING:
    from dr_wandb.core.contract.manifest import ExportManifest
    from tests.support.api_exports import Exports
    from tests.support.command import Command
    from tests.support.server import Project, Run

LOSS = HistorySelection(keys=("loss",))


def add_run(exports: Exports, run_id: str = "run", **fields: Any) -> Run:
    run = exports.project.add_run(run_id, **fields)
    run.log_all({"loss": index / 8, "acc": index} for index in range(10))
    return run


def manifest_of(exports: Exports) -> ExportManifest:
    manifest = load_manifest("n", exports.data_root)
    assert manifest is not None
    return manifest


def again(exports: Exports) -> ExportRequest:
    """Return the request that `wandb-export sync n` makes."""
    store = ExportStore(name="n", data_root=exports.data_root)
    request, source = request_again(
        store, sync_mode=SyncMode.INCREMENTAL, timeout_seconds=120, max_rate=None
    )
    assert source == "api"
    return replace(request, runs_per_page=exports.per_page)


# --- what is repeated


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": "metadata"},
        {},
        {"history_selection": LOSS},
        {"scope": RunScope(tags=("a",)), "include_metadata": True},
    ],
)
def test_repeated_request_is_the_last_one(exports: Exports, fields: dict[str, Any]) -> None:
    add_run(exports, tags=["a"]).finish()
    exports.sync(**fields)
    before = tree(exports.folder())
    asked = again(exports)
    assert asked == exports.request(**fields)
    exports.sync(**fields)
    changed = {name for name, content in tree(exports.folder()).items() if content != before[name]}
    assert changed <= {"state.json", ".tracked.json", ".checked.json"}, "only the time of the sync"


def test_sync_that_leaves_the_history_alone_does_not_change_what_is_repeated(
    exports: Exports,
) -> None:
    add_run(exports)
    exports.sync(history_selection=LOSS)
    exports.sync(mode="metadata")
    assert again(exports) == exports.request(history_selection=LOSS)


def test_export_of_an_earlier_build_is_repeated_by_what_it_holds(exports: Exports) -> None:
    add_run(exports)
    exports.sync(history_selection=LOSS, include_metadata=True)
    path = exports.folder() / "manifest.json"
    path.write_bytes(encode_document(replace(manifest_of(exports), requested=None)))
    asked = again(exports)
    assert asked == exports.request(history_selection=LOSS, include_metadata=True)


def test_command_syncs_one_export_and_all_of_them(command: Command, project: Project) -> None:
    run = project.add_run("run")
    run.log({"loss": 1})
    assert command.history("--history-key", "loss", name="one").code == 0
    assert command.sync(name="two").code == 0
    run.log({"loss": 2, "acc": 3})
    one = command("sync", "one")
    assert (one.code, one.summary["rows_added"]) == (0, 1)
    run.log({"loss": 3})
    both = command("sync", "--all", "--quiet", "--json")
    assert both.code == 0
    summaries = [json.loads(line) for line in both.stdout.splitlines()]
    assert [(one["name"], one["mode"], one["rows_added"]) for one in summaries] == [
        ("one", "history", 1),
        ("two", "metadata", 0),
    ]
    run.line_count_offset = 2
    run.finish()
    lines = command("sync", "--all").stderr.splitlines()
    assert [line for line in lines if not line.startswith(("one: ", "two: "))] == []
    assert any(line.startswith("one: run 'run'") for line in lines), lines
    (command.data_root / "one" / "manifest.json").write_text("{")
    damaged = command("sync", "--all", "--quiet", "--json")
    assert damaged.code == 6
    assert damaged.stderr.startswith("one: ")
    assert [json.loads(line)["name"] for line in damaged.stdout.splitlines()] == ["two"]
    planned = command("sync", "two", "--dry-run", "--quiet")
    assert planned.code == 0
    assert planned.stdout.endswith("; about 2 requests\n")
    rest = planned.stdout.replace("; --all", "; wandb-export sync two --dry-run --all")
    all_planned = command("sync", "--all", "--dry-run", "--quiet")
    assert all_planned.code == 6
    assert all_planned.stdout == "".join(f"two: {line}\n" for line in rest.splitlines())
    for mistake in (("sync",), ("sync", "one", "--all"), ("sync", "--all", "--data-root", "no")):
        assert command(*mistake).code == 2


def test_source_of_a_program_cannot_be_repeated_by_the_command(exports: Exports) -> None:
    add_run(exports)
    exports.sync()
    manifest = manifest_of(exports)
    assert manifest.requested is not None
    other = replace(manifest, requested=replace(manifest.requested, source="memory"))
    (exports.folder() / "manifest.json").write_bytes(encode_document(other))
    with pytest.raises(DrWandbError, match="a source of a program: memory"):
        again(exports)


# --- a history that is left behind


def test_sync_without_the_history_says_how_far_it_is_behind(
    exports: Exports, caplog: pytest.LogCaptureFixture
) -> None:
    run = add_run(exports)
    exports.sync()
    assert exports.warnings(caplog, mode="metadata") == [], "nothing is behind"
    run.log_all({"loss": index} for index in range(3))
    add_run(exports, "new")
    assert exports.warnings(caplog, mode="metadata") == [
        "the history was left as it is, 13 rows behind in 2 runs: add --mode history, or use "
        "wandb-export sync n"
    ]
    exports.project.delete_run(run)
    lines = exports.warnings(caplog, mode="metadata", sync_mode="detect_changes", prune=False)
    assert lines == [
        "the history was left as it is, 10 rows behind in 1 run: add --mode history, or use "
        "wandb-export sync n"
    ]
    assert exports.warnings(caplog) == []
    assert exports.warnings(caplog, name="another", mode="metadata") == [], "it has no history"


# --- another server


def test_another_server_stops_a_sync(exports: Exports) -> None:
    add_run(exports)
    exports.sync()
    manifest = manifest_of(exports)
    assert manifest.requested is not None
    assert manifest.requested.host == exports.server.url
    moved = replace(manifest, requested=replace(manifest.requested, host="https://api.wandb.ai"))
    (exports.folder() / "manifest.json").write_bytes(encode_document(moved))
    before = tree(exports.folder())
    for sync in (exports.sync, exports.plan):
        with pytest.raises(DrWandbError, match=r"exported from https://api\.wandb\.ai") as stopped:
            sync()
        assert isinstance(stopped.value.failure, OtherHost)
        assert stopped.value.exit_code == 2
    assert tree(exports.folder()) == before
    exports.sync(host_moved=True)
    again_known = manifest_of(exports).requested
    assert again_known is not None
    assert again_known.host == exports.server.url
    exports.sync()


# --- another address of the project


def test_renamed_project_is_carried_on_without_reading_a_row_again(exports: Exports) -> None:
    gone = add_run(exports, "gone")
    for run_id in ("one", "two", "three"):
        add_run(exports, run_id).finish()
    exports.sync()
    exports.project.delete_run(gone)
    exports.sync(sync_mode="detect_changes")
    rows, before = exports.history(), exports.project.name
    exports.project.name = f"{before}-renamed"
    with pytest.raises(DrWandbError, match=f"--moved-from entity/{before}") as stopped:
        exports.sync()
    assert isinstance(stopped.value.failure, WrongExport)
    with pytest.raises(DrWandbError):
        exports.sync(moved_from="entity/something-else")
    summary = exports.sync(moved_from=f"entity/{before}")
    assert summary.complete
    assert exports.asked == {}, "no row is read again"
    assert exports.history() == rows
    manifest = manifest_of(exports)
    assert (manifest.project, manifest.moved_from) == (f"{before}-renamed", [f"entity/{before}"])
    projects = {run_id: run["project"] for run_id, run in exports.runs().items()}
    assert projects == {
        "gone": before,
        "one": f"{before}-renamed",
        "two": f"{before}-renamed",
        "three": f"{before}-renamed",
    }
    assert verify_export(ExportStore(name="n", data_root=exports.data_root)).findings == ()
    exports.sync()
    assert exports.asked == {}
    (exports.folder() / "state.json").unlink()
    assert exports.sync().complete, "the earlier address of the gone run is known"
    assert verify_export(ExportStore(name="n", data_root=exports.data_root)).findings == ()


def test_address_before_the_move_is_checked(exports: Exports) -> None:
    for address in ("entity", "entity/", "a/b/c", "/x"):
        with pytest.raises(DrWandbError, match="moved_from must be ENTITY/PROJECT"):
            exports.request(moved_from=address)
