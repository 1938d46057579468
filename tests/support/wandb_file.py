"""Write `.wandb` files as the SDK writes them, without any code that reads them.

The records are made with wandb's own protobuf classes; the framing is written here.
"""

import json
import os
import random
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from wandb.proto import wandb_internal_pb2 as pb
from wandb.proto.wandb_telemetry_pb2 import TelemetryRecord

HEADER = b":W&B" + (0xBEE1).to_bytes(2, "little") + b"\x00"
BLOCK = 32 * 1024
HEAD = 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4

STARTED = "2026-01-01T00:00:00Z"

KeyPath = tuple[str, ...]
Changes = Mapping[Any, Any]  # keys are texts or paths; Mapping is invariant in its keys


# --- framing


class Placed(NamedTuple):
    """Where a record lies in a file: from the head of its first piece to the end of its last."""

    begin: int
    end: int


def file_of(payloads: Iterable[bytes]) -> bytes:
    """Return a file with these records."""
    return _framed(payloads)[0]


def places_of(payloads: Iterable[bytes]) -> list[Placed]:
    """Return where each record lies in the file that `file_of` makes."""
    return _framed(payloads)[1]


def piece(kind: int, content: bytes) -> bytes:
    """Return one piece with its head."""
    checksum = zlib.crc32(bytes([kind]) + content)
    return (
        checksum.to_bytes(4, "little")
        + len(content).to_bytes(2, "little")
        + bytes([kind])
        + content
    )


def _framed(payloads: Iterable[bytes]) -> tuple[bytes, list[Placed]]:
    data = bytearray(HEADER)
    places = []
    for payload in payloads:
        left, first, begin = payload, True, -1
        while first or left:
            room = BLOCK - len(data) % BLOCK
            if room < HEAD:
                data += bytes(room)
                room = BLOCK
            content, left = left[: room - HEAD], left[room - HEAD :]
            begin = len(data) if first else begin
            kind = {(1, 1): FULL, (1, 0): FIRST, (0, 0): MIDDLE, (0, 1): LAST}[first, not left]
            data += piece(kind, content)
            first = False
        places.append(Placed(begin, len(data)))
    return bytes(data), places


# --- records


def record(number: int = 0, **kind: Any) -> bytes:
    """Return one record; `kind` is the one field that it has, such as `exit`."""
    content: bytes = pb.Record(num=number, **kind).SerializeToString()
    return content


def header_record(producer: str = "0.31.0+0123abc") -> bytes:
    """Return the first record of a file; files that Python wrote (before 0.18) name no producer."""
    header = pb.HeaderRecord()
    header.version_info.producer = producer
    return record(header=header)


def run_record(
    run_id: str = "run",
    *,
    entity: str = "",
    project: str = "project",
    started: str | None = STARTED,
    config: Changes | None = None,
    **fields: Any,
) -> bytes:
    """Return what a run is called; `fields` are those of RunRecord."""
    run = pb.RunRecord(run_id=run_id, entity=entity, project=project, **fields)
    run.config.CopyFrom(_changed(pb.ConfigRecord(), config or {}, (), flat=False))
    if started is not None:
        run.start_time.FromDatetime(datetime.fromisoformat(started).replace(tzinfo=None))
    return record(run=run)


def config_record(
    changes: Changes | None = None,
    removed: Iterable[str | KeyPath] = (),
    *,
    flat: bool = False,
) -> bytes:
    """Return a change of the config; flat: keys are spelled as `key`, not as `nested_key`."""
    return record(config=_changed(pb.ConfigRecord(), changes or {}, removed, flat=flat))


def summary_record(
    changes: Changes | None = None,
    removed: Iterable[str | KeyPath] = (),
    *,
    flat: bool = False,
) -> bytes:
    """Return a change of the summary."""
    return record(summary=_changed(pb.SummaryRecord(), changes or {}, removed, flat=flat))


def _changed(
    message: Any, changes: Changes, removed: Iterable[str | KeyPath], *, flat: bool
) -> Any:
    for key, value in changes.items():
        message.update.add(**_key(key, flat), value_json=json.dumps(value))
    for key in removed:
        message.remove.add(**_key(key, flat))
    return message


def _key(key: str | KeyPath, flat: bool = False) -> dict[str, Any]:
    path = (key,) if isinstance(key, str) else key
    return {"key": path[0]} if flat and len(path) == 1 else {"nested_key": path}


def item(
    key: str | KeyPath, text: str | None = None, /, *, flat: bool = False, **typed: Any
) -> pb.HistoryItem:
    """Return an item of a row: its JSON text, or a typed value such as `number=0.5`."""
    spelled = {} if text is None else {"value_json": text}
    return pb.HistoryItem(**_key(key, flat), **spelled, **typed)


def items_of(
    row: Mapping[str, Any], *, split: bool = False, flat: bool = False
) -> list[pb.HistoryItem]:
    """Return the items of a row; split: the members of an object are items of their own."""
    return [
        item(path, json.dumps(value), flat=flat)
        for key, value in row.items()
        for path, value in (_leaves((key,), value) if split else [((key,), value)])
    ]


def _leaves(path: KeyPath, value: Any) -> list[tuple[KeyPath, Any]]:
    if not isinstance(value, dict) or not value:
        return [(path, value)]
    return [leaf for key, member in value.items() for leaf in _leaves((*path, key), member)]


def history_record(
    items: Iterable[pb.HistoryItem],
    *,
    step: int | None = None,
    number: int = 0,
    behind: bytes = b"",
) -> bytes:
    """Return a row of items; step: the number beside them; behind: more bytes of the record."""
    history = pb.HistoryRecord(item=list(items))
    if step is not None:
        history.step.num = step
    return record(number, history=history) + behind


def row_record(
    row: Mapping[str, Any], *, seed: int | None = None, split: bool = False, flat: bool = False
) -> bytes:
    """Return a row as wandb 0.31 writes it; seed: for the order of its items."""
    items = items_of(row, split=split, flat=flat)
    if seed is not None:
        random.Random(seed).shuffle(items)
    step = row.get("_step")
    return history_record(items, step=step if isinstance(step, int) else None)


def rows_of(steps: Iterable[int], **metrics: Any) -> list[bytes]:
    """Return a row for each step, with a time and a metric of its own."""
    return [
        row_record(
            {"loss": step / 4, "_step": step, "_timestamp": 1_767_225_600.5 + step, **metrics}
        )
        for step in steps
    ]


def stats_record(seconds: int | None, **values: Any) -> bytes:
    """Return a sample of the machine; one without a time if that is None."""
    stats = pb.StatsRecord()
    if seconds is not None:
        stats.timestamp.seconds = seconds
    for key, value in values.items():
        stats.item.add(key=key, value_json=json.dumps(value))
    return record(stats=stats)


def console_record(text: str, *, seconds: int = 0, error: bool = False) -> bytes:
    """Return text that the process wrote."""
    kinds = pb.OutputRawRecord.OutputType
    output = pb.OutputRawRecord(line=text, output_type=kinds.STDERR if error else kinds.STDOUT)
    output.timestamp.seconds = seconds
    return record(output_raw=output)


def artifact_record(name: str, contents: Mapping[str, Mapping[str, Any]], **fields: Any) -> bytes:
    """Return a version that the run logged; `contents` are the fields of its entries by path."""
    artifact = pb.ArtifactRecord(name=name, **{"type": "dataset", **fields})
    for path, members in contents.items():
        entry = artifact.manifest.contents.add(path=path, local_path="/home/ada/secret-place")
        for key, value in members.items():
            if key == "alg":
                entry.extra.add(key="alg", value_json=f'"{value}"')
            else:
                setattr(entry, key, value)
    return record(artifact=artifact)


def use_artifact_record(artifact_id: str, name: str, kind: str = "dataset") -> bytes:
    """Return a version that the run used."""
    return record(use_artifact=pb.UseArtifactRecord(id=artifact_id, type=kind, name=name))


def files_record(*paths: str) -> bytes:
    """Return the names of files that the client meant to upload."""
    return record(files=pb.FilesRecord(files=[pb.FilesItem(path=path) for path in paths]))


def output_record(text: str) -> bytes:
    """Return text as SDKs write it that redirect the console (`output`, not `output_raw`)."""
    stdout = pb.OutputRecord.OutputType.STDOUT
    return record(output=pb.OutputRecord(line=text, output_type=stdout))


def logger_record(text: str) -> bytes:
    """Return text that the program gave to `run.write_logs`."""
    return record(output_logger=pb.OutputLoggerRecord(line=text))


def exit_record(code: int = 0, *, runtime: int = 0) -> bytes:
    """Return the end of the process."""
    return record(exit=pb.RunExitRecord(exit_code=code, runtime=runtime))


def telemetry_record(version: str = "", *, resumed: bool = False, **fields: Any) -> bytes:
    """Return what the program is; `fields` are those of TelemetryRecord."""
    telemetry = TelemetryRecord(cli_version=version, **fields)
    telemetry.feature.resumed = resumed
    return record(telemetry=telemetry)


def metric_record(
    name: str = "",
    *,
    glob: str = "",
    axis: str = "",
    summary: Sequence[str] | None = None,
    defined: bool = True,
    replaces: bool = False,
    goal: int = 0,
    **options: bool,
) -> bytes:
    """Return the definition of a metric. summary: such as "min"; options: such as `hidden`."""
    metric = pb.MetricRecord(name=name, glob_name=glob, step_metric=axis)
    metric.goal = pb.MetricRecord.MetricGoal.ValueType(goal)
    metric.options.CopyFrom(pb.MetricOptions(defined=defined, **options))
    if summary is not None:
        metric.summary.CopyFrom(pb.MetricSummary(**dict.fromkeys(summary, True)))
    if replaces:
        metric._control.overwrite = True
    return record(metric=metric)


def environment_record(**fields: Any) -> bytes:
    """Return what is known of the machine; `fields` are those of EnvironmentRecord."""
    return record(environment=pb.EnvironmentRecord(**fields))


def wire_field(number: int, content: bytes) -> bytes:
    """Return a field of a message by its number, whatever its content is."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def flags(*numbers: int) -> bytes:
    """Return a message in which the booleans of these numbers are true."""
    return b"".join(_varint(number << 3) + b"\x01" for number in numbers)


def _varint(value: int) -> bytes:
    head = bytearray()
    while value >= 0x80:
        head.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*head, value])


# --- folders


def write_run(
    folder: Path,
    run_id: str,
    payloads: Sequence[bytes] | bytes,
    *,
    folder_time: str = "20260101_000000",
    modified_ns: int | None = None,
) -> Path:
    """Write `offline-run-<folder_time>-<run_id>/run-<run_id>.wandb` into a `wandb` folder.

    payloads: the records, or all bytes of the file. Returns the path of the file, which is written
    again where it is there already.
    """
    path = folder / f"offline-run-{folder_time}-{run_id}" / f"run-{run_id}.wandb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(payloads if isinstance(payloads, bytes) else file_of(payloads))
    if modified_ns is not None:
        os.utime(path, ns=(modified_ns, modified_ns))
    return path


def write_summary(path: Path, content: bytes) -> None:
    """Write the `wandb-summary.json` that lies beside the file of a run."""
    place = path.parent / "files" / "wandb-summary.json"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(content)


def write_metadata(path: Path, content: bytes) -> None:
    """Write the `wandb-metadata.json` that lies beside the file of a run."""
    place = path.parent / "files" / "wandb-metadata.json"
    place.parent.mkdir(exist_ok=True)
    place.write_bytes(content)
