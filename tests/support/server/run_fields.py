"""Answer the fields of the GraphQL type Run."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from tests.support.server.faults import EmptyRows
from tests.support.server.history import spell_non_finite, spread
from tests.support.server.nodes import Context, Node, Raw
from tests.support.server.run import Run
from tests.support.server.world import Marker, with_zone

METADATA_NAME = "wandb-metadata.json"

Resolver = Callable[[Run, Mapping[str, Any], Context], Any]


def config_text(run: Run) -> str:
    """Return the raw config, each value wrapped as W&B stores it."""
    if run.config_json is not None:
        return run.config_json
    wrapped = {key: {"value": value, "desc": None} for key, value in run.config.items()}
    if run.config_internal is not None:
        wrapped["_wandb"] = {"value": run.config_internal, "desc": None}
    return json.dumps(wrapped)


def summary_text(run: Run) -> str:
    """Return the summary, non-finite numbers as strings."""
    if run.summary_json is not None:
        return run.summary_json
    return json.dumps(spell_non_finite(run.summary))


def _history_keys(run: Run, _: Mapping[str, Any], __: Context) -> Any:
    if not isinstance(run.history_keys, Marker):
        answer = run.history_keys and dict(run.history_keys)
    else:
        answer = run.key_counts.report(run.rows, run.events)
    if answer is not None and run.last_step_override is not None:
        answer["lastStep"] = run.last_step_override
    return answer


def _history(run: Run, arguments: Mapping[str, Any], context: Context) -> list[Raw]:
    if isinstance(context.action, EmptyRows):
        return []
    low, high = arguments.get("minStep"), arguments.get("maxStep")
    found = run.index.positions(run.rows, run.served_from, low, high)
    samples = arguments.get("samples")
    samples = 500 if samples is None else samples
    ranged = low is not None or high is not None
    kept = found[:samples] if ranged else spread(found, samples)
    return [Raw(run.index.literal(run.rows, position)) for position in kept]


def _sampled_history(run: Run, arguments: Mapping[str, Any], context: Context) -> list[Any]:
    answers: list[Any] = []
    for text in arguments.get("specs") or []:
        spec = json.loads(text)
        high = spec.get("maxStep")
        found = run.index.positions(
            run.rows, run.served_from, spec.get("minStep"), None if high is None else high + 1
        )
        keys = spec.get("keys") or []
        rows = [run.rows[position] for position in found]
        picked = [
            {key: spell_non_finite(row[key]) for key in keys}
            for row in rows
            if all(row.get(key) is not None for key in keys)
        ]
        kept = spread(list(range(len(picked))), spec.get("samples", 500))
        empty = isinstance(context.action, EmptyRows)
        answers.append([] if empty else [picked[index] for index in kept])
    return answers


def _events(run: Run, arguments: Mapping[str, Any], context: Context) -> list[str | None]:
    if isinstance(context.action, EmptyRows):
        return []
    if run.raw_events is not None:
        return [*run.raw_events]
    samples = arguments.get("samples")
    samples = 500 if samples is None else samples
    samples = samples if run.most_samples is None else min(samples, run.most_samples)
    kept = spread(list(range(len(run.events))), samples)
    return [json.dumps(spell_non_finite(run.events[position])) for position in kept]


def _parquet_history(run: Run, arguments: Mapping[str, Any], context: Context) -> Node | None:
    if isinstance(context.action, EmptyRows):
        return Node("ParquetHistory", {"parquetUrls": [], "liveData": []})
    if not isinstance(run.parquet_history, Marker):
        answer = run.parquet_history
        return None if answer is None else Node("ParquetHistory", answer)
    keys = arguments.get("liveKeys") or []
    live: list[Any] = [
        {key: spell_non_finite(row[key]) for key in keys if key in row}
        for row in run.rows[run.live_from :]
        if "_step" not in keys or row.get("_step") is not None
    ]
    if run.live_item is not None:
        live = [run.live_item(members) for members in live]
    urls = context.server.sign_exports(run)
    return Node("ParquetHistory", {"parquetUrls": urls, "liveData": live})


def all_files(run: Run) -> dict[str, bytes]:
    """Return the run's files, the metadata among them."""
    files = dict(run.files)
    if run.metadata is not None:
        files[METADATA_NAME] = json.dumps(run.metadata).encode()
    return files


def listed_files(run: Run, arguments: Mapping[str, Any], context: Context) -> list[dict[str, Any]]:
    """Return the files that `names` or the SQL LIKE `pattern` selects, by name."""
    names, pattern = arguments.get("names"), arguments.get("pattern")
    like = None
    if pattern:
        like = re.escape(pattern).replace("%", ".*").replace("_", ".")
    listed = []
    for name, content in sorted(all_files(run).items()):
        if names and name not in names:
            continue
        if like and not re.fullmatch(like, name, re.DOTALL):
            continue
        url, md5 = context.server.sign_file(run, name), run.md5_of(name, content)
        listed.append(
            {
                "id": base64.b64encode(
                    f"File:{run.storage_id}:{name}".encode("utf-8", "surrogatepass")
                ).decode(),
                "name": name,
                "url": url,
                "directUrl": url,
                "sizeBytes": str(len(content)),
                "mimetype": "application/json" if name.endswith(".json") else "text/plain",
                "updatedAt": run.created_at,
                "md5": md5,
                "digest": md5,
                **run.file_facts.get(name, {}),
                "is_null": name in run.null_files,
            }
        )
    return listed


def _user(run: Run, _: Mapping[str, Any], __: Context) -> Node | None:
    return None if run.user is None else Node("User", run.user)


def _time(name: str) -> Resolver:
    """Answer a time with its `Z`, as servers do since 2025."""
    return lambda run, arguments, context: with_zone(getattr(run, name))


def _from(name: str) -> Resolver:
    return lambda run, arguments, context: getattr(run, name)


RUN_FIELDS: dict[str, Resolver] = {
    "id": _from("storage_id"),
    "name": _from("run_id"),
    "displayName": _from("display_name"),
    "sweepName": _from("sweep_name"),
    "state": _from("state"),
    "config": lambda run, *_: config_text(run),
    "group": _from("group"),
    "jobType": _from("job_type"),
    "commit": _from("commit"),
    "readOnly": _from("read_only"),
    "createdAt": _time("created_at"),
    "heartbeatAt": _time("heartbeat_at"),
    "updatedAt": lambda run, *_: run.updated_at or run.heartbeat_at,
    "description": _from("description"),
    "notes": _from("notes"),
    "systemMetrics": lambda run, *_: json.dumps(spell_non_finite(run.system_metrics)),
    "summaryMetrics": lambda run, *_: summary_text(run),
    "historyLineCount": lambda run, *_: len(run.rows) + run.line_count_offset,
    "eventsLineCount": lambda run, *_: (
        len(run.events) if run.events_line_count is None else run.events_line_count
    ),
    "logLineCount": lambda run, *_: (
        len(run.console) if run.log_line_count is None else run.log_line_count
    ),
    "user": _user,
    "historyKeys": _history_keys,
    "projectId": lambda run, *_: run.project.internal_id,
    "tags": lambda run, *_: list(run.tags),
    "host": _from("host"),
    "fileCount": lambda run, *_: len(all_files(run)) if run.file_count is None else run.file_count,
    "history": _history,
    "sampledHistory": _sampled_history,
    "events": _events,
    "parquetHistory": _parquet_history,
}
