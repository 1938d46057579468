"""Runs of the stand-in server whose answers are made beforehand.

Rules
- Numbers come from numpy with the run's number as the seed: the same data on every machine.
- Exported rows are Parquet files, never Python objects; live rows are JSON string literals that
  go into a response as they are, found by bisection.
- Samples of machines are texts that are made beforehand; all runs print the same lines.
- What the listing says of a run (`historyKeys`, line count, config, summary) is constant.
- All runs ended, or last gave a sign, in January 2025: long ago, so a sync finds them settled.
"""

from __future__ import annotations

import io
import json
from bisect import bisect_left
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tests.support.server.history import HistoryIndex
from tests.support.server.model import Project
from tests.support.server.nodes import Raw
from tests.support.server.parquet import ParquetFile
from tests.support.server.run import SECONDS_PER_ROW, Run
from tests.support.server.world import instant, spell_time

from benchmarks.workloads import HISTORY

if TYPE_CHECKING:
    from tests.support.server.history import Rows
    from tests.support.server.stand_in import StandInServer

    from benchmarks.workloads import Workload

ENTITY = "entity"
PROJECT = "project"
FIRST_CREATED = datetime(2025, 1, 1, tzinfo=UTC)
SECONDS_BETWEEN_RUNS = 30


class LiveRows(HistoryIndex):
    """Rows that are not exported: their steps in order, and each as a JSON string literal."""

    def __init__(self, steps: list[int], literals: list[str]) -> None:
        super().__init__()
        self._live_steps = steps
        self._live_literals = literals

    def positions(
        self, rows: Rows, first: int, min_step: float | None, max_step: float | None
    ) -> list[int]:
        """Return positions with min_step <= step < max_step; None leaves a side open."""
        steps = self._live_steps
        low = 0 if min_step is None else bisect_left(steps, min_step)
        high = len(steps) if max_step is None else bisect_left(steps, max_step)
        return list(range(low, high))

    def literal(self, rows: Rows, position: int) -> str:
        """Return a row as it goes into a response."""
        return self._live_literals[position]


class PreparedProject(Project):
    """A project of many runs, found by id at once."""

    def __init__(self, server: StandInServer) -> None:
        super().__init__(server.world, ENTITY, PROJECT)
        self.by_id: dict[str, Run] = {}

    def add(self, run: Run) -> None:
        """Take up a run; its id is new."""
        self.runs.append(run)
        self.by_id[run.run_id] = run

    def find_run(self, run_id: str) -> Run | None:
        """Return the run with this id."""
        return self.by_id.get(run_id)


def add_project(server: StandInServer, workload: Workload) -> PreparedProject:
    """Fill a server with one project."""
    project = PreparedProject(server)
    server.projects.append(project)
    lines: list[dict[str, Any] | None] = [_line(number) for number in range(workload.lines)]
    for number in range(workload.runs):
        run = _run(server, project, workload, number)
        run.console = lines
        project.add(run)
    return project


def _line(number: int) -> dict[str, Any]:
    """Return one line of a console: what a training prints, sometimes a progress bar."""
    stamp = FIRST_CREATED + timedelta(milliseconds=1_237 * number)
    bar = f"\x1b[32m{number % 100:3d}%\x1b[0m|{'█' * (number % 10):10}| {number}/5000"
    text = f"epoch {number // 100} step {number}: loss={1 / (number + 1):.6f} lr=3.00e-04"
    return {
        "number": number,
        "timestamp": stamp.replace(tzinfo=None).isoformat(),
        "level": "error" if number % 10 == 0 else "",
        "label": "",
        "line": bar if number % 10 == 0 else text,
    }


def _samples(workload: Workload, number: int, started: float) -> list[str]:
    """Return the samples of a machine as JSON texts: of its processor and of its GPU, in turn."""
    random = np.random.default_rng(number).random((workload.samples, 12)) * 100
    texts = []
    for index, values in enumerate(random.tolist()):
        parts = _OF_GPU if index % 2 else _OF_PROCESSOR
        runtime = 7.5 * index + values[0] / 1000
        sample = dict(zip(parts, values, strict=False))
        sample |= {"_timestamp": started + runtime, "_runtime": runtime, "_wandb": True}
        texts.append(json.dumps(sample))
    return texts


_OF_PROCESSOR = tuple(
    f"system.{name}"
    for name in (
        *("cpu", "memory_percent", "proc.cpu.threads", "proc.memory.availableMB"),
        *("proc.memory.rssMB", "proc.memory.percent", "disk./.usagePercent", "disk./.usageGB"),
        *("disk.nvme0n1.in", "disk.nvme0n1.out", "network.sent", "network.recv"),
    )
)
_OF_GPU = tuple(
    f"system.gpu.{index}.{name}"
    for index in (0, 1)
    for name in ("gpu", "memory", "memoryAllocated", "temp", "powerWatts", "smClock")
)


def _run(server: StandInServer, project: Project, workload: Workload, number: int) -> Run:
    created = FIRST_CREATED + timedelta(seconds=SECONDS_BETWEEN_RUNS * number)
    ended = created + timedelta(seconds=SECONDS_PER_ROW * workload.rows_per_run)
    running = number >= workload.runs - workload.running_count
    run = Run(
        project,
        f"run{number:05d}",
        created_at=spell_time(created),
        heartbeat_at=spell_time(ended),
        state="running" if running else "finished",
        display_name=f"sweep-of-seed-{number}",
        tags=("baseline", f"seed-{number % 10}"),
        group=f"group-{number % 25}",
    )
    run.config_json = json.dumps(_config(number, workload))
    _fill(server, run, workload, number)
    return run


def grow(server: StandInServer, project: PreparedProject, grown: Workload) -> None:
    """Let each run that still runs have the rows of a workload that has grown."""
    for number, run in enumerate(project.runs):
        if run.state == "running":
            _fill(server, run, grown, number)


def _fill(server: StandInServer, run: Run, workload: Workload, number: int) -> None:
    """Give a run its rows, and what the listing says of them."""
    started = instant(run.created_at).timestamp()
    run.summary_json = json.dumps(_summary(number, workload, started))
    run.line_count_offset = workload.rows_per_run
    run.history_keys = _history_keys(workload)
    run.parquet_history = None
    run.raw_events = [*_samples(workload, number, started)]
    run.events_line_count = workload.samples
    if workload.mode == HISTORY:
        _add_history(server, run, workload, number, started)


def _config(number: int, workload: Workload) -> dict[str, Any]:
    values: dict[str, Any] = {
        "seed": number,
        "learning_rate": 0.1 / (number + 1),
        "optimizer": {"name": "adamw", "betas": [0.9, 0.999], "weight_decay": 0.01},
        "model": {"layers": 12, "width": 768, "heads": 12, "dropout": 0.1},
        "dataset": "common-crawl-subset",
        "batch_size": 256,
        "precision": "bf16",
        "warmup_steps": 2000,
    }
    if workload.config_bytes:
        count = workload.config_bytes // len(_option(0, 0))
        values["options"] = [json.loads(_option(number, index)) for index in range(count)]
    return {key: {"value": value, "desc": None} for key, value in values.items()}


def _option(number: int, index: int) -> str:
    """Return one of many parts of a large config, as JSON: a name, a path, a few numbers."""
    name, path = f"option-{index:06d}", f"/datasets/seed-{number:05d}/shard-{index:06d}.tar"
    return json.dumps({"name": name, "path": path, "weight": 0.5, "range": [index, index + 8]})


def _summary(number: int, workload: Workload, started: float) -> dict[str, Any]:
    last = workload.rows_per_run - 1
    runtime = SECONDS_PER_ROW * last
    return {
        **{
            name: (number + 1) / (last + index + 1.7) for index, name in enumerate(_names(workload))
        },
        "_step": last * workload.step_stride,
        "_runtime": runtime,
        "_timestamp": started + runtime,
        "_wandb": {"runtime": int(runtime)},
    }


def _names(workload: Workload) -> list[str]:
    return [f"metric_{index}" for index in range(workload.metrics)]


def _history_keys(workload: Workload) -> dict[str, Any]:
    count = workload.rows_per_run
    counts = [{"type": "number", "count": count}]
    names = ["_step", "_timestamp", "_runtime", *_names(workload)]
    keys = {
        name: {"typeCounts": counts, "monotonic": False, "previousValue": 0.5} for name in names
    }
    return {"lastStep": (count - 1) * workload.step_stride, "sets": [], "keys": keys}


def _add_history(
    server: StandInServer, run: Run, workload: Workload, number: int, started: float
) -> None:
    columns = _columns(workload, number, started)
    live_from = workload.live_from(number)
    arrays = {name: pa.array(column[:live_from]) for name, column in columns.items()}
    for name in _names(workload)[: workload.mixed_metrics]:
        arrays["_step"] = arrays["_step"].cast(pa.float64())
        arrays[name] = _mixed(columns[name][:live_from])
    exported = pa.table(arrays)
    size = workload.rows_per_file
    run.exports = [
        _file(f"{index:04d}.parquet", exported.slice(start, size))
        for index, start in enumerate(range(0, live_from, size))
    ]
    live = {name: column[live_from:].tolist() for name, column in columns.items()}
    steps = live["_step"]
    spell = float if workload.double_live_steps else int
    texts = [
        json.dumps(json.dumps(dict(zip(live, row, strict=True))))
        for row in zip(*live.values(), strict=True)
    ]
    run.index = LiveRows(steps, texts)
    run.parquet_history = {
        "parquetUrls": server.sign_exports(run),
        "liveData": Raw(json.dumps([{"_step": spell(step)} for step in steps])),
    }


def _columns(workload: Workload, number: int, started: float) -> dict[str, np.ndarray]:
    """Return the rows of a run by column: eight curves that fall, with noise.

    The numbers of a row are the same before and after the rows to be gained are there.
    """
    positions = np.arange(workload.rows_per_run + workload.gained_rows)
    random = np.random.default_rng(number)
    runtime = SECONDS_PER_ROW * positions
    columns = {
        "_step": positions * workload.step_stride,
        "_timestamp": started + runtime,
        "_runtime": runtime,
    }
    for index, name in enumerate(_names(workload)):
        noise = 1 + 0.01 * random.standard_normal(len(positions))
        columns[name] = (number + 1) / (positions + index + 1.7) * noise
    return {name: column[: workload.rows_per_run] for name, column in columns.items()}


def _mixed(column: np.ndarray) -> pa.Array:
    """Return numbers as W&B's servers export a metric with one NaN, here in its last row."""
    last = len(column) - 1
    numbers = pa.array(column, mask=np.arange(len(column)) == last)
    words = pa.array([None] * last + ["NaN"], pa.string())
    return pa.StructArray.from_arrays([numbers, words], ["_type_float64", "_type_utf8"])


def _file(name: str, table: pa.Table) -> ParquetFile:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return ParquetFile(name, sink.getvalue(), len(table))
