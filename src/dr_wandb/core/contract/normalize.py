"""Turn raw runs and raw rows into records.

Rules
- Values take the forms of values.py, and rows the shape of row_shape.py, from every source.
- Nulls stay in a snapshot.
- A value of W&B's own four columns that has an unusable type is kept in `extra`, never dropped.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from dr_wandb.core.contract.json_safe_fast import plain_form
from dr_wandb.core.contract.records import HistoryRow, RunUser, WandbRun
from dr_wandb.core.contract.row_shape import OWN_METADATA, OWN_PREFIX, flatten_row
from dr_wandb.core.contract.values import clean_text, decode_json, json_safe, spell_number


def normalize_time(value: Any) -> str | None:
    """Return an instant as UTC, ISO 8601, ending in `Z`, with all the digits of its fraction.

    A time without a zone is UTC, which is what W&B sends (facts of wandb 0.31.0). Text that is not
    a time is kept as it is.
    """
    if value is None:
        return None
    if type(value) is str and len(value) in _USUAL_LENGTHS and _is_usual(value):
        return f"{value[:_SECONDS]}Z"
    text = clean_text(str(json_safe(value))).strip()
    match = _TIME.fullmatch(text)
    if match is None:
        return text
    try:
        moment = datetime.fromisoformat(f"{match['date']}T{match['time']}{match['zone'] or 'Z'}")
        moment = moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return text
    fraction = (match["fraction"] or "").rstrip("0")
    seconds = moment.replace(tzinfo=None).isoformat()
    return f"{seconds}.{fraction}Z" if fraction else f"{seconds}Z"


_SECONDS = len("2026-01-01T00:00:00")
_USUAL_LENGTHS = (_SECONDS, _SECONDS + 1)


def _is_usual(text: str) -> bool:
    """Say whether this is a time as W&B usually sends it: UTC, in whole seconds."""
    seconds, zone = text[:_SECONDS], text[_SECONDS:]
    try:
        return zone in ("", "Z") and datetime.fromisoformat(seconds).isoformat() == seconds
    except ValueError:
        return False


_TIME = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)[T ](?P<time>\d\d:\d\d:\d\d)(?:\.(?P<fraction>\d+))?"
    r"(?P<zone>Z|[+-]\d\d:?\d\d)?"
)


def instant(text: str | None) -> datetime | None:
    """Return the instant of a normalized time, None if it is not a time."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def normalize_row(raw_row: Mapping[str, Any], run_id: str) -> HistoryRow:
    """Split one raw row, as a source gives it, into a record of the one shape."""
    return row_of_values(flatten_row(raw_row), run_id)


def row_of_values(values: Mapping[str, Any], run_id: str) -> HistoryRow:
    """Make a row from its JSON-safe values by their flat keys, W&B's own columns included."""
    step = timestamp = runtime = None
    wandb_metadata: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for key, value in values.items():
        if not key.startswith("_"):
            metrics[key] = value
        elif key == "_step" and (whole := whole_step(value)) is not None:
            step = whole
        elif key == "_timestamp" and type(value) in (int, float):
            timestamp = spell_number(value)
        elif key == "_runtime" and type(value) in (int, float):
            runtime = value
        elif key.startswith(OWN_PREFIX):
            wandb_metadata[key.removeprefix(OWN_PREFIX)] = value
        else:
            extra[key] = value
    return HistoryRow(
        run_id=run_id,
        step=step,
        timestamp=timestamp,
        runtime=runtime,
        wandb_metadata=wandb_metadata,
        metrics=metrics,
        extra=extra,
    )


def reshape_row(row: HistoryRow) -> HistoryRow:
    """Convert a stored row of any earlier shape to the present one."""
    own: dict[str, Any] = {"_step": row.step, "_runtime": row.runtime}
    if OWN_METADATA in row.extra:
        own |= {f"{OWN_PREFIX}{key}": value for key, value in row.wandb_metadata.items()}
    else:
        own[OWN_METADATA] = row.wandb_metadata
    known = {key: value for key, value in own.items() if value is not None}
    shaped = normalize_row({**row.metrics, **row.extra, **known}, row.run_id)
    return shaped if row.timestamp is None else replace(shaped, timestamp=row.timestamp)


def whole_step(value: Any) -> int | None:
    """Return a JSON-safe `_step` as an integer, None if it is not one: servers send doubles."""
    if type(value) is int:
        return value
    whole = type(value) is float and value.is_integer() and abs(value) < 2.0**63
    return int(value) if whole else None


def normalize_what_reads(
    raw_run: Mapping[str, Any], *, entity: str, project: str
) -> tuple[WandbRun, dict[str, str]]:
    """Make a run as `normalize_run` does, but skip its JSON texts that cannot be read.

    Returns the skipped ones by name, each with its error. Raises ValueError if anything else is
    wrong.
    """
    try:
        return normalize_run(raw_run, entity=entity, project=project), {}
    except (ValueError, RecursionError):
        unread = dict(_unread(raw_run))
        if not unread:
            raise
    readable = {name: value for name, value in raw_run.items() if name not in unread}
    return normalize_run(readable, entity=entity, project=project), unread


def _unread(raw_run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for field in JSON_FIELDS:
        try:
            plain_form(_mapping(raw_run, field))
        except (ValueError, RecursionError) as error:
            yield field, str(error) or type(error).__name__


JSON_FIELDS = ("config", "summaryMetrics", "systemMetrics")
"""Fields of a run whose value is JSON text."""


def normalize_run(raw_run: Mapping[str, Any], *, entity: str, project: str) -> WandbRun:
    """Make a run from a GraphQL node with the fields of the SDK's full run fragment.

    `config`, `summaryMetrics` and `systemMetrics` may be JSON text or objects, every field may be
    missing or null. Raises ValueError with the field's name if a JSON text cannot be read.
    """
    run_id = clean_text(str(raw_run["name"]))
    display_name = _text(raw_run.get("displayName"))
    config, wandb_config = _unwrap_config(_mapping(raw_run, "config"))
    system_metrics = raw_run.get("systemMetrics")
    history_keys = raw_run.get("historyKeys")
    tags, read_only = raw_run.get("tags"), raw_run.get("readOnly")
    return WandbRun(
        run_id=run_id,
        name=display_name if display_name is not None else run_id,
        display_name=display_name,
        entity=entity,
        project=project,
        state=_text(raw_run.get("state")),
        created_at=normalize_time(raw_run.get("createdAt")),
        updated_at=normalize_time(raw_run.get("updatedAt")),
        heartbeat_at=normalize_time(raw_run.get("heartbeatAt")),
        storage_id=_text(raw_run.get("id")),
        project_id=_text(raw_run.get("projectId")),
        url=_text(raw_run.get("url")),
        path=[entity, project, run_id],
        tags=[clean_text(str(tag)) for tag in tags] if isinstance(tags, list) else [],
        group=_text(raw_run.get("group")),
        job_type=_text(raw_run.get("jobType")),
        sweep_name=_text(raw_run.get("sweepName")),
        notes=_text(raw_run.get("notes")),
        description=_text(raw_run.get("description")),
        commit=_text(raw_run.get("commit")),
        user=_user(raw_run.get("user")),
        read_only=read_only if isinstance(read_only, bool) else None,
        config=config,
        wandb_config=wandb_config,
        summary_metrics=plain_form(_mapping(raw_run, "summaryMetrics")),
        system_metrics=None
        if system_metrics is None
        else plain_form(_mapping(raw_run, "systemMetrics")),
        history_keys=plain_form(history_keys) if isinstance(history_keys, Mapping) else None,
        history_line_count=_count(raw_run.get("historyLineCount")),
    )


def _text(value: Any) -> str | None:
    if value is None or (type(value) is str and value.isascii()):
        return value
    return clean_text(str(value))


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _user(value: Any) -> RunUser | None:
    if not isinstance(value, Mapping):
        return None
    user = RunUser(username=_text(value.get("username")), name=_text(value.get("name")))
    return None if user == RunUser() else user


def _unwrap_config(raw_config: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a raw config (key -> {value, desc}) into the user's part and W&B's own."""
    config: dict[str, Any] = {}
    wandb_config: dict[str, Any] = {}
    for key, entry in raw_config.items():
        wrapped = (type(entry) is dict or isinstance(entry, Mapping)) and "value" in entry
        value = entry["value"] if wrapped else entry
        (wandb_config if key in ("_wandb", "wandb_version") else config)[key] = value
    return plain_form(config), plain_form(wandb_config)


def _mapping(raw_run: Mapping[str, Any], field: str) -> Mapping[str, Any]:
    value = raw_run.get(field)
    if value is None:
        return {}
    if isinstance(value, str | bytes):
        value = decode_json(value, field)
    if not isinstance(value, Mapping):
        raise ValueError(f"{field} is not an object")
    return value
