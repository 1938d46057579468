"""The benchmark of artifacts runs, at a small size, and counts what was asked."""

import sys
from pathlib import Path

from benchmarks.artifacts import measure_memory, measure_speed, measure_walk
from benchmarks.artifacts_project import ArtifactsProject

SMALL = ArtifactsProject(runs=3, collections=2, versions=2, latency_seconds=0.001)


def test_times_and_requests_of_syncs_are_measured(tmp_path: Path) -> None:
    lines = list(measure_speed(sys.executable, tmp_path, SMALL, 1))
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    requests = {row[0]: int(row[4]) for row in table[2:]}
    assert requests == {
        "runs alone, first export": 3,
        "first export": 3 + 1 + 1 + 1 + 1 + 4,
        "nothing new": 3 + 1,
        "a new version, a moved alias": 3 + 1 + 1 + 1 + 1,
    }


def test_walk_of_the_sdk_is_measured_beside_it(tmp_path: Path) -> None:
    ours, theirs = measure_walk(sys.executable, tmp_path, SMALL)
    assert "times as long" in theirs
    assert int(ours.split("|")[5]) < int(theirs.split("|")[5])


def test_memory_is_measured_by_the_number_of_entries(tmp_path: Path) -> None:
    head, _, *lines = measure_memory(sys.executable, tmp_path, (10, 20))
    assert "peak memory" in head
    assert len(lines) == 14
    assert all(line.endswith(" MB |") for line in lines)
