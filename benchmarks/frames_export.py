"""Make exports for the measurement of frames: without a server, as a sync writes them.

Numbers come from numpy with the run's number as the seed: the same data on every machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from tests.support.snapshots import snapshot
from tests.support.written_parquet import add_parquet, put_manifest

from dr_wandb.core.contract.codec import encode_line
from dr_wandb.core.contract.export_files import HISTORY_FILE, RUNS_FILE, STATE_FILE
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.shell.store import disk

if TYPE_CHECKING:
    from pathlib import Path

METRICS = 8
STARTED = 1_735_689_600

_ENCODER = msgspec.json.Encoder(order="sorted")


def make_export(folder: Path, runs: int, rows_per_run: int, *, parquet: bool) -> None:
    """Make an export of runs that each logged eight metrics, with or without Parquet files."""
    folder.mkdir(parents=True)
    with (folder / RUNS_FILE).open("wb") as stream:
        for number in reversed(range(runs)):
            stream.write(encode_line(_snapshot(number, rows_per_run)))
    with (folder / HISTORY_FILE).open("wb") as stream:
        for number in range(runs):
            stream.write(_lines(number, rows_per_run))
    (folder / STATE_FILE).write_bytes(_ENCODER.encode(_state()))
    put_manifest(folder, _manifest(folder, runs, runs * rows_per_run))
    if parquet:
        add_parquet(folder)


def _snapshot(number: int, rows: int) -> Any:
    config = {
        "seed": number,
        "learning_rate": 0.1 / (number + 1),
        "optimizer": {"name": "adamw", "betas": [0.9, 0.999], "weight_decay": 0.01},
        "model": {"layers": 12, "width": 768, "heads": 12, "dropout": 0.1},
        "batch_size": 256,
    }
    summary = {f"metric_{index}": (number + 1) / (rows + index + 1.7) for index in range(METRICS)}
    return snapshot(
        _run_id(number),
        state="finished",
        created_at="2025-01-01T00:00:00Z",
        tags=["baseline", f"seed-{number % 10}"],
        group=f"group-{number % 25}",
        config=config,
        summary_metrics={**summary, "_step": rows - 1, "_runtime": rows / 2},
        history_line_count=rows,
    )


def _run_id(number: int) -> str:
    return f"run{number:05d}"


def _lines(number: int, rows: int) -> bytes:
    """Return the rows of a run: eight curves that fall, with noise."""
    positions = np.arange(rows)
    random = np.random.default_rng(number)
    curves = [
        (number + 1) / (positions + index + 1.7) * (1 + 0.01 * random.standard_normal(rows))
        for index in range(METRICS)
    ]
    names = [f"metric_{index}" for index in range(METRICS)]
    lines = []
    for row, values in enumerate(zip(*(curve.tolist() for curve in curves), strict=True)):
        half = row / 2 if row % 2 else row // 2
        line = {
            "extra": {},
            "metrics": dict(zip(names, values, strict=True)),
            "run_id": _run_id(number),
            "runtime": half,
            "step": row,
            "timestamp": str(STARTED + 30 * number + half),
            "wandb_metadata": {},
        }
        lines.append(_ENCODER.encode(line))
    return b"".join(b"%s\n" % line for line in lines)


def _state() -> dict[str, Any]:
    """Return a state that knows no run: frames do not need one."""
    return {"schema_version": 6, "name": "", "entity": "", "project": "", "files": {}, "runs": {}}


def _manifest(folder: Path, runs: int, rows: int) -> ExportManifest:
    files = {}
    for name, lines in ((RUNS_FILE, runs), (HISTORY_FILE, rows)):
        path = folder / name
        size, sha256 = path.stat().st_size, disk.sha256_of(path)
        files[name] = DataFile(lines=lines, bytes=size, sha256=sha256)
    return ExportManifest(
        name=folder.name,
        entity="entity",
        project="project",
        mode=ExportMode.HISTORY,
        created_at="2025-01-01T00:00:00Z",
        updated_at="2025-01-01T00:00:00Z",
        runs_path=RUNS_FILE,
        history_path=HISTORY_FILE,
        run_count=runs,
        history_count=rows,
        files=files,
    )
