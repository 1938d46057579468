"""Make a run from what its files say together.

Rules (measured: what SDKs 0.15 to 0.31 send to a server, online and with `wandb sync`)
- A run that was resumed has several files, folded in the order in which they were started. Rows add
  up; names stay until others are set. The config is that of the later file, over that of the
  earlier one if it resumes the run. Summary and state are those of the last file that has them.
- Reports of the machine by several writers are merged in the order of the writers' names, also in a
  stored fold; the last one counts.
- A fold can be stored: its values are JSON-safe, and it is the same when it is read again.
"""

from typing import Any

from msgspec import field
from msgspec.structs import replace

from dr_wandb.core.contract.records import Record
from dr_wandb.core.offline.header import HEADER
from dr_wandb.core.offline.host import merge_into
from dr_wandb.core.offline.metrics import Metric
from dr_wandb.core.offline.records import BranchPoint, ExitRecord, RunRecord
from dr_wandb.core.offline.telemetry import OFFLINE, RESUMED, has_feature, sdk_version
from dr_wandb.core.offline.tree import Leaf, Path, as_object, in_order

RUNNING_SECONDS = 300.0
"""A run without an exit record is running if its file was written to within this time ..."""

LAG_SECONDS = 86_400.0
"""... and if the latest time in its records is not older than this.

A copy or a clone was written to just now, whatever its age. A record may be older than the write
that brings it: the SDK writes blocks of 32 KiB, which a slow script fills in hours. The clocks of
the two machines may differ, also by a wrongly set time zone.
"""

CRASHED = 254
"""The exit code that the server interprets as a crash."""

UNKNOWN_PRODUCER = "unknown"
"""Used if the header is lost; taken for wandb-core, which wrote all files since SDK 0.18."""

MEASURES_RUNTIME = (0, 12)
"""The first version of the SDK that measures the runtime."""

NOBODY = RunRecord()

Tracked = tuple[tuple[Path, str], ...]
"""Numbers as text, by their paths in a summary."""


class Replay(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What W&B's Python client computed from rows up to an offset, see legacy.py.

    tracked: numbers that definitions of metrics need.
    """

    end: int = len(HEADER)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    globs: tuple[Metric, ...] = ()
    tracked: Tracked = ()


class RunFold(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What the files of a run say, as far as they were read.

    producer: the version of wandb-core that wrote the last file, "" for older SDKs. run: its names.
    started_at: when the first file was started, in epoch seconds and nanoseconds. config_leaves,
    summary_leaves: as they are at the end. system: the last sample of each system metric.
    earlier_host: the machine according to the files before the last. rows: their number; last_step:
    the highest, end_step: that of the last row; stepless: the number of rows of the last file
    without a step of their own; follows: its first step is higher than those before, None without a
    row. moment: the latest time in any record, in epoch seconds. unreadable: the number of whole
    records that could not be decoded. is_new_file: the last file has not named its run yet;
    has_new_summary: it has changed the summary, by rows or records; tells_summary: by a record.
    resumed_leaves: the config for the case that the last file turns out to resume the run, None if
    that is known; earlier_summary: the summary of the files before it. telemetry, metrics, globs,
    environments: what the last file says of its program (tells_telemetry: by a record of its own),
    of its metrics, and of the machine by writer. replay: what W&B's Python client made from its
    rows, if that is needed.
    """

    producer: str = UNKNOWN_PRODUCER
    run: RunRecord | None = None
    started_at: tuple[int, int] | None = None
    branch_points: tuple[BranchPoint, ...] = ()
    config_leaves: tuple[Leaf, ...] = ()
    summary_leaves: tuple[Leaf, ...] = ()
    system: dict[str, Any] = field(default_factory=dict)
    earlier_host: dict[str, Any] = field(default_factory=dict)
    exit: ExitRecord | None = None
    preempting: bool = False
    records: int = 0
    rows: int = 0
    last_step: int | None = None
    end_step: int | None = None
    stepless: int = 0
    follows: bool | None = None
    tells_telemetry: bool = False
    moment: float | None = None
    unreadable: int = 0
    is_new_file: bool = True
    has_new_summary: bool = False
    tells_summary: bool = False
    resumed_leaves: tuple[Leaf, ...] | None = None
    earlier_summary: tuple[Leaf, ...] = ()
    telemetry: dict[str, Any] = field(default_factory=dict)
    metrics: tuple[Metric, ...] = ()
    globs: tuple[Metric, ...] = ()
    environments: dict[str, Any] = field(default_factory=dict)
    replay: Replay | None = None

    @property
    def host(self) -> dict[str, Any]:
        """Return what is known of the machine and the program."""
        host: dict[str, Any] = {}
        for reported in (self.earlier_host, *self.environments.values()):
            merge_into(host, reported)
        return host

    @property
    def config(self) -> dict[str, Any]:
        """Return the config, with W&B's own key."""
        return as_object(self.final_leaves)

    @property
    def final_leaves(self) -> tuple[Leaf, ...]:
        """Return the leaves of the config, for a resumed run if the last file resumes it."""
        if self.resumed_leaves is not None and self.resumes:
            return self.resumed_leaves
        return self.config_leaves

    @property
    def resumes(self) -> bool:
        """Say whether the last file resumes the run, according to its telemetry.

        SDK 0.10.19 and before wrote none, and SDK 0.11 and before wrote it only at the end. Without
        any, steps after those of the file before show it: a run that is started again begins at
        step 0.
        """
        silent = not self.producer and not self.tells_telemetry
        return has_feature(self.telemetry, RESUMED) or (silent and bool(self.follows))

    @property
    def summary(self) -> dict[str, Any]:
        """Return the summary as the server shows it."""
        members = as_object(self.summary_leaves)
        if self.replay is not None and self.has_no_summary:
            earlier = as_object(self.earlier_summary) if self.resumes else {}
            members = {**earlier, **self.replay.summary}
        if self.end_step is not None and (self.producer or members):
            members["_step"] = self.end_step
        if self.exit is not None and not self.producer and self._measured_runtime(self.exit):
            members["_wandb"] = {"runtime": self.exit.runtime}
        return members

    @property
    def has_no_summary(self) -> bool:
        """Say whether the last file is of the Python client and ended before its summary."""
        return not self.producer and self.has_new_summary and not self.tells_summary

    @property
    def expands_globs(self) -> bool:
        """Say whether the Python client made metrics from the keys of rows, as it does online."""
        of_python = not self.producer and bool(self.globs)
        return of_python and not has_feature(self.telemetry, OFFLINE)

    @property
    def needs_replay(self) -> bool:
        """Say whether some values can only be computed as the Python client did, from rows."""
        return self.expands_globs or self.has_no_summary

    def _measured_runtime(self, end: ExitRecord) -> bool:
        """Say whether the client measured its runtime; a runtime of 0 is not in the file."""
        return end.runtime != 0 or sdk_version(self.telemetry) >= MEASURES_RUNTIME


def behind(before: RunFold) -> RunFold:
    """Return the fold to start a further file of a run with: the run is alive again."""
    leaves = before.summary_leaves
    if not before.producer:  # some of it is in no record
        leaves = tuple(((key,), value) for key, value in before.summary.items() if key != "_step")
    return replace(
        before,
        config_leaves=before.final_leaves,
        summary_leaves=in_order(leaves),
        producer=UNKNOWN_PRODUCER,
        exit=None,
        preempting=False,
        is_new_file=True,
        has_new_summary=False,
        stepless=0,
        follows=None,
        tells_telemetry=False,
        tells_summary=False,
        resumed_leaves=None,
        earlier_summary=(),
        telemetry={},
        metrics=(),
        globs=(),
        environments={},
        earlier_host=before.host,
        replay=None,
    )


def state_of(fold: RunFold, modified: float, now: float) -> str:
    """Return the state of a run in W&B's words.

    modified: when its last file was written to; now: the present, both in epoch seconds.
    """
    code = None if fold.exit is None else fold.exit.exit_code
    if code == 0:
        return "finished"
    if code is None and _may_be_alive(fold, modified, now):
        return "running"
    if fold.preempting:
        return "preempted"
    return "crashed" if code in (None, CRASHED) else "failed"


def _may_be_alive(fold: RunFold, modified: float, now: float) -> bool:
    """Say whether the process may be alive. If no record has a time, only the file's counts."""
    started = [fold.started_at, None if fold.run is None else fold.run.started_at]
    moments = [fold.moment, *(moment[0] for moment in started if moment is not None)]
    latest = max((moment for moment in moments if moment is not None), default=now)
    return abs(now - modified) < RUNNING_SECONDS and now - latest < LAG_SECONDS
