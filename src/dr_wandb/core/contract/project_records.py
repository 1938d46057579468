"""The records of a project: its artifacts, sweeps and reports, one in each line of a file.

Rules
- A record is known by its identity. The lines of a file are in the order of `sort_key`.
- Texts that W&B keeps as they were written (a config in YAML, a spec in JSON) stay as they are.
- `missing_since` is the time of the sync that first found the record gone upstream. It is the one
  member that does not come from the source.
- Equal records have equal bytes; a record holds JSON-safe values only.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace
from returns.result import Failure, Result, Success

from dr_wandb.core.contract.artifacts import WandbArtifact, normalize_artifact
from dr_wandb.core.contract.codec import digest, encode_line
from dr_wandb.core.contract.dataset import ARTIFACTS, REPORTS, SWEEPS
from dr_wandb.core.contract.normalize import normalize_time
from dr_wandb.core.contract.project_record import (
    ProjectRecord,
    count_of,
    required_text,
    text_of,
)
from dr_wandb.core.contract.records import RunUser
from dr_wandb.core.contract.values import decode_json, json_safe


class WandbSweep(ProjectRecord, frozen=True, kw_only=True):
    """One sweep. `sweep_id` is W&B's `name`, as in `sweep_name` of a run and in its URL.

    `config` is the YAML text as it was written. `best_loss` may be one of the texts that stand for
    NaN and infinities.
    """

    known_by = ("sweep_id",)

    sweep_id: str
    storage_id: str | None = None
    display_name: str | None = None
    method: str | None = None
    state: str | None = None
    description: str | None = None
    best_loss: int | float | str | None = None
    config: str | None = None
    created_at: str | None = None
    updated_at: str | None = None
    run_count: int | None = None
    run_count_expected: int | None = None


class ReportUser(RunUser, frozen=True, kw_only=True):
    """The author of a report. `email` is set only if metadata was asked for."""

    email: str | None = None


class WandbReport(ProjectRecord, frozen=True, kw_only=True):
    """One report. `spec` is its content: JSON text as W&B has it, None if it has none."""

    known_by = ("report_id",)

    report_id: str
    name: str | None = None
    display_name: str | None = None
    description: str | None = None
    user: ReportUser | None = None
    created_at: str | None = None
    updated_at: str | None = None
    spec: str | None = None


def normalize_sweep(node: Mapping[str, Any]) -> WandbSweep:
    """Make a sweep from a GraphQL node. Raises ValueError without its id."""
    best_loss = json_safe(node.get("bestLoss"))
    return WandbSweep(
        sweep_id=required_text(node, "name"),
        storage_id=text_of(node.get("id")),
        display_name=text_of(node.get("displayName")),
        method=text_of(node.get("method")),
        state=text_of(node.get("state")),
        description=text_of(node.get("description")),
        best_loss=best_loss if type(best_loss) in (int, float, str) else None,
        config=_verbatim(node.get("config")),
        created_at=normalize_time(node.get("createdAt")),
        updated_at=normalize_time(node.get("updatedAt")),
        run_count=count_of(node.get("runCount")),
        run_count_expected=count_of(node.get("runCountExpected")),
    )


def normalize_report(node: Mapping[str, Any]) -> WandbReport:
    """Make a report from a GraphQL node. Raises ValueError without its id."""
    user = node.get("user")
    author = None
    if isinstance(user, Mapping):
        names = {name: text_of(user.get(name)) for name in ("username", "name", "email")}
        author = ReportUser(**names)
    return WandbReport(
        report_id=required_text(node, "id"),
        name=text_of(node.get("name")),
        display_name=text_of(node.get("displayName")),
        description=text_of(node.get("description")),
        user=None if author == ReportUser() else author,
        created_at=normalize_time(node.get("createdAt")),
        updated_at=normalize_time(node.get("updatedAt")),
        spec=_verbatim(node.get("spec")),
    )


def _verbatim(value: Any) -> str | None:
    """Return a text as it is; a value that is no text as JSON."""
    if value is None or isinstance(value, str):
        return text_of(value)
    return _ENCODER.encode(json_safe(value)).decode()


_ENCODER = msgspec.json.Encoder(order="sorted")

Normalize = Callable[[Mapping[str, Any]], ProjectRecord]

KINDS: dict[str, type[ProjectRecord]] = {
    ARTIFACTS: WandbArtifact,
    SWEEPS: WandbSweep,
    REPORTS: WandbReport,
}
"""The record of each dataset of the project."""

NORMALIZERS: dict[str, Normalize] = {
    ARTIFACTS: normalize_artifact,
    SWEEPS: normalize_sweep,
    REPORTS: normalize_report,
}
"""How a record is made of a raw node, by dataset. Raises ValueError for one that is none."""

_K = TypeVar("_K", bound=ProjectRecord)


def decode_record(line: bytes, kind: type[_K]) -> Result[_K, str]:
    """Decode one line of a data file of the project; the failure says what is wrong with it."""
    try:
        value = json_safe(decode_json(line, "the line"))
        return Success(msgspec.convert(value, kind))
    except (ValueError, TypeError, RecursionError) as error:
        return Failure(str(error) or "the line is nested too deeply to read")


def decode_own_record(line: bytes, kind: type[_K]) -> _K:
    """Decode a line that this tool wrote, which is known by the digest of its file."""
    return msgspec.json.decode(line, type=kind)


def listing_digest(record: ProjectRecord) -> str:
    """Return a digest of what a listing alone says of a record."""
    return content_digest(record.as_listed)


def content_digest(record: ProjectRecord) -> str:
    """Return a digest of a record that does not depend on whether it is gone upstream."""
    return digest(encode_line(replace(record, missing_since=None)))
