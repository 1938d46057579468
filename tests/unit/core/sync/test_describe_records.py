"""What is said of records that could not be listed or read, and of fields nobody knows."""

from dr_wandb.core.contract.dataset import counts_in
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.inspect.audit_records import RecordsAudit
from dr_wandb.core.inspect.verify import Findings
from dr_wandb.core.sync.describe_records import describe_unlisted
from dr_wandb.core.sync.left_out import unknown_names
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
