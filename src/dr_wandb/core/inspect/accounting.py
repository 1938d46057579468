"""Check whether the state accounts for every line of the data files.

Rules
- The byte range that the state has for a run in a data file must hold exactly that run's lines.
- A position that was reached with every row must be the one that the stored rows give.
- If a data file was damaged, the finding names that file, else the state.
"""

from collections.abc import Iterator, Mapping

from dr_wandb.core.contract.dataset import DATASETS, HISTORY
from dr_wandb.core.contract.evidence import Standing
from dr_wandb.core.contract.export_files import (
    CHANGES_FILE,
    MANIFEST_FILE,
    PARQUET_HISTORY,
    RUNS_FILE,
    STATE_FILE,
    is_parquet,
)
from dr_wandb.core.contract.fetch_window import Received
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.part import ByteRange, PartTracking, Position
from dr_wandb.core.contract.records import FIRST_OF_OURS, FIRST_WITH_EVIDENCE
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.selection import EVERYTHING
from dr_wandb.core.contract.state import ExportState, RunTracking
from dr_wandb.core.contract.wording import count
from dr_wandb.core.inspect.audit import StoredRun
from dr_wandb.core.inspect.audit_rows import StoredPart
from dr_wandb.core.inspect.consistency import Seen, digest_in
from dr_wandb.core.inspect.verify import FindingKind, Findings


def check_state(
    findings: Findings,
    state: ExportState,
    seen: Seen,
    runs: Mapping[str, StoredRun] | None,
    rows: Mapping[str, Mapping[str, StoredPart]] | None,
    *,
    in_columns: bool = False,
) -> None:
    """Compare what the state says of the data files, and of each run in them, with the content.

    The state must be in our form. runs, rows: the content; None if no line was read. in_columns:
    the rows of the history are in Parquet files alone.
    """
    least = 1 if state.schema_version <= FIRST_OF_OURS else ROW_SHAPE
    if not least <= state.row_shape <= ROW_SHAPE:
        version = state.schema_version
        problem = f"row_shape is {state.row_shape}, which does not fit schema_version {version}"
        findings.add(FindingKind.STATE, STATE_FILE, problem)
    for run_id, tracking in state.runs.items():
        if run_id != tracking.run_id:
            problem = f"its entry {run_id!r} is about run {tracking.run_id!r}"
            findings.add(FindingKind.STATE, STATE_FILE, problem)
    for name, file in seen.items():
        if not is_parquet(name):
            _compare_known(findings, state, name, file)
    if runs is not None and seen.get(RUNS_FILE) is not None:
        snapshots = {run_id: run.snapshot for run_id, run in state.runs.items()}
        _compare_byte_ranges(findings, RUNS_FILE, snapshots, runs)
    for dataset, found in (rows or {}).items():
        name = PARQUET_HISTORY if in_columns and dataset == HISTORY else DATASETS[dataset].file
        if name == PARQUET_HISTORY or seen.get(name) is not None:
            stored = {run_id: run.part(dataset).stored for run_id, run in state.runs.items()}
            _compare_byte_ranges(findings, name, stored, found)
    for run_id, tracking in state.runs.items():
        for problem in _problems_of(tracking, rows, state.schema_version):
            findings.add(FindingKind.STATE, STATE_FILE, f"run {run_id!r}: {problem}")


def _problems_of(
    tracking: RunTracking,
    rows: Mapping[str, Mapping[str, StoredPart]] | None,
    schema_version: int,
) -> Iterator[str]:
    position = tracking.part(HISTORY).position
    at = position.last_step if position is not None else None
    if tracking.last_history_step != at:
        yield f"last_history_step is {tracking.last_history_step}, but the position is at {at}"
    for dataset in sorted({*tracking.parts, HISTORY}):
        part = tracking.part(dataset)
        yield from _contradictions(part, schema_version)
        if rows is not None:
            yield from _position_problems(part, rows.get(dataset, {}).get(tracking.run_id))


def _compare_known(
    findings: Findings, state: ExportState, name: str, file: DataFile | None
) -> None:
    """Compare a data file with the digest in the state, unless the manifest showed a problem."""
    if findings.has(name, FindingKind.CONTENT, FindingKind.MISSING, FindingKind.LOG):
        return
    if name == CHANGES_FILE:
        size = file.bytes if file is not None else 0
        if size != state.changes_length:
            problem = f"changes_length is {state.changes_length}, but {name} has {size} bytes"
            findings.add(FindingKind.STATE, STATE_FILE, problem)
    elif (file.sha256 if file is not None else "") != digest_in(state, name):
        if file is None:
            findings.add(FindingKind.MISSING, name, "is missing")
        elif findings.has(MANIFEST_FILE, FindingKind.MISSING, FindingKind.DOCUMENT):
            problem = f"does not have the SHA-256 that is in {STATE_FILE}"
            findings.add(FindingKind.CONTENT, name, problem)
        else:
            problem = f"its SHA-256 of {name} is not that of the file"
            findings.add(FindingKind.STATE, STATE_FILE, problem)


def _compare_byte_ranges(
    findings: Findings,
    name: str,
    known: Mapping[str, ByteRange | None],
    stored: Mapping[str, StoredRun] | Mapping[str, StoredPart],
) -> None:
    """Compare each run's part of a data file with the state.

    In a damaged file, lines may be at other offsets: then only content counts.
    """
    damaged = findings.has(name) or findings.has_below(name)
    for run_id in sorted(known.keys() | stored.keys()):
        expected, found = known.get(run_id), stored.get(run_id)
        here = found.byte_range if found is not None else None
        has, wanted = here.rows if here else 0, expected.rows if expected else 0
        if _content(here) != _content(expected):
            problem = f"run {run_id!r} has {count(has, 'line')} here, {wanted:,} in {STATE_FILE}"
            if has == wanted:
                problem = f"run {run_id!r} has other content here than {STATE_FILE} records"
            if damaged:
                line = found.line if found is not None else None
                findings.add(FindingKind.CONTENT, name, problem, line)
        if not damaged and here != expected:
            problem = f"run {run_id!r} has another byte range or content in {name}"
            if has != wanted:
                problem = f"run {run_id!r} has {count(has, 'line')} in {name}, not {wanted:,}"
            findings.add(FindingKind.STATE, STATE_FILE, problem)


def _content(byte_range: ByteRange | None) -> tuple[int, str] | None:
    return (byte_range.rows, byte_range.digest) if byte_range is not None else None


def _contradictions(part: PartTracking, schema_version: int) -> Iterator[str]:
    """Give what cannot be, whatever rows are stored."""
    if not 1 <= part.row_shape <= ROW_SHAPE:
        yield f"row_shape is {part.row_shape}, which does not exist"
    position = part.position
    short_by = position.short_by if position is not None else 0
    if schema_version >= FIRST_WITH_EVIDENCE and short_by:
        accepted = part.standing == Standing.ACCEPTED and short_by > 0
        if not accepted and part.standing.stands:
            yield f"short_by is {short_by}, but it is not accepted as short"


def _position_problems(part: PartTracking, stored: StoredPart | None) -> Iterator[str]:
    """Give the fields of a position that the stored rows contradict, if they are the right rows."""
    held = part.rows
    if held is None or _content(stored.byte_range if stored else None) != _content(part.stored):
        return
    if held.selection == EVERYTHING:
        yield from _differences(held, stored.received if stored else Received())
        return
    rows, most = stored.byte_range.rows if stored else 0, held.selection.bounds.max_records
    if rows > held.rows or (most is not None and rows > most):
        yield f"{rows:,} rows are stored, more than were received and selected"


def _differences(held: Position, stored: Received) -> Iterator[str]:
    if not held.whole:
        return
    fields = ["rows", "last_step", "last_timestamp", "boundary_rows"]
    if held.without_step is not None:
        fields.append("without_step")
    for field in fields:
        stated, here = getattr(held, field), getattr(stored, field)
        if stated != here:
            yield f"the recorded {field} is {stated!r}, but the stored rows give {here!r}"
