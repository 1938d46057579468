"""The space on disk that the fetches of a sync need, by the estimate of its plan."""

from collections.abc import Iterable
from pathlib import Path

from dr_wandb.core.contract.amounts import size_in_words
from dr_wandb.core.contract.known_runs import total
from dr_wandb.core.sync.estimate import space_needed
from dr_wandb.core.sync.plan import SyncPlan
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.store.commit import STAGING_FOLDER
from dr_wandb.shell.store.disk_errors import SpaceNeed, free_bytes
from dr_wandb.shell.store.presence import look_beside
from dr_wandb.shell.store.reading import StoredExport
from dr_wandb.shell.store.staging import unfinished_bytes

TOO_SMALL = "%s may be too small: this sync needs about %s there, and %s is free"


class FetchSpace:
    """The space that the plan of a sync needs in the folder of its export."""

    def __init__(self, folder: Path, plan: SyncPlan, stored: StoredExport) -> None:
        held = sum(total(stored.state.runs, dataset).bytes for dataset in _datasets_of(plan))
        self._folder = folder
        self._needed = space_needed(plan.bytes, held)

    def warn_if_too_small(self) -> None:
        """Warn in one line if less is free than is needed beside what is fetched already."""
        left, free = self.need_now().bytes, free_bytes(self._folder)
        if left is not None and free is not None and left > free:
            LOGGER.warning(TOO_SMALL, self._folder, size_in_words(left), size_in_words(free))

    def need_now(self) -> SpaceNeed:
        """Return what is needed beside what was fetched so far.

        It is not known if more was fetched than was estimated.
        """
        beside = look_beside(self._folder)
        left = self._needed - beside.segment_bytes
        return SpaceNeed(
            bytes=left if left > 0 else None,
            estimated=True,
            removed=unfinished_bytes(self._folder / STAGING_FOLDER),
            parts=beside.segments,
            part_bytes=beside.segment_bytes,
        )


def _datasets_of(plan: SyncPlan) -> Iterable[str]:
    return {dataset for run in plan.runs for dataset in run.fetches}
