"""Records of an export are compared with what W&B lists, and with what runs say."""

from dr_wandb.core.contract.project_record import ArtifactUse
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.inspect.audit_records import StoredRecord
from dr_wandb.core.inspect.holdings import (
    ComparedRecords,
    compare_records,
    linked_runs,
    unread_links,
)
from dr_wandb.core.sync.record_links import Links, RunLinks

BROKEN = RunFailure(kind=RunFailureKind.UNREACHABLE, reason="broken")
USED = Links(("maker",), (ArtifactUse(run_id="user"),))
HELD = {
    "c/a": StoredRecord(digest="1", source_id="a", links=USED),
    "c/b": StoredRecord(digest="2", source_id="b", links=Links()),
    "c/gone": StoredRecord(digest="3", source_id="gone", missing_since="x", links=Links()),
    "p/far": StoredRecord(digest="4", source_id="far", of_project=False, links=Links()),
    "s": StoredRecord(digest="5", source_id="s"),
}
LISTED = {"c/a": "1", "c/b": "2", "s": "5"}
SAME = {
    "maker": RunLinks(outputs=frozenset({"a"})),
    "user": RunLinks(inputs=frozenset({("a", None)})),
}


def test_records_with_the_same_content_and_links_are_exported() -> None:
    for links in ({}, SAME):
        assert compare_records(HELD, LISTED, None, links=links) == ComparedRecords(
            exported=3, gone_upstream=("c/gone",)
        )


def test_other_content_or_other_links_differ() -> None:
    links = {**SAME, "user": RunLinks(inputs=frozenset({("b", "eval"), ("far", None)}))}
    found = compare_records(HELD, {**LISTED, "s": "6"}, None, links=links)
    assert (found.exported, found.differ) == (0, ("c/a", "c/b", "p/far", "s"))


def test_links_of_a_record_that_is_gone_are_no_difference() -> None:
    links = {"user": RunLinks(inputs=frozenset({("gone", None), ("a", None)}))}
    assert compare_records(HELD, LISTED, None, links=links).differ == ()


def test_line_that_is_gone_says_nothing_of_the_same_version_elsewhere() -> None:
    """A version that had left a collection differed for ever, and lost links went unseen."""
    both = Links((), (ArtifactUse(run_id="one"), ArtifactUse(run_id="two")))
    one = Links((), (ArtifactUse(run_id="one"),))
    held = {
        "a/v": StoredRecord(digest="1", source_id="v", links=both),
        "z/v": StoredRecord(digest="1", source_id="v", links=one, missing_since="x"),
    }
    said = {"one": RunLinks(inputs=frozenset({("v", None)}))}
    for links in ({}, said):
        assert compare_records(held, {"a/v": "1"}, None, links=links).differ == ()
    gone = {"two": RunLinks()}
    assert compare_records(held, {"a/v": "1"}, None, links=gone).differ == ("a/v",)


def test_records_that_only_runs_show_are_not_exported_if_no_id_is_theirs() -> None:
    beside = {"p/far": "far", "q/b": "b", "q/new": "new"}
    found = compare_records(HELD, {**LISTED, "c/new": "7"}, BROKEN, beside=beside)
    assert found.not_exported == ("c/new", "q/new")
    assert (found.gone_upstream, found.failure) == ((), BROKEN)


def test_runs_with_links_are_those_that_made_or_used_a_record() -> None:
    assert linked_runs(HELD) == {"maker": "", "user": ""}


def test_runs_that_could_not_be_asked_are_counted_with_a_reason() -> None:
    failure = RunFailure(kind=RunFailureKind.TIMEOUT, reason="no answer in time")
    said = unread_links("artifacts", {"b": failure})
    reason = "the artifacts of 1 run could not be read: no answer in time"
    assert said == RunFailure(kind=RunFailureKind.TIMEOUT, reason=reason)
