"""Sync an in-memory project into a folder, and look at what lies there afterwards."""

import json
import os
import pickle
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from dr_wandb import ExportEngine, ExportRequest, ExportSummary
from dr_wandb.core.contract.selection import HistorySelection, HistoryWindow
from dr_wandb.core.sync.next_evidence import SHORT_SYNCS
from dr_wandb.shell.sources import Source
from dr_wandb.shell.sources.opening import SourceOpener
from tests.support.memory_source import MemorySource

NAME = "export"
DATA_FILES = ("runs.jsonl", "history.jsonl")
ALWAYS_THERE = {"manifest.json", "state.json", "runs.jsonl"}
SOMETIMES_THERE = {
    "history.jsonl",
    "system.jsonl",
    "console.jsonl",
    "files.jsonl",
    "artifacts.jsonl",
    "sweeps.jsonl",
    "reports.jsonl",
    "changes.jsonl",
}


def do_not_wait(attempts: int) -> None:
    """Pause for no time before a further attempt."""


def select(
    *keys: str,
    min_step: int | None = None,
    max_step: int | None = None,
    max_records: int | None = None,
) -> HistorySelection:
    """Return a selection of history."""
    window = HistoryWindow(min_step=min_step, max_step=max_step, max_records=max_records)
    return HistorySelection(keys=keys or None, window=window)


def request_for(data_root: Path, **fields: Any) -> ExportRequest:
    """Return a request for the in-memory project; `fields` are those of ExportRequest."""
    fields = {"entity": "entity", "project": "project", "name": NAME, "mode": "history"} | fields
    return ExportRequest(data_root=data_root, **fields)


def export(
    source: Source | SourceOpener,
    request: ExportRequest,
    *,
    now: str,
    workers: int = 2,
    **options: Any,
) -> ExportSummary:
    """Do one sync at the time `now`."""
    clock = datetime.fromisoformat(now)
    return ExportEngine(
        request, source=source, clock=lambda: clock, wait=do_not_wait, workers=workers, **options
    ).export()


def sync(source: MemorySource, data_root: Path, **fields: Any) -> ExportSummary:
    """Do one sync of an in-memory project, at its own time."""
    return export(source, request_for(data_root, **fields), now=source.now)


def twin(source: MemorySource) -> MemorySource:
    """Return another source of the same project as it is now, without faults."""
    other = source.without_runs()
    other.kind = source.kind
    for name in ("records", "collections", "links", "beside"):
        setattr(other, name, pickle.loads(pickle.dumps(getattr(source, name))))
    other.runs = pickle.loads(pickle.dumps(source.runs))  # in a third of the time of deepcopy
    return other


@contextmanager
def fresh_export(source: MemorySource, **fields: Any) -> Iterator[Path]:
    """Give the folder of a full reconcile of the project as it is now, into an empty folder.

    Where W&B's count is higher than the rows there are, it takes as many syncs as the rule for
    short histories asks for.
    """
    with TemporaryDirectory() as folder:
        other, data_root = twin(source), Path(folder)
        for _ in range(SHORT_SYNCS):
            summary = sync(other, data_root, **fields | {"sync_mode": "full_reconcile"})
            if summary.complete:
                break
        yield data_root / NAME


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return everything below a folder: the content of files, None for folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def files_below(folder: Path) -> dict[str, bytes]:
    """Return the content of each file below a folder."""
    return {name: content for name, content in tree(folder).items() if content is not None}


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a JSONL file, as any JSON reader reads them."""
    return [json.loads(line) for line in path.read_bytes().decode().split("\n")[:-1]]


def visible(folder: Path) -> dict[str, bytes]:
    """Return the content of every file that is not hidden, by its path; there may be no folder."""
    if not folder.exists():
        return {}
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    files = (file for path in paths for file in ([path] if path.is_file() else path.rglob("*")))
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(files)
        if file.is_file()
    }


def without_source(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the files of an export, without the name of its source, a path, in the manifest."""
    if "manifest.json" not in files:
        return files
    manifest, source = files["manifest.json"], re.compile(rb'"source": "\w+(:[^"]*)?"')
    assert source.search(manifest)
    return {**files, "manifest.json": source.sub(b'"source": "SOURCE"', manifest)}


def hidden(folder: Path) -> set[str]:
    """Return the names of the hidden files and folders."""
    return {path.name for path in folder.iterdir() if path.name.startswith(".")}


def data_of(folder: Path) -> dict[str, Any]:
    """Return what the laws compare: the runs without `exported_at`, and the bytes of the rows."""
    files = visible(folder)
    runs = [json.loads(line)["run"] for line in lines(files, "runs.jsonl")]
    return {"runs": runs, "history": files.get("history.jsonl")}


def lines(files: dict[str, bytes], name: str) -> list[bytes]:
    """Return the lines of a data file, none where it is absent."""
    content = files.get(name, b"")
    assert not content or content.endswith(b"\n")
    return [line + b"\n" for line in content.split(b"\n")[:-1]]


def runs_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the snapshot of each run, without `exported_at`."""
    return {run["run_id"]: run for run in data_of(folder)["runs"]}


def rows_in(folder: Path) -> dict[str, list[bytes]]:
    """Return the stored lines of each run."""
    return rows_of(visible(folder))


def rows_of(files: dict[str, bytes]) -> dict[str, list[bytes]]:
    """Return the lines of each run in the files of an export."""
    rows: dict[str, list[bytes]] = {}
    for line in lines(files, "history.jsonl"):
        rows.setdefault(json.loads(line)["run_id"], []).append(line)
    return rows


@contextmanager
def without_fsync() -> Iterator[None]:
    """Let nothing wait for the disk: what survives a power cut is not what the test is about."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
