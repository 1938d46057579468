"""What a check finds in an export whose documents and rows contradict each other."""

from typing import Any

import pytest
from msgspec.structs import replace

from dr_wandb.core.contract.codec import decode_row, encode_line, row_key
from dr_wandb.core.contract.dataset import HISTORY, Counts
from dr_wandb.core.contract.evidence import Evidence, Standing
from dr_wandb.core.contract.export_files import (
    CHANGES_FILE,
    HISTORY_FILE,
    MANIFEST_FILE,
    RUNS_FILE,
    STATE_FILE,
)
from dr_wandb.core.contract.fetch_window import Received
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.part import ByteRange, PartTracking, Position
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.selection import HistorySelection, HistoryWindow
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.core.inspect.accounting import check_state
from dr_wandb.core.inspect.audit import NOT_CANONICAL, ChangesAudit
from dr_wandb.core.inspect.audit_rows import RowsAudit, SliceAudit, StoredPart
from dr_wandb.core.inspect.consistency import check_documents, check_manifest
from dr_wandb.core.inspect.row_rules import RowRules
from dr_wandb.core.inspect.spelling import row_is_canonical
from dr_wandb.core.inspect.verify import FindingKind, Findings

MOMENT = "2026-01-01T00:00:00Z"
HELD = ByteRange(offset=0, length=40, rows=2, digest="d")
RUNS = DataFile(lines=1, bytes=90, sha256="5a")
ROWS = DataFile(lines=2, bytes=40, sha256="6b")

Found = list[tuple[FindingKind, str, str]]


def found_in(findings: Findings) -> Found:
    return [(finding.kind, finding.file, finding.problem) for finding in findings.all()]


# The state, and what is stored


def state_of(run_id: str, run: RunTracking, **fields: Any) -> ExportState:
    known = ExportState(
        name="n", entity="team", project="p", runs={run_id: run}, row_shape=ROW_SHAPE
    )
    return replace(known, **fields)


def checked_state(state: ExportState, stored: StoredPart | None = None, **seen: Any) -> Found:
    findings = Findings()
    rows = {HISTORY: {} if stored is None else {"a": stored}}
    check_state(findings, state, seen, {}, rows)
    return found_in(findings)


def run_with(part: PartTracking) -> RunTracking:
    at = None if part.position is None else part.position.last_step
    return RunTracking(run_id="a", last_history_step=at, parts={HISTORY: part})


def stored_rows(rows: int) -> StoredPart:
    return StoredPart(line=1, byte_range=replace(HELD, rows=rows), received=Received(rows=rows))


def test_run_under_the_id_of_another_is_found() -> None:
    found = checked_state(state_of("a", RunTracking(run_id="b")))
    assert found == [(FindingKind.STATE, STATE_FILE, "its entry 'a' is about run 'b'")]


def test_data_file_that_the_state_knows_and_that_is_not_there_is_missing() -> None:
    state = state_of("a", RunTracking(run_id="a"), files={HISTORY_FILE: "6b"})
    assert checked_state(state, **{HISTORY_FILE: None}) == [
        (FindingKind.MISSING, HISTORY_FILE, "is missing")
    ]
    assert checked_state(replace(state, files={}), **{HISTORY_FILE: None}) == []


@pytest.mark.parametrize("row_shape", [0, ROW_SHAPE + 1])
def test_part_of_a_shape_that_there_is_not_is_found(row_shape: int) -> None:
    found = checked_state(state_of("a", run_with(PartTracking(row_shape=row_shape))))
    problem = f"run 'a': row_shape is {row_shape}, which does not exist"
    assert found == [(FindingKind.STATE, STATE_FILE, problem)]


def test_more_rows_than_a_selection_lets_through_are_found() -> None:
    last_two = HistorySelection(window=HistoryWindow(max_records=2))
    part = PartTracking(position=Position(selection=last_two, rows=9), stored=HELD)
    assert checked_state(state_of("a", run_with(part)), stored_rows(2)) == []
    more = replace(part, stored=replace(HELD, rows=3))
    assert checked_state(state_of("a", run_with(more)), stored_rows(3)) == [
        (
            FindingKind.STATE,
            STATE_FILE,
            "run 'a': 3 rows are stored, more than were received and selected",
        )
    ]


def test_more_rows_than_were_received_are_found() -> None:
    from_5 = HistorySelection(window=HistoryWindow(min_step=5))
    part = PartTracking(position=Position(selection=from_5, rows=1), stored=HELD)
    problem = "run 'a': 2 rows are stored, more than were received and selected"
    found = checked_state(state_of("a", run_with(part)), stored_rows(2))
    assert found == [(FindingKind.STATE, STATE_FILE, problem)]


def test_position_of_a_part_of_a_run_is_not_compared_with_the_stored_rows() -> None:
    part = PartTracking(position=Position(rows=9, whole=False), stored=HELD)
    assert checked_state(state_of("a", run_with(part)), stored_rows(2)) == []
    whole = PartTracking(position=Position(rows=9), stored=HELD)
    problem = "run 'a': the recorded rows is 9, but the stored rows give 2"
    found = checked_state(state_of("a", run_with(whole)), stored_rows(2))
    assert found == [(FindingKind.STATE, STATE_FILE, problem)]


@pytest.mark.parametrize(
    ("standing", "short_by", "wrong"),
    [
        (Standing.ACCEPTED, 2, False),
        (Standing.SHORT, 2, False),
        (Standing.PROVEN, 2, True),
        (Standing.ACCEPTED, -2, True),
    ],
)
def test_lines_that_are_not_waited_for_have_to_be_accepted_as_short(
    standing: Standing, short_by: int, wrong: bool
) -> None:
    position = Position(rows=0, listed=Counts(line_count=2), short_by=short_by)
    part = PartTracking(position=position, evidence=Evidence(standing=standing))
    problem = f"run 'a': short_by is {short_by}, but it is not accepted as short"
    expected = [(FindingKind.STATE, STATE_FILE, problem)] if wrong else []
    assert checked_state(state_of("a", run_with(part))) == expected


# The manifest


MANIFEST = ExportManifest(
    name="n",
    entity="team",
    project="p",
    mode=ExportMode.HISTORY,
    created_at=MOMENT,
    updated_at=MOMENT,
    runs_path=RUNS_FILE,
    history_path=HISTORY_FILE,
    run_count=1,
    history_count=2,
    files={RUNS_FILE: RUNS, HISTORY_FILE: ROWS},
)
SEEN = {RUNS_FILE: RUNS, HISTORY_FILE: ROWS}


def checked_manifest(manifest: ExportManifest, **seen: DataFile | None) -> Found:
    findings = Findings()
    check_manifest(findings, manifest, None, {**SEEN, **seen})
    return found_in(findings)


def of_manifest(problem: str) -> Found:
    return [(FindingKind.MANIFEST, MANIFEST_FILE, problem)]


def test_manifest_that_agrees_with_the_files_is_as_it_should_be() -> None:
    assert checked_manifest(MANIFEST) == []
    runs_alone = replace(
        MANIFEST,
        mode=ExportMode.METADATA,
        history_path=None,
        history_count=0,
        files={RUNS_FILE: RUNS},
    )
    findings = Findings()
    check_manifest(findings, runs_alone, None, {RUNS_FILE: RUNS})
    assert found_in(findings) == []


def test_manifest_without_the_runs_among_its_files_is_found() -> None:
    found = checked_manifest(replace(MANIFEST, files={HISTORY_FILE: ROWS}))
    assert found == of_manifest(f"files does not list {RUNS_FILE}")


def test_manifest_with_a_history_that_is_not_among_its_files_is_found() -> None:
    found = checked_manifest(replace(MANIFEST, files={RUNS_FILE: RUNS}))
    assert found == of_manifest(f"history_path is '{HISTORY_FILE}', but files says otherwise")


def test_manifest_whose_mode_has_no_history_but_a_path_of_one_is_found() -> None:
    found = checked_manifest(replace(MANIFEST, mode=ExportMode.METADATA))
    assert found == of_manifest(f"mode is metadata, but history_path is '{HISTORY_FILE}'")


@pytest.mark.parametrize(
    ("field", "name"), [("runs_path", RUNS_FILE), ("history_path", HISTORY_FILE)]
)
def test_manifest_with_another_path_of_a_data_file_is_found(field: str, name: str) -> None:
    found = checked_manifest(replace(MANIFEST, **{field: "other.jsonl"}))
    assert found == of_manifest(f"{field} is 'other.jsonl', not '{name}'")


def test_data_file_that_no_manifest_knows_is_found_but_for_the_log_of_3_0_3() -> None:
    log = DataFile(lines=1, bytes=9, sha256="7c")
    found = checked_manifest(MANIFEST, **{CHANGES_FILE: log})
    assert found == of_manifest(f"does not list {CHANGES_FILE}")
    of_3_0_3 = replace(MANIFEST, schema_version=1, files={})
    assert checked_manifest(of_3_0_3, **{CHANGES_FILE: log}) == []


@pytest.mark.parametrize("field", ["entity", "project"])
def test_manifest_of_another_project_than_the_state_is_a_stranger(field: str) -> None:
    state = state_of("a", RunTracking(run_id="a"))
    findings = Findings()
    check_documents(findings, replace(MANIFEST, **{field: "other"}), state)
    here = getattr(state, field)
    problem = f"{field} is 'other', but {here!r} in {STATE_FILE}"
    assert found_in(findings) == [(FindingKind.STRANGER, MANIFEST_FILE, problem)]


def test_manifest_of_another_name_than_the_state_is_no_stranger() -> None:
    findings = Findings()
    check_documents(
        findings, replace(MANIFEST, name="other"), state_of("a", RunTracking(run_id="a"))
    )
    assert found_in(findings) == of_manifest(f"name is 'other', but 'n' in {STATE_FILE}")


# Rows


def test_row_that_its_selection_does_not_admit_is_found() -> None:
    findings = Findings()
    losses = {"a": HistorySelection(keys=("loss",))}
    rules = RowRules(strict=True, selections=losses)
    audit, one_slice = RowsAudit(HISTORY, findings, {"a"}, rules), SliceAudit(HISTORY, rules)
    one_slice.add(encode_line(HistoryRow(run_id="a", step=1, metrics={"loss": 2})))
    one_slice.add(encode_line(HistoryRow(run_id="a", step=2, metrics={"acc": 1, "loss": 2})))
    audit.add(one_slice.finish())
    problem = "the row of step 2 of run 'a' has members its selection does not admit"
    assert found_in(findings) == [(FindingKind.FORM, HISTORY_FILE, problem)]


@pytest.mark.parametrize(("timestamp", "spelled_so"), [("4", True), ("4.0", False)])
def test_time_of_a_row_has_one_spelling(timestamp: str, spelled_so: bool) -> None:
    line = encode_line(HistoryRow(run_id="a", step=1, timestamp=timestamp))
    row = decode_row(line).unwrap()
    key = row_key(row.step, row.timestamp)
    assert row_is_canonical(line, row, key, ROW_SHAPE) is spelled_so


def test_line_of_the_log_whose_time_is_no_time_is_found() -> None:
    findings = Findings()
    audit = ChangesAudit(findings)
    for at in (MOMENT, "soon", MOMENT):
        audit.add(b'{"at":"%s","new":["a"]}\n' % at.encode())
    assert found_in(findings) == [
        (FindingKind.LOG, CHANGES_FILE, "its time 'soon' is not a time"),
    ]
    assert audit.backwards == []


def test_line_of_the_log_that_is_spelled_in_another_way_is_found() -> None:
    findings = Findings()
    audit = ChangesAudit(findings)
    audit.add(b'{"new":["a"], "at":"%s"}\n' % MOMENT.encode())
    assert found_in(findings) == [(FindingKind.LOG, CHANGES_FILE, NOT_CANONICAL)]
