"""What the files of a run say together, and the run that this makes.

Rules (measured: what SDKs 0.15 to 0.31 tell a server, online and with `wandb sync`)
- A run that was resumed has several files, folded one behind the other in the order in which they
  were begun. Rows add up; names that are set stay until others are set; the config is that of the
  later file, over that of the earlier one where it resumes it; summary and state are those of the
  last one that says something of them.
- A fold can be kept: its values are JSON-safe, and it is the same when it is read again.
- What comes out is a run as a GraphQL node, so that it is normalized like those of the API.
"""

from typing import Any

from msgspec import field

from dr_wandb.core.contract.records import Record
from dr_wandb.core.offline.host import time_of
from dr_wandb.core.offline.records import BranchPoint, ExitRecord, RunRecord
from dr_wandb.core.offline.tree import Leaf, as_object

RUNNING_SECONDS = 300.0
"""A run without an exit record goes on if its file was written to within this time."""

LAG_SECONDS = 86_400.0
"""... and if the latest moment that its records name is not older than this.

A copy or a clone is written to just now, whatever its age. A record may be older than the write
that brings it: the SDK writes blocks of 32 KiB, which a slow script fills in hours, and the clocks
of the machine and of this one may differ, also by a time zone that is set wrongly.
"""

CRASHED = 254
"""The exit code that the server takes for a crash."""

UNKNOWN_PRODUCER = "unknown"
"""Where the header is lost: taken for wandb-core, which wrote all files since SDK 0.18."""

NOBODY = RunRecord()


class RunFold(Record, frozen=True, kw_only=True):
    """What the files of a run say, as far as they were read.

    producer: the version of wandb-core that wrote the last file, "" for older ones. run: what it
    is called. started_at: when the first file was begun, in epoch seconds and nanoseconds.
    config_leaves, summary_leaves: as they are at the end; summaries: how many records changed the
    summary. system: the last sample of each system metric. host: what is known of the machine.
    rows: how many; last_step: the highest, end_step: that of the last row. moment: the latest time
    that is named, in epoch seconds. unreadable: how many records that are whole did not read.
    is_new_file: the last file has not named its run yet; has_new_summary: it has said something of
    the summary.
    """

    producer: str = UNKNOWN_PRODUCER
    run: RunRecord | None = None
    started_at: tuple[int, int] | None = None
    branch_points: tuple[BranchPoint, ...] = ()
    config_leaves: tuple[Leaf, ...] = ()
    summary_leaves: tuple[Leaf, ...] = ()
    summaries: int = 0
    system: dict[str, Any] = field(default_factory=dict)
    host: dict[str, Any] = field(default_factory=dict)
    exit: ExitRecord | None = None
    preempting: bool = False
    records: int = 0
    rows: int = 0
    last_step: int | None = None
    end_step: int | None = None
    moment: float | None = None
    unreadable: int = 0
    is_new_file: bool = True
    has_new_summary: bool = False

    @property
    def config(self) -> dict[str, Any]:
        """Return the config, with W&B's own key."""
        return as_object(self.config_leaves)

    @property
    def summary(self) -> dict[str, Any]:
        """Return the summary as the server shows it."""
        members = as_object(self.summary_leaves)
        if self.end_step is not None and (self.producer or self.summaries):
            members["_step"] = self.end_step
        if self.exit is not None and self.exit.runtime and not self.producer:
            members["_wandb"] = {"runtime": self.exit.runtime}
        return members


def state_of(fold: RunFold, modified: float, now: float) -> str:
    """Return the state of a run as W&B calls it.

    modified: when its last file was written to; now: the present, both in epoch seconds.
    """
    code = None if fold.exit is None else fold.exit.exit_code
    if code == 0:
        return "finished"
    if code is None and _goes_on(fold, modified, now):
        return "running"
    if fold.preempting:
        return "preempted"
    return "crashed" if code in (None, CRASHED) else "failed"


def _goes_on(fold: RunFold, modified: float, now: float) -> bool:
    """Say whether the process may be alive. If no record names a moment, the file alone says it."""
    started = [fold.started_at, None if fold.run is None else fold.run.started_at]
    moments = [fold.moment, *(moment[0] for moment in started if moment is not None)]
    latest = max((moment for moment in moments if moment is not None), default=now)
    return abs(now - modified) < RUNNING_SECONDS and now - latest < LAG_SECONDS


def as_node(run_id: str, fold: RunFold, state: str) -> dict[str, Any]:
    """Return a run as the API has it. What only a server knows is not there."""
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
        "config": {key: {"value": value} for key, value in fold.config.items()},
        "summaryMetrics": fold.summary,
        "systemMetrics": fold.system or None,
        "historyLineCount": fold.rows,
        "historyKeys": {"lastStep": -1 if fold.last_step is None else fold.last_step},
    }
