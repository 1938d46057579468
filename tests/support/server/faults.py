"""Faults that tests script, and the rate limit.

Guarantees:
- a fault acts on the requests that match it, `times` times (None: always), after letting the
  first `after` of them pass;
- of several faults that match one request, the oldest that is still active acts, alone;
- a request for several runs is matched run by run: what replaces the answer acts on all of it,
  anything else on that run alone;
- Hang and Trickle end early when the server stops.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Request:
    """One request the server received, as tests see it.

    operation: GraphQL operation name, "download" for files, else "METHOD /path".
    status: HTTP status answered; 0 while in work and when the connection was dropped.
    at: seconds since the server started. bytes_sent: length of the body that was sent.
    parts: if the document asks for several runs, what it asks of each. Faults see a part as if it
    were a request; `path` leads to it in the answer, and `together` counts the runs asked for.
    part_actions: what acts on single parts, by their path. has_key: an API key came with it.
    """

    operation: str
    variables: dict[str, Any] = field(default_factory=dict)
    path: str = ""
    status: int = 0
    at: float = 0.0
    run_id: str | None = None
    method: str = "POST"
    byte_range: str | None = None
    document: str = ""
    bytes_sent: int = 0
    parts: tuple[Request, ...] = ()
    together: int = 1
    part_actions: dict[str, Action] = field(default_factory=dict)
    has_key: bool = False

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs that the request asks for."""
        found = (self, *self.parts)
        return tuple(one.run_id for one in found if one.run_id is not None)


@dataclass(frozen=True)
class Status:
    """Answer with an HTTP status instead of doing the work."""

    code: int
    retry_after: str | int | None = None
    body: str | None = None
    rate_limit_reset: float | None = None


@dataclass(frozen=True)
class Drop:
    """Close the connection without an answer."""


@dataclass(frozen=True)
class GraphQLErrors:
    """Answer 200 with GraphQL errors."""

    messages: tuple[str, ...] | list[str]
    data: Any = None


@dataclass(frozen=True)
class Hang:
    """Wait, then answer as usual; when the server stops, the connection is closed."""

    seconds: float = 3600.0


@dataclass(frozen=True)
class Truncate:
    """Send only the beginning of the body.

    complete=False: the full length is declared and the connection closed early.
    complete=True: the short body is declared as if it were everything.
    measured=False: no length is declared, and the connection is closed at the end of the body.
    """

    fraction: float = 0.5
    complete: bool = False
    measured: bool = True


@dataclass(frozen=True)
class Replace:
    """Send another body."""

    body: bytes


@dataclass(frozen=True)
class Redirect:
    """Answer that the content is at another address."""

    location: str
    code: int = 302


@dataclass(frozen=True)
class NullField:
    """Answer null for every field of this name."""

    name: str


@dataclass(frozen=True)
class EmptyRows:
    """Answer no history rows: neither live ones nor files."""


@dataclass(frozen=True)
class Trickle:
    """Answer with a byte now and then, for ever; `ended` is set once nobody reads them."""

    seconds: float = 0.005
    ended: threading.Event = field(default_factory=threading.Event, compare=False)


Action = (
    Status
    | Drop
    | GraphQLErrors
    | Hang
    | Truncate
    | NullField
    | EmptyRows
    | Trickle
    | Replace
    | Redirect
)
WHOLE = (Status, Drop, Hang, Truncate, Trickle, Replace, Redirect)
"""Actions that replace an answer or delay it: they act on all that was asked."""

Match = str | Callable[[Request], bool]


@dataclass
class Fault:
    """One scripted fault; `hits` counts how often it acted."""

    match: Match
    action: Action
    times: int | None = 1
    after: int = 0
    hits: int = 0
    passed: int = 0

    def takes(self, request: Request) -> bool:
        """Tell whether the fault acts on this request, and count it."""
        if self.times is not None and self.hits >= self.times:
            return False
        if callable(self.match):
            matched = self.match(request)
        else:
            matched = self.match in ("*", request.operation)
        if not matched:
            return False
        if self.passed < self.after:
            self.passed += 1
            return False
        self.hits += 1
        return True


class FaultSet:
    """The faults of one server, oldest first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []

    def add(self, match: Match, action: Action, times: int | None = 1, after: int = 0) -> Fault:
        """Add a fault. match: an operation name, "download", "*", or a test of the request."""
        fault = Fault(match, action, times, after)
        with self._lock:
            self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Take a fault back."""
        with self._lock:
            self._faults.remove(fault)

    def clear(self) -> None:
        """Take all faults back."""
        with self._lock:
            self._faults.clear()

    def take(self, request: Request) -> Action | None:
        """Return the action for this request, if any fault acts on it."""
        with self._lock:
            for fault in self._faults:
                if fault.takes(request):
                    return fault.action
        return None

    def take_all(self, request: Request) -> Action | None:
        """Return the action for a request; those for its parts are left in `part_actions`."""
        if not request.parts:
            return self.take(request)
        for part in request.parts:
            action = self.take(part)
            if isinstance(action, WHOLE):
                request.part_actions.clear()
                return action
            if action is not None:
                request.part_actions[part.path] = action
        return None


class Throttle:
    """A fixed-window rate limit on GraphQL requests, answered as W&B documents it.

    429 with RateLimit-Limit and RateLimit-Remaining scaled to 0-1000 and RateLimit-Reset in
    seconds; Retry-After only if asked for. Windows are real time, as clients wait in real time.
    """

    def __init__(
        self, requests_per_minute: float, window_seconds: float, retry_after: bool
    ) -> None:
        self.allowed = max(1, round(requests_per_minute * window_seconds / 60))
        self.window_seconds = window_seconds
        self.retry_after = retry_after
        self.refused = 0
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._used = 0

    def admit(self) -> tuple[bool, dict[str, str]]:
        """Count one request; return whether it may pass, and the headers to send."""
        with self._lock:
            now = time.monotonic()
            if now - self._started >= self.window_seconds:
                self._started, self._used = now, 0
            admitted = self._used < self.allowed
            self._used += admitted
            self.refused += not admitted
            reset = max(self.window_seconds - (now - self._started), 0.0)
            headers = {
                "RateLimit-Limit": "1000",
                "RateLimit-Remaining": str(1000 * (self.allowed - self._used) // self.allowed),
                "RateLimit-Reset": str(max(1, -int(-reset // 1))),
            }
            if self.retry_after and not admitted:
                headers["Retry-After"] = headers["RateLimit-Reset"]
            return admitted, headers


def status_body(action: Status, download: bool) -> tuple[str, str]:
    """Return body and content type of a Status answer: XML for storage, else JSON."""
    if download:
        code = {403: "AccessDenied", 404: "NoSuchKey"}.get(action.code, "InternalError")
        text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code></Error>'
        return (text if action.body is None else action.body), "application/xml"
    text = json.dumps({"errors": [{"message": f"scripted answer {action.code}"}]})
    return (text if action.body is None else action.body), "application/json"
