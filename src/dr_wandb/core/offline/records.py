"""The records of a `.wandb` file, as values; `decoding.py` makes them of bytes.

Rules
- Kinds that say nothing of a run's data (files, artifacts, ...) are `OtherRecord`.
"""

from collections.abc import Mapping
from typing import Any

from dr_wandb.core.contract.records import Record
from dr_wandb.core.offline.metrics import Metric
from dr_wandb.core.offline.tree import Path


class Change(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Members of an object that are set, in order, to JSON texts, and then those that go."""

    set: tuple[tuple[Path, bytes], ...] = ()
    removed: tuple[Path, ...] = ()


class SystemSample(Record, frozen=True, kw_only=True):
    """A sample of the machine: values by name, each with `system.` before it as in W&B.

    timestamp: epoch seconds, None if the sample has none.
    """

    timestamp: float | None
    values: Mapping[str, Any]


class BranchPoint(Record, frozen=True, kw_only=True):
    """Where a run was forked off another one, or rewound. value: None if it is no number."""

    run_id: str
    metric: str
    value: float | None


class RunRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What a run is called; "" where it is not said. Comes again when some of it changes.

    started_at: epoch seconds and nanoseconds, None where there are none. resumes: it goes on where
    an earlier file of it ended. counts_on: its steps do so already, since a server said where.
    """

    run_id: str = ""
    entity: str = ""
    project: str = ""
    display_name: str = ""
    notes: str = ""
    tags: tuple[str, ...] = ()
    group: str = ""
    job_type: str = ""
    sweep: str = ""
    commit: str = ""
    started_at: tuple[int, int] | None = None
    resumes: bool = False
    counts_on: bool = False
    telemetry: bytes = b""
    branch_point: BranchPoint | None = None
    config: Change = Change()


class ConfigRecord(Record, frozen=True, kw_only=True):
    """A change of the config."""

    change: Change


class SummaryRecord(Record, frozen=True, kw_only=True):
    """A change of the summary."""

    change: Change


class HistoryRecord(Record, frozen=True, kw_only=True):
    """One row, as W&B's own row with `_step`, `_timestamp`, ..."""

    row: Mapping[str, Any]


class HeaderRecord(Record, frozen=True, kw_only=True):
    """The first record. `producer`: the version of wandb-core, "" where Python wrote the file."""

    producer: str


class PreemptingRecord(Record, frozen=True, kw_only=True):
    """The process was told that its machine will be taken away."""


class ExitRecord(Record, frozen=True, kw_only=True):
    """The end of the process, `runtime` seconds after its start."""

    exit_code: int
    runtime: int = 0


class HostRecord(Record, frozen=True, kw_only=True):
    """What `wandb-metadata.json` holds of the machine and the program. writer_id: who says it."""

    metadata: Mapping[str, Any]
    writer_id: str = ""


class TelemetryRecord(Record, frozen=True, kw_only=True):
    """What the program is and used, as `telemetry_fields.py` reads it."""

    telemetry: bytes


class MetricRecord(Record, frozen=True, kw_only=True):
    """A definition of a metric."""

    metric: Metric


class OtherRecord(Record, frozen=True, kw_only=True):
    """A record without data of a run, or of a kind that came after this tool."""


RunFileRecord = (
    RunRecord
    | ConfigRecord
    | SummaryRecord
    | HistoryRecord
    | HeaderRecord
    | PreemptingRecord
    | ExitRecord
    | SystemSample
    | HostRecord
    | TelemetryRecord
    | MetricRecord
    | OtherRecord
)
