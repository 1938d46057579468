"""Frames of artifact versions, and of the entries of their manifests."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from dr_wandb import (
    ExportNotFoundError,
    InvalidRequestError,
    iter_artifact_entries,
    iter_artifacts,
    load_artifacts_frame,
)
from dr_wandb.core.columnar.artifacts import ENTRY_COLUMNS, VERSION_COLUMNS, version_row
from dr_wandb.core.contract.artifacts import WandbArtifact
from dr_wandb.shell.frames import artifacts
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An export with some versions, and one without artifacts."""
    root = tmp_path_factory.mktemp("artifacts")
    source = MemorySource()
    source.add_run("train")
    reference = {"digest": "etag", "ref": "s3://bucket/x"}
    contents = {"a.txt": {"digest": "1", "size": 3}, "ref": reference}
    data = source.add_version(
        "data", contents=contents, size=2**60 + 1, createdAt="2026-01-02T03:04:05.678901"
    )
    source.add_version("data", metadata='{"acc": 0.5, "text": "x"}', tags=[{"name": "b"}])
    source.add_version("model", createdAt="no time", size=2**70)
    source.use("train", data, "training")
    syncing.sync(source, root, extra_datasets=("artifacts",))
    syncing.sync(source, root, name="bare")
    return root


def as_rows(frame: Any) -> list[dict[str, Any]]:
    """Return the rows of a frame of any engine."""
    if isinstance(frame, pl.DataFrame):
        return frame.to_dicts()
    table = pa.Table.from_pandas(frame) if isinstance(frame, pd.DataFrame) else frame
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


@pytest.mark.parametrize("engine", ["polars", "pandas", "arrow"])
def test_versions_are_lines_in_the_order_of_the_file(held: Path, engine: Any) -> None:
    rows = as_rows(load_artifacts_frame(NAME, held, engine=engine))
    assert [(one["collection"], one["version"]) for one in rows] == [
        ("data", 0),
        ("data", 1),
        ("model", 0),
    ]
    first, second, model = rows
    assert first["used_by"] == [{"run_id": "train", "used_as": "training"}]
    assert first["size"] == 2**60 + 1
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
    assert first["created_at"] == moment
    assert json.loads(second["metadata"]) == {"acc": 0.5, "text": "x"}
    assert (second["tags"], second["aliases"]) == (["b"], ["latest"])
    assert (model["created_at"], model["size"], model["internal"]) == (None, None, False)


@pytest.mark.parametrize("engine", ["polars", "pandas", "arrow"])
def test_entries_are_lines_if_they_are_wanted(
    held: Path, engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "ROWS_AT_ONCE", 2)
    rows = as_rows(load_artifacts_frame(NAME, held, engine=engine, entries=True))
    pairs = list(iter_artifact_entries(NAME, held))
    assert [(one["artifact_id"], one["path"]) for one in rows] == [
        (record.artifact_id, entry.path) for record, entry in pairs
    ]
    assert rows[1] == {
        "collection": "data",
        "version": 0,
        "artifact_id": "data-0",
        "path": "ref",
        "digest": "etag",
        "algorithm": None,
        "size": None,
        "reference": "s3://bucket/x",
    }


def test_types_do_not_depend_on_the_values(held: Path, tmp_path: Path) -> None:
    syncing.sync(MemorySource(), tmp_path, extra_datasets=("artifacts",))
    for entries in (False, True):
        empty = load_artifacts_frame(NAME, tmp_path, engine="arrow", entries=entries)
        full = load_artifacts_frame(NAME, held, engine="arrow", entries=entries)
        assert empty.num_rows == 0
        assert empty.schema == full.schema


def test_columns_are_the_fields_of_the_records() -> None:
    fields = set(WandbArtifact.__struct_fields__)
    assert {*VERSION_COLUMNS} == fields - {"entries"}
    assert {*ENTRY_COLUMNS} - {"collection", "version", "artifact_id"} == set(
        WandbArtifact.large_kind.__struct_fields__
    )


def test_metadata_that_is_a_text_stays_one() -> None:
    record = WandbArtifact(collection="c", artifact_id="x", metadata="no JSON")
    assert version_row(record)["metadata"] == "no JSON"


def test_values_are_those_of_the_records(held: Path) -> None:
    rows = as_rows(load_artifacts_frame(NAME, held, engine="arrow"))
    records = list(iter_artifacts(NAME, held, entries=False))
    for name in ("collection", "artifact_id", "state", "digest", "version", "internal"):
        assert [row[name] for row in rows] == [getattr(one, name) for one in records]


def test_export_without_artifacts_is_refused(held: Path) -> None:
    with pytest.raises(InvalidRequestError, match="bare has no artifacts: sync it with --with"):
        load_artifacts_frame("bare", held)
    with pytest.raises(ExportNotFoundError):
        load_artifacts_frame("none", held)
    with pytest.raises(InvalidRequestError, match="did you mean polars"):
        load_artifacts_frame(NAME, held, engine="polar")  # type: ignore[arg-type]
