"""What a `.wandb` file says of the machine and the program, and when."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

from google.protobuf.message import Message

from dr_wandb.core.offline.schema import text_of

_HOST_KEYS = {
    "cpu_count": "cpu_count",
    "cpu_count_logical": "cpu_count_logical",
    "gpu_type": "gpu",
    "gpu_count": "gpu_count",
    "gpu_nvidia": "gpu_nvidia",
    "remote_url": "remote",
}
"""Names of fields in `wandb-metadata.json` that are not just in camel case (wandb 0.31.0)."""


def as_metadata(message: Any) -> dict[str, Any]:
    """Return what an environment record says in the words of `wandb-metadata.json`."""
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


def time_of(seconds: int, nanos: int) -> str:
    """Return a moment as UTC, ISO 8601, with as many groups of three digits as its second needs."""
    try:
        moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    except (OverflowError, OSError, ValueError):
        return f"{seconds} seconds"
    digits = f"{nanos:09}"
    while digits.endswith("000"):
        digits = digits[:-3]
    return f"{moment}.{digits}Z" if digits else f"{moment}Z"


def merge_into(known: dict[str, Any], told: Mapping[str, Any]) -> None:
    """Merge what is told of a machine into what is known of it, member by member."""
    for key, value in told.items():
        inner = known.get(key)
        if isinstance(inner, dict) and isinstance(value, Mapping):
            merge_into(inner, value)
        else:
            known[key] = deepcopy(value)
