"""The laws of what becomes of the records of a project."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.project_part import ProjectPart
from dr_wandb.core.contract.project_records import (
    KINDS,
    NORMALIZERS,
    WandbSweep,
    content_digest,
    decode_record,
)
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.sync.listing_plan import Answer
from dr_wandb.core.sync.project_records import (
    HeldRecord,
    ListedRecord,
    RecordsPlan,
    advance_part,
    compare_records,
    find_vanished,
    plan_records,
)
from dr_wandb.shell.sync.listing import UNREADABLE
from tests.support.strategies import clean_texts, json_values, texts

NOW = "2026-01-01T01:00:00Z"
EARLIER = "2026-01-01T00:50:00Z"
JUST_NOW = "2026-01-01T00:50:01Z"

ids = st.sampled_from("abcdef")
contents = st.sampled_from(["1", "2"])
moments = st.sampled_from([None, EARLIER, JUST_NOW])
held_records = st.dictionaries(ids, st.tuples(contents, moments))
listed_records = st.dictionaries(ids, contents)
answers = st.sampled_from(Answer)
kinds = st.sampled_from(["", "api", "offline"])
parts = st.builds(
    lambda source, others: ProjectPart(source=source, others=others),
    kinds,
    st.dictionaries(ids, st.sampled_from(["api", "offline"])),
)


def request(**fields: Any) -> ExportRequest:
    return ExportRequest(entity="e", project="p", name="n", data_root=Path(), **fields)


def as_held(held: Mapping[str, tuple[str, str | None]]) -> dict[str, HeldRecord]:
    return {one: HeldRecord((one,), text, since) for one, (text, since) in held.items()}


def as_listed(listed: Mapping[str, str]) -> dict[str, ListedRecord]:
    return {one: ListedRecord((one,), text) for one, text in listed.items()}


def planned(
    held: Mapping[str, tuple[str, str | None]],
    listed: Mapping[str, str],
    answer: Answer,
    part: ProjectPart | None = None,
    *,
    prune: bool = False,
) -> RecordsPlan:
    return plan_records(
        request(prune=prune),
        part or ProjectPart(),
        as_held(held),
        as_listed(listed),
        answer=answer,
        source="api",
        now=NOW,
    )


@given(held_records, listed_records, answers, parts)
def test_nothing_goes_without_prune(
    held: dict[str, Any], listed: dict[str, str], answer: Answer, part: ProjectPart
) -> None:
    plan = planned(held, listed, answer, part)
    assert [line.identity for line in plan.lines] == sorted(held.keys() | listed.keys())
    assert plan.pruned == ()


@given(held_records, listed_records, answers, parts, st.booleans())
def test_what_came_is_stored_whatever_else(
    held: dict[str, Any], listed: dict[str, str], answer: Answer, part: ProjectPart, prune: bool
) -> None:
    plan = planned(held, listed, answer, part, prune=prune)
    assert {line.identity for line in plan.lines if line.came} == listed.keys()
    assert all(line.missing_since is None for line in plan.lines if line.came)
    assert set(plan.new) == listed.keys() - held.keys()
    assert set(plan.changed) == {
        one for one in held.keys() & listed.keys() if held[one][0] != listed[one]
    }
    assert set(plan.returned) == {one for one in held.keys() & listed.keys() if held[one][1]}


@given(held_records, listed_records, parts, st.booleans())
def test_incomplete_listing_marks_and_drops_nothing(
    held: dict[str, Any], listed: dict[str, str], part: ProjectPart, prune: bool
) -> None:
    plan = planned(held, listed, Answer.INCOMPLETE, part, prune=prune)
    assert plan.missing == plan.pruned == ()


@given(held_records, listed_records, st.sampled_from([Answer.COMPLETE, Answer.UNCOUNTED]), parts)
def test_only_records_of_this_source_are_missing_since_the_first_sync_that_found_it(
    held: dict[str, Any], listed: dict[str, str], answer: Answer, part: ProjectPart
) -> None:
    plan = planned(held, listed, answer, part)
    for line in plan.lines:
        if line.came:
            continue
        since = held[line.identity][1]
        ours = part.source_of(line.identity) in ("", "api")
        assert line.missing_since == (since or (NOW if ours else None))
        assert (line.identity in plan.missing) == (since is None and ours)


@given(held_records, listed_records, st.sampled_from([Answer.COMPLETE, Answer.UNCOUNTED]))
def test_record_is_pruned_if_it_is_proven_gone(
    held: dict[str, Any], listed: dict[str, str], answer: Answer
) -> None:
    plan = planned(held, listed, answer, prune=True)
    gone = held.keys() - listed.keys()
    proven = gone if answer == Answer.COMPLETE else {one for one in gone if held[one][1] == EARLIER}
    assert set(plan.pruned) == proven
    assert not proven & set(plan.missing)


@given(held_records, listed_records, answers, parts, st.booleans())
def test_same_listing_again_changes_nothing(
    held: dict[str, Any], listed: dict[str, str], answer: Answer, part: ProjectPart, prune: bool
) -> None:
    first = planned(held, listed, answer, part, prune=prune)
    after = {
        line.identity: (
            listed[line.identity] if line.came else held[line.identity][0],
            line.missing_since,
        )
        for line in first.lines
    }
    now = advance_part(part, first, listed, source="api", unlisted=0, failure=None)
    second = planned(after, listed, answer, now)
    assert not second.rewrites
    assert [line.identity for line in second.lines] == [line.identity for line in first.lines]


@given(held_records, listed_records, answers, parts)
def test_kind_of_source_of_each_record_is_remembered(
    held: dict[str, Any], listed: dict[str, str], answer: Answer, part: ProjectPart
) -> None:
    plan = planned(held, listed, answer, part)
    now = advance_part(part, plan, listed, source="api", unlisted=3, failure=None)
    assert now.unlisted == 3
    for line in plan.lines:
        before = part.source_of(line.identity)
        assert now.source_of(line.identity) == ("api" if line.came else before or "api")


@given(held_records, listed_records, parts, st.booleans())
def test_listing_is_not_believed_if_most_records_of_this_source_vanished(
    held: dict[str, Any], listed: dict[str, str], part: ProjectPart, allow_empty: bool
) -> None:
    failure = find_vanished(
        request(allow_empty=allow_empty), part, as_held(held), listed, source="api"
    )
    known = [
        one
        for one, (_, since) in held.items()
        if since is None and part.source_of(one) in ("", "api")
    ]
    lost = sum(one not in listed for one in known)
    assert (failure is not None) == (not allow_empty and 2 * lost > len(known))
    assert failure is None or f"{lost} of {len(known)} held record" in failure.reason


nodes = st.dictionaries(
    st.sampled_from(
        [
            *("id", "name", "displayName", "method", "state", "description", "bestLoss", "config"),
            *("createdAt", "updatedAt", "runCount", "runCountExpected", "user", "spec"),
        ]
    ),
    json_values | texts,
)


@given(st.sampled_from(["reports", "sweeps"]), nodes, texts.filter(bool))
def test_any_node_with_an_id_has_one_line_that_reads_back(
    dataset: str, node: dict[str, Any], name: str
) -> None:
    record = NORMALIZERS[dataset]({**node, "id": name, "name": name})
    line = encode_line(record)
    assert decode_record(line, KINDS[dataset]).unwrap() == record
    assert record.sort_key == (record.identity,)
    marked = replace(record, missing_since=NOW)
    assert content_digest(marked) == content_digest(record)
    assert compare_records(record, marked) is None


artifact_members = st.dictionaries(
    st.sampled_from(
        [
            *("artifactSequence", "artifactType", "tags", "aliases", "metadata", "versionIndex"),
            *("digest", "digestAlgorithm", "historyStep", "state", "createdAt", "size"),
        ]
    ),
    json_values,
)
manifests = st.dictionaries(texts, st.dictionaries(texts, json_values, max_size=3) | json_values)


@given(texts, texts, artifact_members, json_values, st.none() | manifests)
def test_any_version_has_one_line_that_reads_back_or_is_refused(
    name: str, artifact_id: str, members: dict[str, Any], number: Any, contents: Any
) -> None:
    node = {
        "collection": {"name": name},
        "version": number,
        "artifact": {**members, "id": artifact_id},
        **({} if contents is None else {"manifest": {"contents": contents}}),
    }
    try:
        record = NORMALIZERS["artifacts"](node)
    except UNREADABLE:
        return
    line = encode_line(record)
    assert decode_record(line, KINDS["artifacts"]).unwrap() == record
    assert content_digest(replace(record, missing_since=NOW)) == content_digest(record)
    assert record.identity == f"{record.group}/{record.source_id}"


@given(clean_texts, clean_texts)
def test_difference_in_a_config_is_found(one: str, other: str) -> None:
    old, new = WandbSweep(sweep_id="s", config=one), WandbSweep(sweep_id="s", config=other)
    assert (compare_records(old, new) is None) == (one == other)
    assert (content_digest(old) == content_digest(new)) == (one == other)


@given(st.binary())
def test_line_of_any_bytes_is_decoded_or_refused(line: bytes) -> None:
    decode_record(line, WandbSweep)
