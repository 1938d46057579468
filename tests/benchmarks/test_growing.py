"""A project of the benchmarks that grows between two syncs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import msgspec
from benchmarks.prepared import add_project, grow
from benchmarks.serving import PreparedServer, answer
from benchmarks.workloads import GROWING

if TYPE_CHECKING:
    from tests.support.server import Run

SMALL = msgspec.structs.replace(GROWING, runs=2, rows_per_run=50, gained_rows=5, latency_seconds=0)


def live_rows(run: Run) -> list[dict[str, float]]:
    positions = run.index.positions(run.rows, 0, None, None)
    return [json.loads(json.loads(run.index.literal(run.rows, one))) for one in positions]


def live_data(run: Run) -> list[dict[str, float]]:
    assert isinstance(run.parquet_history, dict)
    data: list[dict[str, float]] = json.loads(run.parquet_history["liveData"])
    return data


def test_run_that_grows_keeps_its_rows_and_its_files() -> None:
    with PreparedServer(SMALL) as server:
        project = add_project(server, SMALL)
        run = project.runs[0]
        before, files = live_rows(run), [one.content for one in run.exports]
        server.answers["question", "variables"] = b"old"
        assert answer(server, project, {"do": "grow"}) == {}
        assert server.answers == {}
        assert live_rows(run)[: len(before)] == before
        assert [row["_step"] for row in live_rows(run)] == list(range(45, 55))
        assert [one.content for one in run.exports] == files
        assert [str(one["_step"]) for one in live_data(run)][-1] == "54.0"
        assert run.line_count_offset == 55


def test_run_that_has_ended_does_not_grow() -> None:
    half = msgspec.structs.replace(SMALL, live_runs=0.5)
    with PreparedServer(half) as server:
        project = add_project(server, half)
        grow(server, project, half.grown())
        assert sorted(run.line_count_offset for run in project.runs) == [50, 55]


def test_rows_are_the_same_when_they_are_gained_a_few_at_a_time() -> None:
    rows, summaries = [], []
    ways: list[list[dict[str, str]]] = [[{"rows": "2"}, {"rows": "3"}], [{}]]
    for steps in ways:
        with PreparedServer(SMALL) as server:
            project = add_project(server, SMALL)
            for step in steps:
                summaries.append(project.runs[0].summary_json)
                answer(server, project, {"do": "grow", **step})
            rows.append(live_rows(project.runs[0]))
            assert project.runs[0].line_count_offset == 55
    assert rows[0] == rows[1]
    assert len(set(summaries)) == 2
