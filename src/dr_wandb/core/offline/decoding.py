"""Decode the records of a `.wandb` file.

Rules
- Every payload gives a record or the reason why it cannot be read; none raises.
- Text that is not UTF-8 keeps its bytes as escapes. JSON is left undecoded until it is needed.
"""

import math
from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError
from returns.result import Failure, Result, Success

from dr_wandb.core.offline.environment import as_metadata
from dr_wandb.core.offline.metrics import metric_of
from dr_wandb.core.offline.records import (
    ArtifactRecord,
    BranchPoint,
    Change,
    ConfigRecord,
    ConsoleText,
    ExitRecord,
    FilesRecord,
    HeaderRecord,
    HistoryRecord,
    HostRecord,
    MetricRecord,
    OtherRecord,
    PreemptingRecord,
    RunFileRecord,
    RunRecord,
    Stream,
    SummaryRecord,
    SystemSample,
    TelemetryRecord,
    UseArtifactRecord,
)
from dr_wandb.core.offline.schema import record_class
from dr_wandb.core.offline.text import json_or_text, text_of
from dr_wandb.core.offline.tree import Path, Tree


def decode_record(payload: bytes) -> Result[RunFileRecord, str]:
    """Decode the content of one record; the failure says why it cannot be read."""
    try:
        message = record_class().FromString(payload)
    except DecodeError as error:
        return Failure(f"the record cannot be read: {error}")
    kind = message.WhichOneof("kind")
    return Success(_DECODERS[kind](getattr(message, kind)) if kind else OtherRecord())


def path_of(item: Any) -> Path:
    """Return the keys of an item. It has either `nested_key`, or `key` in older files."""
    return tuple(map(text_of, item.nested_key)) or (text_of(item.key),)


def _change(message: Any) -> Change:
    return Change(
        set=tuple((path_of(item), item.value_json) for item in message.update),
        removed=tuple(path_of(item) for item in message.remove),
    )


def _run(message: Any) -> RunRecord:
    point = message.branch_point
    start = message.start_time
    return RunRecord(
        run_id=text_of(message.run_id),
        entity=text_of(message.entity),
        project=text_of(message.project),
        display_name=text_of(message.display_name),
        notes=text_of(message.notes),
        tags=tuple(map(text_of, message.tags)),
        group=text_of(message.run_group),
        job_type=text_of(message.job_type),
        sweep=text_of(message.sweep_id),
        commit=text_of(message.git.commit),
        started_at=(start.seconds, start.nanos) if message.HasField("start_time") else None,
        resumes=message.resume or message.resumed,
        telemetry=message.telemetry,
        branch_point=BranchPoint(
            run_id=text_of(point.run),
            metric=text_of(point.metric),
            value=point.value if math.isfinite(point.value) else None,
        )
        if message.HasField("branch_point")
        else None,
        config=_change(message.config),
    )


def _history(message: Any) -> HistoryRecord:
    """Make a row from its items. wandb-core writes leaves at `nested_key`, Python whole values."""
    row = Tree()
    for item in message.item:
        (row.spread if item.nested_key else row.set)(path_of(item), _value(item))
    members = row.members()
    if members.get("_step") is None and message.HasField("step"):
        members["_step"] = message.step.num
    return HistoryRecord(row=members)


def _value(item: Any) -> Any:
    """Return the value of a history item: a JSON text, or one of the typed fields."""
    if item.value_json:
        return json_or_text(item.value_json)
    kind = item.WhichOneof("typed")
    if kind == "json":
        return json_or_text(item.json)
    if kind == "text":
        return text_of(item.text)
    return getattr(item, kind) if kind not in (None, "none") else None


def _exit(message: Any) -> ExitRecord:
    return ExitRecord(exit_code=message.exit_code, runtime=message.runtime)


def _seconds(message: Any) -> float | None:
    if not message.HasField("timestamp"):
        return None
    moment: float = message.timestamp.seconds + message.timestamp.nanos / 1e9
    return moment


def _system(message: Any) -> SystemSample:
    values = {f"system.{text_of(item.key)}": json_or_text(item.value_json) for item in message.item}
    whole = message.timestamp.seconds if message.HasField("timestamp") else None
    return SystemSample(timestamp=_seconds(message), values=values, seconds=whole)


_STREAMS = {0: Stream.STDERR, 1: Stream.STDOUT}


def _output(message: Any, *, redirected: bool = False) -> RunFileRecord:
    stream = _STREAMS.get(message.output_type)
    if stream is None:
        return OtherRecord()
    at = message.timestamp
    time = (at.seconds, at.nanos) if message.HasField("timestamp") else None
    return ConsoleText(stream=stream, raw=message.line, time=time, redirected=redirected)


def _host(message: Any) -> HostRecord:
    members = as_metadata(message)
    return HostRecord(metadata=members, writer_id=members.get("writerId", ""))


_DECODERS: dict[str, Callable[[Any], RunFileRecord]] = {
    "run": _run,
    "config": lambda message: ConfigRecord(change=_change(message)),
    "summary": lambda message: SummaryRecord(change=_change(message)),
    "history": _history,
    "exit": _exit,
    "stats": _system,
    "header": lambda message: HeaderRecord(producer=text_of(message.version_info.producer)),
    "preempting": lambda message: PreemptingRecord(),
    "telemetry": lambda message: TelemetryRecord(telemetry=message),
    "metric": lambda message: MetricRecord(metric=metric_of(message)),
    "environment": _host,
    "output": lambda message: _output(message, redirected=True),
    "output_raw": _output,
    "files": lambda raw: FilesRecord(raw=raw),
    "artifact": lambda raw: ArtifactRecord(raw=raw),
    "use_artifact": lambda message: UseArtifactRecord(
        artifact_id=text_of(message.id), type=text_of(message.type), name=text_of(message.name)
    ),
    "output_logger": lambda message: ConsoleText(stream=Stream.LOGGER, raw=message.line),
}
