"""What a sync warns of before it puts its files in place."""

from collections.abc import Mapping

from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.request import ExportRequest
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.contract.wording import count
from dr_wandb.core.sync.describe import describe_accepted
from dr_wandb.core.sync.left_behind import describe_history_left_behind
from dr_wandb.core.sync.manifest import requested_before
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.sync.results import RunResult

ROWS_REMOVED = "%s are dropped or lose values: the selection no longer admits them"


def find_left_behind(
    request: ExportRequest, manifest: ExportManifest | None, runs: Mapping[str, RunTracking]
) -> str | None:
    """Say how far a history that is held and not requested is behind, None if it is not."""
    held = requested_before(manifest).datasets.get(HISTORY)
    if held is None or HISTORY in request.datasets:
        return None
    return describe_history_left_behind(request, held.selection, runs)


def warn(results: Mapping[str, RunResult], rows_removed: int, left_behind: str | None) -> None:
    """Warn of runs that were accepted as short, of a history that is behind, and of rows that go.

    left_behind: what `find_left_behind` says.
    """
    for line in describe_accepted(result.outcome for result in results.values()):
        LOGGER.warning("%s", line)
    if left_behind is not None:
        LOGGER.warning("%s", left_behind)
    if rows_removed:
        LOGGER.warning(ROWS_REMOVED, count(rows_removed, "row"))
