"""`runs.parquet`: its bytes, its schema, and what DuckDB, Polars and pandas make of it."""

import hashlib
import json
import math
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from dr_wandb import DrWandbError, RunSnapshot, RunUser
from dr_wandb.core.columnar import key_counts
from dr_wandb.core.columnar.run_lines import decode_runs
from dr_wandb.shell.store import disk, runs_parquet
from dr_wandb.shell.store.runs_parquet import WrittenRuns, write_runs
from tests.support.snapshots import lines_of_snapshots, snapshot

RUNS = [
    snapshot(
        "0012",
        created_at="2026-11-29T11:55:45.123456789Z",
        tags=["a", "é"],
        path=["entity", "project", "0012"],
        user=RunUser(username="u"),
        read_only=True,
        config={"lr": 0.5, "optim": {"name": "adam"}, "ok": True, "n": 1, "mix": 1},
        summary_metrics={"loss": "NaN", "Loss": 2},
        history_line_count=7,
        history_keys={"lastStep": 6},
    ),
    snapshot("1e5", config={"lr": 1, "mix": "x"}, summary_metrics={"loss": 3.5}),
    snapshot("empty", created_at="soon"),
]
LOSS = f"summary.loss ({hashlib.sha256(b'loss').hexdigest()[:8]})"


def written(folder: Path, snapshots: list[RunSnapshot]) -> tuple[Path, WrittenRuns]:
    lines = folder / "runs.jsonl"
    lines.write_bytes(lines_of_snapshots(snapshots))
    return folder / "runs.parquet", write_runs(lines, folder / "runs.parquet")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return written(tmp_path, RUNS)[0]


def test_file_is_described(tmp_path: Path) -> None:
    path, found = written(tmp_path, RUNS)
    content = path.read_bytes()
    assert found == WrittenRuns(
        runs=3,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        contents=hashlib.sha256((tmp_path / "runs.jsonl").read_bytes()).hexdigest(),
    )


def test_file_of_no_run_has_the_fixed_columns(tmp_path: Path) -> None:
    path, found = written(tmp_path, [])
    assert found.runs == 0
    assert pq.read_schema(path).names[:3] == ["run_id", "name", "display_name"]
    with duckdb.connect() as connection:
        assert connection.sql(f"select count(*) from '{path}'").fetchall() == [(0,)]


def test_columns_have_their_types_and_statistics(path: Path) -> None:
    types = dict(zip(pq.read_schema(path).names, map(str, pq.read_schema(path).types), strict=True))
    assert types["created_at"] == "timestamp[us, tz=UTC]"
    assert types["tags"] == "list<element: string not null>"
    assert types["config.lr"] == types[LOSS] == "double"
    assert types["config.ok"] == "bool"
    assert types["config.n"] == "int64"
    group = pq.read_metadata(path).row_group(0)
    columns = {group.column(at).path_in_schema: group.column(at) for at in range(group.num_columns)}
    assert not columns["config.lr"].is_stats_set
    assert not columns["config"].is_stats_set
    assert columns["config.n"].is_stats_set
    assert columns["created_at"].is_stats_set


def test_groups_end_by_the_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = pq.read_table(written(tmp_path, RUNS)[0])
    for limit in ("MOST_RUNS", "MOST_TEXT_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(runs_parquet, limit, 1)
            path, _ = written(tmp_path, RUNS)
        assert pq.read_metadata(path).num_row_groups == 3
        assert pq.read_table(path).drop_columns([LOSS]) == expected.drop_columns([LOSS])


def test_duckdb_reads_the_values(path: Path) -> None:
    with duckdb.connect() as connection:

        def ask(columns: str, condition: str = "true") -> list[Any]:
            query = f"select {columns} from '{path}' where {condition} order by run_id"
            return connection.sql(query).fetchall()

        assert ask("run_id, \"config.lr\", \"config.optim.name\"") == [
            ("0012", 0.5, "adam"), ("1e5", 1.0, None), ("empty", None, None),
        ]  # fmt: skip
        assert ask("run_id", f'isnan("{LOSS}")') == [("0012",)]
        assert ask('tags, "config.mix"')[:2] == [(["a", "é"], "1"), ([], '"x"')]
        assert ask("config->>'$.optim.name'")[0] == ("adam",)
        created = ask("epoch_us(created_at)")
        assert created == [(1764417345123456 + 365 * 86_400_000_000,), (None,), (None,)]
        assert ask("last_step, history_line_count, username")[0] == (6, 7, "u")


def test_polars_reads_the_values(path: Path) -> None:
    found = pl.read_parquet(path)
    assert found["run_id"].to_list() == ["0012", "1e5", "empty"]
    assert found["config.lr"].to_list() == [0.5, 1.0, None]
    assert found.filter(pl.col(LOSS).is_nan())["run_id"].to_list() == ["0012"]
    assert found["tags"].to_list() == [["a", "é"], [], []]
    assert found["created_at"][0] == datetime(2026, 11, 29, 11, 55, 45, 123456, tzinfo=UTC)
    assert json.loads(found["config"][0]) == RUNS[0].run.config
    lazily = pl.scan_parquet(path).filter(pl.col("config.n") == 1).select("run_id").collect()
    assert lazily["run_id"].to_list() == ["0012"]


def test_pandas_reads_the_values(path: Path) -> None:
    found = pd.read_parquet(path).set_index("run_id")
    assert found.loc["0012", "config.lr"] == 0.5
    assert math.isnan(float(str(found.loc["0012", LOSS])))
    assert found.loc["0012", "created_at"] == pd.Timestamp("2026-11-29T11:55:45.123456Z")
    assert [*found["config.ok"]][:2] == [True, None]
    assert [json.loads(text) for text in found["summary"]] == [
        one.run.summary_metrics for one in RUNS
    ]
    assert [*pd.read_parquet(path, columns=["config.lr"]).columns] == ["config.lr"]


def test_rare_keys_have_no_column_if_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting them took memory for each key of each run."""
    snapshots = [
        snapshot(f"r{number}", config={"lr": 1, f"own {number}": 2, f"half {number % 2}": 3})
        for number in range(10)
    ]
    monkeypatch.setattr(key_counts, "RUNS_PER_KEY", 2)

    def keys() -> list[str]:
        names = pq.read_schema(written(tmp_path, snapshots)[0]).names
        return [name for name in names if name.startswith("config.")]

    assert len(keys()) == 13
    monkeypatch.setattr(key_counts, "MOST_COUNTED", 5)
    assert keys() == ["config.half 0", "config.half 1", "config.lr"]


def test_damaged_line_is_named(tmp_path: Path) -> None:
    lines = tmp_path / "runs.jsonl"
    lines.write_bytes(lines_of_snapshots(RUNS) + b"{\n")
    with pytest.raises(DrWandbError, match=r"runs\.jsonl line 4 cannot be read"):
        write_runs(lines, tmp_path / "runs.parquet")


@pytest.mark.parametrize(
    "config",
    [
        {"lr": 1, "mix": "x"},
        {"lr": 1.5},
        {"lr": "high"},
        {"lr": True},
        {"lr": 2**60},
        {"lr": 2**70},
        {"other": 1},
        {"LR": 1},
        {},
    ],
)
def test_columns_of_the_file_before_are_used_only_if_they_are_right(
    tmp_path: Path, config: dict[str, Any]
) -> None:
    path, _ = written(tmp_path, [snapshot("a", config={"lr": 1, "mix": "x"})])
    before = path.rename(tmp_path / "before")
    lines = tmp_path / "runs.jsonl"
    snapshots = [snapshot("a", config=config), snapshot("b", config={"lr": 2})]
    lines.write_bytes(lines_of_snapshots(snapshots))
    found = write_runs(lines, path, before)
    content = path.read_bytes()
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    assert written(tmp_path, snapshots) == (path, found)
    assert path.read_bytes() == content


def test_runs_are_read_once_if_the_columns_are_as_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = written(tmp_path, RUNS)[0].rename(tmp_path / "before")
    reads = 0

    def count(lines: bytes) -> Any:
        nonlocal reads
        reads += 1
        return decode_runs(lines)

    monkeypatch.setattr(runs_parquet, "decode_runs", count)
    write_runs(tmp_path / "runs.jsonl", tmp_path / "again", before)
    assert reads == 1
    write_runs(tmp_path / "runs.jsonl", tmp_path / "again")
    assert reads == 3


def test_lines_in_another_form_are_read(tmp_path: Path) -> None:
    """dr-wandb 3.0.3 writes numbers that have another form here, and NaN."""
    lines = tmp_path / "runs.jsonl"
    ours = lines_of_snapshots(RUNS)
    lines.write_bytes(ours.replace(b'"NaN"', b"NaN"))
    write_runs(lines, tmp_path / "runs.parquet")
    assert (tmp_path / "runs.parquet").read_bytes() == written(tmp_path, RUNS)[0].read_bytes()


def test_full_disk_ends_the_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_stream: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(disk, "sync_file", fail)
    with pytest.raises(DrWandbError, match=r"runs\.parquet: disk full"):
        written(tmp_path, RUNS)


def test_pandas_is_not_imported(tmp_path: Path) -> None:
    lines = tmp_path / "runs.jsonl"
    lines.write_bytes(lines_of_snapshots(RUNS))
    program = (
        "import sys; from pathlib import Path\n"
        "from dr_wandb.shell.store.runs_parquet import write_runs\n"
        f"write_runs(Path({str(lines)!r}), Path({str(tmp_path / 'runs.parquet')!r}))\n"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
