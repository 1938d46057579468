"""A session with W&B through its SDK, kept to itself.

The SDK writes outside of what one asks for: a folder for each run it builds, a cache of Parquet
files that it trusts by name, logs, telemetry. So it gets private folders before its service
starts; where wandb is already at work in this process, as in a notebook, its folders are left
alone and only explicit ones are used. Its own retries are cut short: they can hide a throttled
server for a quarter of an hour (20 tries, wandb 0.31.0).
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import wandb
from wandb.errors import AuthenticationError, CommError, UsageError
from wandb.sdk.lib.service.service_connection import WandbApiFailedError

from dr_wandb.core.failures import DrWandbError, Failure, KeyRefused, NoApiKey, Unreachable
from dr_wandb.shell.sources import SourceError

SDK_ERRORS = (CommError, UsageError, WandbApiFailedError, ValueError, TimeoutError, OSError)

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
        self._saved = dict(os.environ)
        self._own_service = _SERVICE not in os.environ
        if self._own_service:
            _make_private(private)
        self.host = _host()
        try:
            self._api = self._connect()
        except BaseException:
            self.close()
            raise

    def _connect(self) -> Any:
        try:
            if self._own_service:
                wandb.setup(settings=_settings(self._timeout))
            api = wandb.Api(timeout=self._timeout)
        except SDK_ERRORS as error:
            raise DrWandbError(explain(error, self.host)) from error
        self.host = urlsplit(str(api.settings["base_url"])).netloc or self.host
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
        """Stop the service that was started here, and give the process its environment back."""
        if not self._own_service:
            return
        self._own_service = False
        try:
            wandb.teardown()
        finally:
            for name in os.environ.keys() - self._saved.keys():
                del os.environ[name]
            os.environ.update(self._saved)


def _make_private(private: Path) -> None:
    """Point everything that the SDK writes into a private folder, and have it keep quiet."""
    folders = ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR")
    for name in folders:
        folder = private / name.lower()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(folder.resolve())
    os.environ["WANDB_SILENT"] = "true"
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")


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


def _host() -> str:
    """Return the host that the SDK will talk to, before it has been asked."""
    address = os.environ.get("WANDB_BASE_URL") or "W&B"
    return urlsplit(address).netloc or address


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
    text = text.partition(" while retrying: Post ")[0]
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
