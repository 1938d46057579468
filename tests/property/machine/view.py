"""What lies in the folder of an export at some moment."""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from dr_wandb.core.contract.export_files import STATE_FILE
from dr_wandb.core.contract.manifest import ExportManifest
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.shell.store.commit import RECORD_FILE, roll_forward
from dr_wandb.shell.store.documents import load_state
from tests.support import syncing
from tests.support.parquet_exports import lines_in

_MANIFEST = msgspec.json.Decoder(ExportManifest)


class View:
    """What lies in the folder of an export at some moment; there may be none.

    files: the visible files. history: its lines, whatever format they are in. snapshots, runs: by
    run id, with `exported_at` and without it. missing, outside: what the manifest says of runs,
    with the time that was first seen. tracked: what the next sync knows of each run.
    """

    def __init__(self, folder: Path) -> None:
        self.files = syncing.visible(folder)
        self.snapshots: dict[str, Any] = {
            snapshot["run"]["run_id"]: snapshot
            for snapshot in map(json.loads, syncing.lines(self.files, "runs.jsonl"))
        }
        self.runs = {run_id: snapshot["run"] for run_id, snapshot in self.snapshots.items()}
        in_lines = self.files.get("history.jsonl")
        self.history = lines_in(folder) if in_lines is None else in_lines
        self.rows = syncing.rows_of({"history.jsonl": self.history})
        content = self.files.get("manifest.json")
        self.manifest = None if content is None else _MANIFEST.decode(content)
        self.missing = {} if self.manifest is None else self.manifest.missing_runs
        self.outside = {} if self.manifest is None else self.manifest.out_of_scope_runs
        self.changes = syncing.lines(self.files, "changes.jsonl")
        read = load_state(folder / STATE_FILE)
        self.state = None if read is None else read.state
        self.tracked = dict(self.state.runs) if self.state is not None else {}
        if read is not None and read.lost:
            self.tracked = {run_id: self._rebuilt(run_id) for run_id in self.runs}

    def _rebuilt(self, run_id: str) -> RunTracking:
        """Return what is known of a run without the hidden files: that it is there, and marks."""
        return RunTracking(
            run_id=run_id,
            missing_since=self.missing.get(run_id),
            out_of_scope_since=self.outside.get(run_id),
        )

    @property
    def contents(self) -> dict[str, bytes]:
        """Return the files that a sync which finds nothing new leaves alone."""
        return contents_of(self.files)

    def of(self, run_id: str) -> tuple[Any, list[bytes]]:
        return self.runs.get(run_id), self.rows.get(run_id, [])


def contents_of(files: dict[str, bytes]) -> dict[str, bytes]:
    """Return the visible files of an export that a sync which finds nothing new leaves alone."""
    return {name: content for name, content in files.items() if name != STATE_FILE}


def view_at_start(folder: Path) -> View:
    """Return what the next sync builds on: it finishes a commit that was interrupted."""
    if not (folder / RECORD_FILE).exists():
        return View(folder)
    with TemporaryDirectory() as scratch:
        copy = Path(scratch) / "copy"
        shutil.copytree(folder, copy)
        roll_forward(copy)
        return View(copy)
