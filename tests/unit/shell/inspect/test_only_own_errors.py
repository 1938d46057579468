"""Whatever lies where an export should be, public functions answer or raise one of our errors."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from dr_wandb import (
    DrWandbError,
    ExportEngine,
    ExportStore,
    compare_with_source,
    describe_report,
    describe_status,
    find_exports,
    iter_changes,
    iter_history_rows,
    load_manifest,
    load_run_snapshots,
    read_status,
    scan_folder,
    verify_export,
)
from tests.support import syncing
from tests.support.memory_source import MemorySource

FILES = ("manifest.json", "state.json", "runs.jsonl", "history.jsonl", "changes.jsonl")


def in_its_way(path: Path) -> None:
    """Put a folder where the file was."""
    path.unlink()
    path.mkdir()


def leading_nowhere(path: Path) -> None:
    """Put a link where the file was."""
    path.unlink()
    path.symlink_to(path.with_name("nowhere"))


def leading_in_circles(path: Path) -> None:
    """Put a link to itself where the file was."""
    path.unlink()
    path.symlink_to(path)


def garbage(path: Path) -> None:
    """Write bytes that nothing can read."""
    path.write_bytes(b"\xff\x00{\n" * 3)


def gone(path: Path) -> None:
    """Remove the file."""
    path.unlink()


def a_pipe(path: Path) -> None:
    """Put a pipe that nobody writes to where the file was."""
    path.unlink()
    os.mkfifo(path)


def calls(source: MemorySource, data_root: Path) -> list[Callable[[], object]]:
    """Return a call of each public function that looks at an export."""
    store = ExportStore(name="n", data_root=data_root)
    return [
        lambda: load_manifest("n", data_root),
        lambda: load_run_snapshots("n", data_root),
        lambda: list(iter_history_rows("n", data_root)),
        lambda: list(iter_changes("n", data_root)),
        lambda: [describe_status(read_status(one)) for one in find_exports(data_root)],
        lambda: read_status(store),
        lambda: describe_report(verify_export(store)),
        lambda: compare_with_source(store, source),
        lambda: scan_folder(store.export_dir),
    ]


DAMAGE = [in_its_way, leading_nowhere, leading_in_circles, garbage, gone]


def damaged(data_root: Path, name: str, damage: Callable[[Path], None]) -> MemorySource:
    """Export a project with one row, damage one file, and return the project."""
    source = MemorySource()
    source.add_run("a")
    source.log("a", {"loss": 1})
    syncing.sync(source, data_root, name="n")
    damage(data_root / "n" / name)
    return source


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [*DAMAGE, a_pipe])
def test_looking_at_damage_raises_only_errors_of_the_library(
    name: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    """`iter_changes` raised an IsADirectoryError."""
    source = damaged(tmp_path, name, damage)
    for call in calls(source, tmp_path):
        with suppress(DrWandbError):
            call()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_planning_on_damage_raises_only_errors_of_the_library(
    name: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    source = damaged(tmp_path, name, damage)
    with suppress(DrWandbError):
        ExportEngine(syncing.request_for(tmp_path, name="n"), source=source).plan()
