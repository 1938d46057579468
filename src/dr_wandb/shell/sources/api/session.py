"""A session with W&B through its SDK, in folders of its own.

The SDK writes files that nobody asked for: a folder for each run it builds, a cache of Parquet
files that it trusts by name, logs, telemetry. So it gets private folders before its service starts.
If wandb is already at work in this process, as in a notebook, its folders are not changed and only
explicit ones are used. Its own retries are cut short: they can hide a throttled server for a
quarter of an hour (20 tries, wandb 0.31.0). Each request takes its turn with the session's pacer,
which does the waiting and the retries.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from sys import getsizeof
from typing import Any, TypeVar

import wandb

from dr_wandb.core.contract.failures import DrWandbError, KeyRefused, Unreachable
from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.contract.values import decode_json
from dr_wandb.core.contract.wording import size_in_words
from dr_wandb.shell.progress import LOGGER
from dr_wandb.shell.sources import WORKERS, SourceError
from dr_wandb.shell.sources.api.addresses import host_of, server_of
from dr_wandb.shell.sources.api.pacing import Pacer
from dr_wandb.shell.sources.api.queries import VIEWER
from dr_wandb.shell.sources.api.refusals import RefusalWatch
from dr_wandb.shell.sources.api.sdk_errors import (
    SDK_ERRORS,
    Trouble,
    explain,
    is_refusal_of_key,
    nobody_there,
    trouble_of,
)
from dr_wandb.shell.sources.api.sdk_handles import SdkHandles, handle_of
from dr_wandb.shell.sources.api.translation import TooMuchError, translate
from dr_wandb.shell.sources.api.wandb_core import borrow_service

T = TypeVar("T")

Smaller = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""Returns the variables of the next try, given those whose answer may have been too large."""

OPENING_ATTEMPTS = 3
"""Few enough to report a wrong address within seconds."""

EVERYBODY = 10_000
"""More threads than may wait to send: each one goes on to the pacer, which ends its wait."""


class ApiSession:
    """Raw GraphQL calls through `wandb.Api`, whose public methods lose data."""

    def __init__(
        self, private: Path, timeout_seconds: int, *, max_rate: float | None = None
    ) -> None:
        self.private = private
        self._timeout = timeout_seconds
        self._pacer = Pacer(max_rate=max_rate, timeout_seconds=timeout_seconds)
        self._storages = Pacer(timeout_seconds=timeout_seconds)
        self._slots = threading.Semaphore(WORKERS)
        self._service = borrow_service(private, timeout_seconds)
        self.host = host_of(os.environ.get("WANDB_BASE_URL") or "W&B")
        self.server = ""
        self._handles: SdkHandles | None = None
        self._watch: RefusalWatch | None = None
        try:
            self._watch = self._watch_refusals()
            self._api = self._connect()
        except BaseException:
            self.close()
            raise
        self._handles = SdkHandles(self._api, lambda: self._pacer.send(self._open, attempts=1))

    def _watch_refusals(self) -> RefusalWatch | None:
        """Watch the log of wandb-core if it was started here: the path of another is not known."""
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
        self.server = server_of(str(api.settings["base_url"]))
        return api

    def _open(self) -> Any:
        """Open the SDK's session, which asks W&B for the user of the key."""
        try:
            return wandb.Api(timeout=self._timeout)
        except SDK_ERRORS as error:
            if trouble_of(error) is not Trouble.FINAL and not nobody_there(error):
                raise translate(error) from error
            raise DrWandbError(explain(error, self.host)) from error

    def service(self) -> AbstractContextManager[Any]:
        """Return a context with the SDK's handle to its service, for one request."""
        assert self._handles is not None
        return self._handles.borrow()

    def expect_requests(self, count: int) -> None:
        """Get ready for at least this number of requests, many at a time."""
        assert self._handles is not None
        self._handles.expect(count)

    @property
    def requests(self) -> int:
        """Return how many requests were sent so far, each further attempt counted too."""
        return self._pacer.requests

    @property
    def secrets(self) -> tuple[str, ...]:
        """Return the API key in use, if there is one."""
        key = getattr(self._api, "api_key", None)
        return (str(key),) if key else ()

    @property
    def proxies(self) -> dict[str, str]:
        """Return the proxies in the SDK's settings, by scheme: `WANDB_HTTPS_PROXY`, for example.

        Its service goes through them, whatever `NO_PROXY` says (wandb 0.31.0).
        """
        settings = wandb.setup().settings
        found = {scheme: getattr(settings, f"{scheme}_proxy", None) for scheme in ("http", "https")}
        return {scheme: str(proxy) for scheme, proxy in found.items() if proxy}

    @property
    def app_url(self) -> str:
        """Return the address of the web pages, with a slash at its end."""
        return str(handle_of(self._api).app_url)

    def viewer(self) -> tuple[str, tuple[str, ...]]:
        """Return the user that the key belongs to, and the entities of this user.

        Raises SourceError.
        """
        viewer = self.query(VIEWER, {}).get("viewer") or {}
        edges = (viewer.get("teams") or {}).get("edges") or ()
        teams = (edge["node"]["name"] for edge in edges if edge and edge.get("node"))
        own = (viewer.get("username"), viewer.get("entity"), *teams)
        names = tuple(dict.fromkeys(str(name) for name in own if name))
        return (names[0] if names else "unknown"), names

    def send(self, request: Callable[[], T]) -> T:
        """Send a request to W&B when it is its turn, and again if that may help.

        At most `WORKERS` threads send at a time. request: raises the SDK's errors as translated by
        `translate`.
        """
        with self._slots:
            return self._pacer.send(request)

    def send_beside(self, request: Callable[[], T], *, elsewhere: bool) -> T:
        """Send a request that does not go through wandb-core, which takes a few at a time.

        It takes its turn with all others. elsewhere: to another host than W&B's.
        """
        if elsewhere:
            return self._storages.send_among(self._pacer, request)
        return self._pacer.send(request)

    def query(
        self, document: str, variables: Mapping[str, Any], smaller: Smaller | None = None
    ) -> dict[str, Any]:
        """Send one GraphQL query and return its `data`.

        Raises DrWandbError if the key is refused, SourceError for everything else.
        """
        return self.send(self.attempt(document, variables, smaller))

    def attempt(
        self, document: str, variables: Mapping[str, Any], smaller: Smaller | None = None
    ) -> Callable[[], dict[str, Any]]:
        """Return a function for `send` that sends a query, and a smaller one after a failure."""
        asked = variables

        def request() -> dict[str, Any]:
            nonlocal asked
            try:
                return self._query(document, asked)[0]
            except TooMuchError:
                asked = asked if smaller is None else smaller(asked)
                raise

        return request

    def measured(
        self, document: str, variables: Mapping[str, Any], attempts: int
    ) -> tuple[dict[str, Any], int]:
        """Send one GraphQL query, at most `attempts` times; return its `data` and size in memory.

        Raises as `query` does. The error of the last attempt is the cause of the SourceError.
        """
        return self._pacer.send(lambda: self._query(document, variables), attempts=attempts)

    def _query(self, document: str, variables: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        began = time.monotonic()
        try:
            with self.service() as service:
                answer, size = service.execute_graphql(
                    document, variables, timeout=self._timeout, parse=_decode
                )
        except SDK_ERRORS as error:
            raise self.translate(error) from error
        if LOGGER.isEnabledFor(logging.DEBUG):
            took = (time.monotonic() - began) * 1000
            LOGGER.debug("request %s: %.0f ms, %s", _name(document), took, size_in_words(size))
        if not isinstance(answer, dict):
            reason, kind = "W&B answered without data", RunFailureKind.UNUSABLE_ANSWER
            raise SourceError(reason, kind, answered=True)
        return answer, size

    def translate(self, error: BaseException) -> Exception:
        """Return the error for one of the SDK: a DrWandbError if the key is refused."""
        if is_refusal_of_key(error):
            return DrWandbError(KeyRefused(host=self.host))
        return translate(error)

    def close(self) -> None:
        """End all waits and return the service; the last session of this process stops it."""
        self._pacer.close()
        self._storages.close()
        self._slots.release(EVERYBODY)
        if self._watch is not None:
            self._watch.close()
        if self._handles is not None:
            self._handles.close()
        service, self._service = self._service, None
        if service is not None:
            service.give_back()


def _name(document: str) -> str:
    """Return the name of the operation in a GraphQL document."""
    named = _OPERATION.search(document)
    return named[1] if named else "without a name"


_OPERATION = re.compile(r"query\s+(\w+)")


def _decode(text: str) -> tuple[Any, int]:
    return decode_json(text, "W&B's answer"), getsizeof(text)
