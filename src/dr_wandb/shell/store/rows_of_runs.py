"""Load the rows of some runs without reading those of others.

Rules
- The rows are those that a read of the whole file gives, whatever became of the file or the state.
- A byte range is used only if the file has the digest in the state, and the range its own. A file
  that is not as the last sync left it is read as a whole, and so is one without a usable state.
- Nothing is written.
"""

from collections.abc import Callable, Iterator, Set
from os import fstat
from pathlib import Path
from typing import IO, Any, TypeVar

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.failures import DrWandbError
from dr_wandb.core.contract.nearest import did_you_mean
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.problems import InvalidRequestError
from dr_wandb.core.contract.records import HistoryRow
from dr_wandb.core.contract.row_forms import StoredRow
from dr_wandb.core.contract.state import ExportState
from dr_wandb.shell.store.byte_ranges import fill, holds
from dr_wandb.shell.store.checked_files import digest_of_open
from dr_wandb.shell.store.decoding import (
    ROWS,
    SNAPSHOTS,
    Decoders,
    decode_file,
    decode_range,
    decode_stream,
    opened,
)
from dr_wandb.shell.store.documents import read_state

_R = TypeVar("_R", bound=StoredRow)

MOST_NAMED = 10
"""At most this number of ids that an export does not have are named in an error."""

UNUSABLE = (DrWandbError, OSError, KeyError)
"""Errors of a store of runs that cannot be used: all rows are in the history file."""


def usable_state(path: Path) -> ExportState | None:
    """Read a state, None if it cannot be read or does not have the byte ranges of the runs."""
    try:
        read = read_state(path)
    except DrWandbError:
        return None
    return None if read is None or read.lost else read.state


def rows_of_runs(
    path: Path, state: ExportState | None, run_ids: frozenset[str]
) -> Iterator[HistoryRow]:
    """Load the history rows of some runs, as `rows_in` does."""
    return rows_in(path, state, run_ids, HISTORY, ROWS)


def rows_in(
    path: Path,
    state: ExportState | None,
    run_ids: frozenset[str],
    dataset: str,
    decoders: Decoders[_R],
) -> Iterator[_R]:
    """Load the rows of some runs from the file of a dataset, in stored order.

    state: as `usable_state` gives it. Raises DrWandbError for a line that does not read.
    """
    with opened(path) as stream:
        byte_ranges = _find_ranges(stream, path, state, run_ids, dataset)
        if byte_ranges is None:
            stream.seek(0)
            rows = decode_stream(stream, path, decoders)
            yield from (row for row in rows if row.run_id in run_ids)
        else:
            for byte_range in byte_ranges:
                yield from decode_range(stream, path, decoders, byte_range)


def _find_ranges(
    stream: IO[bytes],
    path: Path,
    state: ExportState | None,
    run_ids: frozenset[str],
    dataset: str,
) -> list[ByteRange] | None:
    """Return the byte ranges of some runs in the order of the file, None if they are not known."""
    if state is None or not _describes(state, stream, path, dataset):
        return None
    try:
        parts = [state.runs[run_id].part(dataset) for run_id in run_ids if run_id in state.runs]
    except UNUSABLE:
        return None
    byte_ranges = [part.stored for part in parts if part.stored is not None]
    size = fstat(stream.fileno()).st_size
    if not all(holds(stream, size, byte_range) for byte_range in byte_ranges):
        return None
    return sorted(byte_ranges, key=lambda byte_range: byte_range.offset)


def _describes(state: ExportState, stream: IO[bytes], path: Path, dataset: str) -> bool:
    """Say whether the byte ranges in a state are those of the open file of a dataset."""
    known = state.files.get(path.name)
    if known is None or digest_of_open(stream, path) != known:
        return False
    try:
        return fill(fstat(stream.fileno()).st_size, dataset, state.runs)
    except UNUSABLE:
        return False


def require_runs(
    run_ids: frozenset[str],
    state: ExportState | None,
    runs_path: Path,
    held: Callable[[ExportState | None], Set[str]],
) -> None:
    """Raise InvalidRequestError if the export does not have each of these runs.

    held: gives the runs that have rows, if the state may not name them. The files are read only to
    find runs that the state does not name.
    """
    known = _ids_in(state)
    if not run_ids <= known and runs_path.exists():
        known |= {snapshot.run.run_id for snapshot in decode_file(runs_path, SNAPSHOTS)}
    if not run_ids <= known:
        known |= held(state)
    if unknown := sorted(run_ids - known):
        raise InvalidRequestError(_name_unknown(unknown, known, runs_path.parent))


def runs_with_lines(path: Path, state: ExportState | None) -> set[str]:
    """Return the runs in a history file, unless it is the one that the state describes."""
    return runs_in(path, HISTORY, ROWS, state)


def runs_in(
    path: Path, dataset: str, decoders: Decoders[Any], state: ExportState | None
) -> set[str]:
    """Return the runs in the file of a dataset, unless it is the one that the state describes."""
    with opened(path) as stream:
        described = state is not None and _describes(state, stream, path, dataset)
    return set() if described else {row.run_id for row in decode_file(path, decoders)}


def created_at_of(run_id: str, state: ExportState | None) -> str | None:
    """Return when a run was created, None if a state does not say it."""
    try:
        run = None if state is None else state.runs.get(run_id)
    except UNUSABLE:
        return None
    return None if run is None else run.created_at


def _ids_in(state: ExportState | None) -> set[str]:
    try:
        return set() if state is None else {*state.runs}
    except UNUSABLE:
        return set()


def _name_unknown(unknown: list[str], known: set[str], folder: Path) -> Iterator[str]:
    """Say which runs an export does not have, and which of its runs have similar ids."""
    for run_id in unknown[:MOST_NAMED]:
        yield f"{folder} has no run {run_id!r}{did_you_mean(run_id, known)}"
    if more := len(unknown[MOST_NAMED:]):
        yield f"{folder} has none of {more:,} more of these runs"
