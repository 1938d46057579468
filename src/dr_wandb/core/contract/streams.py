"""What a run logs beside its history: samples of the machine, and console output.

Sources give it (`StreamSource`); no export holds it yet.
"""

from collections.abc import Mapping
from typing import Any

from dr_wandb.core.contract.records import Record


class SystemSample(Record, frozen=True, kw_only=True):
    """A sample of the machine: values by name, each with `system.` before it as in W&B.

    timestamp: epoch seconds, None where the sample has none.
    """

    timestamp: float | None
    values: Mapping[str, Any]


class ConsoleText(Record, frozen=True, kw_only=True):
    """Text that the process wrote, as it wrote it: a line may come in pieces.

    timestamp: epoch seconds, None where there is none. error: whether it went to stderr.
    """

    timestamp: float | None
    error: bool
    text: str
