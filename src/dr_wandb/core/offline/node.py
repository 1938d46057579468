"""Make a run in the form of the API from its files.

Rules
- The result is a GraphQL node, so that it is normalized like those of the API.
- A file that ended before its summary gets the one that W&B's client wrote beside it, if that is
  not older than the rows of the file.
"""

from collections.abc import Mapping
from typing import Any

from dr_wandb.core.contract.json_safe_fast import plain_form
from dr_wandb.core.contract.row_shape import OWN_METADATA
from dr_wandb.core.offline.host import time_of
from dr_wandb.core.offline.own_config import MACHINE, own_config
from dr_wandb.core.offline.run import NOBODY, RunFold


def as_node(
    run_id: str,
    fold: RunFold,
    state: str,
    beside: Mapping[str, Any] | None = None,
    *,
    with_machine: bool = False,
) -> dict[str, Any]:
    """Return a run as the API has it, without the members that only a server knows.

    beside: the summary beside the last file, None if there is none. with_machine: with what W&B's
    client adds to the config about machine, user and program.
    """
    named = fold.run or NOBODY
    started = None if fold.started_at is None else fold.started_at[0]
    moments = [moment for moment in (started, fold.moment) if moment is not None]
    return {
        "name": run_id,
        "displayName": named.display_name or None,
        "state": state,
        "createdAt": None if started is None else time_of(started, 0),
        "heartbeatAt": time_of(int(max(moments)), 0) if moments else None,
        "tags": list(named.tags),
        "notes": named.notes or None,
        "group": named.group or None,
        "jobType": named.job_type or None,
        "sweepName": named.sweep or None,
        "commit": named.commit or None,
        "config": {key: {"value": value} for key, value in _config(fold, with_machine).items()},
        "summaryMetrics": _summary(fold, beside),
        "systemMetrics": fold.system or None,
        "historyLineCount": fold.rows,
        "historyKeys": {"lastStep": -1 if fold.last_step is None else fold.last_step},
    }


def _config(fold: RunFold, with_machine: bool) -> dict[str, Any]:
    config = fold.config
    own, added = config.get(OWN_METADATA, {}), own_config(fold, with_machine=with_machine)
    if not isinstance(own, dict):
        return config
    if not with_machine:
        own = {key: value for key, value in own.items() if key != MACHINE}
    members = {**own, **added}
    return {**config, OWN_METADATA: members} if members or OWN_METADATA in config else config


def _summary(fold: RunFold, beside: Mapping[str, Any] | None) -> dict[str, Any]:
    summary = fold.summary
    if beside is None or not fold.has_no_summary or not _is_as_new(beside, summary):
        return summary
    members: dict[str, Any] = plain_form(dict(beside))
    return members


def _is_as_new(beside: Mapping[str, Any], summary: Mapping[str, Any]) -> bool:
    """Say whether a summary is as new as that of the rows: by its time, else by its step."""
    for key in ("_timestamp", "_step"):
        other, own = beside.get(key), summary.get(key)
        if isinstance(other, int | float) and isinstance(own, int | float):
            return other >= own
    return False
