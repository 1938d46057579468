"""Laws of the state file: it reads back, and that of 3.0.3 reads as one without positions."""

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from dr_wandb.core.contract.codec import encode_document
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.earlier_states import read_state
from dr_wandb.core.contract.part import UNKNOWN, PartTracking
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.state import ExportState, RunTracking, with_part, with_parts
from tests.support import strategies as some

old_runs = st.fixed_dictionaries(
    {
        "run_id": some.run_ids,
        "created_at": st.none() | some.good_times.map(lambda text: text.replace("Z", "+00:00")),
        "updated_at": st.none() | some.good_times,
        "run_state": st.none() | some.states_of_runs,
        "last_history_step": st.none() | st.integers(-1, 10**6),
    }
)
old_states = st.fixed_dictionaries(
    {
        "schema_version": st.just(1),
        "name": some.clean_texts,
        "entity": some.clean_texts,
        "project": some.clean_texts,
        "last_exported_at": st.none() | some.good_times,
        "max_created_at": st.none() | some.good_times,
        "runs": st.lists(old_runs, max_size=4).map(
            lambda runs: {run["run_id"]: run for run in runs}
        ),
    },
    optional={"something_else": st.lists(some.clean_texts)},
)


@given(old_states)
def test_state_of_3_0_3_reads_as_a_state_without_positions(old: dict[str, Any]) -> None:
    state = read_state(json.dumps(old).encode(), 1)
    assert state.schema_version == 1
    assert (state.name, state.entity, state.project) == (old["name"], old["entity"], old["project"])
    assert set(state.runs) == set(old["runs"])
    for run_id, tracking in state.runs.items():
        known = old["runs"][run_id]
        assert {field: getattr(tracking, field) for field in known} == known
        assert tracking.parts == {}
        assert tracking.seen is None
        assert tracking.snapshot is None
        assert not tracking.complete(ExportRequest(entity="e", project="p", name="n"))


@given(some.export_states)
def test_state_reads_back_equal(state: ExportState) -> None:
    assert msgspec.json.decode(encode_document(state), type=ExportState) == state


@given(some.export_states)
def test_unknown_fields_of_a_later_version_are_read_past(state: ExportState) -> None:
    document = msgspec.json.decode(encode_document(state))
    document["new"] = 1
    for tracking in document["runs"].values():
        tracking["new"] = {"a": 1}
    assert msgspec.json.decode(msgspec.json.encode(document), type=ExportState) == state


@given(some.export_states)
def test_state_of_schema_version_4_reads_as_one_with_a_part_for_the_history(
    state: ExportState,
) -> None:
    """What was known of the history lay among what was known of the run."""
    document = msgspec.json.decode(encode_document(state))
    files = document.pop("files", {})
    document["runs_file"] = files.get("runs.jsonl", "")
    document["history_file"] = files.get("history.jsonl", "")
    expected = {}
    for run_id, tracking in document["runs"].items():
        known = state.runs[run_id]
        part = tracking.pop("parts", {}).get(HISTORY, {})
        part["history"] = part.pop("stored", None)
        part.pop("failure", None)
        refused = known.refused
        tracking |= part | _as_texts(known) | {"refused": refused}
        tracking["failure"] = None if known.failed is None else known.failed.reason
        failed = _with_known_kind(known.failed, refused=refused)
        now = with_parts(_with_known_kinds(known), lambda part: replace(part, failure=None))
        if refused:
            now = with_part(now, HISTORY, replace(now.part(HISTORY), failure=failed))
        now = now if now.part(HISTORY) != UNKNOWN else replace(now, parts={})
        expected[run_id] = replace(now, failure=None if refused else failed)
    read = read_state(msgspec.json.encode(document), 4)
    assert read == replace(state, runs=expected)


@given(some.export_states)
def test_state_of_schema_version_5_reads_with_the_kinds_that_it_knows(
    state: ExportState,
) -> None:
    """Failures were texts; beside those of rows it said whether they were refused."""
    document = msgspec.json.decode(encode_document(state))
    for run_id, tracking in document["runs"].items():
        known = state.runs[run_id]
        tracking |= _as_texts(known)
        for dataset, part in tracking.get("parts", {}).items():
            if (failure := known.part(dataset).failure) is not None:
                part |= {"failure": failure.reason, "refused": failure.refused}
    read = read_state(msgspec.json.encode(document), 5)
    runs = {run_id: _with_known_kinds(known) for run_id, known in state.runs.items()}
    assert read == replace(state, runs=runs)


_TEXTS = ("failure", "unread", "metadata_failure")


def _as_texts(tracking: RunTracking) -> dict[str, str]:
    failures = {name: getattr(tracking, name) for name in _TEXTS}
    return {name: failure.reason for name, failure in failures.items() if failure is not None}


def _with_known_kind(failure: RunFailure | None, *, refused: bool) -> RunFailure | None:
    kind = RunFailureKind.REFUSED if refused else RunFailureKind.UNKNOWN
    return None if failure is None else replace(failure, kind=kind)


def _with_known_kinds(tracking: RunTracking) -> RunTracking:
    """Return what is known of a run as it was before each failure had a kind."""

    def of_part(part: PartTracking) -> PartTracking:
        refused = part.failure is not None and part.failure.refused
        return replace(part, failure=_with_known_kind(part.failure, refused=refused))

    texts = {name: _with_known_kind(getattr(tracking, name), refused=False) for name in _TEXTS}
    return replace(with_parts(tracking, of_part), **texts)


@given(some.export_states)
def test_state_with_the_former_name_of_missing_rows_reads_without_them(state: ExportState) -> None:
    """States of builds before the release of schema version 4 have these names."""
    document = msgspec.json.decode(encode_document(state))
    for tracking in document["runs"].values():
        for part in tracking.get("parts", {}).values():
            if (evidence := part.get("evidence")) is not None:
                evidence["missing"] = evidence.pop("missing_digest", "d")
                evidence["lacking"] = evidence.pop("missing_rows", 1)
    read = msgspec.json.decode(msgspec.json.encode(document), type=ExportState)
    for run_id, tracking in state.runs.items():
        assert read.runs[run_id] == with_parts(tracking, _without_missing)


def _without_missing(part: PartTracking) -> PartTracking:
    if part.evidence is None:
        return part
    return replace(part, evidence=replace(part.evidence, missing_digest="", missing_rows=0))


@given(some.export_states)
def test_present_runs_are_those_not_known_to_be_gone(state: ExportState) -> None:
    assert dict(state.present) == {
        run_id: run for run_id, run in state.runs.items() if run.missing_since is None
    }


@given(some.parts, some.history_counts, some.history_counts)
def test_counts_that_are_accounted_for_promise_no_other_number_of_rows(
    part: PartTracking, one: Any, other: Any
) -> None:
    if part.position is None or part.position.listed in (one, other):
        return
    if part.accounts_for(one) and part.accounts_for(other):
        look = part.look.difference.rows if part.look is not None else None
        rows = part.position.rows
        for counts in (one, other):
            assert counts.line_count is None or counts.line_count - rows in (0, look)


@given(some.trackings(), some.requests)
def test_run_that_is_alive_or_failed_is_never_complete(
    tracking: RunTracking, request: ExportRequest
) -> None:
    if tracking.complete(request):
        assert tracking.run_state in {"finished", "failed", "crashed", "killed", "preempted"}
        assert tracking.failure is None
        assert tracking.snapshot is not None
