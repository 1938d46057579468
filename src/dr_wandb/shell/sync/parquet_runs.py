"""Bring `runs.parquet` up to date with `runs.jsonl`.

It depends on `runs.jsonl` alone, so it is written again only if that differs, or if it is damaged.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from dr_wandb.core.contract.export_files import PARQUET_RUNS
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.shell.store.checked_files import digest_of

STAGED = "runs.columns"
"""No hidden file is called `.parquet`: DuckDB and Polars read those too."""


class RunsAsColumns(NamedTuple):
    """What the manifest says of `runs.parquet`, and the new file; None if the old one stays."""

    file: DataFile
    staged: Path | None


def bring_runs(
    folder: Path, known: Mapping[str, DataFile], runs_file: Path, contents: str, staging: Path
) -> RunsAsColumns:
    """Write the file if it differs. contents: the SHA-256 of `runs_file`.

    folder: of the export. known: its files, as the manifest says.
    """
    held = known.get(PARQUET_RUNS)
    is_sound = held is not None and digest_of(folder / PARQUET_RUNS) == held.sha256
    if held is not None and is_sound and held.contents == contents:
        return RunsAsColumns(held, None)
    from dr_wandb.shell.store.runs_parquet import write_runs  # these need pyarrow
    from dr_wandb.shell.sync.parquet_packs import WRITER

    path = staging / STAGED
    written = write_runs(runs_file, path, folder / PARQUET_RUNS if is_sound else None)
    file = DataFile(
        lines=written.runs,
        bytes=written.bytes,
        sha256=written.sha256,
        contents=written.contents,
        writer=WRITER,
    )
    return RunsAsColumns(file, path)
