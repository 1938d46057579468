"""Folders of `.wandb` files: what they hold, and syncs of them."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from dr_wandb import ExportRequest, ExportSummary
from dr_wandb.core.contract.normalize import normalize_run
from dr_wandb.core.contract.records import WandbRun
from dr_wandb.shell.progress import ProgressCallback, say_nothing
from dr_wandb.shell.sources.offline.found import FoundRuns
from dr_wandb.shell.sources.offline.index import INDEX_FILE, Known
from dr_wandb.shell.sources.offline.runs import FolderScan
from dr_wandb.shell.sources.offline.source import OfflineSource
from tests.support.asking import list_all, list_nodes, read_rows
from tests.support.syncing import export, request_for
from tests.support.wandb_file import exit_record, header_record, rows_of, run_record, write_run

NOW_NS = 1_767_229_200 * 10**9
LONG_AGO_NS = NOW_NS - 3600 * 10**9
NOW = "2026-01-01T01:00:00+00:00"
LATER = "2026-01-01T00:20:00Z"


def whole_run(run_id: str = "run", steps: Sequence[int] = range(5), **named: Any) -> list[bytes]:
    """Return the records of a run that finished."""
    return [run_record(run_id, **named), *rows_of(steps), exit_record()]


def put(folder: Path, run_id: str, payloads: Sequence[bytes] | bytes, **place: Any) -> Path:
    """Write the file of a run that nobody has written to lately; records come behind a header."""
    content = payloads if isinstance(payloads, bytes) else [header_record(), *payloads]
    return write_run(folder, run_id, content, **{"modified_ns": LONG_AGO_NS} | place)


def let_rest(path: Path) -> None:
    """Let a file be one that nobody has written to lately."""
    os.utime(path, ns=(LONG_AGO_NS, LONG_AGO_NS))


def scan(folder: Path, before: FoundRuns | None = None) -> FoundRuns:
    """Read a folder, knowing what was known of it before."""
    return FolderScan(folder, before.known if before is not None else Known()).scan()


def notices_of(found: FoundRuns) -> list[str]:
    """Return what is said of each file, without the folder that it lies in."""
    return [f"{Path(notice.name).name} {notice.text}" for notice in found.notices]


def open_folder(folder: Path, *, now_ns: int = NOW_NS, **fields: Any) -> OfflineSource:
    """Return a source of a folder that remembers nothing."""
    return OfflineSource(folder, request_for(Path(), **fields), now_ns=now_ns)


def nodes_of(source: OfflineSource) -> dict[str, dict[str, Any]]:
    """Return the node of every run, by id."""
    return {node["name"]: node for node in list_nodes(source)}


def run_of(source: OfflineSource, run_id: str = "run") -> WandbRun:
    """Return one run as a snapshot holds it."""
    return normalize_run(nodes_of(source)[run_id], entity="entity", project="project")


def steps_of(source: OfflineSource, run_id: str = "run") -> list[int | None]:
    """Return the steps of the rows of a run, in order."""
    return [json.loads(line)["step"] for line in read_rows(source, list_all(source)[run_id])]


def days_later(days: float) -> dict[str, Any]:
    """Return the time of a sync that comes later."""
    now = datetime.fromisoformat(NOW) + timedelta(days=days)
    return {"now": now.isoformat(), "now_ns": NOW_NS + int(days * 86_400 * 10**9)}


def sync_folder(
    folder: Path,
    data_root: Path,
    *,
    now: str = NOW,
    now_ns: int = NOW_NS,
    progress: ProgressCallback = say_nothing,
    executor: Executor | None = None,
    **fields: Any,
) -> ExportSummary:
    """Do one sync of a folder, as the command does it; `fields` are those of ExportRequest."""
    request = request_for(data_root, **fields)

    def opened(request: ExportRequest, private: Path) -> OfflineSource:
        index = request.data_root / request.name / INDEX_FILE
        return OfflineSource(folder, request, index=index, keep=True, now_ns=now_ns)

    return export(opened, request, now=now, progress=progress, executor=executor)
