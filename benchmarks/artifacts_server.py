"""A stand-in server with artifacts, as a process: `python -m benchmarks.artifacts_server PROJECT`.

Rules
- A question that was answered once is answered from memory, until the project changes.
- It talks in lines of JSON, and ends with stdin, as `benchmarks.serving` does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec
from tests.support.server.artifacts import entry
from tests.support.server.http import Handler
from tests.support.server.nodes import Context, Node
from tests.support.server.resolve import FIELDS, Page
from tests.support.server.stand_in import StandInServer

from benchmarks.artifacts_project import ENTITY, PROJECT, ArtifactsProject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.server.artifacts import Version
    from tests.support.server.document import Operation
    from tests.support.server.faults import Action, Request
    from tests.support.server.model import Project


class _Handler(Handler):
    """Answers each question once, and remembers."""

    def _execute(self, operation: Operation, request: Request, action: Action | None) -> bytes:
        owner = self.server.owner
        assert isinstance(owner, ArtifactsServer)
        question = (request.document, json.dumps(request.variables, sort_keys=True))
        known = owner.answers.get(question)
        if known is None:
            known = owner.answers[question] = super()._execute(operation, request, action)
        return known


class ArtifactsServer(StandInServer):
    """A stand-in server with one project of artifacts."""

    handler = _Handler

    def __init__(self, told: ArtifactsProject) -> None:
        super().__init__()
        self.told = told
        self.answers: dict[tuple[str, str], bytes] = {}
        self.by_id: dict[str, Version] = {}
        self.latency_seconds = told.latency_seconds
        self._begun = time.process_time()

    def fill(self, project: Project) -> None:
        """Make what was told."""
        contents = {
            f"data/part-{number:07}/file.parquet": entry(_digest(number), size=number)
            for number in range(self.told.entries)
        }
        runs = [project.add_run(f"run{number:05}") for number in range(self.told.runs)]
        versions = []
        for number in range(self.told.collections):
            collection = project.add_collection(f"collection-{number:04}", f"type{number % 3}")
            versions += [collection.add(contents) for _ in range(self.told.versions)]
        for number, run in enumerate(runs):
            run.state = "finished"
            if versions:
                run.outputs = [versions[number % len(versions)]]
                run.inputs = [(versions[(7 * number + 1) % len(versions)], "dataset")]
        self.by_id = {version.artifact_id: version for version in versions}

    def change(self, project: Project) -> None:
        """Add a version to one collection, and move an alias of another one."""
        first, second = (one for one in project.collections[:2] if one)
        new = first.add({"more.txt": entry(_digest(0))})
        self.by_id[new.artifact_id] = new
        member = second.members[0]
        assert member is not None
        member[1].aliases.append(("best", second.name))
        second.touch()
        self.answers.clear()

    def begin(self) -> None:
        """Count from here on."""
        self.clear_requests()
        self._begun = time.process_time()

    def asked(self) -> dict[str, Any]:
        """Return what was requested since `begin`, by operation, and what that cost."""
        with self.lock:
            requests = list(self.requests)
        return {
            "operations": dict(Counter(one.operation for one in requests)),
            "cpu_seconds": time.process_time() - self._begun,
            "problems": [*self.unknown_operations, *self.errors],
        }


def _digest(number: int) -> str:
    return base64.b64encode(hashlib.md5(str(number).encode()).digest()).decode()


def _find_by_id(_: None, arguments: Mapping[str, Any], context: Context) -> Node | None:
    assert isinstance(context.server, ArtifactsServer)
    found = context.server.by_id.get(arguments.get("id") or "")
    return Node("Artifact", found.fields()) if found else None


def _name_of(one: Any, *_: object) -> str:
    """Return the name of a collection, or of that of a version."""
    return str(getattr(one, "collection", one).name)


def _add_fields(project: Project) -> None:
    """Answer what only the SDK's own listings request."""
    named = {one.name: one for one in project.collections if one}
    by_names = {(one.type, one.name): one for one in project.collections if one}
    this, nobody = Node("Project", project), Node("Page", Page("Tag", [], 0, 0))
    names = sorted({one.type for one in project.collections if one})
    types = [{"name": name, "id": name} for name in names]

    def of_type(kind: Mapping[str, Any], *_: object) -> Node:
        found = [one for one in project.collections if one and one.type == kind["name"]]
        return Node("Page", Page("ArtifactSequence", found, 0, len(found)))

    def by_name(kind: Mapping[str, Any], arguments: Mapping[str, Any], _: Context) -> Node:
        return Node("ArtifactSequence", by_names[kind["name"], arguments["name"]])

    def constant(value: Any) -> Any:
        return lambda *_: value

    text, moment = constant(""), constant("2026-01-01T00:00:00Z")
    FIELDS["Query"]["artifact"] = _find_by_id
    FIELDS["Project"] |= {
        "artifactTypes": constant(Node("Page", Page("ArtifactType", types, 0, len(types)))),
        "entity": constant(Node("Named", {"name": ENTITY})),
    }
    described = {"id": constant("X"), "description": text, "createdAt": moment}
    FIELDS["ArtifactType"] |= {
        **described,
        "artifactCollections": of_type,
        "artifactCollection": by_name,
    }
    more = {"project": constant(this), "tags": constant(nobody), "name": _name_of}
    FIELDS["ArtifactSequence"] = {**FIELDS["ArtifactCollection"], **described, **more}
    FIELDS["ArtifactAlias"] |= {
        "id": constant("X"),
        "artifactCollection": lambda alias, *_: Node("ArtifactSequence", named[alias["name"]]),
    }
    FIELDS["Tag"]["id"] = constant("X")


def main(told: ArtifactsProject) -> None:
    """Serve until stdin ends."""
    with ArtifactsServer(told) as server:
        project = server.add_project(ENTITY, PROJECT)
        server.fill(project)
        _add_fields(project)
        print(json.dumps({"url": server.url, "api_key": server.api_key}), flush=True)
        for line in sys.stdin:
            question = json.loads(line)
            answer: Any = {}
            match question["do"]:
                case "begin":
                    server.begin()
                case "change":
                    with server.lock:
                        server.change(project)
                case "asked":
                    answer = server.asked()
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=ArtifactsProject))
