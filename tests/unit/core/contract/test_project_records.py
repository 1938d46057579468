"""Sweeps and reports as GraphQL nodes, and as records."""

import pytest
from returns.pipeline import is_successful

from dr_wandb.core.contract.artifacts import WandbArtifact
from dr_wandb.core.contract.project_record import LinkedRecord, ProjectRecord
from dr_wandb.core.contract.project_records import (
    ReportUser,
    WandbReport,
    WandbSweep,
    decode_record,
    normalize_report,
    normalize_sweep,
)


def test_every_field_of_a_sweep_is_filled_from_a_full_node() -> None:
    node = {
        "id": "storage",
        "name": "s1",
        "displayName": "lr",
        "method": "bayes",
        "state": "FINISHED",
        "description": "text",
        "bestLoss": float("nan"),
        "config": 'a: "008"\n',
        "createdAt": "2026-01-01T00:00:00",
        "updatedAt": "2026-01-02T00:00:00Z",
        "runCount": 3,
        "runCountExpected": 5,
    }
    assert not normalize_sweep(node).lasts([])
    assert normalize_sweep(node) == WandbSweep(
        sweep_id="s1",
        storage_id="storage",
        display_name="lr",
        method="bayes",
        state="FINISHED",
        description="text",
        best_loss="NaN",
        config='a: "008"\n',
        created_at="2026-01-01T00:00:00Z",
        updated_at="2026-01-02T00:00:00Z",
        run_count=3,
        run_count_expected=5,
    )


def test_every_field_of_a_report_is_filled_from_a_full_node() -> None:
    node = {
        "id": "r1",
        "name": "name",
        "displayName": "title",
        "description": "text",
        "user": {"username": "ada", "name": "Ada", "email": "ada@example.com"},
        "createdAt": "2026-01-01T00:00:00",
        "updatedAt": "2026-01-02T00:00:00Z",
        "spec": '{"a": 1.0}',
    }
    assert normalize_report(node) == WandbReport(
        report_id="r1",
        name="name",
        display_name="title",
        description="text",
        user=ReportUser(username="ada", name="Ada", email="ada@example.com"),
        created_at="2026-01-01T00:00:00Z",
        updated_at="2026-01-02T00:00:00Z",
        spec='{"a": 1.0}',
    )


def test_what_is_missing_is_null() -> None:
    assert normalize_sweep({"name": "s"}) == WandbSweep(sweep_id="s")
    assert normalize_sweep({"name": "s", "bestLoss": [1], "runCount": True}) == WandbSweep(
        sweep_id="s"
    )
    assert normalize_report({"id": "r", "user": {}}) == WandbReport(report_id="r")


def test_config_that_is_no_text_is_kept_as_json() -> None:
    assert normalize_sweep({"name": "s", "config": {"b": 1, "a": None}}).config == (
        '{"a":null,"b":1}'
    )


def test_node_without_its_id_is_refused() -> None:
    with pytest.raises(ValueError, match="it has no name"):
        normalize_sweep({"id": "x"})
    with pytest.raises(ValueError, match="it has no id"):
        normalize_report({"id": ""})


def test_line_that_is_no_record_is_refused() -> None:
    assert not is_successful(decode_record(b"{}", WandbSweep))
    assert not is_successful(decode_record(b"[" * 2000, WandbSweep))


@pytest.mark.parametrize(
    ("record", "identity"),
    [
        (WandbSweep(sweep_id="s"), "s"),
        (WandbReport(report_id="r"), "r"),
        (WandbArtifact(collection="c", artifact_id="a"), "c/a"),
    ],
)
def test_record_is_known_by_the_fields_that_its_kind_names(
    record: ProjectRecord, identity: str
) -> None:
    assert record.identity == identity
    assert {*record.known_by} <= {*record.__struct_fields__}


def test_linked_record_has_no_content_unless_its_kind_says_so() -> None:
    assert not LinkedRecord().has_content
    assert LinkedRecord().with_content_of(LinkedRecord(created_by=("r",))) == LinkedRecord()
