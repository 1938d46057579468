"""Answer GraphQL operations from the model.

Guarantees:
- what is answered depends on the fields asked for, not on the name of the operation;
- a field that is not in the tables below raises UnknownFieldError; the server records it;
- a project or run that does not exist is null, as on the real server;
- an error of one field gives `errors` with a path beside the data, in which that field is null;
- pages are offsets into the list as it is now ("arrayconnection:N"), so runs that come or go
  between two pages cause repeats and gaps, as on the real server.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tests.support.server import run_fields
from tests.support.server.artifacts import member
from tests.support.server.document import Field, Operation, Spread, Variable, substitute
from tests.support.server.faults import Action, EmptyRows, GraphQLErrors, NullField, Request
from tests.support.server.filters import FilterError, matches, ordered
from tests.support.server.nodes import Context, Node, UnknownFieldError

if TYPE_CHECKING:
    from tests.support.server.artifacts import Collection
    from tests.support.server.model import Project
    from tests.support.server.run import Run
    from tests.support.server.stand_in import StandInServer

Resolver = Callable[[Any, Mapping[str, Any], Context], Any]


@dataclass(frozen=True)
class Page:
    """A slice of a list, with the offset of its first element and the length of the whole."""

    node_type: str
    members: list[Any]
    offset: int
    total: int


def cursor(offset: int) -> str:
    """Spell the position of an element as the server does."""
    return base64.b64encode(f"arrayconnection:{offset}".encode()).decode()


def offset_after(text: str | None) -> int:
    """Return the offset of the first element after a cursor."""
    if not text:
        return 0
    return int(base64.b64decode(text).decode().removeprefix("arrayconnection:")) + 1


def execute(
    server: StandInServer,
    operation: Operation,
    variables: Mapping[str, Any],
    action: Action | None,
    parts: Mapping[str, Action] | None = None,
) -> dict[str, Any]:
    """Return the answer to an operation; strings of class Raw in it are JSON already.

    parts: actions for single fields of the answer, by their path.
    """
    if operation.kind != "query":
        raise UnknownFieldError(f"{operation.kind} {operation.name}")
    known = {**operation.defaults, **variables}
    context = Context(server, operation, known, action, parts or {})
    fields = operation.fields(operation.selection, context.variables)
    data = _members("Query", None, fields, context)
    return {"errors": context.errors, "data": data} if context.errors else {"data": data}


def parts_of(operation: Operation, variables: Mapping[str, Any]) -> tuple[Request, ...]:
    """Return what an operation asks of each run, if it asks for several.

    The variables of a part are those that it uses, without the number at the end of their names.
    """
    known = {**operation.defaults, **variables}
    parts = [
        Request(
            operation.name,
            {re.sub(r"\d+$", "", name): known.get(name) for name in _variables_in(run)},
            path=f"/{project.key}/{run.key}",
            run_id=substitute(run.arguments.get("name"), known),
        )
        for project in operation.fields(operation.selection, known)
        for run in operation.fields(project.selection, known)
        if (project.name, run.name) == ("project", "run")
    ]
    return tuple(replace(part, together=len(parts)) for part in parts if len(parts) > 1)


def _variables_in(selected: Field | Spread) -> list[str]:
    arguments = selected.arguments if isinstance(selected, Field) else {}
    own = [one.name for one in arguments.values() if isinstance(one, Variable)]
    return own + [name for part in selected.selection for name in _variables_in(part)]


def runs_offset(operation: Operation, variables: Mapping[str, Any]) -> int | None:
    """Return the offset of the page of runs that an operation asks for, if it does."""
    known = {**operation.defaults, **variables}
    for project in operation.fields(operation.selection, known):
        for inner in operation.fields(project.selection, known):
            if project.name == "project" and inner.name == "runs":
                return offset_after(substitute(inner.arguments.get("after"), known))
    return None


def _members(kind: str, parent: Any, fields: list[Field], context: Context) -> dict[str, Any]:
    answer: dict[str, Any] = {}
    for one in fields:
        resolver = FIELDS[kind].get(one.name)
        if one.name == "__typename":
            answer[one.key] = kind
        elif resolver is None:
            raise UnknownFieldError(f"{kind}.{one.name}")
        else:
            below = context.below(one.key) if context.parts else context
            answer[one.key] = _field(kind, parent, one, resolver, below)
    return answer


def _field(kind: str, parent: Any, one: Field, resolver: Resolver, context: Context) -> Any:
    action = context.action
    if isinstance(action, NullField) and action.name == one.name:
        return None
    if isinstance(action, GraphQLErrors):
        path = context.path.split("/")[1:]
        context.errors.extend({"message": text, "path": path} for text in action.messages)
        return None
    value = resolver(parent, substitute(one.arguments, context.variables), context)
    return _complete(f"{kind}.{one.name}", value, one, context)


def _complete(place: str, value: Any, selected: Field, context: Context) -> Any:
    if isinstance(value, list) and value and all(isinstance(one, Node) for one in value):
        return [_complete(place, one, selected, context) for one in value]
    if isinstance(value, Node):
        if not selected.selection:
            raise UnknownFieldError(f"{place} without a selection")
        fields = context.operation.fields(selected.selection, context.variables)
        return _members(value.kind, value.value, fields, context)
    if selected.selection and value is not None and value != []:
        raise UnknownFieldError(f"{place} with a selection")
    return value


def _project(_: None, arguments: Mapping[str, Any], context: Context) -> Node | None:
    entity = arguments.get("entityName") or context.server.default_entity
    project = context.server.find_project(entity, arguments.get("name"))
    return Node("Project", project) if project else None


def _selected(project: Project, arguments: Mapping[str, Any]) -> list[Run]:
    condition = json.loads(arguments.get("filters") or "{}") or {}
    if not isinstance(condition, dict):
        raise FilterError(f"filter {condition!r}")
    return [run for run in project.visible_runs() if matches(run, condition)]


def _runs(project: Project, arguments: Mapping[str, Any], context: Context) -> Node:
    runs = ordered(_selected(project, arguments), arguments.get("order"))
    asked = arguments.get("first")
    size = min(50 if asked is None else asked, context.server.max_per_page)
    offset = offset_after(arguments.get("after"))
    return Node("Page", Page("Run", runs[offset : offset + size], offset, len(runs)))


def _connection(
    kind: str, members: list[Any], arguments: Mapping[str, Any], context: Context
) -> Node:
    """Return a page of records; one that is None is a null in the answer."""
    after = None if context.server.ignores_cursors else arguments.get("after")
    offset, first = offset_after(after), arguments.get("first")
    size = min(50 if first is None else first, context.server.max_records_per_page)
    return Node("Page", Page(kind, members[offset : offset + size], offset, len(members)))


def _sweeps(project: Project, arguments: Mapping[str, Any], context: Context) -> Node | None:
    return _connection("Sweep", project.sweeps, arguments, context)


def _views(project: Project, arguments: Mapping[str, Any], context: Context) -> Node | None:
    views = project.reports.get(arguments.get("viewType") or "runs", [])
    return _connection("View", views, arguments, context)


def _collections(project: Project, arguments: Mapping[str, Any], context: Context) -> Node:
    return _connection("ArtifactCollection", project.collections, arguments, context)


def _versions(collection: Collection, arguments: Mapping[str, Any], context: Context) -> Node:
    members = [None if one is None else member(*one) for one in collection.members]
    page = _connection("Artifact", members, arguments, context)
    return Node("Page", replace(page.value, total=len(members) + collection.counted_beyond))


def _of_type(project: Project, arguments: Mapping[str, Any], _: Context) -> Node | None:
    found = [one for one in project.collections if one and one.type == arguments.get("name")]
    return Node("ArtifactType", {"name": arguments.get("name"), "collections": found})


def _collection_of(found: Mapping[str, Any], arguments: Mapping[str, Any], _: Context) -> Any:
    named = [one for one in found["collections"] if one.name == arguments.get("name")]
    return Node("ArtifactCollection", named[0]) if named else None


def _outputs(run: Run, arguments: Mapping[str, Any], context: Context) -> Node:
    members = [None if one is None else member(one.index, one) for one in run.outputs]
    page = _connection("Artifact", members, arguments, context)
    return Node("Page", replace(page.value, total=len(members) + run.links_beyond))


def _inputs(run: Run, arguments: Mapping[str, Any], context: Context) -> Node:
    members = [
        None if one is None else member(one[0].index, one[0], usedAs=one[1]) for one in run.inputs
    ]
    return _connection("Artifact", members, arguments, context)


def _artifact(_: None, arguments: Mapping[str, Any], context: Context) -> Node | None:
    for project in context.server.projects:
        for collection in filter(None, project.collections):
            for one in filter(None, collection.members):
                if one[1].artifact_id == arguments.get("id"):
                    return Node("Artifact", one[1].fields())
    return None


def _manifest(artifact: Mapping[str, Any], _: Mapping[str, Any], context: Context) -> Node | None:
    version = artifact["version"]
    if version.state != "COMMITTED":
        return None
    version.urls += 1
    url = context.server.sign_content(version.artifact_id, version.manifest, version.status)
    return Node("ArtifactManifest", {"id": "M", "url": url})


def _sequence(artifact: Mapping[str, Any], *_: Any) -> Node:
    return Node("ArtifactSequence", artifact["version"])


def _run(project: Project, arguments: Mapping[str, Any], _: Context) -> Node | None:
    run = project.find_run(arguments.get("name") or "")
    return Node("Run", run) if run else None


def _files(run: Run, arguments: Mapping[str, Any], context: Context) -> Node:
    listed = run_fields.listed_files(run, arguments, context)
    offset = offset_after(arguments.get("after"))
    first = arguments.get("first")
    size = min(50 if first is None else first, context.server.max_files_per_page)
    return Node("Page", Page("File", listed[offset : offset + size], offset, len(listed)))


def _collection(project: Project, arguments: Mapping[str, Any], _: Context) -> Node | None:
    """Answer the artifact of a run's samples, once there is one; there are no other artifacts."""
    name = str(arguments.get("name")).removeprefix("run-").removesuffix("-events")
    run = project.find_run(name)
    return Node("EventsCollection", run) if run and run.exported_events else None


def _membership(run: Run, arguments: Mapping[str, Any], _: Context) -> Node | None:
    return Node("ArtifactMembership", run) if arguments.get("aliasName") == "latest" else None


def _artifact_files(run: Run, arguments: Mapping[str, Any], context: Context) -> Node:
    manifest = {"id": "1", "displayName": "wandb_manifest.json", "sizeBytes": "0"}
    files = [
        {"id": name, "displayName": name, "url": url, "directUrl": url, "sizeBytes": str(size)}
        for name, url, size in context.server.sign_events(run)
    ]
    return _connection("ArtifactFile", [manifest, *files], arguments, context)


def _log_lines(run: Run, arguments: Mapping[str, Any], context: Context) -> Node | None:
    """Answer lines; an older server does not know the pages, only the last lines."""
    lines, last = run.console, arguments.get("last")
    if isinstance(context.action, EmptyRows):
        return None
    if last is not None:
        size = min(last, run.console_page)
        offset = max(0, len(lines) - size)
        return Node("Page", Page("LogLine", lines[offset:], offset, len(lines)))
    offset = offset_after(arguments.get("after"))
    size = min(arguments["first"], run.console_page)
    return Node("Page", Page("LogLine", lines[offset : offset + size], offset, len(lines)))


def _edges(page: Page, _: Mapping[str, Any], __: Context) -> list[Node]:
    return [
        Node("Edge", (Node(page.node_type, one), page.offset + index))
        for index, one in enumerate(page.members)
    ]


def _page_info(page: Page, _: Mapping[str, Any], __: Context) -> Node:
    end = page.offset + len(page.members)
    return Node("PageInfo", (page.offset, end, page.total))


def _node_of(node: Node) -> Node | None:
    value = node.value
    is_null = value.get("is_null") if isinstance(value, dict) else getattr(value, "is_null", False)
    return None if value is None or is_null else node


def _constant(value: Any) -> Resolver:
    return lambda parent, arguments, context: value


def _attribute(name: str) -> Resolver:
    return lambda parent, arguments, context: getattr(parent, name)


def _member(name: str) -> Resolver:
    return lambda parent, arguments, context: parent.get(name)


FIELDS: dict[str, dict[str, Resolver]] = {
    "Query": {
        "project": _project,
        "viewer": lambda _, arguments, context: Node("Viewer", context.server),
        "artifact": _artifact,
        "serverInfo": _constant(Node("ServerInfo", None)),
    },
    "ServerInfo": {"features": _constant([])},
    "Viewer": {
        "id": _constant("VXNlcjox"),
        "entity": _attribute("default_entity"),
        "username": _constant("ada"),
        "name": _constant("Ada"),
        "email": _constant("ada@example.com"),
        "admin": _constant(False),
        "flags": _constant("{}"),
        "teams": _constant(Node("Page", Page("Team", [], 0, 0))),
    },
    "Team": {"name": _member("name")},
    "Project": {
        "id": _attribute("internal_id"),
        "internalId": _attribute("internal_id"),
        "name": _attribute("name"),
        "entityName": _attribute("entity"),
        "readOnly": _constant(False),
        "runCount": lambda project, arguments, _: len(_selected(project, arguments)),
        "runs": _runs,
        "artifactCollections": _collections,
        "artifactType": _of_type,
        "totalSweeps": lambda project, *_: len(project.sweeps),
        "sweeps": _sweeps,
        "allViews": _views,
        "run": _run,
        "artifactCollection": _collection,
    },
    "EventsCollection": {"artifactMembership": _membership},
    "ArtifactMembership": {"files": _artifact_files},
    "ArtifactFile": {
        name: _member(name)
        for name in (
            "id",
            "displayName",
            "url",
            "directUrl",
            "sizeBytes",
            "mimetype",
            "updatedAt",
            "md5",
        )
    },
    "Page": {
        "edges": _edges,
        "pageInfo": _page_info,
        "totalCount": lambda page, *_: page.total,
    },
    "ArtifactCollection": {
        "name": _attribute("name"),
        "updatedAt": _attribute("updated_at"),
        "defaultArtifactType": lambda one, *_: Node("ArtifactType", {"name": one.type}),
        "artifacts": _versions,
    },
    "ArtifactType": {"name": _member("name"), "artifactCollection": _collection_of},
    "Artifact": {
        **{
            name: _member(name)
            for name in (
                *("id", "versionIndex", "description", "metadata", "state", "size", "digest"),
                *("fileCount", "createdAt", "updatedAt", "ttlDurationSeconds", "ttlIsInherited"),
                *("historyStep", "commitHash", "digestAlgorithm"),
            )
        },
        "artifactSequence": _sequence,
        "artifactType": lambda one, *_: Node(
            "ArtifactType", {"name": one["version"].collection.type}
        ),
        "tags": lambda one, *_: [Node("Tag", {"name": tag}) for tag in one["version"].tags],
        "aliases": lambda one, *_: [
            Node("ArtifactAlias", {"alias": alias, "name": name})
            for alias, name in one["version"].aliases
        ],
        "currentManifest": _manifest,
    },
    "ArtifactManifest": {
        "id": _member("id"),
        "file": lambda manifest, *_: Node("File", {"directUrl": manifest["url"]}),
    },
    "ArtifactSequence": {
        "name": lambda version, *_: version.collection.name,
        "project": lambda version, *_: (
            None if version.project_is_null else Node("Project", version.collection.project)
        ),
    },
    "ArtifactAlias": {
        "alias": _member("alias"),
        "artifactCollection": lambda alias, *_: Node("Named", alias),
    },
    "Named": {"name": _member("name")},
    "Tag": {"name": _member("name")},
    "Edge": {
        "node": lambda edge, *_: _node_of(edge[0]),
        "cursor": lambda edge, *_: cursor(edge[1]),
        "version": lambda edge, *_: (edge[0].value or {"edge": {}})["edge"].get("version"),
        "usedAs": lambda edge, *_: (edge[0].value or {"edge": {}})["edge"].get("usedAs"),
    },
    "PageInfo": {
        "startCursor": lambda at, *_: cursor(at[0]) if at[1] > at[0] else None,
        "endCursor": lambda at, *_: cursor(at[1] - 1) if at[1] > at[0] else None,
        "hasNextPage": lambda at, *_: at[1] < at[2],
        "hasPreviousPage": lambda at, *_: at[0] > 0,
    },
    "User": {
        "id": _constant("VXNlcjox"),
        "name": _member("name"),
        "username": _member("username"),
        "email": _member("email"),
    },
    "Sweep": {
        name: _member(name)
        for name in (
            *("id", "name", "displayName", "method", "state", "description", "bestLoss"),
            *("config", "createdAt", "updatedAt", "runCount", "runCountExpected"),
        )
    },
    "View": {
        **{
            name: _member(name)
            for name in (
                *("id", "name", "displayName", "description", "createdAt", "updatedAt", "spec"),
            )
        },
        "user": lambda view, *_: Node("User", view["user"]) if view.get("user") else None,
    },
    "ParquetHistory": {"parquetUrls": _member("parquetUrls"), "liveData": _member("liveData")},
    "File": {
        name: _member(name)
        for name in (
            "id",
            "name",
            "url",
            "directUrl",
            "sizeBytes",
            "mimetype",
            "updatedAt",
            "md5",
            "digest",
        )
    },
    "LogLine": {name: _member(name) for name in ("number", "timestamp", "level", "label", "line")},
    "Run": {
        **run_fields.RUN_FIELDS,
        "outputArtifacts": _outputs,
        "inputArtifacts": _inputs,
        "files": _files,
        "logLines": _log_lines,
    },
}
