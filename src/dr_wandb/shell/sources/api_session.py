"""A session with W&B through its SDK, kept to itself.

The SDK writes outside of what one asks for: a folder for each run it builds, a cache of Parquet
files that it trusts by name, logs, telemetry. So it gets private folders before its service
starts; where wandb is already at work in this process, as in a notebook, its folders are left
alone and only explicit ones are used. Its own retries are cut short: they can hide a throttled
server for a quarter of an hour (20 tries, wandb 0.31.0).
"""

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import wandb
from wandb.errors import AuthenticationError, CommError, UsageError
from wandb.sdk.lib.service.service_connection import WandbApiFailedError
from wandb.sdk.mailbox import MailboxClosedError

from dr_wandb.core.failures import DrWandbError, Failure, KeyRefused, NoApiKey, Unreachable
from dr_wandb.core.scrub import scrub_text
from dr_wandb.shell.sources import SourceError

SDK_ERRORS = (
    CommError,
    UsageError,
    WandbApiFailedError,
    MailboxClosedError,
    ValueError,
    TimeoutError,
    OSError,
)

_FOLDERS = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR")
_QUIET = ("WANDB_SILENT", "WANDB_ERROR_REPORTING")
_SERVICE = "WANDB_SERVICE"
"""Set by the SDK once its service runs, in this process or the one that started it."""

_RETRIES = 1
_WAIT_SECONDS = 2.0
_REQUEST_SECONDS = 30.0


class ApiSession:
    """One `wandb.Api`, and the raw GraphQL calls where its public methods are not faithful."""

    def __init__(self, private: Path, timeout_seconds: int) -> None:
        self.private = private
        self._timeout = timeout_seconds
        self._service = _borrow_service(private, timeout_seconds)
        self.host = _host_of(os.environ.get("WANDB_BASE_URL") or "W&B")
        try:
            self._api = self._connect()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> Any:
        try:
            api = wandb.Api(timeout=self._timeout)
        except SDK_ERRORS as error:
            raise DrWandbError(explain(error, self.host)) from error
        self.host = _host_of(str(api.settings["base_url"]))
        return api

    @property
    def service(self) -> Any:
        """Return the SDK's handle to its service. The same name in wandb 0.29 to 0.31."""
        return self._api._service_api

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the API key in use, if it is one."""
        key = getattr(self._api, "api_key", None)
        return (str(key),) if key else ()

    @property
    def app_url(self) -> str:
        """Return the address of the web pages, with a slash at its end."""
        return str(self.service.app_url)

    def query(self, document: str, variables: Mapping[str, Any]) -> dict[str, Any]:
        """Send one GraphQL query and return its `data`.

        Raises DrWandbError where the key is refused, SourceError for everything else.
        """
        try:
            answer = self.service.execute_graphql(document, variables, timeout=self._timeout)
        except SDK_ERRORS as error:
            if status_of(error) == 401:
                raise DrWandbError(KeyRefused(host=self.host)) from error
            raise SourceError(reason_of(error)) from error
        if not isinstance(answer, dict):
            raise SourceError("W&B answered without data")
        return answer

    def close(self) -> None:
        """Give the service back. The last of the sessions of this process stops it."""
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
        os.environ["WANDB_SILENT"] = "true"
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        wandb.setup(settings=_settings(timeout_seconds))

    def give_back(self) -> None:
        """Count one session less; stop the service and restore the environment after the last."""
        global _running
        with _service_lock:
            self.sessions -= 1
            if self.sessions:
                return
            _running = None
            try:
                wandb.teardown()
            finally:
                for name, value in self._saved.items():
                    if value is None:
                        os.environ.pop(name, None)
                    else:
                        os.environ[name] = value


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
    request_seconds = min(_REQUEST_SECONDS, float(timeout_seconds))
    return wandb.Settings(
        silent=True,
        x_graphql_retry_max=_RETRIES,
        x_graphql_retry_wait_min_seconds=1.0,
        x_graphql_retry_wait_max_seconds=_WAIT_SECONDS,
        x_graphql_timeout_seconds=request_seconds,
        x_file_transfer_retry_max=_RETRIES,
        x_file_transfer_retry_wait_min_seconds=1.0,
        x_file_transfer_retry_wait_max_seconds=_WAIT_SECONDS,
    )


def _host_of(address: str) -> str:
    """Return host and port of an address, without the user and password that it may have."""
    return urlsplit(address).netloc.rpartition("@")[2] or address


def status_of(error: BaseException) -> int:
    """Return the HTTP status behind an error of the SDK, 0 where there is none."""
    for cause in (error, error.__cause__):
        response = getattr(cause, "response", None)
        status = getattr(response, "http_status", 0)
        if isinstance(status, int) and status:
            return status
    return 0


def reason_of(error: BaseException) -> str:
    """Return what an error of the SDK says, on one line, without what wandb-core repeats."""
    text = " ".join(str(error).split()) or type(error).__name__
    gave_up = text.rfind("giving up after ")
    if gave_up >= 0:
        text = text[gave_up:]
    text = scrub_text(text.partition(" while retrying: Post ")[0])
    return text if len(text) <= 300 else f"{text[:297]}..."


def explain(error: BaseException, host: str) -> Failure:
    """Say which failure it is that kept a session from being opened (wandb 0.29 to 0.31).

    The SDK raises AuthenticationError for every reason, an unreachable host among them.
    """
    reason = reason_of(error)
    if isinstance(error, UsageError) and not isinstance(error, AuthenticationError):
        return NoApiKey(host=host)
    if status_of(error) in (401, 403):
        return KeyRefused(host=host)
    rejected_locally = isinstance(error, AuthenticationError) and error.__cause__ is None
    if rejected_locally:
        return KeyRefused(host=host, detail=reason)
    return Unreachable(host=host, detail=reason)
