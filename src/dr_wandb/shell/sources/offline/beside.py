"""Files that W&B's client wrote beside a `.wandb` file."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from dr_wandb.core.contract.values import decode_json
from dr_wandb.shell.sources.offline.found import FoundRun

SUMMARY_FILE = "wandb-summary.json"


def summary_beside(run: FoundRun) -> Mapping[str, Any] | None:
    """Return the summary beside the last file of a run, None if it is not needed or not there."""
    if not run.fold.has_no_summary:
        return None
    path = run.files[-1].file.metadata_path.with_name(SUMMARY_FILE)
    with suppress(OSError, ValueError):  # a process that was killed may leave half of it
        summary = decode_json(path.read_bytes(), str(path))
        return summary if isinstance(summary, Mapping) else None
    return None
