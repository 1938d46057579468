"""Decode what a `.wandb` file records of the machine and the program."""

from collections.abc import Sequence
from typing import Any

from google.protobuf.message import Message

from dr_wandb.core.offline.host import time_of
from dr_wandb.core.offline.text import text_of

_HOST_KEYS = {
    "cpu_count": "cpu_count",
    "cpu_count_logical": "cpu_count_logical",
    "gpu_type": "gpu",
    "gpu_count": "gpu_count",
    "gpu_nvidia": "gpu_nvidia",
    "remote_url": "remote",
}
"""Names of fields in `wandb-metadata.json` that differ from their camel case (wandb 0.31.0)."""


def as_metadata(message: Any) -> dict[str, Any]:
    """Return an environment record under the names of `wandb-metadata.json`."""
    members: dict[str, Any] = _as_json(message)
    return members


def _as_json(value: Any) -> Any:
    """Return a message as `wandb-metadata.json` has it; integers of 64 bits are text there."""
    if isinstance(value, bytes):
        return text_of(value)
    if not isinstance(value, Message):
        return value
    if value.DESCRIPTOR.name == "Timestamp":
        return time_of(value.seconds, value.nanos)
    members: dict[str, Any] = {}
    for field, held in value.ListFields():
        key = _HOST_KEYS.get(field.name, field.json_name)
        if not isinstance(held, Sequence) or isinstance(held, bytes):
            members[key] = str(held) if field.type == field.TYPE_UINT64 else _as_json(held)
        elif field.message_type is not None and field.message_type.name.endswith("Entry"):
            members[key] = {text_of(entry.key): _as_json(entry.value) for entry in held}
        else:
            members[key] = [_as_json(member) for member in held]
    return members
