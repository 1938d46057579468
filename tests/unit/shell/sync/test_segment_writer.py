"""Segments as they are written: order, copies, selection and window."""

from pathlib import Path
from typing import Any

from msgspec.structs import replace

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.shell.sources import RowBatch
from dr_wandb.shell.sync.segment_writer import SegmentWriter
from dr_wandb.shell.sync.segments import find_segment
from tests.support.syncing import select
from tests.support.written_segments import HEADER, ROWS, write_rows


def test_segment_that_is_not_finished_leaves_nothing(tmp_path: Path) -> None:
    with SegmentWriter(tmp_path, HEADER) as writer:
        writer.add(RowBatch(rows=ROWS))
    assert list(tmp_path.iterdir()) == []


def test_rows_come_in_stored_order_once_the_exported_copy_first(tmp_path: Path) -> None:
    """A row that came live and exported is one row, whichever came first."""
    exported: list[dict[str, Any]] = [{**row, "late": None} for row in ROWS[:2]]
    answers = [(ROWS[::-1], exported), (exported, ROWS)]
    for number, batches in enumerate(answers):
        folder = tmp_path / str(number)
        folder.mkdir()
        with SegmentWriter(folder, HEADER) as writer:
            for rows in batches:
                writer.add(RowBatch(rows=rows, live=rows is not exported))
            segment = writer.finish()
        assert list(segment.lines()) == list(write_rows(folder).lines())


def test_exported_copy_wins_over_a_live_one(tmp_path: Path) -> None:
    live, exported = {**ROWS[0], "from": "live, longer"}, {**ROWS[0], "from": "file"}
    with SegmentWriter(tmp_path, HEADER) as writer:
        writer.add(RowBatch(rows=[live], live=True))
        writer.add(RowBatch(rows=[exported], live=False))
        (line,) = writer.finish().lines()
    assert b'"from":"file"' in line


def test_selection_applies_to_the_lines_not_to_what_was_received(tmp_path: Path) -> None:
    header = replace(HEADER, selection=select("loss"))
    segment = write_rows(tmp_path, header, [*ROWS, {"_step": 3, "other": 1}])
    assert (segment.rows, segment.received.rows, segment.received.last_step) == (3, 4, 3)


def test_rows_outside_the_window_are_left_out(tmp_path: Path) -> None:
    header = replace(HEADER, window=FetchWindow(start=1, stop=2))
    rows = [*ROWS, {"loss": 1}]
    segment = write_rows(tmp_path, header, rows)
    assert (segment.rows, segment.received.rows, segment.received.last_step) == (1, 1, 1)


def test_empty_answer_is_a_whole_segment(tmp_path: Path) -> None:
    segment = write_rows(tmp_path, rows=[])
    assert find_segment(tmp_path, HEADER) == segment
    assert (segment.rows, list(segment.lines()), segment.received.last_step) == (0, [], None)
