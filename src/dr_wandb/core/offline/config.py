"""The config of a run, also while it is not known whether a file resumes it.

Rules (measured with SDK 0.10.33 to 0.31.0)
- wandb-core keeps a config leaf by leaf, W&B's Python client key by key; both keep `_wandb` leaf by
  leaf.
- A file that resumes its run keeps the top-level keys of the earlier config that it does not set;
  of `_wandb` it keeps only charts and class labels, since each session reports all else.
- The run record says whether it resumes (SDK 0.30 and later), or a later telemetry record does.
  Until that is known, the config is kept both ways, and changes apply to both.
"""

from collections.abc import Iterable

from dr_wandb.core.contract.json_safe_fast import plain_form
from dr_wandb.core.contract.row_shape import OWN_METADATA
from dr_wandb.core.offline.records import Change
from dr_wandb.core.offline.text import json_or_text
from dr_wandb.core.offline.tree import Leaf, Tree, in_order

KEEPS_CHARTS = (0, 16)
"""The first version of W&B's Python client that kept the charts of a run that it resumed."""

_CHARTS = frozenset((OWN_METADATA, key) for key in ("visualize", "viz", "mask/class_labels"))


class Config:
    """The config of a file, and `resumed`, the config if the file resumes the run."""

    def __init__(self, leaves: Iterable[Leaf], resumed: Iterable[Leaf] | None) -> None:
        self._config = Tree(leaves)
        self._resumed = None if resumed is None else Tree(resumed)

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """Return the config, as known so far."""
        return in_order(self._config.leaves())

    @property
    def resumed_leaves(self) -> tuple[Leaf, ...] | None:
        """Return the config for the case that the file resumes the run, None if that is known."""
        return None if self._resumed is None else in_order(self._resumed.leaves())

    def begin(self, change: Change, *, leaf_by_leaf: bool) -> None:
        """Start the config of a file with the members that its run record sets."""
        earlier = tuple(self._config.leaves())
        self._config, self._resumed = Tree(), None
        self.change(change, leaf_by_leaf=leaf_by_leaf)
        if earlier:
            own = {path[0] for path, _ in self._config.leaves()} | {OWN_METADATA}
            kept = (leaf for leaf in earlier if leaf[0][0] not in own or leaf[0][:2] in _CHARTS)
            self._resumed = Tree([*kept, *self._config.leaves()])

    def change(self, change: Change, *, leaf_by_leaf: bool) -> None:
        """Set and remove members."""
        said = [(path, plain_form(json_or_text(text))) for path, text in change.set]
        for config in (self._config, self._resumed):
            if config is None:
                continue
            for path, value in said:
                opened = leaf_by_leaf or path == (OWN_METADATA,)
                (config.spread if opened else config.set)(path, value)
            for path in change.removed:
                config.remove(path)

    def resume(self, *, keeps_charts: bool) -> None:
        """Use the config of a resumed run."""
        if self._resumed is None:
            return
        own = [leaf for leaf in self._config.leaves() if leaf[0][0] == OWN_METADATA]
        self._config, self._resumed = self._resumed, None
        if not keeps_charts:
            self._config.remove((OWN_METADATA,))
            for path, value in own:
                self._config.set(path, value)
