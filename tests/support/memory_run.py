"""One run of an in-memory W&B project: plain attributes that tests may change at any time."""

import base64
import copy
import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from dr_wandb.core.contract.file_names import spell_name

Row = dict[str, Any]


def spell_time(moment: str) -> str:
    """Spell a time as W&B does: UTC, whole seconds, no zone."""
    return datetime.fromisoformat(moment).strftime("%Y-%m-%dT%H:%M:%S")


def later(moment: str, seconds: float) -> str:
    """Return the time so many seconds after `moment`."""
    return (datetime.fromisoformat(moment) + timedelta(seconds=seconds)).isoformat()


def epoch(moment: str) -> float:
    """Return a time as epoch seconds; one without a zone is UTC."""
    at = datetime.fromisoformat(moment)
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def step_of(row: Mapping[str, Any]) -> int | None:
    """Return the step of a row, None where it has none or one that is not an integer."""
    step = row.get("_step")
    if isinstance(step, float) and step.is_integer():
        return int(step)
    return step if isinstance(step, int) and not isinstance(step, bool) else None


def as_stored(value: Any) -> Any:
    """Return a value as W&B stores JSON: non-finite numbers as words."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: as_stored(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [as_stored(member) for member in value]
    return value


def dense(rows: list[Row]) -> list[Row]:
    """Return rows as a Parquet file gives them: every column in every row, nulls between."""
    columns: dict[str, list[Row]] = {}
    for row in rows:
        for key, value in row.items():
            columns.setdefault(key, []).extend([value] if isinstance(value, dict) else [])
    members = {
        key: dict.fromkeys(name for value in values for name in value)
        for key, values in columns.items()
    }
    return [
        {
            key: {**members[key], **row[key]} if isinstance(row.get(key), dict) else row.get(key)
            for key in columns
        }
        for row in rows
    ]


class MemoryRun:
    """A run. `rows` are in the order logged; the first `exported` of them are also in Parquet.

    summary: what was set by hand; the last values of the rows stand beside it.
    metadata: the content of `wandb-metadata.json`. last_step: replaces `historyKeys.lastStep`.
    null_history_keys: `historyKeys` is null. line_count_offset: added to `historyLineCount`.
    live_from: position of the first row that is not only exported.
    """

    def __init__(self, run_id: str, storage_id: str, created_at: str, **fields: Any) -> None:
        self.run_id = run_id
        self.storage_id = storage_id
        self.created_at = created_at
        self.heartbeat_at = created_at
        self.state = "running"
        self.config: dict[str, Any] = {}
        self.config_json: str | None = None
        self.summary: dict[str, Any] = {}
        self.system_metrics: dict[str, Any] | None = None
        self.user: dict[str, Any] | None = {"name": "Ada", "username": "ada"}
        self.display_name: str | None = run_id
        self.tags: list[str] = []
        self.group: str | None = None
        self.job_type: str | None = None
        self.sweep_name: str | None = None
        self.notes: str | None = None
        self.description: str | None = None
        self.commit: str | None = None
        self.metadata: dict[str, Any] | None = None
        self.rows: list[Row] = []
        self.exported: list[Row] = []
        self.live_from = 0
        self.console: list[Row] = []
        self.samples: list[Row] = []
        self.files: dict[str, bytes] = {}
        self.file_facts: dict[str, dict[str, Any]] = {}
        self.null_files: set[str] = set()
        self.hidden = False
        self.last_step: int | None = None
        self.null_history_keys = False
        self.line_count_offset = 0
        self.change(**fields)

    def change(self, **fields: Any) -> None:
        """Set attributes; one that a run does not have is a mistake."""
        for name, value in fields.items():
            if name not in self.__dict__:
                raise AttributeError(f"a run has no {name}")
            setattr(self, name, copy.deepcopy(value))

    @property
    def highest_step(self) -> int:
        """Return the highest step logged, -1 without any."""
        return max((step for row in self.rows if (step := step_of(row)) is not None), default=-1)

    def log(self, metrics: Mapping[str, Any], step: Any, timestamp: Any) -> Row:
        """Append a row; `...` counts the step on from the highest one, and takes no timestamp."""
        row: Row = {}
        step = self.highest_step + 1 if step is ... else step
        if step is not None:
            row["_step"] = step
        if timestamp is not None:
            row["_timestamp"] = timestamp
            row["_runtime"] = timestamp - epoch(self.created_at)
        row.update(copy.deepcopy(dict(metrics)))
        self.rows.append(row)
        return row

    def write_line(self, text: str, *, error: bool) -> None:
        """Append a line of the console."""
        number = len(self.console)
        time = f"2026-01-01T00:00:{number % 60:02}.{number:06}"
        level = "error" if error else ""
        self.console.append({"_step": number, "timestamp": time, "level": level, "line": text})

    def export(self, upto: int | None, overlap: int) -> None:
        """Write rows[:upto] to Parquet; those from `overlap` rows before the end stay live."""
        end = len(self.rows) if upto is None else upto
        self.exported = dense(copy.deepcopy(self.rows[:end]))
        self.live_from = max(0, end - overlap)

    def list_files(self) -> list[Row]:
        """Return the files as W&B lists them, without the nulls."""
        return [
            {
                "name": spell_name(name),
                "sizeBytes": str(len(content)),
                "md5": base64.b64encode(hashlib.md5(content).digest()).decode(),
                "mimetype": "text/plain",
                **self.file_facts.get(name, {}),
            }
            for name, content in sorted(self.files.items())
            if name not in self.null_files
        ]

    def rewind(self, to_step: int) -> None:
        """Drop the rows with a higher step; what is left is live."""
        self.rows = [row for row in self.rows if (step_of(row) or 0) <= to_step]
        self.exported, self.live_from = [], 0

    def read(self, start: int | None, stop: int | None) -> list[tuple[bool, Row]]:
        """Return the rows inside a window, each with whether it is live; copies may both come."""
        copies = [(False, row) for row in self.exported]
        copies += [(True, as_stored(row)) for row in self.rows[self.live_from :]]
        return [
            (live, copy.deepcopy(row))
            for live, row in copies
            if (not start or (step_of(row) or 0) >= start)
            and (stop is None or (step_of(row) or 0) < stop)
        ]

    def node(self, entity: str, project: str) -> dict[str, Any]:
        """Return the run as a GraphQL node with all fields."""
        config = {key: {"value": value, "desc": None} for key, value in self.config.items()}
        summary: dict[str, Any] = {}
        for row in self.rows:
            summary.update(row)
        summary.update(self.summary)
        last_step = self.highest_step if self.last_step is None else self.last_step
        history_keys = {"lastStep": last_step, "sets": [], "keys": {}}
        return {
            "id": self.storage_id,
            "name": self.run_id,
            "displayName": self.display_name,
            "state": self.state,
            "config": json.dumps(config) if self.config_json is None else self.config_json,
            "summaryMetrics": json.dumps(as_stored(summary)),
            "systemMetrics": json.dumps(as_stored(self.system_metrics or {})),
            "createdAt": spell_time(self.created_at),
            "heartbeatAt": spell_time(self.heartbeat_at),
            "tags": list(self.tags),
            "group": self.group,
            "jobType": self.job_type,
            "sweepName": self.sweep_name,
            "notes": self.notes,
            "description": self.description,
            "commit": self.commit,
            "readOnly": False,
            "user": copy.deepcopy(self.user),
            "historyKeys": None if self.null_history_keys else history_keys,
            "historyLineCount": len(self.rows) + self.line_count_offset,
            "logLineCount": len(self.console),
            "eventsLineCount": len(self.samples),
            "fileCount": len(self.files),
            "movedAt": spell_time(self.heartbeat_at),
            "projectId": "1",
            "url": f"/{entity}/{project}/runs/{self.run_id}",
        }
