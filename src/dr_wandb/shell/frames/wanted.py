"""What is wanted of a history, and what was read of it."""

from collections.abc import Mapping
from typing import NamedTuple

from dr_wandb.core.columnar.run_rows import RunRows


class Wanted(NamedTuple):
    """What is wanted of the history.

    keys: None for all. run_ids: the runs whose rows are wanted, None for all. types: whether the
    types of the keys are wanted, which depend on all runs.
    """

    keys: frozenset[str] | None
    run_ids: frozenset[str] | None
    types: bool

    def has_key(self, key: str) -> bool:
        """Say whether the cells of a key are wanted."""
        return self.keys is None or key in self.keys

    def has_run(self, run_id: str) -> bool:
        """Say whether the rows of a run are wanted."""
        return self.run_ids is None or run_id in self.run_ids


class Found(NamedTuple):
    """What was read: rows of wanted runs, which types are left for keys, and keys that are there.

    keys: at least the wanted ones, not all if only some are wanted.
    """

    rows: RunRows
    types: Mapping[str, int]
    keys: frozenset[str]
