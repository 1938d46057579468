"""Answer single HTTP requests for the stand-in server."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import time
import traceback
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tests.support.server.document import GraphQLSyntaxError, Operation
from tests.support.server.faults import (
    Action,
    Drop,
    GraphQLErrors,
    Hang,
    Redirect,
    Replace,
    Request,
    Status,
    Trickle,
    Truncate,
    status_body,
)
from tests.support.server.filters import FilterError, ServerFailureError
from tests.support.server.graphql import parse
from tests.support.server.nodes import UnknownFieldError, encode
from tests.support.server.resolve import execute, parts_of, runs_offset

if TYPE_CHECKING:
    from tests.support.server.listener import Server


ENDLESS_BYTES = 1 << 40
ALIAS = re.compile(r"\b\w+: (?=\w+\(name: \$)")
"""Those of fields that are looked up by a name."""


class _DroppedError(Exception):
    """The connection is to be closed without an answer."""


class _AnsweredError(Exception):
    """A fault has answered already."""


class Handler(BaseHTTPRequestHandler):
    """Serves one connection; what it answers comes from the owner of its server."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    server: Server

    def log_message(self, *arguments: Any) -> None:
        """Stay quiet: tests read `StandInServer.requests`."""

    def do_GET(self) -> None:
        """Serve files by signed URL."""
        self._guarded(self._download)

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        """Serve GraphQL."""
        self._guarded(self._graphql)

    def do_PUT(self) -> None:
        """Refuse uploads."""
        self._guarded(self._refuse)

    def _guarded(self, serve: Any) -> None:
        try:
            serve()
            self.wfile.flush()
        except _AnsweredError:
            self.wfile.flush()
        except (_DroppedError, ConnectionError):
            self._close()
        except Exception:
            self.server.owner.errors.append(traceback.format_exc())
            self._close()

    def _close(self) -> None:
        self.close_connection = True
        self.wfile = io.BytesIO()
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _refuse(self) -> None:
        owner = self.server.owner
        request = Request(f"{self.command} {self.path}", path=self.path, method=self.command)
        owner.record(request)
        owner.unknown_operations.append(request.operation)
        self._send(request, 404, b"", close=True)

    def _graphql(self) -> None:
        owner = self.server.owner
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if urlsplit(self.path).path != "/graphql":
            self._refuse()
            return
        request, operation = self._read(body)
        owner.record(request)
        if operation is None:
            owner.unknown_operations.append(request.operation)
            self._send_errors(request, 400, [request.operation])
            return
        action = self._before(request)
        if not self._authorized():
            self._send_errors(request, 401, ["user is not logged in"])
            return
        headers: dict[str, str] = {}
        if owner.limiter is not None:
            admitted, headers = owner.limiter.admit()
            if not admitted:
                self._send_errors(request, 429, ["rate limit exceeded"], headers)
                return
        if isinstance(action, GraphQLErrors):
            answer = {"errors": [{"message": one} for one in action.messages], "data": action.data}
            self._send(request, 200, encode(answer).encode(), headers=headers)
            return
        try:
            data = self._execute(operation, request, action)
        except (UnknownFieldError, GraphQLSyntaxError, FilterError) as error:
            owner.unknown_operations.append(f"{request.operation}: {error}")
            self._send_errors(request, 400, [str(error)], headers)
            return
        except ServerFailureError as error:
            self._send_errors(request, 500, [str(error)], headers)
            return
        self._send(request, 200, data, headers=headers, action=action)

    def _read(self, body: bytes) -> tuple[Request, Operation | None]:
        try:
            sent = json.loads(body)
            if self.server.owner.ignores_aliases:
                sent["query"] = ALIAS.sub("", sent["query"])
            operation = parse(sent["query"], sent.get("operationName") or "")
        except (ValueError, KeyError, TypeError, GraphQLSyntaxError) as error:
            return Request(f"unreadable: {error}", path=self.path), None
        variables = sent.get("variables") or {}
        run_id = variables.get("runName") or variables.get("run") or variables.get("name")
        request = Request(operation.name or "anonymous", variables, self.path, run_id=run_id)
        request.document = sent["query"]
        request.parts = parts_of(operation, variables)
        return request, operation

    def _authorized(self) -> bool:
        expected = base64.b64encode(f"api:{self.server.owner.api_key}".encode()).decode()
        return self.headers.get("Authorization") == f"Basic {expected}"

    def _execute(self, operation: Operation, request: Request, action: Action | None) -> bytes:
        owner = self.server.owner
        offset = runs_offset(operation, request.variables)
        if offset is not None and owner.before_page is not None:
            owner.before_page(offset)
        with owner.lock:
            answer = execute(owner, operation, request.variables, action, request.part_actions)
        return encode(answer).encode()

    def _before(self, request: Request) -> Action | None:
        """Wait as told, and act out the faults that replace the answer."""
        owner = self.server.owner
        action = owner.faults.take_all(request)
        if owner.latency_seconds:
            time.sleep(owner.latency_seconds)
        if isinstance(action, Hang):
            owner.stopping.wait(action.seconds)
            if owner.stopping.is_set():
                raise _DroppedError
        if isinstance(action, Drop):
            raise _DroppedError
        if isinstance(action, Status):
            body, kind = status_body(action, request.operation == "download")
            headers = {"Content-Type": kind}
            if action.retry_after is not None:
                headers["Retry-After"] = str(action.retry_after)
            if action.rate_limit_reset is not None:
                headers["RateLimit-Limit"], headers["RateLimit-Remaining"] = "1000", "0"
                headers["RateLimit-Reset"] = str(action.rate_limit_reset)
            self._send(request, action.code, body.encode(), headers=headers)
            raise _AnsweredError
        return action

    def _download(self) -> None:
        owner = self.server.owner
        parts = urlsplit(self.path).path.split("/")
        if len(parts) != 4 or parts[1] != "files":
            self._refuse()
            return
        found = owner.find_download(parts[2])
        request = Request("download", path=self.path, method=self.command)
        request.run_id = found.run.run_id if found and found.run else None
        request.variables = {"file_name": unquote(parts[3], errors="surrogatepass")}
        request.byte_range = self.headers.get("Range")
        request.has_key = "Authorization" in self.headers
        owner.record(request)
        action = self._before(request)
        if isinstance(action, Redirect):
            self._send(request, action.code, b"", headers={"Location": action.location})
            return
        if found is None or found.status != 200:
            refused = Status(403 if found is None else found.status)
            body, kind = status_body(refused, download=True)
            headers = {"Content-Type": kind}
            self._send(request, refused.code, body.encode(), headers=headers)
            return
        self._send_file(request, found.content, action)

    def _send_file(self, request: Request, content: bytes, action: Action | None) -> None:
        headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        asked = (request.byte_range or "").removeprefix("bytes=")
        if not asked:
            self._send(request, 200, content, headers=headers, action=action)
            return
        first, _, last = asked.partition("-")
        start = int(first) if first else max(len(content) - int(last), 0)
        end = min(int(last) + 1, len(content)) if first and last else len(content)
        if start >= len(content):
            headers["Content-Range"] = f"bytes */{len(content)}"
            self._send(request, 416, b"", headers=headers)
            return
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        self._send(request, 206, content[start:end], headers=headers, action=action)

    def _trickle(self, action: Trickle) -> None:
        stopping = self.server.owner.stopping
        try:
            while not stopping.wait(action.seconds):
                self.wfile.write(b" ")
                self.wfile.flush()
        finally:
            action.ended.set()

    def _send_errors(
        self,
        request: Request,
        status: int,
        messages: list[str],
        headers: dict[str, str] | None = None,
    ) -> None:
        body = encode({"errors": [{"message": one} for one in messages]}).encode()
        self._send(request, status, body, headers=headers)

    def _send(
        self,
        request: Request,
        status: int,
        body: bytes,
        *,
        headers: dict[str, str] | None = None,
        action: Action | None = None,
        close: bool = False,
    ) -> None:
        declared = len(body)
        if isinstance(action, Trickle):
            body, declared = b"", ENDLESS_BYTES
        if isinstance(action, Replace):
            body, declared = action.body, len(action.body)
        if isinstance(action, Truncate):
            body = body[: int(len(body) * action.fraction)]
            declared = len(body) if action.complete or not action.measured else declared
        unmeasured = isinstance(action, Truncate) and not action.measured
        request.status, request.bytes_sent = status, len(body)
        self.send_response(status)
        known = {"Content-Type": "application/json", **(headers or {})}
        for name, value in known.items():
            self.send_header(name, value)
        if not unmeasured:
            self.send_header("Content-Length", str(declared))
        if close or unmeasured:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            if isinstance(action, Trickle):
                self._trickle(action)
        if len(body) < declared:
            self.wfile.flush()
            raise _DroppedError
