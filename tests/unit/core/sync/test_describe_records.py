"""What is said of records that could not be listed or read, and of fields nobody knows."""

from functools import partial

from dr_wandb.core.contract.artifacts import ENTRY_BYTES, WandbArtifact
from dr_wandb.core.contract.dataset import PROJECT_DATASETS, counts_in
from dr_wandb.core.contract.project_record import LinkedRecord
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.inspect.audit_records import RecordsAudit
from dr_wandb.core.inspect.verify import Findings
from dr_wandb.core.sync.describe_records import describe_planned_records, describe_unlisted
from dr_wandb.core.sync.estimate import record_requests
from dr_wandb.core.sync.left_out import unknown_names
from dr_wandb.core.sync.planned_records import RecordCounts
from dr_wandb.core.sync.summary import RecordsSummary

FAILED = RunFailure(kind=RunFailureKind.TIMEOUT, reason="no answer in time")


def test_ten_records_that_were_not_read_are_named_and_the_others_counted() -> None:
    unread = {f"a{number:02}": FAILED for number in range(12)}
    lines = list(describe_unlisted({"artifacts": RecordsSummary(unread=unread)}))
    assert lines[0] == "artifacts: 'a00': no answer in time"
    assert lines[10:] == ["artifacts: and 2 more"]
    assert list(describe_unlisted({"artifacts": RecordsSummary()})) == []


def test_all_fields_that_a_server_does_not_know_are_found() -> None:
    text = "Cannot query field 'usedAs' on type 'X'.\nCannot query field \"y\" on type \"Z\"."
    assert unknown_names(text) == {"usedAs", "y"}
    assert unknown_names("too large") == frozenset()


def test_numbers_of_links_are_known_only_if_both_are() -> None:
    connections = {"outputArtifacts": {"totalCount": 2}, "inputArtifacts": {"totalCount": 1}}
    known = counts_in(connections, ["artifacts", "sweeps"])
    assert (known["artifacts"].line_count, known["artifacts"].mark) == (3, "2 1")
    for raw in ({}, *({**connections, "inputArtifacts": odd} for odd in (None, 3, "x"))):
        assert counts_in(raw, ["artifacts"])["artifacts"].mark is None
    assert counts_in({"contentMark": "x"}, ["artifacts"])["artifacts"].mark == "x"


def test_line_of_records_that_is_cut_short_is_reported_once() -> None:
    findings = Findings()
    audit = RecordsAudit("sweeps", findings)
    audit.add(b'{"sweep_id":"a"}\n')
    audit.add(b'{"sweep_id": "b"}')
    audit.add(b'{"sweep')
    assert [finding.line for finding in findings.all()] == []
    assert audit.records.keys() == {"a", "b"}


def test_cost_of_records_is_said_if_there_is_any() -> None:
    counts = {
        "artifacts": RecordCounts(listed=4, new=2, requests=1, bytes=1500),
        "reports": RecordCounts(listed=1),
        "sweeps": RecordCounts(failure=FAILED),
    }
    assert list(describe_planned_records(counts)) == [
        "artifacts: 4 listed, 2 new; about 1 request, 1.5 kB",
        "reports: 1 listed, nothing new",
        "sweeps: could not be listed: no answer in time",
    ]


def test_requests_for_records_are_those_of_the_listing_and_what_it_leads_to() -> None:
    artifacts, sweeps = PROJECT_DATASETS["artifacts"], PROJECT_DATASETS["sweeps"]
    cost = partial(record_requests, listed_with=3, runs=41, contents=51)
    assert cost(artifacts, "api") == 3 + 3 + 2
    assert cost(sweeps, "api") == 3
    assert cost(artifacts, "replay") == cost(sweeps, "offline") == 0


def test_only_committed_versions_of_the_project_have_entries_to_read() -> None:
    version = partial(WandbArtifact, collection="c", artifact_id="x", file_count=2)
    assert version(state="COMMITTED").content_bytes == 2 * ENTRY_BYTES
    assert WandbArtifact(collection="c", artifact_id="x", state="COMMITTED").content_bytes == 0
    assert version(state="PENDING").content_bytes is None
    assert version(state="COMMITTED", project="other/place").content_bytes is None
    assert LinkedRecord().content_bytes is None
