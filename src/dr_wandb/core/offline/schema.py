"""The messages of a `.wandb` file that are read, as a schema of protobuf.

Names and numbers are those of `wandb/proto/wandb_internal.proto` (wandb 0.29 to 0.31; older files
have the same numbers). Text is declared as bytes, which are the same on the wire: text that is not
UTF-8 is no reason to lose a record. Fields that are not named here are skipped. The schema lives in
a pool of its own, so reading files does not need wandb and does not disturb it. Telemetry is left
undecoded, since its fields come and go (`telemetry_fields.py`), and so are artifacts, which may
have many entries (`artifacts.py`), and names of files (`named_files.py`).
"""

from functools import cache
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

PACKAGE = "dr_wandb"

MESSAGES = """
Record
  1 num int64
  2 history HistoryRecord | kind
  3 summary SummaryRecord | kind
  4 output OutputRecord | kind
  5 config ConfigRecord | kind
  6 files bytes | kind
  7 stats StatsRecord | kind
  8 artifact bytes | kind
  11 telemetry bytes | kind
  12 metric MetricRecord | kind
  13 output_raw OutputRecord | kind
  17 run RunRecord | kind
  18 exit RunExitRecord | kind
  21 header HeaderRecord | kind
  23 preempting RunPreemptingRecord | kind
  25 use_artifact UseArtifactRecord | kind
  26 environment EnvironmentRecord | kind
  27 output_logger OutputLoggerRecord | kind
RunRecord
  1 run_id bytes
  2 entity bytes
  3 project bytes
  4 config ConfigRecord
  5 summary SummaryRecord
  6 run_group bytes
  7 job_type bytes
  8 display_name bytes
  9 notes bytes
  10 tags repeated bytes
  12 sweep_id bytes
  17 start_time Timestamp
  18 resumed bool
  19 telemetry bytes
  21 git GitRepoRecord
  23 branch_point BranchPoint
  24 resume bool
BranchPoint
  1 run bytes
  2 value double
  3 metric bytes
GitRepoRecord
  1 remote_url bytes
  2 commit bytes
ConfigRecord
  1 update repeated Item
  2 remove repeated Item
SummaryRecord
  1 update repeated Item
  2 remove repeated Item
Item
  1 key bytes
  2 nested_key repeated bytes
  16 value_json bytes
HistoryRecord
  1 item repeated HistoryItem
  2 step HistoryStep
HistoryItem
  1 key bytes
  2 nested_key repeated bytes
  3 none int32 | typed
  4 boolean bool | typed
  5 integer sint64 | typed
  6 number double | typed
  7 text bytes | typed
  8 json bytes | typed
  16 value_json bytes
HistoryStep
  1 num int64
RunExitRecord
  1 exit_code int32
  2 runtime int32
StatsRecord
  2 timestamp Timestamp
  3 item repeated Item
OutputRecord
  1 output_type int32
  2 timestamp Timestamp
  3 line bytes
OutputLoggerRecord
  1 line bytes
HeaderRecord
  1 version_info VersionInfo
VersionInfo
  1 producer bytes
RunPreemptingRecord
Nothing
UseArtifactRecord
  1 id bytes
  2 type bytes
  3 name bytes
FilesRecord
  1 files repeated FilesItem
FilesItem
  1 path bytes
ArtifactRecord
  1 run_id bytes
  2 project bytes
  3 entity bytes
  4 type bytes
  5 name bytes
  6 digest bytes
  7 description bytes
  8 metadata bytes
  11 aliases repeated bytes
  12 manifest ArtifactManifest
  15 client_id bytes
  18 ttl_duration_seconds int64
  19 tags repeated bytes
  20 digest_algorithm bytes
ArtifactManifest
  4 contents repeated ArtifactManifestEntry
  5 manifest_file_path bytes
ArtifactManifestEntry
  1 path bytes
  2 digest bytes
  3 ref bytes
  4 size int64
  16 extra repeated ExtraItem
ExtraItem
  1 key bytes
  2 value_json bytes
MetricRecord
  1 name bytes
  2 glob_name bytes
  4 step_metric bytes
  6 options MetricOptions
  7 summary MetricSummary
  8 goal int32
  9 _control MetricControl
MetricOptions
  1 step_sync bool
  2 hidden bool
  3 defined bool
MetricSummary
  1 min bool
  2 max bool
  3 mean bool
  4 best bool
  5 last bool
  6 none bool
  7 copy bool
  8 first bool
MetricControl
  1 overwrite bool
EnvironmentRecord
  1 os bytes
  2 python bytes
  3 started_at Timestamp
  4 docker bytes
  5 args repeated bytes
  6 program bytes
  7 code_path bytes
  8 code_path_local bytes
  9 git GitRepoRecord
  10 email bytes
  11 root bytes
  12 host bytes
  13 username bytes
  14 executable bytes
  15 colab bytes
  16 cpu_count uint32
  17 cpu_count_logical uint32
  18 gpu_type bytes
  19 gpu_count uint32
  20 disk repeated DiskEntry
  21 memory MemoryInfo
  22 cpu CpuInfo
  23 apple AppleInfo
  24 gpu_nvidia repeated GpuNvidiaInfo
  25 cuda_version bytes
  27 slurm repeated SlurmEntry
  199 writer_id bytes
DiskEntry
  1 key bytes
  2 value DiskInfo
DiskInfo
  1 total uint64
  2 used uint64
MemoryInfo
  1 total uint64
CpuInfo
  1 count uint32
  2 count_logical uint32
  3 model bytes
AppleInfo
  1 name bytes
  2 ecpu_cores uint32
  3 pcpu_cores uint32
  4 gpu_cores uint32
  5 memory_gb uint32
  6 swap_total_bytes uint64
  7 ram_total_bytes uint64
  8 mac_model bytes
GpuNvidiaInfo
  1 name bytes
  2 memory_total uint64
  3 cuda_cores uint32
  4 architecture bytes
  5 uuid bytes
  6 pci_bus_id bytes
SlurmEntry
  1 key bytes
  2 value bytes
Timestamp
  1 seconds int64
  2 nanos int32
"""
"""Each message, and below it its fields: number, name, type, and the oneof that has it."""

_TYPES = {
    name: getattr(FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in ("bool", "bytes", "double", "int32", "int64", "sint64", "uint32", "uint64")
}


@cache
def record_class() -> Any:
    """Return the class of a whole record. It parses fields as wandb's own class does."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.Record"))


@cache
def artifact_class() -> Any:
    """Return the class of an artifact record, which a whole record has as bytes."""
    name = f"{PACKAGE}.ArtifactRecord"
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))


@cache
def files_class() -> Any:
    """Return the class of a record of files, which a whole record has as bytes."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.FilesRecord"))


@cache
def nothing_class() -> Any:
    """Return the class of a message without fields: it keeps all fields by their numbers."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.Nothing"))


@cache
def _pool() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    return pool


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(name="dr_wandb.proto", package=PACKAGE, syntax="proto3")
    message = None
    for line in MESSAGES.strip().splitlines():
        if not line.startswith(" "):
            message = file.message_type.add(name=line)
            continue
        assert message is not None
        (number, name, *often, kind), _, choice = _words(line)
        field = message.field.add(name=name, number=int(number))
        field.label = (
            FieldDescriptorProto.LABEL_REPEATED if often else FieldDescriptorProto.LABEL_OPTIONAL
        )
        if kind in _TYPES:
            field.type = _TYPES[kind]
        else:
            field.type = FieldDescriptorProto.TYPE_MESSAGE
            field.type_name = f".{PACKAGE}.{kind}"
        if choice:
            if not message.oneof_decl:
                message.oneof_decl.add(name=choice)
            field.oneof_index = 0
    return file


def _words(line: str) -> tuple[list[str], str, str]:
    field, mark, choice = line.partition(" | ")
    return field.split(), mark, choice
