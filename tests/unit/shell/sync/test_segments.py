from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.request import EVERYTHING
from dr_wandb.shell.sources import RowBatch
from dr_wandb.shell.sync.segments import (
    Segment,
    SegmentHeader,
    SegmentWriter,
    find_segment,
    segment_path,
)
from tests.syncing import select

RUN = RunListing(run_id="../é\n", storage_id="1", history_line_count=3, last_step=2)
HEADER = SegmentHeader(run=RUN, window=FetchWindow(), selection=EVERYTHING, source="memory")
ROWS = [{"_step": step, "_timestamp": 100.5 + step, "loss": step / 2} for step in range(3)]


def write(folder: Path, header: SegmentHeader = HEADER, rows: Any = ROWS) -> Segment:
    with SegmentWriter(folder, header) as writer:
        writer.add(RowBatch(rows=rows, live=True))
        return writer.finish()


def test_a_segment_is_found_by_its_question_and_holds_its_rows(tmp_path: Path) -> None:
    segment = write(tmp_path)
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
    write(tmp_path)
    other = replace(HEADER, **changed)
    assert find_segment(tmp_path, other) is None
    segment_path(tmp_path, HEADER).rename(segment_path(tmp_path, other))
    assert find_segment(tmp_path, other) is None


def test_a_cut_segment_is_not_used(tmp_path: Path) -> None:
    path = Path(write(tmp_path).path)
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert find_segment(tmp_path, HEADER) is None, length
    path.write_bytes(content)
    assert find_segment(tmp_path, HEADER) is not None


def test_a_segment_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path, HEADER) as writer:
        writer.add(RowBatch(rows=ROWS))
    assert list(tmp_path.iterdir()) == []


def test_rows_come_in_stored_order_once_the_exported_copy_first(tmp_path: Path) -> None:
    """A row that came live and exported is one row, whichever came first."""
    exported = [{**row, "late": None} for row in ROWS[:2]]
    for number, batches in enumerate([(ROWS[::-1], exported), (exported, ROWS)]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with SegmentWriter(folder, HEADER) as writer:
            for rows in batches:
                writer.add(RowBatch(rows=rows, live=rows is not exported))
            segment = writer.finish()
        assert list(segment.lines()) == list(write(folder).lines())


def test_an_exported_copy_wins_over_a_live_one(tmp_path: Path) -> None:
    live, exported = {**ROWS[0], "from": "live, longer"}, {**ROWS[0], "from": "file"}
    with SegmentWriter(tmp_path, HEADER) as writer:
        writer.add(RowBatch(rows=[live], live=True))
        writer.add(RowBatch(rows=[exported], live=False))
        (line,) = writer.finish().lines()
    assert b'"from":"file"' in line


def test_the_selection_applies_to_the_lines_not_to_what_was_received(tmp_path: Path) -> None:
    header = replace(HEADER, selection=select("loss"))
    segment = write(tmp_path, header, [*ROWS, {"_step": 3, "other": 1}])
    assert (segment.rows, segment.received.rows, segment.received.last_step) == (3, 4, 3)


def test_rows_outside_the_window_are_left_out(tmp_path: Path) -> None:
    header = replace(HEADER, window=FetchWindow(start=1, stop=2))
    rows = [*ROWS, {"loss": 1}]
    segment = write(tmp_path, header, rows)
    assert (segment.rows, segment.received.rows, segment.received.last_step) == (1, 1, 1)


def test_an_empty_answer_is_a_whole_segment(tmp_path: Path) -> None:
    segment = write(tmp_path, rows=[])
    assert find_segment(tmp_path, HEADER) == segment
    assert (segment.rows, list(segment.lines()), segment.received.last_step) == (0, [], None)
