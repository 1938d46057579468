"""The records of a `.wandb` file, as values; `decoding.py` makes them from bytes.

Rules
- Kinds without data of a run (requests, alerts, ...) are `OtherRecord`.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from dr_wandb.core.contract.records import Record
from dr_wandb.core.offline.metrics import Metric
from dr_wandb.core.offline.tree import Path


class Change(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Members of an object to set to JSON texts, in order, and then those to remove."""

    set: tuple[tuple[Path, bytes], ...] = ()
    removed: tuple[Path, ...] = ()


class SystemSample(Record, frozen=True, kw_only=True):
    """A sample of the machine: values by name, each with the prefix `system.` as in W&B.

    timestamp: epoch seconds, None if the sample has none. seconds: the whole ones.
    """

    timestamp: float | None
    values: Mapping[str, Any]
    seconds: int | None = None


class BranchPoint(Record, frozen=True, kw_only=True):
    """The point at which a run was forked, or rewound. value: None if it is not a number."""

    run_id: str
    metric: str
    value: float | None


class RunRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The names and settings of a run, "" if missing. It comes again when some of them change.

    started_at: epoch seconds and nanoseconds, None if missing. resumes: it continues an earlier
    file of the run. counts_on: its steps continue too, because a server gave it the last step.
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
    """The first record. `producer`: the version of wandb-core, "" if Python wrote the file."""

    producer: str


class PreemptingRecord(Record, frozen=True, kw_only=True):
    """The process was notified that its machine will be taken away."""


class ExitRecord(Record, frozen=True, kw_only=True):
    """The end of the process, `runtime` seconds after its start."""

    exit_code: int
    runtime: int = 0


class HostRecord(Record, frozen=True, kw_only=True):
    """Machine and program, as in `wandb-metadata.json`. writer_id: the writer that reported it."""

    metadata: Mapping[str, Any]
    writer_id: str = ""


class TelemetryRecord(Record, frozen=True, kw_only=True):
    """The program and the features it used, as `telemetry_fields.py` reads it."""

    telemetry: bytes


class MetricRecord(Record, frozen=True, kw_only=True):
    """A definition of a metric."""

    metric: Metric


class Stream(StrEnum):
    """The origin of text on the console. Loggers write whole lines."""

    STDERR = "stderr"
    STDOUT = "stdout"
    LOGGER = "logger"


class ConsoleText(Record, frozen=True, kw_only=True):
    """Text that a process wrote, split anywhere. time: epoch seconds and nanoseconds.

    redirected: Python wrote it as `output`, which wandb-core does not send.
    """

    stream: Stream
    raw: bytes
    time: tuple[int, int] | None = None
    redirected: bool = False


class ArtifactRecord(Record, frozen=True, kw_only=True):
    """A version of an artifact that the run logged, as `artifacts.py` reads it."""

    raw: bytes


class FilesRecord(Record, frozen=True, kw_only=True):
    """Files that the client named for an upload, as `named_files.py` reads them."""

    raw: bytes


class UseArtifactRecord(Record, frozen=True, kw_only=True):
    """A version that the run used: its id at the server, its type, and its name with a number."""

    artifact_id: str
    type: str
    name: str


class OtherRecord(Record, frozen=True, kw_only=True):
    """A record without data of a run, or of a kind newer than this tool."""


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
    | ConsoleText
    | ArtifactRecord
    | FilesRecord
    | UseArtifactRecord
    | OtherRecord
)
