"""What manifest and state say of the rows of an export, in the form in which a check needs it."""

from collections.abc import Mapping

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.export_files import HISTORY_FILE, is_parquet_history
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.part import ByteRange
from dr_wandb.core.contract.records import FIRST_OF_OURS
from dr_wandb.core.contract.row_shape import ROW_SHAPE
from dr_wandb.core.contract.selection import EVERYTHING, HistorySelection
from dr_wandb.core.contract.state import ExportState


def rows_in(read: Mapping[str, DataFile]) -> int:
    """Return the number of rows of history in the files that were read."""
    if HISTORY_FILE in read:
        return read[HISTORY_FILE].lines
    return sum(file.lines for name, file in read.items() if is_parquet_history(name))


def stored_in(state: ExportState | None, dataset: str = HISTORY) -> dict[str, ByteRange] | None:
    """Return the lines of each run as the state records them, None without a state."""
    if state is None:
        return None
    parts = ((run_id, run.part(dataset).stored) for run_id, run in state.runs.items())
    return {run_id: stored for run_id, stored in parts if stored is not None}


def row_shape_of(manifest: ExportManifest | None, state: ExportState | None) -> int:
    """Return the version of the shape that rows must have: an earlier one is not damage."""
    if state is not None:
        return state.row_shape
    return 1 if manifest is not None and manifest.schema_version <= FIRST_OF_OURS else ROW_SHAPE


def known_of(
    state: ExportState | None, dataset: str
) -> tuple[dict[str, HistorySelection], list[int]]:
    """Return the selection under which each run was read, if not everything, and the ends of runs.

    The ends are offsets in the data file, in ascending order.
    """
    selections: dict[str, HistorySelection] = {}
    same: dict[HistorySelection, HistorySelection] = {EVERYTHING: EVERYTHING}
    ends = []
    for run_id, run in state.runs.items() if state is not None else ():
        part = run.part(dataset)
        if part.stored is not None:
            ends.append(part.stored.end)
        if part.rows is not None and part.rows.selection != EVERYTHING:
            selection = part.rows.selection
            selections[run_id] = same.setdefault(selection, selection)
    return selections, sorted(ends)


class Everything:
    """Contains everything: if the runs are not known, no row counts as without its run."""

    def __contains__(self, _: object) -> bool:
        return True
