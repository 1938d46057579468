"""Samples of a machine, as servers and files of any age give them.

Rules (wandb-core of 0.31.0; clients written in Python before it)
- A sample is an object of values by name, `system.` and a name that may have any character. Each
  part of a machine is sampled by itself, so a sample has few of the names.
- `_timestamp` and `_runtime` are seconds. W&B's own mark `_wandb` is dropped.
- Any other member is kept under its name, also a time that is no number.

Everything here is total and pure.
"""

from collections.abc import Mapping
from typing import Any

from dr_wandb.core.contract.records import SystemSample
from dr_wandb.core.contract.row_shape import OWN_METADATA, OWN_PREFIX, flatten_row
from dr_wandb.core.contract.values import spell_number

_NUMBERS = (int, float)


def system_sample(raw_row: Mapping[str, Any], run_id: str) -> SystemSample:
    """Make a sample of a raw row."""
    timestamp = runtime = None
    metrics: dict[str, Any] = {}
    for name, value in flatten_row(raw_row).items():
        if name == "_timestamp" and type(value) in _NUMBERS:
            timestamp = spell_number(value)
        elif name == "_runtime" and type(value) in _NUMBERS:
            runtime = value
        elif is_metric(name):
            metrics[name] = value
    return SystemSample(run_id=run_id, timestamp=timestamp, runtime=runtime, metrics=metrics)


def is_metric(name: str) -> bool:
    """Say whether a member is a value of the sample, not a mark of W&B."""
    return name != OWN_METADATA and not name.startswith(OWN_PREFIX)
