"""A session with W&B through its SDK, kept to itself.

The SDK writes outside of what one asks for: a folder for each run it builds, a cache of Parquet
files that it trusts by name, logs, telemetry. So it gets private folders before its service
starts; where wandb is already at work in this process, as in a notebook, its folders are left
alone and only explicit ones are used. Its own retries are cut short: they can hide a throttled
server for a quarter of an hour (20 tries, wandb 0.31.0). What is sent takes its turn with the
session's pacer, which does the waiting and the trying again.
"""

import os
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from importlib import import_module
from pathlib import Path
from sys import getsizeof
from typing import Any, TypeVar

import wandb

from dr_wandb.core.contract.failures import DrWandbError, KeyRefused, Unreachable
from dr_wandb.core.contract.values import decode_json
from dr_wandb.core.sync.deadline import request_seconds
from dr_wandb.shell.ahead import begin
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.sources import SourceError
from dr_wandb.shell.sources.api.addresses import host_of
from dr_wandb.shell.sources.api.pacing import Pacer
from dr_wandb.shell.sources.api.queries import VIEWER
from dr_wandb.shell.sources.api.refusals import LOGS, RefusalWatch
from dr_wandb.shell.sources.api.sdk_errors import (
    SDK_ERRORS,
    Trouble,
    explain,
    is_refusal_of_key,
    nobody_there,
    trouble_of,
)
from dr_wandb.shell.sources.api.services import Services, handle_of
from dr_wandb.shell.sources.api.translation import TooMuchError, translate

T = TypeVar("T")

Smaller = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Gives the variables of the next try, after those of one whose answer may have been too large."""

_FOLDERS = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR")
_QUIET = ("WANDB_SILENT", "WANDB_ERROR_REPORTING")
_SERVICE = "WANDB_SERVICE"
"""Set by the SDK once its service runs, in this process or the one that started it."""

_RETRIES = 1
_RETRY_SECONDS = 1.0
"""The least that wandb-core takes: 0 means its defaults, 20 tries and 2 s; parts of a second are
cut off (wandb 0.29 and 0.31). So an error comes up after a second, or after `Retry-After`, which
`RefusalWatch` learns of before."""

TEARDOWN_SECONDS = 5.0
"""How long wandb-core may take to end. Interrupted in the middle of downloads it sometimes never
does, and the SDK waits for it (wandb 0.31.0)."""

OPENING_ATTEMPTS = 3
"""A wrong address is told within seconds."""


class ApiSession:
    """Raw GraphQL calls through `wandb.Api`, where its public methods are not faithful."""

    def __init__(
        self, private: Path, timeout_seconds: int, *, max_rate: float | None = None
    ) -> None:
        self.private = private
        self._timeout = timeout_seconds
        self._pacer = Pacer(max_rate=max_rate, timeout_seconds=timeout_seconds)
        self._service = _borrow_service(private, timeout_seconds)
        self.host = host_of(os.environ.get("WANDB_BASE_URL") or "W&B")
        self._services: Services | None = None
        self._watch: RefusalWatch | None = None
        try:
            self._watch = self._watch_refusals()
            self._api = self._connect()
        except BaseException:
            self.close()
            raise
        self._services = Services(self._api, lambda: self._pacer.send(self._open, attempts=1))

    def _watch_refusals(self) -> RefusalWatch | None:
        """Watch the log of wandb-core, if it was started here: another's is not known."""
        if self._service is None:
            return None
        return RefusalWatch(self._service.logs, self._pacer.refused_inside)

    def _connect(self) -> Any:
        try:
            api = self._pacer.send(self._open, attempts=OPENING_ATTEMPTS)
        except SourceError as error:
            raise DrWandbError(
                Unreachable(host=self.host, detail=str(error), answered=error.answered)
            ) from error
        self.host = host_of(str(api.settings["base_url"]))
        return api

    def _open(self) -> Any:
        """Open the SDK's session, which asks W&B who this is."""
        try:
            return wandb.Api(timeout=self._timeout)
        except SDK_ERRORS as error:
            if trouble_of(error) is not Trouble.FINAL and not nobody_there(error):
                raise translate(error) from error
            raise DrWandbError(explain(error, self.host)) from error

    def service(self) -> AbstractContextManager[Any]:
        """Give the SDK's handle to its service for one request."""
        assert self._services is not None
        return self._services.borrow()

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the API key in use, if it is one."""
        key = getattr(self._api, "api_key", None)
        return (str(key),) if key else ()

    @property
    def app_url(self) -> str:
        """Return the address of the web pages, with a slash at its end."""
        return str(handle_of(self._api).app_url)

    def viewer(self) -> tuple[str, tuple[str, ...]]:
        """Return the user that the key belongs to, and the entities that are the user's own.

        Raises SourceError.
        """
        viewer = self.query(VIEWER, {}).get("viewer") or {}
        edges = (viewer.get("teams") or {}).get("edges") or ()
        teams = (edge["node"]["name"] for edge in edges if edge and edge.get("node"))
        own = (viewer.get("username"), viewer.get("entity"), *teams)
        names = tuple(dict.fromkeys(str(name) for name in own if name))
        return (names[0] if names else "unknown"), names

    def send(self, request: Callable[[], T]) -> T:
        """Do something that asks W&B, when it is its turn, and again where that may help.

        request: raises what `translate` makes of an error of the SDK.
        """
        return self._pacer.send(request)

    def query(
        self, document: str, variables: Mapping[str, Any], smaller: Smaller | None = None
    ) -> dict[str, Any]:
        """Send one GraphQL query and return its `data`.

        Raises DrWandbError where the key is refused, SourceError for everything else.
        """
        asked = variables

        def request() -> dict[str, Any]:
            nonlocal asked
            try:
                return self._query(document, asked)[0]
            except TooMuchError:
                asked = asked if smaller is None else smaller(asked)
                raise

        return self.send(request)

    def measured(
        self, document: str, variables: Mapping[str, Any], attempts: int
    ) -> tuple[dict[str, Any], int]:
        """Send one GraphQL query, this often at most; return its `data`, and its bytes in memory.

        Raises as `query` does. What the last attempt raised is the cause of the SourceError.
        """
        return self._pacer.send(lambda: self._query(document, variables), attempts=attempts)

    def _query(self, document: str, variables: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        try:
            with self.service() as service:
                answer, size = service.execute_graphql(
                    document, variables, timeout=self._timeout, parse=_decode
                )
        except SDK_ERRORS as error:
            raise self.translate(error) from error
        if not isinstance(answer, dict):
            raise SourceError("W&B answered without data", answered=True)
        return answer, size

    def translate(self, error: BaseException) -> Exception:
        """Return what an error of the SDK is: one of the sync if the key is refused."""
        if is_refusal_of_key(error):
            return DrWandbError(KeyRefused(host=self.host))
        return translate(error)

    def close(self) -> None:
        """End all waits and give the service back; the last session of this process stops it."""
        self._pacer.close()
        if self._watch is not None:
            self._watch.close()
        if self._services is not None:
            self._services.close()
        service, self._service = self._service, None
        if service is not None:
            service.give_back()


class _Service:
    """The service that was started here, and the environment of the process before that."""

    def __init__(self, private: Path, timeout_seconds: int) -> None:
        self._saved = {name: os.environ.get(name) for name in (*_FOLDERS, *_QUIET, _SERVICE)}
        self.sessions = 0
        for name in _FOLDERS:
            folder = private / name.lower()
            folder.mkdir(parents=True, exist_ok=True)
            os.environ[name] = str(folder.resolve())
        self.logs = Path(os.environ["WANDB_CACHE_DIR"]) / LOGS
        os.environ["WANDB_SILENT"] = "true"
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        started = begin(lambda: wandb.setup(settings=_settings(timeout_seconds)))
        import_module("wandb.apis.public")  # takes as long as wandb-core, which is waited for idly
        started()

    def give_back(self) -> None:
        """Count one session less; stop the service and restore the environment after the last."""
        global _running
        with _service_lock:
            self.sessions -= 1
            if self.sessions:
                return
            _running = None
            try:
                _tear_down()
            finally:
                for name, value in self._saved.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value


def _tear_down() -> None:
    """Stop the service, and end wandb-core where it takes too long."""

    def work() -> None:
        try:
            wandb.teardown()
        except (Exception, SystemExit):  # it ends Python with the exit code of wandb-core
            LOGGER.debug("wandb-core did not end well", exc_info=True)

    core = _core()
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(TEARDOWN_SECONDS)
    if thread.is_alive() and core is not None:
        core.kill()
        thread.join(TEARDOWN_SECONDS)


def _core() -> Any:
    """Return the process of wandb-core, None where the SDK keeps it elsewhere than 0.29 to 0.31."""
    with suppress(AttributeError):
        return wandb.setup()._connection._proc._process
    return None


_service_lock = threading.Lock()
_running: _Service | None = None


def _borrow_service(private: Path, timeout_seconds: int) -> _Service | None:
    """Return the service of this process, started if need be; None where wandb runs already."""
    global _running
    with _service_lock:
        if _running is None:
            if _SERVICE in os.environ:
                return None
            _running = _Service(private, timeout_seconds)
        _running.sessions += 1
        return _running


def _settings(timeout_seconds: int) -> Any:
    return wandb.Settings(
        silent=True,
        x_graphql_retry_max=_RETRIES,
        x_graphql_retry_wait_min_seconds=_RETRY_SECONDS,
        x_graphql_retry_wait_max_seconds=_RETRY_SECONDS,
        x_graphql_timeout_seconds=request_seconds(timeout_seconds),
        x_file_transfer_retry_max=_RETRIES,
        x_file_transfer_retry_wait_min_seconds=_RETRY_SECONDS,
        x_file_transfer_retry_wait_max_seconds=_RETRY_SECONDS,
    )


def _decode(text: str) -> tuple[Any, int]:
    return decode_json(text, "W&B's answer"), getsizeof(text)
