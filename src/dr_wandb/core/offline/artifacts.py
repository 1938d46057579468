"""The artifacts that a run logged and used, as its file has them.

Rules (wandb 0.31.0)
- A version has no number, no state and no id of a server yet: it is known by the id that its client
  gave it. Type, name, digest, entries, description, metadata, aliases and tags are those that W&B
  shows after an upload.
- The entries of a manifest of more than 100,000 are in a file that the client deletes. They are not
  known then.
- A used version has its id at the server, and its name with a number or an alias. A run that was
  online has these alone: what it logged went to the server in requests.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from dr_wandb.core.contract.manifest_entries import XXH128
from dr_wandb.core.offline.header import Buffer
from dr_wandb.core.offline.records import ArtifactRecord, UseArtifactRecord
from dr_wandb.core.offline.schema import artifact_class
from dr_wandb.core.offline.text import json_or_text, text_of
from dr_wandb.core.offline.timeline import records_until_exit

Node = dict[str, Any]


class FileArtifacts(NamedTuple):
    """Nodes of the versions that a file logged and used, as `normalize_artifact` takes them."""

    logged: list[Node]
    used: list[Node]


def artifacts_of(data: Buffer, end: int, project: str) -> FileArtifacts:
    """Read the artifacts of a file. end: the offset to stop at. project: ENTITY/PROJECT."""
    logged: list[Node] = []
    used: list[Node] = []
    for record in records_until_exit(data, end):
        match record:
            case ArtifactRecord(raw=raw):
                logged += _logged(raw)
            case UseArtifactRecord():
                used.append(_used(record, project))
            case _:
                pass
    return FileArtifacts(logged, used)


def _logged(raw: bytes) -> Iterator[Node]:
    """Yield the node of an artifact record, nothing if it cannot be read."""
    try:
        message = artifact_class().FromString(raw)
    except DecodeError:
        return
    name, digest = text_of(message.name), text_of(message.digest)
    entries = {text_of(entry.path): _entry(entry) for entry in message.manifest.contents}
    sizes = [entry["size"] for entry in entries.values() if "ref" not in entry]
    collection = {"name": name, "type": {"name": text_of(message.type)}}
    artifact = {
        "id": text_of(message.client_id) or digest,
        "artifactSequence": {"name": name},
        "description": text_of(message.description) or None,
        "metadata": text_of(message.metadata) or None,
        "ttlDurationSeconds": message.ttl_duration_seconds or None,
        "tags": [{"name": text_of(tag)} for tag in message.tags],
        "aliases": [
            {"alias": text_of(alias), "artifactCollection": {"name": name}}
            for alias in message.aliases
        ],
        "digest": digest,
        "digestAlgorithm": text_of(message.digest_algorithm) or None,
        "size": sum(sizes) if len(sizes) == len(entries) else None,
        "fileCount": len(entries),
    }
    node: Node = {"collection": collection, "version": None, "artifact": artifact}
    if message.manifest.manifest_file_path:
        artifact |= {"size": None, "fileCount": None}
        yield node
    else:
        yield {**node, "manifest": {"contents": entries}}


def _entry(entry: Any) -> Node:
    extra = {text_of(item.key): json_or_text(item.value_json) for item in entry.extra}
    reference = {"ref": text_of(entry.ref)} if entry.ref else {}
    algorithm = {"extra": {"alg": XXH128}} if extra.get("alg") == XXH128 else {}
    return {"digest": text_of(entry.digest), "size": entry.size, **reference, **algorithm}


def _used(record: UseArtifactRecord, own: str) -> Node:
    """Return the node of a used version. Its name may begin with ENTITY/PROJECT."""
    address, _, named = record.name.rpartition("/")
    name, _, alias = named.partition(":")
    project = None if address in ("", own) else address
    number = alias[1:] if alias.startswith("v") and alias[1:].isdecimal() else None
    return {
        "collection": {"name": name, "type": {"name": record.type}, "project": project},
        "version": None if number is None else alias,
        "artifact": {"id": record.artifact_id, "artifactSequence": {"name": name}},
    }
