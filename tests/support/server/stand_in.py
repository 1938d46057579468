"""The stand-in W&B server: the model, what was asked of it, and how it is told to misbehave."""

from __future__ import annotations

import hashlib
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from tests.support.server.faults import FaultSet, Request, Throttle
from tests.support.server.http import Handler
from tests.support.server.listener import Listener
from tests.support.server.model import Project
from tests.support.server.run_fields import METADATA_NAME, all_files
from tests.support.server.world import FakeClock, World

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

    from tests.support.server.run import Run

API_KEY = "5" * 40
EXPIRY_EPOCH_SECONDS = 1_900_000_000


@dataclass(frozen=True)
class Download:
    """What a signed URL leads to."""

    run: Run | None
    file_name: str
    content: bytes
    status: int = 200


class StandInServer:
    """A W&B backend on loopback, from entering the context until leaving it.

    before_page: called with the offset before each page of runs is cut, outside the lock.
    latency_seconds: wait before each answer. max_per_page: cap on runs in one page;
    max_records_per_page: on those of other connections; max_files_per_page: on files of a run.
    ignores_cursors: which always begin anew.
    ignores_aliases: answer a field that is asked for several times once, under its own name.
    shuffle_parquet_urls: list Parquet URLs in another order on each request.
    handler: answers the requests of one connection; subclasses may bring their own.
    """

    handler: type[Handler] = Handler

    def __init__(self) -> None:
        self.world = World()
        self.api_key = API_KEY
        self.default_entity = "entity"
        self.projects: list[Project] = []
        self.requests: list[Request] = []
        self.unknown_operations: list[str] = []
        self.errors: list[str] = []
        self.faults = FaultSet()
        self.latency_seconds = 0.0
        self.max_per_page = 1000
        self.max_records_per_page = 1000
        self.max_files_per_page = 1000
        self.shuffle_parquet_urls = False
        self.ignores_aliases = False
        self.ignores_cursors = False
        self.before_page: Callable[[int], None] | None = None
        self.stopping = threading.Event()
        self.limiter: Throttle | None = None
        self._downloads: dict[str, Download] = {}
        self._signed_count = 0
        self._started = time.monotonic()
        self._listener = Listener(self)

    def __enter__(self) -> Self:
        self._listener.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop answering: hanging requests end, open connections are closed."""
        self.stopping.set()
        self._listener.stop()

    @property
    def url(self) -> str:
        """The base URL, without a slash at the end."""
        return f"http://127.0.0.1:{self._listener.port}"

    @property
    def lock(self) -> threading.RLock:
        """Held while a request reads the model; hold it to change several things at once."""
        return self.world.lock

    @property
    def clock(self) -> FakeClock:
        """The time that heartbeats and new runs get."""
        return self.world.clock

    def environment(self, home: Path, **more: str) -> dict[str, str]:
        """Return variables that point the SDK at this server, with all its folders in `home`."""
        folders = {
            "HOME": home,
            "XDG_CACHE_HOME": home / "cache",
            "XDG_CONFIG_HOME": home / "config",
            "WANDB_DIR": home / "runs",
            "WANDB_CACHE_DIR": home / "wandb-cache",
            "WANDB_CONFIG_DIR": home / "wandb-config",
            "WANDB_DATA_DIR": home / "wandb-data",
            "WANDB_ARTIFACT_DIR": home / "artifacts",
        }
        for folder in folders.values():
            folder.mkdir(parents=True, exist_ok=True)
        return {
            **{name: str(folder) for name, folder in folders.items()},
            "NETRC": str(home / "netrc"),
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": self.api_key,
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_SILENT": "true",
            **more,
        }

    def add_project(self, entity: str, name: str) -> Project:
        """Create a project."""
        with self.lock:
            if self.find_project(entity, name):
                raise ValueError(f"project {entity}/{name} exists")
            project = Project(self.world, entity, name)
            self.projects.append(project)
            return project

    def delete_project(self, project: Project) -> None:
        """Remove a project with its runs."""
        with self.lock:
            self.projects.remove(project)

    def find_project(self, entity: str, name: str | None) -> Project | None:
        """Return the project of this name."""
        with self.lock:
            found = (one for one in self.projects if (one.entity, one.name) == (entity, name))
            return next(found, None)

    def record(self, request: Request) -> None:
        """Note a request on arrival."""
        request.at = time.monotonic() - self._started
        with self.lock:
            self.requests.append(request)

    def requests_of(self, operation: str) -> list[Request]:
        """Return the requests with this operation name, in order of arrival."""
        with self.lock:
            return [one for one in self.requests if one.operation == operation]

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        with self.lock:
            self.requests.clear()

    def throttle(
        self,
        requests_per_minute: float | None,
        *,
        window_seconds: float = 60.0,
        retry_after: bool = False,
    ) -> Throttle | None:
        """Limit GraphQL requests from now on; None lifts the limit."""
        limited = requests_per_minute is not None
        self.limiter = (
            Throttle(requests_per_minute or 0, window_seconds, retry_after) if limited else None
        )
        return self.limiter

    def sign_exports(self, run: Run) -> list[str]:
        """Return fresh URLs of a run's Parquet files."""
        urls = [self._sign(Download(run, one.name, one.content)) for one in run.exports]
        if self.shuffle_parquet_urls and len(urls) > 1:
            turn = self._signed_count // len(urls) % len(urls)
            urls = urls[turn:] + urls[:turn]
        return urls

    def sign_events(self, run: Run) -> list[tuple[str, str, int]]:
        """Return name, fresh URL and size of each file in the artifact of a run's samples."""
        return [
            (one.name, self._sign(Download(run, one.name, one.content)), len(one.content))
            for one in run.exported_events
        ]

    def sign_file(self, run: Run, name: str) -> str:
        """Return a fresh URL of one of a run's files."""
        status = run.metadata_status if name == METADATA_NAME else run.file_status.get(name, 200)
        return self._sign(Download(run, name, all_files(run)[name], status))

    def sign_content(self, name: str, content: bytes, status: int = 200) -> str:
        """Return a fresh URL of some content that is no run's."""
        return self._sign(Download(None, name, content, status))

    def _sign(self, download: Download) -> str:
        self._signed_count += 1
        owner = "" if download.run is None else download.run.storage_id
        secret = f"{owner}/{download.file_name}/{self._signed_count}"
        token = hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()[:24]
        self._downloads[token] = download
        query = f"Expires={EXPIRY_EPOCH_SECONDS}&Signature={token[::-1]}"
        name = quote(download.file_name, safe="", errors="surrogatepass")
        name = name if name.strip(".") else name.replace(".", "%2E")
        return f"{self.url}/files/{token}/{name}?{query}"

    def find_download(self, token: str) -> Download | None:
        """Return what a token leads to; None once it has expired."""
        with self.lock:
            return self._downloads.get(token)

    def expire_urls(self) -> None:
        """Let every URL handed out so far answer 403."""
        with self.lock:
            self._downloads.clear()
