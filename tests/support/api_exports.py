"""Exports of a project of the stand-in W&B server, synced in the process of the test."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec

from dr_wandb.core.contract.request import ExportMode, ExportRequest
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.shell.sources.api.source import ApiSource
from dr_wandb.shell.sync.engine import ExportEngine
from tests.support.command import beyond_listing
from tests.support.state_files import whole_state
from tests.support.syncing import json_lines

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from dr_wandb.core.sync.plan import SyncPlan
    from dr_wandb.core.sync.summary import ExportSummary
    from dr_wandb.shell.sources.api.session import ApiSession
    from tests.support.server import Project, StandInServer


@dataclass
class Shared:
    """One server and one SDK session for the tests of a module."""

    server: StandInServer
    session: ApiSession
    numbers: int = 0


@dataclass
class Exports:
    """Exports of one project, synced in this process."""

    shared: Shared
    project: Project
    data_root: Path
    per_page: int = 500
    workers: int = 8
    last: ExportSummary | None = None
    asked: Counter[str] = field(default_factory=Counter)
    listing_requests: int = 0
    _fresh: int = 0

    @property
    def server(self) -> StandInServer:
        """The server; shared by the tests of a module."""
        return self.shared.server

    def request(self, name: str = "n", **fields: Any) -> ExportRequest:
        """Return a request for this project, of its history unless told otherwise."""
        known = {"mode": ExportMode.HISTORY, "runs_per_page": self.per_page, **fields}
        return ExportRequest(
            entity=self.project.entity,
            project=self.project.name,
            name=name,
            data_root=self.data_root,
            **known,
        )

    def _engine(self, request: ExportRequest) -> ExportEngine:
        return ExportEngine(
            request,
            source=ApiSource(self.shared.session, request),
            clock=lambda: self.server.clock.now,
            workers=self.workers,
            wait=lambda attempts: None,
        )

    def sync(self, name: str = "n", **fields: Any) -> ExportSummary:
        """Sync an export and return the summary; `asked` are its requests beyond the listing."""
        before = len(self.server.requests)
        try:
            self.last = self._engine(self.request(name, **fields)).export()
        finally:
            sent = self.server.requests[before:]
            self.asked = beyond_listing(sent)
            self.listing_requests = sum(one.operation == "Runs" for one in sent)
        return self.last

    def warnings(self, caplog: pytest.LogCaptureFixture, **fields: Any) -> list[str]:
        """Sync an export and return what it warned of, each text once."""
        return [text for level, text in self._logged(caplog, fields) if level == logging.WARNING]

    def messages(self, caplog: pytest.LogCaptureFixture, **fields: Any) -> list[str]:
        """Sync an export and return its whole log, each text once."""
        return [text for _, text in self._logged(caplog, fields)]

    def _logged(
        self, caplog: pytest.LogCaptureFixture, fields: dict[str, Any]
    ) -> list[tuple[int, str]]:
        caplog.clear()
        logger = logging.getLogger("dr_wandb")
        level = logger.level
        logger.addHandler(caplog.handler)
        logger.setLevel(logging.INFO)
        try:
            self.sync(**fields)
        finally:
            logger.setLevel(level)
            logger.removeHandler(caplog.handler)
        return list(dict.fromkeys((one.levelno, one.getMessage()) for one in caplog.records))

    def plan(self, name: str = "n", **fields: Any) -> SyncPlan:
        """Return what a sync would do."""
        return self._engine(self.request(name, **fields)).plan()

    def folder(self, name: str = "n") -> Path:
        """Return the folder of an export."""
        return self.data_root / name

    def history(self, name: str = "n") -> bytes:
        """Return the bytes of `history.jsonl`."""
        return (self.folder(name) / "history.jsonl").read_bytes()

    def rows(self, run_id: str | None = None, name: str = "n") -> list[dict[str, Any]]:
        """Return the stored rows, all or of one run."""
        rows = json_lines(self.folder(name) / "history.jsonl")
        return [row for row in rows if run_id in (None, row["run_id"])]

    def steps(self, run_id: str, name: str = "n") -> list[int | None]:
        """Return the steps of the stored rows of a run."""
        return [row["step"] for row in self.rows(run_id, name)]

    def runs(self, name: str = "n") -> dict[str, dict[str, Any]]:
        """Return the stored runs by id."""
        snapshots = json_lines(self.folder(name) / "runs.jsonl")
        return {snapshot["run"]["run_id"]: snapshot["run"] for snapshot in snapshots}

    def snapshots(self, name: str = "n") -> list[dict[str, Any]]:
        """Return the stored runs in order, without the time of their export."""
        return [snapshot["run"] for snapshot in json_lines(self.folder(name) / "runs.jsonl")]

    def tracking(self, run_id: str, name: str = "n") -> dict[str, Any]:
        """Return what the state says of a run, with what it leaves out."""
        state = whole_state(self.folder(name))
        unsaid = msgspec.structs.asdict(RunTracking(run_id=run_id))
        return {**unsaid, **state["runs"][run_id]}

    def assert_converged(self, name: str = "n", **fields: Any) -> None:
        """Compare an export with what a full reconcile into an empty folder writes now."""
        self._fresh += 1
        fresh = f"fresh-{self._fresh}"
        summary = self.sync(fresh, **{**fields, "sync_mode": "full_reconcile"})
        assert summary.failures == ()
        assert self.history(name) == self.history(fresh)
        assert self.snapshots(name) == self.snapshots(fresh)
