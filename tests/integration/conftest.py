"""Drive `wandb-export` and the engine against the stand-in W&B server.

Guarantees
- `command` runs the real command in a process of its own, with a private environment: no variable
  of ours reaches it, and it makes its own folders for the SDK. About two seconds a call.
- `exports` runs the engine in this process, on one SDK session for each test module, for tests of
  many syncs. The clock is the server's.
- A test fails when the server was asked something that it does not know.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from dr_wandb.core.contract.request import ExportMode, ExportRequest
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.shell.sources.api.session import ApiSession
from dr_wandb.shell.sources.api.source import ApiSource
from dr_wandb.shell.sync.engine import ExportEngine
from tests.support.server import Project, Request, StandInServer
from tests.support.state_files import whole_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from dr_wandb.core.sync.plan import SyncPlan
    from dr_wandb.core.sync.summary import ExportSummary

LISTING = {"Viewer", "Runs"}
"""Operations that every sync sends: who am I, and which runs are there."""

PRIVATE = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR")
"""What a user has not set, so that the tool has to keep the SDK's files to itself."""

VISIBLE = {"manifest.json", "state.json", "runs.jsonl", "history.jsonl", "changes.jsonl"}


def tree(folder: Path) -> dict[str, bytes | None]:
    """Return everything below a folder: the content of files, None for folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def visible(folder: Path) -> dict[str, bytes]:
    """Return the visible files of an export by name."""
    return {
        path.name: path.read_bytes() for path in folder.iterdir() if not path.name.startswith(".")
    }


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a JSONL file, as any JSON reader reads them."""
    return [json.loads(line) for line in path.read_bytes().decode().split("\n")[:-1]]


def beyond_listing(requests: Iterable[Request]) -> Counter[str]:
    """Count the requests that a sync without news does not send, by operation."""
    return Counter(one.operation for one in requests if one.operation not in LISTING)


@dataclass(frozen=True)
class Outcome:
    """What one call of the command did."""

    code: int
    stdout: str
    stderr: str
    folder: Path
    requests: tuple[Request, ...]
    seconds: float

    @property
    def summary(self) -> dict[str, Any]:
        """The one JSON document on stdout."""
        document: dict[str, Any] = json.loads(self.stdout)
        return document

    @property
    def asked(self) -> Counter[str]:
        """The requests beyond the listing, by operation."""
        return beyond_listing(self.requests)

    def rows(self) -> list[dict[str, Any]]:
        """The lines of `history.jsonl`."""
        return lines_of(self.folder / "history.jsonl")

    def runs(self) -> list[dict[str, Any]]:
        """The lines of `runs.jsonl`."""
        return lines_of(self.folder / "runs.jsonl")


class Command:
    """`wandb-export`, in a place of its own: `home`, `temp` and `cwd` are folders for it alone."""

    def __init__(self, server: StandInServer, place: Path) -> None:
        self.server = server
        self.home, self.temp, self.cwd = place / "home", place / "temp", place / "cwd"
        for folder in (self.temp, self.cwd):
            folder.mkdir(parents=True)
        self.environment = self._environment()
        self.data_root = self.cwd / "data"

    def _environment(self) -> dict[str, str]:
        foreign = ("WANDB", "DR_WANDB", "XDG", "PYTHON")
        inherited = {
            name: text for name, text in os.environ.items() if not name.startswith(foreign)
        }
        own = self.server.environment(self.home)
        for name in (*PRIVATE, "WANDB_SILENT", "WANDB_ERROR_REPORTING"):
            del own[name]
        return {**inherited, **own, "TMPDIR": str(self.temp), "PYTHONDONTWRITEBYTECODE": "1"}

    def __call__(
        self, *arguments: str, env: Mapping[str, str] | None = None, timeout: float = 60
    ) -> Outcome:
        """Call the command with just these arguments."""
        before = len(self.server.requests)
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "dr_wandb", *arguments],
            env={**self.environment, **(env or {})},
            cwd=self.cwd,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=timeout,
            stdin=subprocess.DEVNULL,
        )
        name = arguments[arguments.index("--name") + 1] if "--name" in arguments else ""
        return Outcome(
            code=done.returncode,
            stdout=done.stdout,
            stderr=done.stderr,
            folder=self.data_root / name,
            requests=tuple(self.server.requests[before:]),
            seconds=time.monotonic() - started,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start the command with just these arguments, and do not wait for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "dr_wandb", *arguments],
            env=self.environment,
            cwd=self.cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def sync(self, *flags: str, name: str = "n", **more: Any) -> Outcome:
        """Export entity/project under a name."""
        return self("entity", "project", "--name", name, *flags, **more)

    def history(self, *flags: str, name: str = "n", **more: Any) -> Outcome:
        """Export entity/project with its history."""
        return self.sync("--mode", "history", *flags, name=name, **more)

    def left_behind(self) -> dict[str, bytes | None]:
        """Return all files and folders but those that a test has put there."""
        found = {f"temp/{name}": content for name, content in tree(self.temp).items()}
        found |= {f"cwd/{name}": content for name, content in tree(self.cwd).items()}
        found |= {
            f"home/{name}": content
            for name, content in tree(self.home).items()
            if content is not None
        }
        return found


@pytest.fixture
def server() -> Iterator[StandInServer]:
    """Yield a server of this test's own."""
    with StandInServer() as server:
        yield server
    assert server.unknown_operations == []
    assert server.errors == []


@pytest.fixture
def project(server: StandInServer) -> Project:
    """Return the project entity/project, still empty."""
    return server.add_project("entity", "project")


@pytest.fixture
def command(server: StandInServer, tmp_path: Path) -> Command:
    """Return the command, pointed at `server`."""
    return Command(server, tmp_path)


@dataclass
class Shared:
    """One server and one SDK session for the tests of a module."""

    server: StandInServer
    session: ApiSession
    numbers: int = 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Yield a session with the stand-in: wandb-core is one process and slow to start."""
    place = tmp_path_factory.mktemp("session")
    with StandInServer() as server, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("WANDB")]:
            patch.delenv(name)
        for name, text in server.environment(place / "home").items():
            if name not in PRIVATE:
                patch.setenv(name, text)
        session = ApiSession(place, timeout_seconds=20)
        try:
            yield Shared(server, session)
        finally:
            session.close()


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
        rows = lines_of(self.folder(name) / "history.jsonl")
        return [row for row in rows if run_id in (None, row["run_id"])]

    def steps(self, run_id: str, name: str = "n") -> list[int | None]:
        """Return the steps of the stored rows of a run."""
        return [row["step"] for row in self.rows(run_id, name)]

    def runs(self, name: str = "n") -> dict[str, dict[str, Any]]:
        """Return the stored runs by id."""
        snapshots = lines_of(self.folder(name) / "runs.jsonl")
        return {snapshot["run"]["run_id"]: snapshot["run"] for snapshot in snapshots}

    def snapshots(self, name: str = "n") -> list[dict[str, Any]]:
        """Return the stored runs in order, without the time of their export."""
        return [snapshot["run"] for snapshot in lines_of(self.folder(name) / "runs.jsonl")]

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


@pytest.fixture
def exports(shared: Shared, tmp_path: Path) -> Iterator[Exports]:
    """Yield a project of this test's own on the shared server, and the means to export it."""
    server = shared.server
    shared.numbers += 1
    server.clock.set("2026-01-01T00:00:00")
    server.clear_requests()
    project = server.add_project("entity", f"project-{shared.numbers}")
    yield Exports(shared, project, tmp_path / "data")
    server.faults.clear()
    server.before_page = None
    server.shuffle_parquet_urls = False
    server.ignores_aliases = False
    server.throttle(None)
    unknown, errors = list(server.unknown_operations), list(server.errors)
    server.unknown_operations.clear()
    server.errors.clear()
    server.delete_project(project)
    assert unknown == []
    assert errors == []
