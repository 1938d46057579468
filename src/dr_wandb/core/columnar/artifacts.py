"""Artifact versions and the entries of their manifests as columns.

Rules
- The columns are always there, with the same types. Each is named after the field that it holds.
- A time is a number of microseconds, null for text that is none; metadata is its JSON text.
- An integer that 64 bits do not hold is null, as in the columns of runs.
"""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Any

import msgspec

from dr_wandb.core.columnar.runs import microseconds_of
from dr_wandb.core.contract.artifacts import WandbArtifact
from dr_wandb.core.contract.manifest_entries import ArtifactEntry

_JSON = msgspec.json.Encoder(order="sorted")
_MOST = 2**63


class FieldType(StrEnum):
    """The type of a column."""

    BOOL = "bool"
    INTEGER = "integer"
    TEXT = "text"
    TEXTS = "texts"
    TIME = "time"
    JSON = "json"
    USES = "uses"


_TEXT, _INTEGER, _TIME = FieldType.TEXT, FieldType.INTEGER, FieldType.TIME

VERSION_COLUMNS: dict[str, FieldType] = {
    "collection": _TEXT,
    "version": _INTEGER,
    "artifact_id": _TEXT,
    "type": _TEXT,
    "project": _TEXT,
    "source_collection": _TEXT,
    "state": _TEXT,
    "aliases": FieldType.TEXTS,
    "tags": FieldType.TEXTS,
    "description": _TEXT,
    "metadata": FieldType.JSON,
    "size": _INTEGER,
    "file_count": _INTEGER,
    "digest": _TEXT,
    "digest_algorithm": _TEXT,
    "ttl_seconds": _INTEGER,
    "ttl_inherited": FieldType.BOOL,
    "history_step": _INTEGER,
    "commit_hash": _TEXT,
    "internal": FieldType.BOOL,
    "created_at": _TIME,
    "updated_at": _TIME,
    "missing_since": _TIME,
    "created_by": FieldType.TEXTS,
    "used_by": FieldType.USES,
}
"""All fields of a version but its entries."""

ENTRY_COLUMNS: dict[str, FieldType] = {
    "collection": _TEXT,
    "version": _INTEGER,
    "artifact_id": _TEXT,
    "path": _TEXT,
    "digest": _TEXT,
    "algorithm": _TEXT,
    "size": _INTEGER,
    "reference": _TEXT,
}
"""The version of an entry, and its own fields."""

_OF_VERSION = ("collection", "version", "artifact_id")


def version_row(record: WandbArtifact) -> dict[str, Any]:
    """Return a version as a row: a value for each of `VERSION_COLUMNS`."""
    return {name: _value(getattr(record, name), kind) for name, kind in VERSION_COLUMNS.items()}


def entry_row(record: WandbArtifact, entry: ArtifactEntry) -> dict[str, Any]:
    """Return an entry of a version as a row: a value for each of `ENTRY_COLUMNS`."""
    return {
        name: _value(getattr(record if name in _OF_VERSION else entry, name), kind)
        for name, kind in ENTRY_COLUMNS.items()
    }


def _value(value: Any, kind: FieldType) -> Any:
    change = _CHANGED.get(kind)
    return value if value is None or change is None else change(value)


def _integer(value: int) -> int | None:
    return value if -_MOST <= value < _MOST else None


def _json(value: Any) -> str:
    return value if isinstance(value, str) else _JSON.encode(value).decode()


def _uses(value: Any) -> list[dict[str, Any]]:
    return [{"run_id": use.run_id, "used_as": use.used_as} for use in value]


_CHANGED: Mapping[FieldType, Callable[[Any], Any]] = {
    FieldType.INTEGER: _integer,
    FieldType.TIME: microseconds_of,
    FieldType.JSON: _json,
    FieldType.TEXTS: list,
    FieldType.USES: _uses,
}
