"""Artifact versions as nodes, as manifests, and as records."""

from typing import Any

import pytest

from dr_wandb.core.contract.artifacts import (
    WandbArtifact,
    has_its_digest,
    is_internal,
    manifest_id,
    normalize_artifact,
)
from dr_wandb.core.contract.manifest_entries import (
    ArtifactEntry,
    entries_of,
    manifest_digest,
)
from dr_wandb.core.contract.project_record import ArtifactUse, LinkedRecord
from dr_wandb.core.contract.project_records import WandbSweep

ARTIFACT: dict[str, Any] = {
    "id": "QXJ0aWZhY3Q6MQ==",
    "artifactSequence": {"name": "data"},
    "versionIndex": 3,
    "artifactType": {"name": "dataset"},
    "description": "text",
    "metadata": '{"rows": 3.0, "none": null}',
    "ttlDurationSeconds": -1,
    "ttlIsInherited": True,
    "tags": [{"name": "b"}, {"name": "a"}],
    "historyStep": 0,
    "state": "COMMITTED",
    "size": 12,
    "digest": "d" * 32,
    "digestAlgorithm": "MANIFEST_XXH128",
    "commitHash": "c",
    "fileCount": 1,
    "createdAt": "2026-01-01T00:00:00",
    "updatedAt": "2026-01-02T00:00:00",
    "aliases": [
        {"alias": "latest", "artifactCollection": {"name": "data"}},
        {"alias": "best", "artifactCollection": {"name": "data"}},
        {"alias": "gold", "artifactCollection": {"name": "shelf"}},
        {"alias": None},
    ],
}
NODE = {
    "collection": {"name": "data", "type": {"name": "dataset"}},
    "version": "v3",
    "artifact": ARTIFACT,
    "manifest": {"contents": {"b": {"digest": "2"}, "a": {"digest": "1", "size": 4}}},
}


def changed(**fields: Any) -> dict[str, Any]:
    return {**NODE, "artifact": {**ARTIFACT, **fields}}


def test_every_field_is_filled_from_a_full_node() -> None:
    assert normalize_artifact(NODE) == WandbArtifact(
        collection="data",
        artifact_id="QXJ0aWZhY3Q6MQ==",
        type="dataset",
        version=3,
        state="COMMITTED",
        aliases=("best", "latest"),
        tags=("a", "b"),
        description="text",
        metadata={"rows": 3, "none": None},
        size=12,
        digest="d" * 32,
        digest_algorithm="XXH128",
        ttl_seconds=-1,
        ttl_inherited=True,
        history_step=0,
        commit_hash="c",
        file_count=1,
        created_at="2026-01-01T00:00:00Z",
        updated_at="2026-01-02T00:00:00Z",
        entries=(
            ArtifactEntry(path="a", digest="1", algorithm="MD5", size=4),
            ArtifactEntry(path="b", digest="2", algorithm="MD5"),
        ),
    )


def test_link_has_the_number_of_its_own_collection() -> None:
    shelf = {"name": "shelf", "type": {"name": "dataset"}}
    linked = normalize_artifact({**NODE, "collection": shelf, "version": "v0"})
    assert (linked.version, linked.source_collection, linked.aliases) == (0, "data", ("gold",))
    unnumbered = normalize_artifact({**NODE, "collection": shelf, "version": None})
    assert unnumbered.version is None
    assert normalize_artifact({**NODE, "version": None}).version == 3


def test_versions_are_in_the_order_of_their_numbers() -> None:
    numbers = [10, 2, None, 0]
    records = [
        WandbArtifact(collection="c", artifact_id=str(at), version=number)
        for at, number in enumerate(numbers)
    ]
    ordered = sorted(records, key=lambda one: one.sort_key)
    assert [one.version for one in ordered] == [0, 2, 10, None]


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        (None, None),
        ({"a": 1.0}, {"a": 1}),
        ("[1]", "[1]"),
        ("no JSON", "no JSON"),
        ('{"a": NaN}', {"a": "NaN"}),
    ],
)
def test_metadata_is_an_object_or_the_text_that_it_was(metadata: Any, expected: Any) -> None:
    assert normalize_artifact(changed(metadata=metadata)).metadata == expected


def test_node_without_parts_is_read_as_far_as_it_goes() -> None:
    record = normalize_artifact(
        {"collection": {"name": None}, "artifact": {"id": "x", "ttlIsInherited": "no"}}
    )
    assert record == WandbArtifact(collection="", artifact_id="x")
    with pytest.raises(ValueError, match="it has no id"):
        normalize_artifact(changed(id=None))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("job", True),
        ("code", True),
        ("run_table", True),
        ("wandb-events", True),
        ("jobs", False),
        (None, False),
    ],
)
def test_types_that_w_and_b_makes_for_itself_are_internal(name: str | None, expected: bool) -> None:
    assert is_internal(name) is expected


def test_record_is_compared_with_its_digest_if_that_can_be_computed() -> None:
    entries = entries_of({"contents": {"a": {"digest": "1"}}})
    right = manifest_digest(entries, None)
    record = WandbArtifact(collection="c", artifact_id="x", entries=entries, digest=right)
    assert has_its_digest(record)
    assert not has_its_digest(normalize_artifact(changed(digestAlgorithm=None)))
    assert has_its_digest(normalize_artifact(NODE))
    assert has_its_digest(WandbArtifact(collection="c", artifact_id="x", digest=right))
    assert has_its_digest(WandbArtifact(collection="c", artifact_id="x", entries=entries))


def test_content_beside_a_record_is_compared_with_its_digest() -> None:
    entries = entries_of({"contents": {"a": {"digest": "1"}, "b": {"digest": "2"}}})
    right = manifest_digest(entries, None)
    record = WandbArtifact(collection="c", artifact_id="x", entries=(), digest=right)
    assert record.lasts([entries[:1], entries[1:]])
    assert not record.lasts([entries[:1]])
    assert not WandbArtifact(collection="c", artifact_id="x", digest=right).lasts([])


def test_version_gets_the_entries_of_a_held_one_with_its_digest() -> None:
    held = WandbArtifact(collection="c", artifact_id="x", entries=(), digest="d")
    came = WandbArtifact(collection="b", artifact_id="x", digest="d")
    assert (came.has_content, came.with_content_of(held).has_content) == (False, True)
    other = WandbArtifact(collection="b", artifact_id="x", digest="e")
    assert other.with_content_of(held) == other
    assert other.with_content_of(LinkedRecord()) == other


def test_listing_says_nothing_of_entries_and_links() -> None:
    record = normalize_artifact(NODE)
    linked = WandbArtifact(
        collection="c",
        artifact_id="x",
        created_by=("r",),
        used_by=(ArtifactUse(run_id="r"),),
        entries=record.entries,
        project="e/p",
    )
    assert linked.as_listed == WandbArtifact(collection="c", artifact_id="x", project="e/p")
    assert (linked.of_project, linked.group, linked.source_id) == (False, "", "x")
    assert (record.of_project, record.group) == (True, "data")


def test_manifest_is_known_by_the_version_and_its_digest() -> None:
    """One that was held under the id alone took the place of that of another digest."""
    one = WandbArtifact(collection="c", artifact_id="a", digest="x")
    linked = WandbArtifact(collection="d", artifact_id="a", digest="x")
    other = WandbArtifact(collection="c", artifact_id="a", digest="y")
    assert one.content_id == linked.content_id == manifest_id("a", "x")
    assert one.content_id != other.content_id
    sweep = WandbSweep(sweep_id="s")
    assert sweep.content_id == sweep.source_id == "s"
