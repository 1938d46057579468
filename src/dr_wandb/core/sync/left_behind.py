"""How far the history of an export stays behind, if a sync does not ask for it."""

from collections.abc import Mapping

from msgspec.structs import replace

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.evidence import Standing
from dr_wandb.core.contract.known_runs import awake
from dr_wandb.core.contract.request import ExportMode, ExportRequest
from dr_wandb.core.contract.selection import HistorySelection
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.contract.wording import count


def rows_behind(run: RunTracking) -> int | None:
    """Return how many more rows of a run are listed than held; None if it is not behind.

    0 if it is behind in a way that the number of rows does not show.
    """
    part, held = run.part(HISTORY), run.part(HISTORY).rows
    if run.missing_since is not None or run.seen is None:
        return None
    counts = run.seen.counts_of(HISTORY)
    if held is None:
        return counts.line_count or None
    if part.standing in (Standing.SHORT, Standing.WAITING) or part.accounts_for(counts):
        return None
    lines = held.rows if counts.line_count is None or not held.whole else counts.line_count
    return max(0, lines - held.rows - held.short_by)


def describe_history_left_behind(
    request: ExportRequest, held: HistorySelection, runs: Mapping[str, RunTracking]
) -> str | None:
    """Say that a sync left the history alone, and how far it is behind now; None if it is not.

    held: the selection that the history was last read with.
    """
    asking = replace(request, mode=ExportMode.HISTORY, history_selection=held)
    behind = [rows for _, run in awake(runs, asking) if (rows := rows_behind(run)) is not None]
    if not behind:
        return None
    return (
        f"the history was left as it is, {count(sum(behind), 'row')} behind in "
        f"{count(len(behind), 'run')}: add --mode history, or use wandb-export sync {request.name}"
    )
