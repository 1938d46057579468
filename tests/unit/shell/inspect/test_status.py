"""What `status` tells of exports, without asking W&B and without reading their rows."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from msgspec.structs import replace

from dr_wandb import DrWandbError
from dr_wandb.core.contract.codec import encode_document
from dr_wandb.core.contract.dataset import HISTORY
from dr_wandb.core.contract.evidence import Evidence, Standing
from dr_wandb.core.contract.export_files import STORE_FILE
from dr_wandb.core.contract.listing import RunListing
from dr_wandb.core.contract.part import PartTracking, Position
from dr_wandb.core.contract.request import ExportMode
from dr_wandb.core.contract.scope import RunScope
from dr_wandb.core.contract.state import RunTracking, with_part
from dr_wandb.core.contract.unproven_runs import ShortKind
from dr_wandb.core.contract.wording import ago, scope_in_words, size_in_words
from dr_wandb.core.inspect.shortfalls import Lag, LagKind, Shortage, shortage_of
from dr_wandb.core.inspect.status import (
    ExportProblem,
    MissingRows,
    describe_status,
    describe_statuses,
)
from dr_wandb.shell.inspect.status import find_exports, read_status
from dr_wandb.shell.store.export_store import ExportNotFoundError, ExportStore
from tests.support import syncing
from tests.support.checkout import EXPORT_OF_3_0_3
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME, select
from tests.support.written_parquet import add_parquet

NOW = datetime(2026, 1, 3, tzinfo=UTC)


@pytest.fixture
def source() -> MemorySource:
    """Return a project with a finished, a running and a deleted run, and one that does not read."""
    source = MemorySource()
    for run_id in ("bad", "done", "gone", "live"):
        source.add_run(run_id)
        for step in range(3):
            source.log(run_id, {"loss": step / 4})
        source.advance(10)
    source.finish("done")
    return source


@pytest.fixture
def store(source: MemorySource, tmp_path: Path) -> ExportStore:
    """Return an export of it, after which things went wrong and it was synced again."""
    syncing.sync(source, tmp_path)
    source.delete("gone")
    source.log("bad", {"loss": 1.0})
    source.log("bad", {"loss": 1.5})
    source.fail_history("bad", 9)
    syncing.sync(source, tmp_path)
    return ExportStore(name=NAME, data_root=tmp_path)


def test_status_reports_what_is_held_and_what_became_of_each_run(store: ExportStore) -> None:
    status = read_status(store, NOW)
    assert (status.entity, status.project, status.mode) == ("entity", "project", ExportMode.HISTORY)
    assert (status.runs, status.rows, status.problem, status.sync) == (4, 12, None, None)
    assert (status.selection, status.scope) == ("everything", "every run")
    assert status.file_bytes == {
        path.name: path.stat().st_size
        for path in sorted(store.export_dir.iterdir())
        if not path.name.startswith(".") or path.name.startswith(".tracked")
    }
    assert status.bytes == sum(status.file_bytes.values())
    assert status.created_at == status.changed_at == status.looked_at == "2026-01-01T00:00:40Z"
    assert status.looked_seconds_ago == 2 * 86_400 - 40
    assert status.alive == ("bad", "live")
    assert list(status.failed) == ["bad"]
    assert status.behind == {"bad": Lag(kind=LagKind.ROWS, reason="2 rows behind")}
    assert status.missing == {"gone": "2026-01-01T00:00:40Z"}
    assert (status.short, status.out_of_scope) == ({}, {})


def test_status_is_printed_in_lines(store: ExportStore) -> None:
    status = read_status(store, NOW)
    failure = status.failed["bad"].reason
    size = size_in_words(status.bytes)
    sizes = ", ".join(f"{name} {size_in_words(n)}" for name, n in status.file_bytes.items())
    assert describe_status(status) == (
        f"export: entity/project in {store.export_dir}",
        "  mode      history",
        "  selection everything",
        "  scope     every run",
        "  holds     4 runs, 12 rows",
        f"  size      {size} ({sizes})",
        "  created   2026-01-01T00:00:40Z",
        "  changed   2026-01-01T00:00:40Z",
        "  looked at 2026-01-01T00:00:40Z (47 hours ago)",
        "  failed last time: 1 run",
        f"    'bad': {failure}",
        "  behind at the last look: 1 run",
        "    'bad': 2 rows behind",
        "  still alive at the last look: 2 runs",
        "    'bad'",
        "    'live'",
        "  gone upstream, kept: 1 run",
        "    'gone': since 2026-01-01T00:00:40Z",
    )
    assert describe_statuses([status]) == (
        "name    project         mode     runs  rows     size  looked at",
        f"export  entity/project  history     4    12  {size:>7}  47 hours ago  2 alive, 1 failed, "
        "1 behind, 1 gone upstream",
    )


def test_status_reports_selection_scope_and_short_runs_in_words(
    source: MemorySource, tmp_path: Path
) -> None:
    scope = RunScope(states=("finished", "running"), created_after="2025-01-01")
    source.update("done", line_count_offset=1)
    for _ in range(3):
        syncing.sync(source, tmp_path, history_selection=select("loss", max_step=9), scope=scope)
    source.finish("live", "crashed")
    syncing.sync(source, tmp_path, history_selection=select("loss", max_step=9), scope=scope)
    status = read_status(ExportStore(name=NAME, data_root=tmp_path), NOW)
    assert status.selection == "keys loss; max step 9"
    assert status.scope == "state finished or running; created after 2025-01-01T00:00:00Z"
    shortage = Shortage(kind=ShortKind.FEWER_ROWS, reason="1 row short", short_by=1)
    assert status.short == {"done": shortage}
    assert status.out_of_scope == {"live": "2026-01-01T00:00:40Z"}


def test_status_of_a_metadata_export_reports_no_history(
    source: MemorySource, tmp_path: Path
) -> None:
    syncing.sync(source, tmp_path, mode="metadata")
    status = read_status(ExportStore(name=NAME, data_root=tmp_path), NOW)
    assert (status.selection, status.rows, status.behind) == ("", 0, {})
    assert "  selection no history" in describe_status(status)


def test_status_counts_runs_whose_history_was_never_read(
    source: MemorySource, tmp_path: Path
) -> None:
    source.fail_history("done", 9)
    syncing.sync(source, tmp_path)
    status = read_status(ExportStore(name=NAME, data_root=tmp_path), NOW)
    assert status.behind == {"done": Lag(kind=LagKind.NEVER_READ, reason="history never read")}


def test_status_of_an_export_whose_runs_are_forgotten_guesses_nothing_of_them(
    store: ExportStore,
) -> None:
    (store.export_dir / STORE_FILE).unlink()
    status = read_status(store, NOW)
    assert status.problem == ExportProblem(kind="missing", reason=f"{STORE_FILE} is missing")
    assert (status.runs, status.rows, status.looked_at) == (4, 12, "2026-01-01T00:00:40Z")
    assert (status.alive, status.failed, status.behind) == ((), {}, {})


@pytest.mark.parametrize("name", ["manifest.json", "state.json"])
@pytest.mark.parametrize(
    ("content", "kind"),
    [(b"{", "damaged_file"), (b'{"schema_version":11}', "newer_schema"), (None, "missing")],
)
def test_status_of_an_export_that_does_not_read_is_its_problem(
    name: str, content: bytes | None, kind: str, store: ExportStore
) -> None:
    path = store.export_dir / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    status = read_status(store, NOW)
    assert status.problem is not None
    assert name in status.problem.reason
    assert status.problem.kind == kind
    assert (status.entity, status.project) == ("entity", "project")
    assert any(line.startswith("  cannot be read: ") for line in describe_status(status))
    assert "cannot be read" in describe_statuses([status])[1]
    assert encode_document(status)


def test_status_of_an_export_of_3_0_3_reads() -> None:
    root = EXPORT_OF_3_0_3.parent
    status = read_status(ExportStore(name="kept", data_root=root), NOW)
    assert (status.problem, status.runs, status.rows) == (None, 5, 39)
    assert describe_status(status)


def test_status_sums_up_the_sizes_of_parquet_files(tmp_path: Path) -> None:
    source = MemorySource()
    source.add_run("a")
    source.log("a", {"loss": 1})
    syncing.sync(source, tmp_path)
    add_parquet(tmp_path / NAME, alone=True)
    status = read_status(ExportStore(name=NAME, data_root=tmp_path))
    parquet = (tmp_path / NAME / "parquet").rglob("*.parquet")
    assert status.file_bytes["parquet"] == sum(path.stat().st_size for path in parquet)
    assert (status.mode, status.rows) == ("history", 1)


def test_status_raises_when_there_is_no_export(tmp_path: Path) -> None:
    with pytest.raises(ExportNotFoundError):
        read_status(ExportStore(name="none", data_root=tmp_path), NOW)


def test_status_reports_whether_a_sync_is_at_work_or_was_interrupted(store: ExportStore) -> None:
    folder = store.export_dir
    (folder / ".staging").mkdir()
    (folder / ".staging" / "00.segment").write_bytes(b"x" * 1_800)
    (folder / ".staging" / "00.part").touch()
    waiting = "interrupted: the next sync uses what is kept if still current: 1 part (1.8 kB)"
    assert read_status(store, NOW).sync == waiting
    (folder / ".commit.json").write_text("{}")
    assert read_status(store, NOW).sync == "interrupted: the next sync finishes its commit first"
    holder = {"pid": os.getpid(), "host": os.uname().nodename, "since": "2026-01-01T00:00:00Z"}
    (folder / ".lock-holder.json").write_text(json.dumps(holder))
    status = read_status(store, NOW)
    assert status.sync is not None
    assert status.sync.startswith(f"at work: process {os.getpid()} on ")
    assert status.sync.endswith("; fetched so far: 1 part (1.8 kB)")
    assert (status.fetched_parts, status.fetched_bytes, status.first_sync) == (1, 1_800, False)
    assert f"  sync      {status.sync}" in describe_status(status)
    assert status.sync in describe_statuses([status])[1]


@pytest.mark.parametrize(
    "holder", ["{", "[]", '{"pid": -1, "host": "h", "since": "s"}', '{"pid": 1e99}', '{"pid": "1"}']
)
def test_holder_that_does_not_read_is_nobody(holder: str, store: ExportStore) -> None:
    (store.export_dir / ".lock-holder.json").write_text(holder)
    assert read_status(store, NOW).sync is None


def test_exports_are_found_by_name_and_only_below_the_root(
    store: ExportStore, tmp_path: Path
) -> None:
    root = store.data_root
    for name in ("b", ".hidden", "empty"):
        (root / name).mkdir()
    for name in ("b", ".hidden"):
        (root / name / "manifest.json").write_bytes(store.manifest_path.read_bytes())
    (root / "file").touch()
    (root / "again").symlink_to(store.export_dir)
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "manifest.json").write_bytes(store.manifest_path.read_bytes())
    (root / "outside").symlink_to(outside)
    assert [found.name for found in find_exports(root)] == ["again", "b", NAME]
    assert find_exports(root / "none") == []
    with pytest.raises(DrWandbError):
        find_exports(root / "file")


def test_one_export_that_does_not_read_hides_no_other(store: ExportStore) -> None:
    broken = store.data_root / "broken"
    broken.mkdir()
    (broken / "manifest.json").write_text("{")
    lines = describe_statuses([read_status(one, NOW) for one in find_exports(store.data_root)])
    assert lines[1].startswith("broken  ?/?             ?           0     0  ")
    assert lines[1].endswith("  never         cannot be read")
    assert lines[2].startswith("export  entity/project  history     4    12  ")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "never"),
        (-5, "in the future"),
        (0, "0 seconds ago"),
        (1, "1 second ago"),
        (119, "119 seconds ago"),
        (120, "2 minutes ago"),
        (7199, "119 minutes ago"),
        (7200, "2 hours ago"),
        (2 * 86_400, "2 days ago"),
    ],
)
def test_time_that_passed_is_spelled_in_the_largest_unit(seconds: int | None, words: str) -> None:
    assert ago(seconds) == words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (2_500_000, "2.5 MB"),
        (3 * 10**9, "3.0 GB"),
        (10**13, "10.0 TB"),
    ],
)
def test_size_is_spelled_in_the_largest_unit(size: int, words: str) -> None:
    assert size_in_words(size) == words


def test_scope_is_spelled_in_words() -> None:
    assert scope_in_words(None) == scope_in_words(RunScope()) == "every run"
    scope = RunScope(
        tags=("x", "y"),
        groups=("g",),
        sweeps=("s",),
        run_ids=("r",),
        created_before="2026-01-01",
        filters={"state": "finished"},
    )
    assert scope_in_words(scope) == (
        "tag x or y; group g; sweep s; run r; created before 2026-01-01T00:00:00Z; "
        'filter {"state":"finished"}'
    )


NOT_REACHED = ("last_step", "step 9 is listed but was not reached")


@pytest.mark.parametrize(
    ("evidence", "reached", "shortage"),
    [
        (None, 9, None),
        (Evidence(standing=Standing.SHORT, difference=2), 9, ("fewer_rows", "2 rows short")),
        (Evidence(standing=Standing.SHORT), 5, NOT_REACHED),
        (Evidence(standing=Standing.SHORT), None, NOT_REACHED),
        (
            Evidence(standing=Standing.SHORT, missing_rows=1),
            9,
            ("held_rows", "1 exported row did not come again"),
        ),
        (Evidence(standing=Standing.ACCEPTED), 9, ("unknown", "its rows differ from its listing")),
    ],
)
def test_shortage_names_what_is_missing(
    evidence: Evidence | None, reached: int | None, shortage: tuple[str, str] | None
) -> None:
    run = RunTracking(
        run_id="run",
        seen=RunListing(run_id="run", last_step=9),
        parts={HISTORY: PartTracking(position=Position(last_step=reached), evidence=evidence)},
    )
    found = shortage_of(run)
    if shortage is None:
        assert found is None
        return
    assert found is not None
    assert (found.kind, found.reason) == shortage
    part = replace(run.part(HISTORY), position=None)
    unseen = shortage_of(replace(with_part(run, HISTORY, part), seen=None))
    assert unseen is not None
    assert unseen.kind != "last_step"
    assert "is listed" not in unseen.reason


def test_runs_that_are_short_or_wait_have_their_kinds(tmp_path: Path) -> None:
    source = MemorySource()
    for run_id in ("short", "shrunk"):
        source.add_run(run_id)
        for step in range(3):
            source.log(run_id, {"loss": step / 4})
    source.update("short", line_count_offset=2)
    syncing.sync(source, tmp_path)
    source.rewind("shrunk", 0)
    source.advance(700)
    syncing.sync(source, tmp_path, sync_mode="full_reconcile")
    status = read_status(ExportStore(name=NAME, data_root=tmp_path), NOW)
    shortage = Shortage(kind=ShortKind.FEWER_ROWS, reason="2 rows short", short_by=2)
    assert status.short == {"short": shortage}
    assert status.waiting == {"shrunk": MissingRows(kind="shrunk", missing_rows=2)}
    assert "    'shrunk': 2 rows shrunk" in describe_status(status)
