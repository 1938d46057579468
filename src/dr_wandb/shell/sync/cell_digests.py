"""The digests that the state has of rows: of their lines, or of their cells.

Rules
- Rows that are held in Parquet alone have the digest of their cells, whether or not they came as
  lines. Rows that did not change keep the digest that they have, of either kind.
- A digest of another kind is no change.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.known_runs import ChangedRuns, changes_since
from dr_wandb.shell.sync.assemble import Assembled, stored_at, with_row_offsets


def with_cell_digests(assembled: Assembled, digests: Mapping[str, str]) -> Assembled:
    """Return the result of a sync in which runs that changed have the digest of their cells.

    digests: of the runs that were written.
    """
    before = assembled.changes.before
    found = {}
    for run_id, digest in digests.items():
        run = assembled.runs[run_id]
        now = run.part(HISTORY).stored
        was = before[run_id].part(HISTORY).stored if run_id in before else None
        if now is not None and (was is None or now.digest != was.digest):
            found[run_id] = stored_at(run, HISTORY, replace(now, digest=digest, length=0))
    if not found:
        return assembled
    runs = with_row_offsets({**dict(assembled.runs.items()), **found}, HISTORY)
    return replace(assembled, runs=runs, changes=changes_since(before, runs))


def changes_to_report(assembled: Assembled, digests: Mapping[str, str]) -> ChangedRuns:
    """Return the changes of a sync for its report.

    digests: of the cells of the runs whose Parquet files were looked at.
    """
    changes = assembled.changes
    same = {}
    for run_id, run in changes.changed.items():
        now = run.part(HISTORY).stored
        was = changes.before[run_id].part(HISTORY).stored if run_id in changes.before else None
        if was is None or now is None or not was.of_cells or now.of_cells:
            continue
        if run_id in assembled.same or digests.get(run_id) == was.digest:
            same[run_id] = stored_at(changes.before[run_id], HISTORY, now)
    before = ChangedRuns(changes.before, same) if same else changes.before
    return ChangedRuns(before, changes.changed, changes.gone)
