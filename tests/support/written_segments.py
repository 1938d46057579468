"""A segment of three rows, as a fetch writes it."""

from pathlib import Path
from typing import Any

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.selection import EVERYTHING
from dr_wandb.shell.sources import RowBatch
from dr_wandb.shell.sync.segment_writer import SegmentWriter
from dr_wandb.shell.sync.segments import Segment, SegmentHeader

RUN = RunListing(run_id="../é\n", storage_id="1", history_line_count=3, last_step=2)
HEADER = SegmentHeader(run=RUN, window=FetchWindow(), selection=EVERYTHING, source="memory")
ROWS = [{"_step": step, "_timestamp": 100.5 + step, "loss": step / 2} for step in range(3)]


def write_rows(folder: Path, header: SegmentHeader = HEADER, rows: Any = ROWS) -> Segment:
    with SegmentWriter(folder, header) as writer:
        writer.add(RowBatch(rows=rows, live=True))
        return writer.finish()
