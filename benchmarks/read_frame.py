"""Load one frame, and print how long that took: HOW WHAT NAME DATA_ROOT.

HOW is `polars`, `pandas` or `arrow`, the loaders of this tool, or the same with `-json`: that
library's own reader of JSON lines. WHAT is `history` or `runs`. Everything is imported before the
clock starts. Nothing was loaded before in this process, so files are checked, and types found.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pandas
import polars
import pyarrow.json

import dr_wandb.shell.frames.loading
from benchmarks.measuring import peak_of
from dr_wandb import load_history_frame, load_runs_frame

METRICS = ["metric_1", "metric_2"]


def read_json(library: str, path: Path) -> Any:
    """Read JSON lines as a user of the library does."""
    if library == "polars":
        return polars.read_ndjson(path)
    if library == "pandas":
        return pandas.read_json(path, lines=True)
    return pyarrow.json.read_json(path)


def load(library: Any, what: str, name: str, data_root: Path) -> Any:
    """Load a frame with this tool."""
    if what == "runs":
        return load_runs_frame(name, data_root, engine=library)
    return load_history_frame(name, data_root, metrics=METRICS, engine=library)


def total_of(frame: Any, library: str) -> float | None:
    """Return the sum of a metric in a wide frame, to compare the loaders."""
    if "metric_1" not in (frame.column_names if library == "arrow" else frame.columns):
        return None
    column = frame["metric_1"]
    return float(column.to_numpy().sum() if library == "arrow" else column.sum())


def main(how: str, what: str, name: str, data_root: Path) -> None:
    """Print seconds, the number of rows, and the peak of the memory in bytes."""
    library, _, own = how.partition("-")
    path = data_root / name / f"{what}.jsonl"
    assert dr_wandb.shell.frames.loading
    started = time.perf_counter()
    frame = read_json(library, path) if own else load(library, what, name, data_root)
    seconds = time.perf_counter() - started
    peak = peak_of(os.getpid()) or 0
    total = total_of(frame, library)
    print(json.dumps({"seconds": seconds, "rows": len(frame), "peak": peak, "total": total}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
