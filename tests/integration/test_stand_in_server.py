"""The stand-in W&B server, driven by the real SDK and by plain HTTP."""

from __future__ import annotations

import base64
import json
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from tests.support.server import (
    Drop,
    EmptyRows,
    GraphQLErrors,
    Hang,
    NullField,
    Project,
    StandInServer,
    Status,
    Truncate,
)
from tests.support.server.history import flat_row
from tests.support.server.scripts import run_script

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.forked_python import ForkedPython

PATH = "entity/project"
# One retry is the least that wandb-core 0.31.0 knows: 0 means the default of 20.
ONE_RETRY = {"WANDB__GRAPHQL_RETRY_MAX": "1", "WANDB__FILE_TRANSFER_RETRY_MAX": "1"}


@pytest.fixture
def stand_in(server: StandInServer) -> StandInServer:
    """Return the server, which is what these tests are about."""
    return server


def ask(
    server: StandInServer, query: str, **variables: Any
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Send one GraphQL request by plain HTTP; return status, answer and headers."""
    credentials = base64.b64encode(f"api:{server.api_key}".encode()).decode()
    request = urllib.request.Request(
        f"{server.url}/graphql",
        json.dumps({"query": query, "variables": variables}).encode(),
        {"Authorization": f"Basic {credentials}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.load(response), dict(response.headers)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error), dict(error.headers)


def fetch(url: str, byte_range: str | None = None) -> tuple[int, bytes]:
    """Get a URL and return status and body."""
    request = urllib.request.Request(url, headers={"Range": byte_range} if byte_range else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


RUNS = """query Runs($filters: JSONString, $order: String, $after: String, $first: Int) {
  project(name: "project", entityName: "entity") {
    runCount(filters: $filters)
    runs(filters: $filters, order: $order, after: $after, first: $first) {
      edges { node { id name } cursor }
      pageInfo { endCursor hasNextPage }
    }
  }
}"""
PARQUET = """query P($run: String!) { project(name: "project", entityName: "entity") {
  run(name: $run) { parquetHistory(liveKeys: ["_step"]) { parquetUrls liveData } } } }"""
HISTORY = """query H($run: String!, $min: Int64, $max: Int64, $n: Int) {
  project(name: "project", entityName: "entity") {
    run(name: $run) { rows: history(minStep: $min, maxStep: $max, samples: $n) } } }"""


def listed(server: StandInServer, **variables: Any) -> list[str]:
    """Return the run ids of one page."""
    _, answer, _ = ask(server, RUNS, **variables)
    return [edge["node"]["name"] for edge in answer["data"]["project"]["runs"]["edges"]]


def filtered(server: StandInServer, condition: Any) -> list[str]:
    """Return the ids of the runs that a filter admits, oldest first."""
    return listed(server, filters=json.dumps(condition), order="+created_at")


def live_rows(server: StandInServer, run_id: str, **variables: Any) -> list[dict[str, Any]]:
    """Return a page of `history`."""
    _, answer, _ = ask(server, HISTORY, run=run_id, **{"n": 1000, **variables})
    return [json.loads(text) for text in answer["data"]["project"]["run"]["rows"]]


def parquet_answer(server: StandInServer, run_id: str) -> dict[str, Any]:
    """Return the `parquetHistory` of a run."""
    _, answer, _ = ask(server, PARQUET, run=run_id)
    history: dict[str, Any] = answer["data"]["project"]["run"]["parquetHistory"]
    return history


# The real SDK.


def test_api_accepts_the_key_and_refuses_another(
    stand_in: StandInServer, tmp_path: Path, forked_python: ForkedPython
) -> None:
    source = "emit(describe(lambda: wandb.Api().default_entity))"
    assert run_script(forked_python, stand_in, tmp_path, source) == ["entity"]
    [[kind, text]] = run_script(
        forked_python, stand_in, tmp_path, source, environment={"WANDB_API_KEY": "9" * 40}
    )
    assert kind == "AuthenticationError"
    assert [request.status for request in stand_in.requests_of("Viewer")] == [200, 401]
    assert "user is not logged in" in text


def test_listing_returns_every_run_when_paged(
    stand_in: StandInServer, project: Project, tmp_path: Path, forked_python: ForkedPython
) -> None:
    for number in range(7):
        run = project.add_run(f"run-{number}", config={"n": number}, summary={"best": number / 2})
        run.log({"loss": number})
    project.runs[2].user = {"name": "B", "username": "b"}
    source = """
api = wandb.Api()
for lazy in (True, False):
    api.flush()
    runs = api.runs("entity/project", per_page=3, lazy=lazy)
    emit([[run.id, run.user.username, run.historyLineCount] for run in runs])
runs = api.runs("entity/project", {"config.n": {"$gt": 4}}, order="-config.n.value", lazy=False)
emit([[run.id, run.config, run.summary_metrics, run.storage_id] for run in runs])
emit(len(runs))
"""
    lazy, full, chosen, count = run_script(forked_python, stand_in, tmp_path, source)
    assert lazy == full
    assert [one[0] for one in full] == [run.run_id for run in project.runs]
    assert full[2] == ["run-2", "b", 1]
    assert chosen == [
        ["run-6", {"n": 6}, {"best": 3.0}, project.runs[6].storage_id],
        ["run-5", {"n": 5}, {"best": 2.5}, project.runs[5].storage_id],
    ]
    assert count == 2
    assert len(stand_in.requests_of("Runs")) == 7


def test_scan_history_returns_the_rows_when_live_exported_or_mixed(
    stand_in: StandInServer, project: Project, tmp_path: Path, forked_python: ForkedPython
) -> None:
    for run_id in ("live", "exported", "mixed", "overlapping"):
        run = project.add_run(run_id)
        run.log_all({"loss": n / 3, "nested": {"n": n}, "label": f"s{n}"} for n in range(10))
    project.runs[1].export_parquet(files=3)
    project.runs[2].export_parquet(files=2, upto=6)
    project.runs[3].export_parquet(upto=6, overlap=2)
    source = """
for run in wandb.Api().runs("entity/project"):
    emit([row for row in run.scan_history(page_size=4)])
"""
    answers = run_script(forked_python, stand_in, tmp_path, source)
    for rows, run in zip(answers[:3], project.runs, strict=False):
        assert rows == [flat_row(row) for row in run.rows]
    assert [row["_step"] for row in answers[3]] == [0, 1, 2, 3, 4, 4, 5, 5, 6, 7, 8, 9]


def test_download_history_exports_gives_the_files_as_written(
    stand_in: StandInServer, project: Project, tmp_path: Path, forked_python: ForkedPython
) -> None:
    run = project.add_run("exported")
    run.log_all({"loss": n / 3, "count": n} for n in range(6))
    run.log({"loss": float("nan"), "rare": [1, None]})
    run.export_parquet(files=2, float32=["loss"])
    source = """
run = wandb.Api().run("entity/project/exported")
done = run.download_history_exports("exports")
emit([sorted(str(path) for path in done.paths), done.contains_live_data, done.errors])
"""
    [[paths, contains_live, errors]] = run_script(forked_python, stand_in, tmp_path, source)
    assert (contains_live, errors) == (False, {})
    assert [(tmp_path / path).read_bytes() for path in paths] == [
        export.content for export in run.exports
    ]
    first, second = [pq.read_table(tmp_path / path) for path in paths]
    assert first.column_names == ["_step", "_timestamp", "_runtime", "loss", "count"]
    assert [str(field.type) for field in second.schema][3:] == [
        "float",
        "int64",
        "list<element: int64>",
    ]
    assert second["rare"].to_pylist() == [None, None, [1, None]]


def test_metadata_is_the_file_when_there_is_one(
    stand_in: StandInServer, project: Project, tmp_path: Path, forked_python: ForkedPython
) -> None:
    project.add_run("with").metadata = {"host": "h", "args": ["--x"]}
    project.add_run("without")
    broken = project.add_run("broken")
    broken.metadata, broken.metadata_status = {"host": "h"}, 404
    source = 'emit([run.metadata for run in wandb.Api().runs("entity/project")])'
    assert run_script(forked_python, stand_in, tmp_path, source) == [
        [{"host": "h", "args": ["--x"]}, None, None]
    ]


@pytest.mark.parametrize(("position", "expected"), [(2, 7), (8, "TypeError")])
def test_null_user_breaks_paging_in_the_sdk(
    stand_in: StandInServer,
    project: Project,
    tmp_path: Path,
    forked_python: ForkedPython,
    position: int,
    expected: Any,
) -> None:
    """On the first page the rest of the page is lost without an error, later it raises."""
    for number in range(12):
        project.add_run(f"run-{number:02}", user=None if number == position else {"username": "a"})
    source = """
runs = wandb.Api().runs("entity/project", per_page=5)
answer = describe(lambda: len(list(runs)))
emit(answer if isinstance(answer, int) else answer[0])
emit([edge["node"]["user"] for edge in runs.last_response["project"]["runs"]["edges"]])
"""
    answer, users = run_script(forked_python, stand_in, tmp_path, source)
    assert answer == expected
    assert (None in users) is (position == 8)


@pytest.mark.parametrize(
    ("action", "times", "text"),
    [
        (Status(403), 1, "scripted answer 403"),
        (Status(500), 2, "HTTP 500"),
        (Status(429, retry_after=1), 2, "HTTP 429"),
        (GraphQLErrors(["out of luck"]), 1, "out of luck"),
        (Drop(), 2, "EOF"),
        (Truncate(0.5), 1, "unexpected EOF"),
        (Hang(), 1, "did not respond in time"),
        (NullField("project"), 1, "Could not find project"),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "__dataclass_fields__") else "",
)
def test_fault_reaches_the_sdk_when_retries_are_used_up(
    stand_in: StandInServer,
    project: Project,
    tmp_path: Path,
    forked_python: ForkedPython,
    action: Any,
    times: int,
    text: str,
) -> None:
    project.add_run("one")
    fault = stand_in.faults.add("Runs", action, times=times)
    source = """
api = wandb.Api(timeout=5)
emit(describe(lambda: len(api.runs("entity/project"))))
api.flush()
emit(len(api.runs("entity/project")))
"""
    [kind, message], count = run_script(
        forked_python, stand_in, tmp_path, source, environment=ONE_RETRY
    )
    assert kind == ("ValueError" if "project" in text else "WandbApiFailedError")
    assert text in message
    assert count == 1
    assert fault.hits == times


def test_download_fault_reaches_the_sdk(
    stand_in: StandInServer, project: Project, tmp_path: Path, forked_python: ForkedPython
) -> None:
    run = project.add_run("exported")
    run.log_all({"loss": n} for n in range(6))
    run.export_parquet()
    source = """
run = wandb.Api().run("entity/project/exported")
def attempt(name):
    done = run.download_history_exports(name)
    return [[path.stat().st_size for path in done.paths], len(done.errors)]
for name in ("refused", "short", "cut", "dropped"):
    emit(attempt(name))
"""
    for action in (Status(403), Truncate(0.5, complete=True), Truncate(0.5), Drop()):
        # SDKs before 0.31 ask for the size with HEAD before each GET.
        stand_in.faults.add(lambda one: (one.operation, one.method) == ("download", "GET"), action)
    refused, short, cut, dropped = run_script(
        forked_python, stand_in, tmp_path, source, environment=ONE_RETRY
    )
    size = len(run.exports[0].content)
    assert refused == [[], 1]
    assert short == [[size // 2], 0]
    assert cut == [[], 1]
    assert dropped == [[size], 0]
    served = [one.status for one in stand_in.requests_of("download") if one.method == "GET"]
    assert served == [403, 200, 200, 0, 200]


def test_unknown_field_is_recorded(tmp_path: Path, forked_python: ForkedPython) -> None:
    with StandInServer() as server:
        server.add_project("entity", "project")
        source = """
api = wandb.Api()
query = 'query Odd { project(name: "project", entityName: "entity") { colour } }'
emit(describe(lambda: api._service_api.execute_graphql(query)))
"""
        [[kind, text]] = run_script(forked_python, server, tmp_path, source)
        assert kind == "WandbApiFailedError"
        assert "Project.colour" in text
        assert server.unknown_operations == ["Odd: Project.colour"]


# Plain HTTP.


def test_filters_select_as_those_of_mongodb_do(stand_in: StandInServer, project: Project) -> None:
    for number in range(4):
        project.add_run(
            f"r{number}",
            created_at=f"2026-01-0{number + 1}T00:00:00",
            state="finished" if number % 2 else "running",
            tags=["even"] if number % 2 == 0 else ["odd", "x"],
            config={"lr": number, "opt": {"name": "adam"}} if number else {},
            group="g" if number else None,
        )
    project.runs[3].summary = {"val": {"acc": 0.9}}
    expected: list[tuple[Any, list[str]]] = [
        ({}, ["r0", "r1", "r2", "r3"]),
        ({"name": {"$in": ["r1", "r3", "r9"]}}, ["r1", "r3"]),
        ({"name": "r2"}, ["r2"]),
        ({"state": {"$ne": "running"}}, ["r1", "r3"]),
        ({"tags": "x"}, ["r1", "r3"]),
        ({"tags": {"$in": ["even"]}}, ["r0", "r2"]),
        ({"tags": {"$nin": ["even"]}}, ["r1", "r3"]),
        ({"createdAt": {"$gte": "2026-01-02T00:00:00Z", "$lt": "2026-01-04"}}, ["r1", "r2"]),
        ({"$or": [{"config.lr": 1}, {"config.lr.value": {"$gt": 2}}]}, ["r1", "r3"]),
        ({"$nor": [{"name": "r0"}, {"state": "finished"}]}, ["r2"]),
        ({"$and": [{"config.opt.value.name": "adam"}, {"config.lr": {"$lte": 1}}]}, ["r1"]),
        ({"group": {"$exists": False}}, ["r0"]),
        ({"group": None}, ["r0"]),
        ({"display_name": {"$regex": "^r[12]$"}}, ["r1", "r2"]),
        ({"summary_metrics.val.acc": {"$gt": 0.5}}, ["r3"]),
        ({"heartbeatAt": {"$gt": "2026-01-03T12:00:00"}}, ["r3"]),
    ]
    assert [filtered(stand_in, condition) for condition, _ in expected] == [
        run_ids for _, run_ids in expected
    ]
    assert listed(stand_in, order="-created_at", first=2) == ["r3", "r2"]
    assert listed(stand_in, order="created_at", first=1) == ["r3"]


def test_filter_is_refused_when_unknown(project: Project) -> None:
    with StandInServer() as server:
        server.add_project("entity", "project").add_run("r")
        status, _, _ = ask(server, RUNS, filters=json.dumps({"colour": 1}))
        assert status == 400
        assert server.unknown_operations == ["Runs: filter key colour"]
        status, _, _ = ask(server, RUNS, filters=json.dumps({"createdAt": {"$gt": 1767225600}}))
        assert status == 500
    assert project.runs == []


def test_page_repeats_and_loses_when_runs_change_between_pages(
    stand_in: StandInServer, project: Project
) -> None:
    for number in range(6):
        project.add_run(f"r{number}")
    stand_in.before_page = lambda offset: project.delete_run(project.runs[0]) if offset else None
    _, first, _ = ask(stand_in, RUNS, first=2, order="+created_at")
    page = first["data"]["project"]["runs"]
    assert page["pageInfo"] == {"endCursor": page["edges"][1]["cursor"], "hasNextPage": True}
    assert base64.b64decode(page["pageInfo"]["endCursor"]) == b"arrayconnection:1"
    after = page["pageInfo"]["endCursor"]
    assert listed(stand_in, first=2, order="+created_at", after=after) == ["r3", "r4"]


def test_page_is_capped_and_hides_hidden_runs(stand_in: StandInServer, project: Project) -> None:
    for number in range(5):
        project.add_run(f"r{number}")
    stand_in.max_per_page = 3
    assert len(listed(stand_in, first=100)) == 3
    project.hidden_runs = {"r0", "r1", "r2", "r3"}
    _, answer, _ = ask(stand_in, RUNS)
    assert answer["data"]["project"]["runCount"] == 1
    project.hidden_runs.clear()
    assert len(listed(stand_in, first=2)) == 2


def test_history_is_ordered_by_step_when_logged_out_of_order(
    stand_in: StandInServer, project: Project
) -> None:
    run = project.add_run("r")
    for step in (3, 1, 1, 2.5):
        run.log({"logged_at": len(run.rows)}, step=step)
    run.log({"logged_at": 4, "bad": float("-inf")}, step=run.NO_STEP, timestamp=run.NO_TIMESTAMP)
    assert [row["logged_at"] for row in live_rows(stand_in, "r")] == [4, 1, 2, 3, 0]
    assert live_rows(stand_in, "r", max=1) == [{"logged_at": 4, "bad": "-Infinity"}]
    assert [row["_step"] for row in live_rows(stand_in, "r", min=1, max=3)] == [1, 1, 2.5]
    assert len(live_rows(stand_in, "r", min=0, n=2)) == 2
    assert parquet_answer(stand_in, "r")["liveData"] == [{"_step": step} for step in (3, 1, 1, 2.5)]


def test_raw_row_is_answered_as_spelled(stand_in: StandInServer, project: Project) -> None:
    run = project.add_run("r")
    run.log(raw='{"_step":0,"x":1e0,"y":"\\ud800"}')
    run.log({"x": 1}, raw={"x": "1.50"})
    _, answer, _ = ask(stand_in, HISTORY, run="r", n=10)
    first, second = answer["data"]["project"]["run"]["rows"]
    assert first == '{"_step":0,"x":1e0,"y":"\\ud800"}'
    assert '"x": 1.50' in second
    assert run.rows[1]["x"] == 1.5


def test_heartbeat_follows_rows_and_clock(stand_in: StandInServer, project: Project) -> None:
    run = project.add_run("r", created_at="2026-01-01T00:00:00")
    run.log_all({"x": n} for n in range(3))
    assert run.heartbeat_at == "2026-01-01T00:00:03"
    stand_in.clock.advance(3600)
    assert run.heartbeat_at == "2026-01-01T00:00:03"
    run.finish()
    assert (run.state, run.heartbeat_at) == ("finished", "2026-01-01T01:00:00")
    run.heartbeat_at = "2025-12-31T00:00:00"
    assert run.heartbeat_at == "2025-12-31T00:00:00"


def test_run_made_again_has_the_storage_id_of_the_first(
    stand_in: StandInServer, project: Project
) -> None:
    """As recorded from W&B: a storage id holds the names of run, project and entity."""
    first = project.add_run("r")
    project.delete_run(first)
    second = project.add_run("r")
    assert first.storage_id == second.storage_id
    assert base64.b64decode(second.storage_id) == b"Run:v1:r:project:entity"
    assert listed(stand_in) == ["r"]


def test_rewind_drops_rows_and_exports(stand_in: StandInServer, project: Project) -> None:
    run = project.add_run("r")
    run.log_all({"x": n} for n in range(5))
    run.export_parquet()
    run.rewind(2)
    before = [dict(row) for row in run.rows]
    run.log({"x": "new"})
    assert [row["_step"] for row in live_rows(stand_in, "r")] == [0, 1, 2, 3]
    assert run.rows[:3] == before
    assert run.rows[3]["_timestamp"] == 1767225600 + 1.5 * 5
    assert parquet_answer(stand_in, "r")["parquetUrls"] == []


def test_signed_url_serves_ranges_and_expires(stand_in: StandInServer, project: Project) -> None:
    run = project.add_run("r")
    run.log_all({"x": n} for n in range(5))
    run.export_parquet(files=2, file_order=[1, 0])
    stand_in.shuffle_parquet_urls = True
    urls = parquet_answer(stand_in, "r")["parquetUrls"]
    again = parquet_answer(stand_in, "r")["parquetUrls"]
    names = [url.split("?")[0].rsplit("/")[-1] for url in urls + again]
    assert names in (
        ["0001.parquet", "0000.parquet", "0000.parquet", "0001.parquet"],
        ["0000.parquet", "0001.parquet", "0001.parquet", "0000.parquet"],
    )
    content = fetch(urls[0])[1]
    assert content[:4] == b"PAR1"
    assert fetch(urls[0], "bytes=4-7") == (206, content[4:8])
    assert fetch(urls[0], "bytes=-4") == (206, b"PAR1")
    assert fetch(urls[0], f"bytes=2-{len(content) + 5}") == (206, content[2:])
    stand_in.expire_urls()
    status, body = fetch(urls[0])
    assert status == 403
    assert body.startswith(b"<?xml")


def test_empty_rows_and_null_fields_answer_nothing(
    stand_in: StandInServer, project: Project
) -> None:
    run = project.add_run("r")
    run.log({"x": 1})
    stand_in.faults.add(lambda request: request.run_id == "r", EmptyRows(), times=2)
    assert live_rows(stand_in, "r") == []
    assert parquet_answer(stand_in, "r") == {"parquetUrls": [], "liveData": []}
    stand_in.faults.add("P", NullField("parquetHistory"))
    assert parquet_answer(stand_in, "r") is None
    assert len(live_rows(stand_in, "r")) == 1
    query = 'query K { project(name: "project") { run(name: "r") { historyKeys } } }'
    keys = ask(stand_in, query)[1]["data"]["project"]["run"]["historyKeys"]
    assert keys["lastStep"] == 0
    assert keys["keys"]["x"]["typeCounts"] == [{"type": "number", "count": 1}]
    run.last_step_override = 99
    assert ask(stand_in, query)[1]["data"]["project"]["run"]["historyKeys"]["lastStep"] == 99
    run.history_keys = None
    assert ask(stand_in, query)[1]["data"]["project"]["run"]["historyKeys"] is None


def test_fault_acts_on_one_run_of_those_asked_for_under_aliases(
    stand_in: StandInServer, project: Project
) -> None:
    """As GraphQL has it: an error names the path to what is null because of it."""
    for run_id in ("a", "b", "c"):
        project.add_run(run_id).log({"x": 1})
    query = """query Pages($one: String!, $two: String!, $three: String!, $rows3: Int!) {
      project(name: "project") {
        first: run(name: $one) { name rows: history(samples: 5) }
        second: run(name: $two) { name rows: history(samples: 5) }
        third: run(name: $three) { name rows: history(samples: $rows3) }
      }
    }"""
    variables = {"one": "a", "two": "b", "three": "c", "rows3": 5}
    _, answer, _ = ask(stand_in, query, **variables)
    runs = answer["data"]["project"]
    assert [(key, run["name"], len(run["rows"])) for key, run in runs.items()] == [
        ("first", "a", 1),
        ("second", "b", 1),
        ("third", "c", 1),
    ]
    stand_in.faults.add(lambda request: request.run_id == "b", GraphQLErrors(["no"]))
    stand_in.faults.add(lambda request: request.variables.get("rows") == 5, EmptyRows())
    status, answer, _ = ask(stand_in, query, **variables)
    assert status == 200
    assert answer["errors"] == [{"message": "no", "path": ["project", "second"]}]
    assert answer["data"]["project"]["second"] is None
    assert answer["data"]["project"]["third"] == {"name": "c", "rows": []}
    assert len(answer["data"]["project"]["first"]["rows"]) == 1
    stand_in.faults.add(lambda request: request.together == 3, Status(504))
    assert ask(stand_in, query, **variables)[0] == 504
    assert len(live_rows(stand_in, "a")) == 1
    stand_in.ignores_aliases = True
    assert set(ask(stand_in, query, **variables)[1]["data"]["project"]) == {"run"}


def test_throttle_answers_429_with_the_documented_headers(
    stand_in: StandInServer, project: Project
) -> None:
    project.add_run("r")
    limiter = stand_in.throttle(120, window_seconds=1.0, retry_after=True)
    answers = [ask(stand_in, RUNS) for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 429]
    headers = answers[2][2]
    assert (headers["RateLimit-Limit"], headers["RateLimit-Remaining"]) == ("1000", "0")
    assert headers["RateLimit-Reset"] == headers["Retry-After"] == "1"
    assert limiter is not None
    assert limiter.refused == 1
    stand_in.throttle(None)
    assert ask(stand_in, RUNS)[0] == 200


def test_server_stops_at_once_when_a_request_hangs() -> None:
    started = time.monotonic()
    with StandInServer() as server:
        server.faults.add("*", Hang())
        request = urllib.request.Request(f"{server.url}/graphql", b'{"query": "{viewer{id}}"}')
        with pytest.raises(OSError, match="timed out"):
            urllib.request.urlopen(request, timeout=0.2)
    assert time.monotonic() - started < 2


def test_page_is_fast_when_the_run_is_long(stand_in: StandInServer, project: Project) -> None:
    run = project.add_run("r")
    run.log_all({"loss": 0.5, "acc": n} for n in range(50_000))
    assert len(live_rows(stand_in, "r", min=0, max=1)) == 1
    started = time.monotonic()
    for low in range(0, 50_000, 1000):
        assert len(live_rows(stand_in, "r", min=low, max=low + 10)) == 10
    assert time.monotonic() - started < 2
