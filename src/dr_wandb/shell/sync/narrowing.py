"""Count the held rows that a plan drops, or takes values from."""

from collections.abc import Iterable
from pathlib import Path

from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.sync.narrowing import count_removed, narrowed_rows, with_rows_removed
from dr_wandb.core.sync.plan import SyncPlan
from dr_wandb.shell.store.reading import StoredExport
from dr_wandb.shell.sync.stored_parts import StoredParts


def count_rows_to_remove(
    plan: SyncPlan, stored: StoredExport, listing: Iterable[RunListing], folder: Path
) -> SyncPlan:
    """Return the plan with the number of rows that it removes, counted in the data files.

    Only runs whose selection gets narrower are read.
    """
    narrowed = tuple(narrowed_rows(plan, stored.state))
    if not narrowed:
        return plan
    listed = {run.run_id: run for run in listing}
    parts = StoredParts(stored, folder)
    removed = {}
    for rows in narrowed:
        counts = listed[rows.run_id].counts_of(rows.dataset)
        with parts.lines(rows.dataset, rows.run_id, rows.stored) as held:
            removed[rows.run_id, rows.dataset] = count_removed(held, rows, counts.line_count)
    return with_rows_removed(plan, removed)
