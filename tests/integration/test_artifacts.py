"""Artifacts from W&B, through the real SDK's transport: versions, manifests and links to runs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb import ExportStore, iter_artifacts
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.sources.api import artifacts as lister
from dr_wandb.shell.sources.api import manifests
from dr_wandb.shell.sources.opening import source_opener
from dr_wandb.shell.store import divided_lines
from dr_wandb.shell.sync.engine import ExportEngine
from tests.support.offline_logging import Machine
from tests.support.server import GraphQLErrors, NullField, Request, StandInServer, Status
from tests.support.server.artifacts import Collection, Version, entry
from tests.support.syncing import json_lines, visible

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.api_exports import Exports

ASKED = {"extra_datasets": ("artifacts",)}


def sync(exports: Exports, **fields: Any) -> Any:
    return exports.sync(**ASKED | fields)


def held(exports: Exports, name: str = "n") -> dict[str, dict[str, Any]]:
    lines = json_lines(exports.folder(name) / "artifacts.jsonl")
    return {f"{one['collection']}:v{one['version']}": one for one in lines}


def project(exports: Exports) -> tuple[Collection, Collection]:
    """A dataset with two versions, one of which a run used, and a model that the run logged."""
    data = exports.project.add_collection("data")
    model = exports.project.add_collection("model", "model")
    for _ in range(2):
        data.add()
    made = model.add(metadata='{"acc": 0.5}', tags=["b", "a"], history_step=0)
    run = exports.project.add_run("train")
    run.state = "finished"
    run.inputs = [(version_of(data, 1), "training")]
    run.outputs = [made]
    exports.project.add_run("idle")
    return data, model


def version_of(collection: Collection, number: int) -> Version:
    member = collection.members[number]
    assert member is not None
    return member[1]


def is_sound(exports: Exports) -> bool:
    return verify_export(ExportStore(name="n", data_root=exports.data_root)).sound


def test_versions_entries_and_lineage_are_exported(exports: Exports) -> None:
    _, model = project(exports)
    assert sync(exports).complete
    lines = held(exports)
    assert list(lines) == ["data:v0", "data:v1", "model:v0"]
    assert lines["data:v1"]["used_by"] == [{"run_id": "train", "used_as": "training"}]
    assert lines["data:v0"]["used_by"] == lines["data:v0"]["created_by"] == []
    made = lines["model:v0"]
    assert made["created_by"] == ["train"]
    assert (made["metadata"], made["tags"], made["aliases"]) == (
        {"acc": 0.5},
        ["a", "b"],
        ["latest"],
    )
    assert (made["type"], made["state"], made["history_step"]) == ("model", "COMMITTED", 0)
    assert made["digest"] == version_of(model, 0).fields()["digest"]
    assert made["entries"] == [
        {
            "algorithm": "MD5",
            "digest": "digest-0",
            "path": "a.txt",
            "reference": None,
            "size": 8,
        }
    ]
    assert is_sound(exports)
    first, *_ = iter_artifacts("n", exports.data_root)
    assert first.identity == f"data/{first.artifact_id}"


@pytest.mark.parametrize("in_order", [True, False])
def test_manifest_with_many_entries_is_read_in_pieces(
    exports: Exports, monkeypatch: pytest.MonkeyPatch, in_order: bool
) -> None:
    """One that is not in the order of its paths is read whole."""
    monkeypatch.setattr(manifests, "PIECE", 100)
    monkeypatch.setattr(divided_lines, "PIECE", 100)
    paths = [f"part-{number:04}" for number in range(200)]
    data = exports.project.add_collection("data")
    for extra in ("a", "b"):
        named = [*paths, extra] if not in_order else sorted([*paths, extra])
        data.add({path: entry(f"digest of {path}", size=7) for path in named})
    assert sync(exports).complete
    lines = held(exports)
    for version, extra in enumerate("ab"):
        entries = lines[f"data:v{version}"]["entries"]
        assert [one["path"] for one in entries] == sorted([*paths, extra])
        assert {one["digest"] for one in entries} == {
            f"digest of {path}" for path in [*paths, extra]
        }
    assert is_sound(exports)
    assert exports.asked["download"] == 2


def test_uploaders_path_and_signed_addresses_are_never_stored(exports: Exports) -> None:
    project(exports)
    sync(exports)
    everything = b"".join(visible(exports.folder()).values())
    assert b"secret-place" not in everything
    assert b"Signature" not in everything


def test_no_host_of_a_manifest_gets_the_key(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its address is signed; wandb-core sends the key too if W&B itself is the host."""
    project(exports)
    sync(exports)
    with StandInServer() as other:
        monkeypatch.setattr(exports.server, "sign_content", other.sign_content)
        exports.project.add_collection("more").add()
        sync(exports)
        downloads = [*exports.server.requests_of("download"), *other.requests]
    assert [one.has_key for one in downloads] == [False] * 4
    assert all(one["entries"] is not None for one in held(exports).values())


def test_requests_of_a_cold_sync_and_of_one_without_news(exports: Exports) -> None:
    project(exports)
    sync(exports)
    assert exports.asked == {
        "ProjectArtifactCollections": 1,
        "ProjectArtifacts": 1,
        "FetchArtifactManifests": 1,
        "RunArtifacts": 1,
        "download": 3,
    }
    before = visible(exports.folder())
    sync(exports)
    assert exports.asked == {"ProjectArtifactCollections": 1}
    after = visible(exports.folder())
    assert {**after, "state.json": b""} == {**before, "state.json": b""}


def test_new_version_and_moved_alias_cost_a_few_requests(exports: Exports) -> None:
    data, model = project(exports)
    sync(exports)
    new = data.add()
    exports.project.runs[0].outputs.append(new)
    version_of(model, 0).aliases.append(("best", "model"))
    model.touch()
    sync(exports)
    assert exports.asked == {
        "ProjectArtifactCollections": 1,
        "ProjectArtifacts": 1,
        "FetchArtifactManifests": 1,
        "RunArtifacts": 1,
        "download": 1,
    }
    lines = held(exports)
    assert lines["data:v2"]["created_by"] == ["train"]
    assert lines["data:v2"]["aliases"] == ["latest"]
    assert lines["data:v1"]["aliases"] == []
    assert lines["model:v0"]["aliases"] == ["best", "latest"]
    assert is_sound(exports)


def test_alias_that_moved_unnoticed_is_seen_by_detect_changes(exports: Exports) -> None:
    """Whether an alias moves the time of its collection is not known."""
    _, model = project(exports)
    sync(exports)
    version_of(model, 0).aliases.append(("best", "model"))
    sync(exports)
    assert held(exports)["model:v0"]["aliases"] == ["latest"]
    sync(exports, sync_mode="detect_changes")
    assert held(exports)["model:v0"]["aliases"] == ["best", "latest"]
    assert "download" not in exports.asked


def test_manifest_is_read_once_ever(exports: Exports) -> None:
    data, _ = project(exports)
    sync(exports)
    sync(exports, sync_mode="full_reconcile")
    assert "download" not in exports.asked
    assert [version_of(data, number).urls for number in (0, 1)] == [1, 1]


def test_manifest_of_a_version_with_another_digest_is_read_again(exports: Exports) -> None:
    """Its entries were lost, without a word: they were those of the digest before."""
    data, _ = project(exports)
    shelf = exports.project.add_collection("shelf")
    shelf.link(version_of(data, 1))
    sync(exports)
    version_of(data, 1).contents = {"b.txt": entry("another")}
    data.touch()
    assert sync(exports).complete
    assert [one["path"] for one in held(exports)["data:v1"]["entries"]] == ["b.txt"]
    assert [one["path"] for one in held(exports)["shelf:v0"]["entries"]] == ["a.txt"]
    assert exports.asked["download"] == 1
    assert is_sound(exports)
    sync(exports, sync_mode="full_reconcile")
    assert "download" not in exports.asked
    assert held(exports)["shelf:v0"]["entries"] == held(exports)["data:v1"]["entries"]


def test_versions_that_are_pending_or_deleted_are_kept_as_they_are(exports: Exports) -> None:
    """The SDK raises an AssertionError for a version without a number."""
    data, _ = project(exports)
    pending = data.add(state="PENDING")
    gone = data.add(state="DELETED")
    for version in (pending, gone):
        version.index = None
    data.members[2:] = [(None, pending), (None, gone)]
    assert sync(exports).complete
    lines = json_lines(exports.folder() / "artifacts.jsonl")
    kept = [(one["version"], one["state"]) for one in lines if one["collection"] == "data"]
    assert kept[:2] == [(0, "COMMITTED"), (1, "COMMITTED")]
    assert {*kept[2:]} == {(None, "PENDING"), (None, "DELETED")}
    pending.state, pending.index = "COMMITTED", 2
    data.members[2] = (2, pending)
    sync(exports)
    assert held(exports)["data:v2"]["entries"] is not None


def test_link_is_a_line_of_its_own_with_its_number_there(exports: Exports) -> None:
    data, _ = project(exports)
    shelf = exports.project.add_collection("shelf")
    shelf.link(version_of(data, 1))
    version_of(data, 1).aliases.append(("gold", "shelf"))
    sync(exports)
    lines = held(exports)
    linked, source = lines["shelf:v0"], lines["data:v1"]
    assert linked["artifact_id"] == source["artifact_id"]
    assert linked["source_collection"] == "data"
    assert source["source_collection"] is None
    assert (linked["aliases"], source["aliases"]) == (["gold"], ["latest"])
    assert linked["used_by"] == source["used_by"] != []
    assert linked["entries"] == source["entries"]
    assert version_of(data, 1).urls == 1


def test_manifest_of_a_version_that_is_linked_on_another_page_is_read_once(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lister, "TOGETHER", 1)
    data, _ = project(exports)
    for number in range(4):
        exports.project.add_collection(f"shelf-{number}").link(version_of(data, 1))
    sync(exports)
    lines = held(exports)
    assert version_of(data, 1).urls == 1
    assert exports.asked["download"] == 3
    for number in range(4):
        assert lines[f"shelf-{number}:v0"]["entries"] == lines["data:v1"]["entries"]
    assert lines["data:v1"]["entries"] is not None
    assert is_sound(exports)


def test_listing_that_is_tried_again_reads_no_manifest_again(exports: Exports) -> None:
    """All manifests were downloaded in each of three tries, if one version was a null."""
    data, _ = project(exports)
    data.members.append(None)
    assert not sync(exports).complete
    assert exports.asked["ProjectArtifacts"] == 3
    assert exports.asked["download"] == 3
    assert all(one["entries"] is not None for one in held(exports).values())
    data.members.pop()
    sync(exports)
    assert "download" not in exports.asked


@pytest.mark.parametrize("type_name", ["wandb-history", "job", "code", "run_table"])
def test_internal_artifacts_are_kept_and_marked(exports: Exports, type_name: str) -> None:
    project(exports)
    exports.project.add_collection("run-train-history", type_name).add()
    sync(exports)
    lines = held(exports)
    assert lines["run-train-history:v0"]["internal"] is True
    assert lines["model:v0"]["internal"] is False


def test_version_without_a_project_is_not_lost(exports: Exports) -> None:
    """The SDK drops such versions, and all that follow if a page has no other."""
    data, model = project(exports)
    for number in (0, 1):
        version_of(data, number).project_is_null = True
    version_of(model, 0).project_is_null = True
    assert sync(exports).complete
    assert list(held(exports)) == ["data:v0", "data:v1", "model:v0"]
    assert held(exports)["data:v1"]["used_by"] != []


def test_null_version_is_counted_and_the_others_stay(exports: Exports) -> None:
    data, _ = project(exports)
    data.members.insert(0, None)
    summary = sync(exports)
    assert summary.records["artifacts"].unlisted_count == 1
    assert list(held(exports)) == ["data:v0", "data:v1", "model:v0"]
    data.members.pop(0)
    assert sync(exports).complete


def test_listing_with_fewer_versions_than_counted_marks_nothing(exports: Exports) -> None:
    data, _ = project(exports)
    sync(exports)
    data.members.pop()
    data.counted_beyond = 1
    data.touch()
    summary = sync(exports)
    assert not summary.complete
    assert held(exports)["data:v1"]["missing_since"] is None
    data.counted_beyond = 0
    assert sync(exports).complete
    assert held(exports)["data:v1"]["missing_since"] is not None


def test_collection_that_is_gone_leaves_its_versions_marked(exports: Exports) -> None:
    data, _ = project(exports)
    exports.project.collections.remove(exports.project.collections[1])
    shelf = exports.project.add_collection("shelf")
    shelf.add()
    sync(exports)
    exports.project.collections.remove(shelf)
    assert sync(exports).complete
    assert held(exports)["shelf:v0"]["missing_since"] is not None
    assert held(exports)["data:v0"]["missing_since"] is None
    assert data.members


def test_used_version_of_another_project_is_a_line_too(exports: Exports) -> None:
    project(exports)
    other = exports.server.add_project("entity", "elsewhere")
    foreign = other.add_collection("shared").add()
    exports.project.runs[1].inputs = [(foreign, "eval")]
    try:
        assert sync(exports).complete
        line = held(exports)["shared:v0"]
        assert line["project"] == "entity/elsewhere"
        assert line["used_by"] == [{"run_id": "idle", "used_as": "eval"}]
        assert sync(exports, sync_mode="detect_changes").complete
        assert held(exports)["shared:v0"] == line
        assert is_sound(exports)
    finally:
        exports.server.delete_project(other)


def test_version_that_a_run_used_twice_is_used_as_both(exports: Exports) -> None:
    data, _ = project(exports)
    once = (version_of(data, 0), "eval")
    exports.project.runs[1].inputs = [once, (version_of(data, 0), "base"), once]
    assert sync(exports).complete
    uses = [{"run_id": "idle", "used_as": used_as} for used_as in ("base", "eval")]
    assert held(exports)["data:v0"]["used_by"] == uses


@pytest.mark.parametrize("comes", ["as a null", "later", "back"])
def test_link_to_a_version_that_is_not_listed_yet_waits_for_it(
    exports: Exports, comes: str
) -> None:
    """The run was not asked again, so the version that came later had no link, for good."""
    data, _ = project(exports)
    late = data.add()
    if comes == "back":
        sync(exports)
    number, member = len(data.members) - 1, data.members[-1]
    data.members[number:] = [None] if comes == "as a null" else []
    data.touch()
    run = exports.project.runs[0]
    run.outputs.append(late)
    sync(exports)
    sync(exports)
    line = held(exports).get("data:v2")
    assert line is None or (line["missing_since"], line["created_by"]) != (None, ["train"])
    data.members[number:] = [member]
    data.touch()
    assert sync(exports).complete
    assert "RunArtifacts" not in exports.asked
    assert held(exports)["data:v2"]["created_by"] == ["train"]
    run.outputs.pop()
    assert sync(exports).complete
    assert held(exports)["data:v2"]["created_by"] == []


def test_run_is_asked_only_if_its_totals_moved(exports: Exports) -> None:
    data, _ = project(exports)
    sync(exports)
    exports.project.runs[1].inputs = [(version_of(data, 0), None)]
    sync(exports)
    asked = exports.server.requests_of("RunArtifacts")[-1]
    assert asked.variables["run0"] == "idle"
    assert "run1" not in asked.variables
    assert held(exports)["data:v0"]["used_by"] == [{"run_id": "idle", "used_as": None}]
    exports.project.runs[1].inputs = []
    sync(exports)
    assert held(exports)["data:v0"]["used_by"] == []


def test_settled_runs_are_asked_once_when_artifacts_are_asked_for_later(exports: Exports) -> None:
    project(exports)
    exports.sync()
    exports.server.clock.set("2026-02-01T00:00:00")
    exports.sync()
    sync(exports)
    assert held(exports)["model:v0"]["created_by"] == ["train"]
    sync(exports)
    assert exports.asked == {"ProjectArtifactCollections": 1}


def test_number_of_a_version_is_no_alias(exports: Exports) -> None:
    data, _ = project(exports)
    version_of(data, 0).aliases += [("v0", "data"), ("v0-final", "data"), ("version1", "data")]
    sync(exports)
    assert held(exports)["data:v0"]["aliases"] == ["v0-final", "version1"]


def test_links_that_do_not_all_come_are_added_to_the_known_ones(exports: Exports) -> None:
    data, _ = project(exports)
    sync(exports)
    run = exports.project.runs[0]
    run.outputs.append(version_of(data, 0))
    run.links_beyond = 1
    summary = sync(exports)
    (reason,) = [why.reason for why in summary.records["artifacts"].unread.values()]
    assert reason == "W&B counts 3 outputs of the run, and gave 2"
    assert held(exports)["data:v0"]["created_by"] == ["train"], "what came is kept"
    run.links_beyond = 0
    assert sync(exports).complete
    assert held(exports)["data:v0"]["created_by"] == ["train"]


@pytest.mark.parametrize("earlier", [False, True])
def test_settled_run_whose_links_do_not_all_come_is_listed_alone(
    exports: Exports, earlier: bool
) -> None:
    """Every sync listed all runs; or, if links had come before, none asked the run again."""
    data, _ = project(exports)
    for number in range(3):
        exports.project.add_run(f"r{number}").state = "finished"
    run = exports.project.runs[0]
    if earlier:
        sync(exports)
        run.outputs.append(version_of(data, 0))
    run.links_beyond = 1
    for day in ("2026-01-01T01:00:00", "2026-02-01T00:00:00", "2026-03-01T00:00:00"):
        exports.server.clock.set(day)
        assert not sync(exports).complete
    assert exports.asked.keys() == {"ProjectArtifactCollections", "RunArtifacts"}
    queries = exports.server.requests_of("Runs")[-exports.listing_requests :]
    filters = [json.loads(one.variables["filters"]) for one in queries]
    assert all("createdAt" in one for one in filters[:-1]), "not all runs"
    assert filters[-1] == {"name": {"$in": ["idle", "train"]}}, "one that is alive, and this one"
    run.links_beyond = 0
    if not earlier:
        run.outputs, run.inputs = [], []
    assert sync(exports).complete
    created = held(exports)["data:v0"]["created_by"]
    assert created == (["train"] if earlier else [])
    sync(exports)
    assert exports.asked == {"ProjectArtifactCollections": 1}


@pytest.mark.parametrize("name", ["outputArtifacts", "inputArtifacts", "totalCount"])
def test_links_that_are_null_leave_the_known_ones(exports: Exports, name: str) -> None:
    """A null was taken for a run without links: its lineage was lost for good."""
    data, _ = project(exports)
    sync(exports)
    before = held(exports)
    exports.project.runs[0].outputs.append(version_of(data, 0))
    exports.server.faults.add("RunArtifacts", NullField(name), times=1)
    (why,) = sync(exports).records["artifacts"].unread.values()
    assert "gives no count of the " in why.reason
    for lines in (before, held(exports)):
        assert lines["model:v0"]["created_by"] == ["train"]
        assert lines["data:v1"]["used_by"] == [{"run_id": "train", "used_as": "training"}]
    assert sync(exports).complete
    assert held(exports)["data:v0"]["created_by"] == ["train"]


def test_collections_without_a_count_are_not_known_to_be_all(exports: Exports) -> None:
    """`--prune` removed versions that a listing without counts did not show."""
    data, _ = project(exports)
    sync(exports)
    data.members.pop()
    data.touch()
    exports.server.faults.add("ProjectArtifactCollections", NullField("totalCount"), times=1)
    sync(exports, prune=True)
    assert held(exports)["data:v1"]["missing_since"] is not None
    sync(exports, prune=True)
    assert "data:v1" not in held(exports)


def test_null_collections_lose_nothing(exports: Exports) -> None:
    """They were not counted as missing if W&B gave no count."""
    data, _ = project(exports)
    sync(exports)
    exports.project.collections[:0] = [None, None]
    for fault in (None, NullField("totalCount")):
        if fault is not None:
            exports.server.faults.add("ProjectArtifactCollections", fault, times=3)
        data.touch()
        summary = sync(exports, prune=True)
        assert summary.records["artifacts"].unlisted_count > 0
        assert list(held(exports)) == ["data:v0", "data:v1", "model:v0"]
        assert all(one["missing_since"] is None for one in held(exports).values())
    del exports.project.collections[:2]
    assert sync(exports).complete


def test_versions_of_a_collection_that_are_null_lose_nothing(exports: Exports) -> None:
    data, _ = project(exports)
    sync(exports)
    data.touch()
    exports.server.faults.add("ProjectArtifacts", NullField("artifactCollection"), times=3)
    assert not sync(exports, prune=True).complete
    assert all(one["missing_since"] is None for one in held(exports).values())
    assert sync(exports).complete


def test_page_of_null_versions_is_passed_over(
    exports: Exports, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK ends at a page in which nothing is usable: all versions after it are lost."""
    monkeypatch.setattr(lister, "PER_PAGE", 2)
    data, _ = project(exports)
    data.members += [None, None]
    for _ in range(2):
        data.add()
    summary = sync(exports)
    assert summary.records["artifacts"].unlisted_count == 2
    assert list(held(exports)) == ["data:v0", "data:v1", "data:v4", "data:v5", "model:v0"]


def test_collection_of_which_nobody_knows_when_it_moved_is_listed_again(exports: Exports) -> None:
    """Its mark never moved, so an alias that moved was never seen."""
    _, model = project(exports)
    exports.server.faults.add("ProjectArtifactCollections", NullField("updatedAt"), times=None)
    sync(exports)
    version_of(model, 0).aliases.append(("best", "model"))
    assert sync(exports).complete
    assert held(exports)["model:v0"]["aliases"] == ["best", "latest"]
    assert "download" not in exports.asked


def test_many_links_and_versions_come_page_by_page(exports: Exports) -> None:
    data = exports.project.add_collection("data")
    many = [data.add() for _ in range(lister.PER_PAGE + 3)]
    run = exports.project.add_run("train")
    run.inputs = [(version, None) for version in many]
    run.outputs = list(many)
    for number in range(lister.TOGETHER + 1):
        exports.project.add_collection(f"c{number}").add()
        exports.project.add_run(f"r{number}").inputs = [(many[0], None)]
    assert sync(exports).complete
    lines = json_lines(exports.folder() / "artifacts.jsonl")
    of_data = [one for one in lines if one["collection"] == "data"]
    assert [one["version"] for one in of_data] == list(range(lister.PER_PAGE + 3))
    assert all(one["created_by"] == ["train"] for one in of_data)
    assert len(of_data[0]["used_by"]) == lister.TOGETHER + 2
    assert len(lines) == len(many) + lister.TOGETHER + 1


def test_manifest_with_another_digest_is_not_believed(exports: Exports) -> None:
    data, _ = project(exports)
    bad = version_of(data, 0)
    bad.served = b'{"contents": {"a.txt": {"digest": "other", "size": 1}}}'
    summary = sync(exports)
    assert not summary.complete
    assert held(exports)["data:v0"]["entries"] is None
    (reason,) = [why.reason for why in summary.records["artifacts"].unread.values()]
    assert reason == "its manifest does not have the digest that W&B names"
    bad.served = None
    assert sync(exports).complete
    assert held(exports)["data:v0"]["entries"] is not None


def test_digest_of_newer_sdks_is_checked_too(exports: Exports) -> None:
    data = exports.project.add_collection("data")
    data.add({"a": entry("x", extra={"alg": "XXH128"})}, algorithm="XXH128")
    data.add({"a": entry("x")}, algorithm="XXH128", digest="0" * 32)
    summary = sync(exports)
    assert len(summary.records["artifacts"].unread) == 1
    lines = held(exports)
    assert [one["algorithm"] for one in lines["data:v0"]["entries"]] == ["XXH128"]
    assert lines["data:v0"]["digest_algorithm"] == "XXH128"
    assert lines["data:v1"]["entries"] is None
    assert is_sound(exports)
    path = exports.folder() / "artifacts.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"digest":"x"', b'"digest":"y"'))
    report = verify_export(ExportStore(name="n", data_root=exports.data_root))
    assert "do not have the digest of the version" in "".join(
        one.problem for one in report.findings
    )


def test_references_are_recorded_and_never_followed(exports: Exports) -> None:
    data = exports.project.add_collection("data")
    outside = f"{exports.server.url}/files/outside/secret"
    data.add(
        {
            "etc": entry("etag", ref="file:///etc/hostname"),
            "web": {"digest": outside, "ref": outside},
            "../up": entry("md5"),
            "C:/x": entry("md5"),
        }
    )
    assert sync(exports).complete
    entries = {one["path"]: one for one in held(exports)["data:v0"]["entries"]}
    assert entries["etc"]["reference"] == "file:///etc/hostname"
    assert entries["etc"]["algorithm"] is None
    assert (entries["web"]["reference"], entries["web"]["size"]) == (outside, None)
    assert {"../up", "C:/x"} <= entries.keys()
    assert len([one for one in exports.server.requests if "outside" in one.path]) == 0


def test_expired_address_of_a_manifest_is_asked_for_again(exports: Exports) -> None:
    data, _ = project(exports)
    exports.server.faults.add("download", Status(403), times=1)
    assert sync(exports).complete
    assert sum(version_of(data, number).urls for number in (0, 1)) + 1 >= 3


def test_manifest_that_is_refused_fails_alone(exports: Exports) -> None:
    data, _ = project(exports)
    version_of(data, 0).status = 403
    summary = sync(exports)
    assert len(summary.records["artifacts"].unread) == 1
    assert held(exports)["data:v1"]["entries"] is not None


def test_field_that_the_server_does_not_know_is_left_out(exports: Exports) -> None:
    project(exports)

    def old(request: Request) -> bool:
        return "usedAs" in request.document or "digestAlgorithm" in request.document

    words = [
        "Cannot query field 'usedAs' on type 'InputArtifactEdge'.",
        "Cannot query field 'digestAlgorithm' on type 'Artifact'.",
    ]
    exports.server.faults.add(old, GraphQLErrors(words), times=None)
    assert sync(exports).complete
    lines = held(exports)
    assert lines["data:v1"]["used_by"] == [{"run_id": "train", "used_as": None}]
    assert lines["data:v1"]["digest_algorithm"] is None


def test_server_without_totals_of_runs_is_asked_for_each_listed_run(exports: Exports) -> None:
    """The runs that are listed are then asked in every sync, many in one request."""
    project(exports)
    words = ['Cannot query field "outputArtifacts" on type "Run".']
    words += [one.replace("output", "input") for one in words]
    exports.server.faults.add(
        lambda one: one.operation == "Runs" and "outputArtifacts" in one.document,
        GraphQLErrors(words),
        times=None,
    )
    for _ in range(2):
        assert sync(exports).complete
        assert exports.asked["RunArtifacts"] == 1
    assert held(exports)["model:v0"]["created_by"] == ["train"]


def test_names_may_be_anything(exports: Exports) -> None:
    """Names that differ by case, contain one another, or would steer a path or a terminal."""
    paths = ["a", "a/b", "A", "..", "/etc/passwd", "C:\\x", "\x1b[31m", "ü", " "]
    for name in ("data", "Data", 'q"uote', "..", "*?<>|", "\x1b[31m", "ü\u2028"):
        exports.project.add_collection(name).add({path: entry(path) for path in paths})
    assert sync(exports).complete
    lines = json_lines(exports.folder() / "artifacts.jsonl")
    assert len(lines) == 7
    assert all({entry["path"] for entry in line["entries"]} == {*paths} for line in lines)
    assert {path.name for path in exports.data_root.iterdir()} == {"n"}
    assert is_sound(exports)


@pytest.mark.parametrize("operation", ["ProjectArtifacts", "RunArtifacts"])
def test_joint_request_that_cannot_be_served_is_sent_in_halves(
    exports: Exports, operation: str
) -> None:
    for number in range(8):
        version = exports.project.add_collection(f"c{number}").add()
        exports.project.add_run(f"r{number}").outputs = [version]

    def large(request: Request) -> bool:
        letter = "name" if operation == "ProjectArtifacts" else "run"
        return request.operation == operation and f"{letter}4" in request.variables

    exports.server.faults.add(large, GraphQLErrors(["too large"]), times=None)
    assert sync(exports).complete
    assert len(held(exports)) == 8
    assert all(one["created_by"] for one in held(exports).values())


def test_artifacts_of_a_file_are_those_that_a_server_shows(
    exports: Exports, tmp_path: Path
) -> None:
    """What cannot be equal: id, number, state, times, what a server counts, and aliases `vN`."""
    with Machine(tmp_path / "machine") as machine:
        said = {one["name"]: one for one in machine.start("log_artifacts").end()}
        request = exports.request("offline", extra_datasets=("artifacts",), any_project=True)
        assert ExportEngine(request, source=source_opener(f"offline:{machine.tree}")).export()
    run = exports.project.add_run("logs-artifacts")
    for name, one in said.items():
        collection = exports.project.add_collection(name)
        version = collection.add(
            one["manifest"]["contents"],
            description="text",
            metadata=one["metadata"] and json.dumps(one["metadata"]),
            tags=["b", "a"],
            digest=one["digest"],
        )
        version.aliases.append(("best", name))
        run.outputs.append(version)
    assert sync(exports).complete
    members = (
        *("collection", "type", "digest", "description", "metadata", "aliases", "tags"),
        *("created_by", "entries", "internal"),
    )
    online, offline = (
        [[line[member] for member in members] for line in held(exports, name).values()]
        for name in ("n", "offline")
    )
    assert len(online) == 2
    assert online == offline
    assert verify_export(ExportStore(name="offline", data_root=exports.data_root)).sound
