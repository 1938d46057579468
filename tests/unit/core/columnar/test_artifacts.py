"""Artifact versions and entries as rows of columns."""

from dr_wandb.core.columnar.artifacts import (
    ENTRY_COLUMNS,
    VERSION_COLUMNS,
    entry_row,
    version_row,
)
from dr_wandb.core.contract.artifacts import WandbArtifact
from dr_wandb.core.contract.manifest_entries import ArtifactEntry
from dr_wandb.core.contract.project_record import ArtifactUse


def test_version_has_a_value_in_each_column() -> None:
    record = WandbArtifact(
        collection="data",
        artifact_id="x",
        version=3,
        aliases=("latest",),
        metadata={"b": 1, "a": None},
        size=2**63,
        history_step=-(2**63),
        created_at="1970-01-01T00:00:01.5Z",
        updated_at="no time",
        used_by=(ArtifactUse(run_id="r", used_as="eval"),),
        entries=(),
    )
    row = version_row(record)
    assert [*row] == [*VERSION_COLUMNS]
    assert {name: value for name, value in row.items() if value not in (None, [], False)} == {
        "collection": "data",
        "artifact_id": "x",
        "version": 3,
        "aliases": ["latest"],
        "metadata": '{"a":null,"b":1}',
        "history_step": -(2**63),
        "created_at": 1_500_000,
        "used_by": [{"run_id": "r", "used_as": "eval"}],
    }


def test_metadata_that_is_a_text_stays_one() -> None:
    record = WandbArtifact(collection="c", artifact_id="x", metadata="no JSON")
    assert version_row(record)["metadata"] == "no JSON"


def test_entry_has_the_columns_of_its_version_and_its_own() -> None:
    record = WandbArtifact(collection="data", artifact_id="x", version=3, size=9, digest="of all")
    entry = ArtifactEntry(path="a", digest="d", size=2**70, reference="s3://b")
    assert entry_row(record, entry) == {
        **dict.fromkeys(ENTRY_COLUMNS),
        "collection": "data",
        "artifact_id": "x",
        "version": 3,
        "path": "a",
        "digest": "d",
        "reference": "s3://b",
    }
