"""The artifacts of runs in `.wandb` files, as an export holds them."""

from pathlib import Path
from typing import Any

import pytest

from dr_wandb import ExportStore, iter_artifacts
from dr_wandb.core.contract.artifacts import WandbArtifact
from dr_wandb.core.contract.manifest_entries import entries_of, manifest_digest
from dr_wandb.core.offline import schema
from dr_wandb.core.offline.artifacts import artifacts_of
from dr_wandb.shell.inspect.verify import compare_with_source, verify_export
from dr_wandb.shell.sources.opening import source_opener
from tests.support.offline_folders import put, sync_folder
from tests.support.syncing import NAME, visible
from tests.support.wandb_file import (
    artifact_record,
    exit_record,
    file_of,
    header_record,
    record,
    run_record,
    use_artifact_record,
)

ARTIFACTS: dict[str, Any] = {"extra_datasets": ("artifacts",)}
CONTENTS = {"b.txt": {"digest": "2", "size": 4}, "a.txt": {"digest": "1", "size": 3}}
DIGEST = manifest_digest(entries_of({"contents": CONTENTS}), None) or ""


def logged(name: str = "data", client_id: str = "c1", **fields: Any) -> bytes:
    fields = {"client_id": client_id, "digest": DIGEST, **fields}
    return artifact_record(name, CONTENTS, **fields)


def held(data_root: Path) -> dict[str, WandbArtifact]:
    return {one.artifact_id: one for one in iter_artifacts(NAME, data_root)}


def test_logged_versions_have_what_a_server_shows_after_an_upload(
    folder: Path, data_root: Path
) -> None:
    """Type, name, digest, entries, description, metadata, aliases and tags; no number, no state."""
    full = logged(
        type="model",
        description="text",
        metadata='{"acc": 0.5}',
        aliases=["latest", "best"],
        tags=["b", "a"],
        ttl_duration_seconds=60,
        digest_algorithm="MD5",
    )
    put(folder, "run", [run_record(), full, exit_record(), logged("late", "c2")])
    assert sync_folder(folder, data_root, **ARTIFACTS).complete
    assert held(data_root) == {
        "c1": WandbArtifact(
            collection="data",
            artifact_id="c1",
            type="model",
            aliases=("best", "latest"),
            tags=("a", "b"),
            description="text",
            metadata={"acc": 0.5},
            size=7,
            digest=DIGEST,
            digest_algorithm="MD5",
            ttl_seconds=60,
            file_count=2,
            created_by=("run",),
            entries=entries_of({"contents": CONTENTS}),
        )
    }
    assert b"secret-place" not in b"".join(visible(data_root / NAME).values())
    store = ExportStore(name=NAME, data_root=data_root)
    assert verify_export(store).sound
    compared = compare_with_source(store, source_opener(f"offline:{folder}"))
    assert compared.records["artifacts"].level


def test_used_versions_are_lines_with_the_id_of_the_server(folder: Path, data_root: Path) -> None:
    uses = [
        use_artifact_record("QXJ0:1", "team/project/data:v3"),
        use_artifact_record("QXJ0:2", "other/place/base:latest", "model"),
        use_artifact_record("QXJ0:3", "plain:v0"),
    ]
    put(folder, "run", [run_record(), *uses, exit_record()])
    assert sync_folder(folder, data_root, **ARTIFACTS).complete
    found = {
        one.artifact_id: (one.collection, one.project, one.version, one.type, one.used_by[0].run_id)
        for one in held(data_root).values()
    }
    own = found["QXJ0:1"]
    assert (own[0], *own[2:]) == ("data", 3, "dataset", "run")
    assert found["QXJ0:2"] == ("base", "other/place", None, "model", "run")
    assert found["QXJ0:3"] == ("plain", None, 0, "dataset", "run")
    assert verify_export(ExportStore(name=NAME, data_root=data_root)).sound


def test_entries_that_are_in_a_file_of_their_own_are_not_known(
    folder: Path, data_root: Path
) -> None:
    raw = logged()
    whole = schema.record_class().FromString(raw)
    artifact = schema.artifact_class().FromString(whole.artifact)
    artifact.manifest.manifest_file_path = b"/tmp/gone"
    whole.artifact = artifact.SerializeToString()
    put(folder, "run", [run_record(), whole.SerializeToString(), exit_record()])
    assert sync_folder(folder, data_root, **ARTIFACTS).complete
    (only,) = held(data_root).values()
    assert (only.entries, only.size, only.file_count) == (None, None, None)


def test_sync_of_files_that_did_not_change_reads_none_of_them(
    folder: Path, data_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "a", [run_record("a"), logged(), exit_record()])
    sync_folder(folder, data_root, **ARTIFACTS)
    before = visible(data_root / NAME)
    with monkeypatch.context() as patch:
        patch.setattr(
            "dr_wandb.shell.sources.offline.wandb_decoder.artifacts_of",
            lambda *_: pytest.fail("a file was read again"),
        )
        assert sync_folder(folder, data_root, **ARTIFACTS).complete
    assert visible(data_root / NAME)["artifacts.jsonl"] == before["artifacts.jsonl"]
    put(folder, "b", [run_record("b"), logged("more", "c2"), exit_record()])
    assert sync_folder(folder, data_root, **ARTIFACTS).complete
    assert held(data_root).keys() == {"c1", "c2"}
    assert held(data_root)["c2"].created_by == ("b",)


def test_version_that_two_files_of_a_run_have_is_one_line(folder: Path, data_root: Path) -> None:
    put(folder, "run", [run_record(), logged(), exit_record()])
    again = [run_record(resumed=True), logged(tags=["x"]), exit_record()]
    put(folder, "run", again, folder_time="20260102_000000")
    assert sync_folder(folder, data_root, **ARTIFACTS).complete
    (only,) = held(data_root).values()
    assert only.created_by == ("run",)


def test_records_that_are_odd_are_read_as_far_as_they_go() -> None:
    newer = artifact_record("x", {"a": {"digest": "1", "alg": "XXH128"}, "r": {"ref": "s3://b"}})
    broken = record(artifact=None)
    content = file_of([header_record(), newer, b"\x42\x02\xff\xff", broken])
    (node,), used = artifacts_of(content, len(content), "e/p")
    assert used == []
    assert node["artifact"]["id"] == ""
    assert node["artifact"]["size"] is None
    entries = entries_of(node["manifest"])
    assert [(one.path, one.algorithm) for one in entries] == [("a", "XXH128"), ("r", None)]
