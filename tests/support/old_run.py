"""Write run folders as SDKs before 0.10 wrote them, without any code that reads them."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FOLDER_TIME = "20260101_000000"
STARTED_AT = "2026-01-01T00:00:00.250000"

CONFIG = """wandb_version: 1

_wandb:
  desc: null
  value:
    cli_version: 0.9.7
    is_jupyter_run: false
    is_kaggle_kernel: false
    python_version: 3.7.16
lr:
  desc: null
  value: 0.1
net:
  desc: null
  value:
    act: relu
    depth: 3
"""
"""A `config.yaml` of wandb 0.9.7."""


def json_lines_of(rows: Iterable[Mapping[str, Any]]) -> bytes:
    """Return rows as the SDK writes them: one JSON object a line, NaN as a bare token."""
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def rows_of(steps: Iterable[int], **metrics: Any) -> list[dict[str, Any]]:
    """Return a row for each step, with a time and a metric of its own."""
    return [
        {
            "loss": step / 4,
            **metrics,
            "_runtime": 1.5 + step,
            "_timestamp": 1_767_225_600.5 + step,
            "_step": step,
        }
        for step in steps
    ]


def metadata_of(**members: Any) -> dict[str, Any]:
    """Return a `wandb-metadata.json` of a run that finished."""
    return {
        "root": "/home/me",
        "program": "train.py",
        "startedAt": STARTED_AT,
        "host": "vm",
        "python": "3.7.16",
        "args": [],
        "state": "finished",
        "jobType": None,
        "mode": "dryrun",
        "name": "nice name",
        "project": "project",
        "heartbeatAt": "2026-01-01T00:00:30.5",
        "exitcode": 0,
        **members,
    }


def write_old_run(
    folder: Path,
    run_id: str,
    history: bytes | Iterable[Mapping[str, Any]] | None = None,
    *,
    folder_time: str = FOLDER_TIME,
    mode: str = "dryrun",
    metadata: Mapping[str, Any] | bytes | None = None,
    config: str | bytes | None = CONFIG,
    summary: Mapping[str, Any] | bytes | None = None,
    events: bytes | None = None,
    modified_ns: int | None = None,
) -> Path:
    """Write `<mode>-<folder_time>-<run_id>` into a `wandb` folder, and return its path.

    history: the rows, or all bytes of the file. What is None is not written, but metadata: that of
    a run that finished.
    """
    place = folder / f"{mode}-{folder_time}-{run_id}"
    place.mkdir(parents=True, exist_ok=True)
    contents = {
        "wandb-history.jsonl": history,
        "wandb-metadata.json": metadata_of() if metadata is None else metadata,
        "config.yaml": config,
        "wandb-summary.json": summary,
        "wandb-events.jsonl": events,
    }
    for name, content in contents.items():
        if content is None:
            continue
        path = place / name
        path.write_bytes(_bytes_of(content))
        if modified_ns is not None:
            os.utime(path, ns=(modified_ns, modified_ns))
    return place


def _bytes_of(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode()
    if isinstance(content, Mapping):
        return json.dumps(content).encode()
    return json_lines_of(content)
