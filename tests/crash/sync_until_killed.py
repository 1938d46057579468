"""Sync a project of moderate size; run by test_kill.py, which ends it at some moment.

python -m tests.crash.sync_until_killed DATA_ROOT GROWTH
"""

import sys
import time
from collections.abc import Iterator
from pathlib import Path

from dr_wandb.core.contract.fetch_window import FetchWindow
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.shell.sources import RowBatch
from tests.support import syncing
from tests.support.memory_source import MemorySource

RUNS, ROWS = 12, 60


class SlowSource(MemorySource):
    """Waits a moment before each history, so that there is time to be killed in."""

    pause_seconds = 0.0

    def read_history(
        self, run: RunListing, window: FetchWindow, attempt: int
    ) -> Iterator[RowBatch]:
        time.sleep(self.pause_seconds)
        return super().read_history(run, window, attempt)


def project(growth: int) -> SlowSource:
    """Return the project after it has grown so many times."""
    source = SlowSource(rows_per_batch=50)
    for number in range(RUNS):
        source.add_run(f"run{number:02d}", tags=["x"] * number)
        for row in range(ROWS + number):
            source.log(f"run{number:02d}", {"loss": 1 / (row + 1), "text": "ü" * number})
    for round_ in range(growth):
        source.advance(60)
        for number in range(round_ % 3, RUNS, 3):
            source.log(f"run{number:02d}", {"loss": float(round_)})
            source.write_line(f"run{number:02d}", f"round {round_}")
            source.sample(f"run{number:02d}", cpu=round_)
            source.put_file(f"run{number:02d}", f"media/{round_}.bin", b"%d" % number * 50_000)
    return source


def main(data_root: str, growth: str) -> None:
    source = project(int(growth))
    source.pause_seconds = 0.01
    print("ready", flush=True)
    syncing.sync(source, Path(data_root), extra_datasets=("console", "system", "files"))
    print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
