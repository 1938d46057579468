"""Segments as they are found again: only by the same question, and only when they are whole."""

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.shell.sync.segments import find_segment, segment_path
from tests.support.syncing import select
from tests.support.written_segments import HEADER, RUN, write_rows


def test_segment_is_found_by_its_question_and_holds_its_rows(tmp_path: Path) -> None:
    segment = write_rows(tmp_path)
    assert find_segment(tmp_path, HEADER) == segment
    assert len(list(segment.lines())) == segment.rows == segment.received.rows == 3
    assert segment.received.last_step == 2
    assert [path.parent for path in tmp_path.iterdir()] == [tmp_path]


@pytest.mark.parametrize(
    "changed",
    [
        {"run": replace(RUN, storage_id="2")},
        {"run": replace(RUN, state="finished")},
        {"run": replace(RUN, history_line_count=4)},
        {"run": replace(RUN, last_step=3)},
        {"run": replace(RUN, heartbeat_at="2026-01-01T00:00:00Z")},
        {"run": replace(RUN, run_id="other")},
        {"window": FetchWindow(start=1)},
        {"selection": select("loss")},
        {"source": "api"},
    ],
    ids=str,
)
def test_another_question_is_not_answered(tmp_path: Path, changed: dict[str, Any]) -> None:
    write_rows(tmp_path)
    other = replace(HEADER, **changed)
    assert find_segment(tmp_path, other) is None
    segment_path(tmp_path, HEADER).rename(segment_path(tmp_path, other))
    assert find_segment(tmp_path, other) is None


def test_cut_segment_is_not_used(tmp_path: Path) -> None:
    path = Path(write_rows(tmp_path).path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert find_segment(tmp_path, HEADER) is None, length
    path.write_bytes(content)
    assert find_segment(tmp_path, HEADER) is not None


def test_segment_that_begins_with_its_question_is_not_used(tmp_path: Path) -> None:
    """An earlier build wrote them so: its rows would be taken for others."""
    path = Path(write_rows(tmp_path).path)
    *rows, question, end = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([question, *rows, end]))
    assert find_segment(tmp_path, HEADER) is None


@pytest.mark.parametrize(
    "changed",
    [{"window": FetchWindow(start=1)}, {"selection": select("loss")}, {"mark": 2}],
    ids=str,
)
def test_rows_of_the_whole_run_answer_only_the_question_for_all_of_them(
    changed: dict[str, Any],
) -> None:
    assert HEADER.is_answered_by(FetchWindow())
    assert not replace(HEADER, **changed).is_answered_by(FetchWindow())
