"""Export histories as a script by hand does it: ENTITY PROJECT FILE.

Downloads the Parquet files of all runs with the SDK in eight threads, puts them under each other
with Polars, and writes one Parquet file.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import wandb

THREADS = 8


def main(entity: str, project: str, target: Path) -> None:
    """Export the history of every run of a project."""
    runs = list(wandb.Api().runs(f"{entity}/{project}", per_page=1000))
    with TemporaryDirectory() as below:

        def download(run: Any) -> pl.LazyFrame:
            folder = Path(below, run.id)
            files = run.download_history_exports(folder, require_complete_history=True)
            return pl.scan_parquet(sorted(files.paths)).with_columns(run_id=pl.lit(run.id))

        with ThreadPoolExecutor(THREADS) as pool:
            frames = list(pool.map(download, runs))
        pl.concat(frames, how="diagonal_relaxed").collect().write_parquet(target)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
