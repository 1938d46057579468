"""What a sync would do with the records of a project, in numbers."""

from dr_wandb.core.contract.records import Record
from dr_wandb.core.contract.run_failure import RunFailure


class RecordCounts(Record, frozen=True, kw_only=True):
    """What a sync would do with the records of a dataset of the project, in numbers.

    `missing` are newly gone upstream and kept. `requests` and `bytes` are estimates, see
    `estimate`. `failure`: why they could not be listed.
    """

    listed: int = 0
    new: int = 0
    changed: int = 0
    missing: int = 0
    pruned: int = 0
    requests: int = 0
    bytes: int = 0
    failure: RunFailure | None = None
