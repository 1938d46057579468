"""Read states that earlier builds wrote into the present form.

Rules
- Up to schema version 5 a failure was a text, with `refused` beside that of a part: the kind of
  every other one is not known.
- Up to schema version 4 a run had one part, its history, whose fields were members of the run
  itself.
- Up to schema version 3 `short_by` alone said that a run was accepted as short; if it was negative,
  more rows came than were listed.
- A state that dr-wandb 3.0.3 wrote (version 1) has no positions: everything is read again.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.evidence import Evidence, Look, Standing
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.part import UNKNOWN, ByteRange, PartTracking, Position
from dr_wandb.core.contract.records import (
    FIRST_WITH_EVIDENCE,
    FIRST_WITH_KINDS,
    FIRST_WITH_PARTS,
    Record,
)
from dr_wandb.core.contract.run_failure import RunFailure, RunFailureKind
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.state import ExportState, RunTracking, with_part


class _EarlierRun(Record, frozen=True, kw_only=True):
    """A run in a state of schema version 4 or less."""

    run_id: str
    created_at: str | None = None
    updated_at: str | None = None
    run_state: str | None = None
    last_history_step: int | None = None
    seen: RunListing | None = None
    fingerprint: str = ""
    position: Position | None = None
    held: Position | None = None
    evidence: Evidence | None = None
    look: Look | None = None
    metadata_included: bool = False
    snapshot: ByteRange | None = None
    history: ByteRange | None = None
    row_shape: int = 1
    fields_to_read: tuple[str, ...] = ()
    source: str = ""
    rows_from: str = ""
    of_earlier_run: bool = False
    failure: str | None = None
    refused: bool = False
    unread: str | None = None
    metadata_failure: str | None = None
    missing_since: str | None = None
    out_of_scope_since: str | None = None


class _EarlierState(Record, frozen=True, kw_only=True):
    """A state of schema version 4 or less."""

    schema_version: int = 1
    name: str
    entity: str
    project: str
    last_exported_at: str | None = None
    max_created_at: str | None = None
    runs: dict[str, _EarlierRun] = msgspec.field(default_factory=dict)
    runs_file: str = ""
    history_file: str = ""
    changes_length: int = 0
    scope: RunScope | None = None
    row_shape: int = 1
    snapshot_fields: tuple[str, ...] = ()


class StateHead(Record, frozen=True, kw_only=True):
    """What a `state.json` of any version says of itself, without its runs."""

    entity: str
    project: str
    tracked: str = ""


_HEAD = msgspec.json.Decoder(StateHead)
_STATE = msgspec.json.Decoder(ExportState)
_EARLIER = msgspec.json.Decoder(_EarlierState)
_UNTYPED = msgspec.json.Decoder(dict[str, Any])

_FAILURES = ("failure", "unread", "metadata_failure")


def read_head(content: bytes) -> StateHead:
    """Decode only the project of `state.json`. Raises ValueError if it is not a state."""
    return _HEAD.decode(content)


def read_state(content: bytes, schema_version: int) -> ExportState:
    """Decode `state.json`, keeping its `schema_version`. Raises ValueError if it is not a state."""
    if schema_version >= FIRST_WITH_KINDS:
        return _STATE.decode(content)
    if schema_version >= FIRST_WITH_PARTS:
        return _with_kinds(_UNTYPED.decode(content))
    return _in_present_form(_EARLIER.decode(content))


def _with_kinds(state: dict[str, Any]) -> ExportState:
    """Return a state of schema version 5, whose failures are texts."""
    runs = msgspec.convert(state.get("runs", {}), dict[str, dict[str, Any]])
    with_kinds = {run_id: _run_with_kinds(run) for run_id, run in runs.items()}
    return msgspec.convert({**state, "runs": with_kinds}, ExportState)


def _run_with_kinds(run: Mapping[str, Any]) -> dict[str, Any]:
    parts = msgspec.convert(run.get("parts", {}), dict[str, dict[str, Any]])
    failures = {name: _known(_text(run.get(name))) for name in _FAILURES}
    of_parts = {
        dataset: {
            **part,
            "failure": _known(_text(part.get("failure")), refused=part.get("refused") is True),
        }
        for dataset, part in parts.items()
    }
    return {**run, **failures, "parts": of_parts}


def _text(value: Any) -> str | None:
    return msgspec.convert(value, str | None)


def _known(reason: str | None, *, refused: bool = False) -> RunFailure | None:
    """Return a failure of which only the reason and whether it was a refusal are known."""
    kind = RunFailureKind.REFUSED if refused else RunFailureKind.UNKNOWN
    return None if reason is None else RunFailure(kind=kind, reason=reason)


def _in_present_form(state: _EarlierState) -> ExportState:
    files = {"runs.jsonl": state.runs_file, "history.jsonl": state.history_file}
    return ExportState(
        schema_version=state.schema_version,
        name=state.name,
        entity=state.entity,
        project=state.project,
        last_exported_at=state.last_exported_at,
        max_created_at=state.max_created_at,
        runs={
            run_id: _run_in_present_form(run, state.schema_version)
            for run_id, run in state.runs.items()
        },
        files={name: sha256 for name, sha256 in files.items() if sha256},
        changes_length=state.changes_length,
        scope=state.scope,
        row_shape=state.row_shape,
        snapshot_fields=state.snapshot_fields,
    )


def _run_in_present_form(run: _EarlierRun, schema_version: int) -> RunTracking:
    part = PartTracking(
        stored=run.history,
        position=run.position,
        held=run.held,
        evidence=run.evidence,
        look=run.look,
        row_shape=run.row_shape,
        rows_from=run.rows_from,
        of_earlier_run=run.of_earlier_run,
        failure=_known(run.failure, refused=True) if run.refused else None,
    )
    if schema_version < FIRST_WITH_EVIDENCE:
        part = _with_evidence(part, run.created_at)
    tracking = RunTracking(
        run_id=run.run_id,
        created_at=run.created_at,
        updated_at=run.updated_at,
        run_state=run.run_state,
        last_history_step=run.last_history_step,
        seen=run.seen,
        fingerprint=run.fingerprint,
        metadata_included=run.metadata_included,
        snapshot=run.snapshot,
        fields_to_read=run.fields_to_read,
        source=run.source,
        failure=None if run.refused else _known(run.failure),
        unread=_known(run.unread),
        metadata_failure=_known(run.metadata_failure),
        missing_since=run.missing_since,
        out_of_scope_since=run.out_of_scope_since,
    )
    return tracking if part == UNKNOWN else with_part(tracking, HISTORY, part)


def _with_evidence(part: PartTracking, created_at: str | None) -> PartTracking:
    """Return a part with the evidence that `short_by` stands for."""
    position = part.position
    if position is None or not position.short_by:
        return part
    if position.short_by < 0:
        return replace(part, position=replace(position, short_by=0))
    accepted = Evidence(
        standing=Standing.ACCEPTED,
        created_at=created_at,
        selection=position.selection,
        difference=position.short_by,
    )
    return replace(part, evidence=accepted)
