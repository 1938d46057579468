"""The stand-in server as a process of its own: `python -m benchmarks.serving WORKLOAD`.

Rules
- The project changes only if it is told to grow, so a question that was answered once is answered
  from memory; which runs a filter admits is worked out once.
- All runs have one console: each page of it is made once, whatever the run.
- It talks in lines of JSON: a line on stdin asks, a line on stdout answers. It ends with stdin.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from tests.support.server.filters import matches, ordered
from tests.support.server.http import Handler
from tests.support.server.nodes import Context, Node
from tests.support.server.resolve import FIELDS, Page, offset_after
from tests.support.server.stand_in import StandInServer

from benchmarks.prepared import add_project, grow
from benchmarks.server_process import Asked
from benchmarks.workloads import Workload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.server.document import Operation
    from tests.support.server.faults import Action, Request
    from tests.support.server.run import Run

    from benchmarks.prepared import PreparedProject

KNOWN_LIVE_KEYS: tuple[list[str] | None, ...] = (None, [], ["_step"])


class RememberingHandler(Handler):
    """Answers each question once, and remembers."""

    def _execute(self, operation: Operation, request: Request, action: Action | None) -> bytes:
        owner = self.server.owner
        assert isinstance(owner, PreparedServer)
        if request.variables.get("liveKeys") not in KNOWN_LIVE_KEYS:
            owner.errors.append(f"liveData is prepared for _step only: {request.variables}")
        asked = dict(request.variables)
        if "logLines" in request.document:
            del asked["run"]
        question = (request.document, json.dumps(asked, sort_keys=True))
        known = owner.answers.get(question)
        if known is None:
            known = owner.answers[question] = super()._execute(operation, request, action)
        return known


class PreparedServer(StandInServer):
    """A stand-in server with one project, which changes only if it is told to grow."""

    handler = RememberingHandler

    def __init__(self, workload: Workload) -> None:
        super().__init__()
        self.answers: dict[tuple[str, str], bytes] = {}
        self.workload = workload
        self.latency_seconds = workload.latency_seconds
        self._begun = time.process_time()

    def begin(self) -> None:
        """Count from here on."""
        self.clear_requests()
        self._begun = time.process_time()

    def asked(self, project: PreparedProject) -> Asked:
        """Return what was asked since the last `begin`."""
        with self.lock:
            requests = list(self.requests)
        queries = [one for one in requests if one.operation != "download"]
        of_runs = [one for one in queries if any(run in project.by_id for run in one.run_ids)]
        return Asked(
            cpu_seconds=time.process_time() - self._begun,
            listing=len(queries) - len(of_runs),
            of_runs=len(of_runs),
            history_pages=sum("history(" in one.document for one in of_runs),
            downloads=len(requests) - len(queries),
            bytes_sent=sum(one.bytes_sent for one in requests),
            operations=dict(Counter(one.operation for one in requests)),
            problems=[*self.unknown_operations, *self.errors],
        )

    def replay(self) -> list[tuple[str, str, str]]:
        """Return what was asked since the last `begin` as (method, path, body)."""
        with self.lock:
            return [
                ("GET", one.path, "")
                if one.operation == "download"
                else ("POST", "/graphql", _body(one))
                for one in self.requests
            ]


def _body(request: Request) -> str:
    return json.dumps({"query": request.document, "variables": request.variables})


def remember_selections() -> None:
    """Let this process work out once which runs a filter admits, and in which order."""

    @lru_cache(maxsize=1024)
    def selected(project: PreparedProject, filters: str, order: str) -> list[Run]:
        condition = json.loads(filters) or {}
        return ordered((run for run in project.runs if matches(run, condition)), order)

    def runs(project: PreparedProject, arguments: Mapping[str, Any], context: Context) -> Node:
        found = selected(project, arguments.get("filters") or "{}", arguments.get("order") or "")
        asked = arguments.get("first")
        size = min(50 if asked is None else asked, context.server.max_per_page)
        offset = offset_after(arguments.get("after"))
        return Node("Page", Page("Run", found[offset : offset + size], offset, len(found)))

    def run_count(project: PreparedProject, arguments: Mapping[str, Any], _: Context) -> int:
        return len(selected(project, arguments.get("filters") or "{}", ""))

    FIELDS["Project"].update({"runs": runs, "runCount": run_count})


def answer(server: PreparedServer, project: PreparedProject, question: Mapping[str, str]) -> Any:
    """Answer one line of stdin."""
    match question["do"]:
        case "begin":
            server.begin()
            return {}
        case "asked":
            return server.asked(project)
        case "grow":
            with server.lock:
                gained = question.get("rows")
                server.workload = server.workload.grown(None if gained is None else int(gained))
                grow(server, project, server.workload)
                server.answers.clear()
            return {}
        case "replay":
            Path(question["path"]).write_text(json.dumps(server.replay()))
            return {}
        case "environment":
            return server.environment(Path(question["home"]))
        case unknown:
            raise ValueError(unknown)


def main(workload: Workload) -> None:
    """Serve until stdin ends."""
    remember_selections()
    with PreparedServer(workload) as server:
        project = add_project(server, workload)
        print(json.dumps({"url": server.url, "api_key": server.api_key}), flush=True)
        for line in sys.stdin:
            told = answer(server, project, json.loads(line))
            print(msgspec.json.encode(told).decode(), flush=True)


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Workload))
