"""A sync that finds nothing new: it reads no row, and opens no data file for writing."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.contract.export_files import STORE_FILE
from dr_wandb.shell.store.checked_files import remember_look
from dr_wandb.shell.store.disk import sha256_of
from dr_wandb.shell.store.documents import load_state
from tests.support.memory_source import MemorySource
from tests.support.syncing import DATA_FILES, NAME, sync, visible

_opened: list[tuple[str, bool]] | None = None
"""Files that were opened since somebody listens, and whether to write."""


def _listen(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "open" or _opened is None:
        return
    path, mode, flags = arguments
    writes = any(sign in mode for sign in "wax+") if mode else bool(flags & 3)
    _opened.append((str(path), writes))


sys.addaudithook(_listen)  # stays, and does nothing but in `listening`


@contextmanager
def listening() -> Iterator[list[tuple[str, bool]]]:
    global _opened
    _opened = []
    try:
        yield _opened
    finally:
        _opened = None


@pytest.fixture
def source() -> MemorySource:
    """Return a project of which some runs have ended, and one has logged nothing."""
    source = MemorySource()
    for number in range(5):
        source.add_run(f"run-{number}")
        for step in range(number):
            source.log(f"run-{number}", {"loss": step / 2})
    source.finish("run-1")
    source.finish("run-2", "crashed")
    return source


def make_unreadable(folder: Path) -> dict[str, bytes]:
    """Put something else of the same length into the data files, as if it were what we wrote."""
    for name in DATA_FILES:
        if (path := folder / name).exists():
            path.write_bytes(b"x" * path.stat().st_size)
    read = load_state(folder / "state.json")
    assert read is not None
    remember_look(folder, {**read.state.files, STORE_FILE: sha256_of(folder / STORE_FILE)})
    return visible(folder)


def opened_to_write(opened: list[tuple[str, bool]]) -> set[str]:
    return {Path(path).name for path, writes in opened if writes}


SYNCS = [
    {"mode": "history"},
    {"mode": "metadata"},
    {"mode": "history", "sync_mode": "detect_changes"},
    {"mode": "metadata", "sync_mode": "detect_changes"},
]


@pytest.mark.parametrize("fields", SYNCS, ids=str)
def test_nothing_new_reads_no_row_and_opens_no_data_file_for_writing(
    source: MemorySource, tmp_path: Path, fields: dict[str, Any]
) -> None:
    """3.0.3 decoded and wrote a million rows to find that there was none to add."""
    sync(source, tmp_path, mode="history")
    sync(source, tmp_path, **fields)
    before = make_unreadable(tmp_path / NAME)
    with listening() as opened:
        summary = sync(source, tmp_path, **fields)
    assert (summary.reused_count, summary.failures) == (5, ())
    assert "state.json" in opened_to_write(opened), "nobody listens"
    assert not opened_to_write(opened) & {*DATA_FILES, "manifest.json", "changes.jsonl"}
    after = visible(tmp_path / NAME)
    assert {**after, "state.json": b""} == {**before, "state.json": b""}


def test_change_is_noticed_by_the_checks_of_this_module(
    source: MemorySource, tmp_path: Path
) -> None:
    """The test above proves nothing if a sync with news passed it too."""
    sync(source, tmp_path, mode="history")
    source.log("run-4", {"loss": 9.5})
    with listening() as opened:
        sync(source, tmp_path, mode="history")
    assert set(DATA_FILES) <= opened_to_write(opened)
    make_unreadable(tmp_path / NAME)
    source.log("run-4", {"loss": 9.5})
    (failed,) = sync(source, tmp_path, mode="history").failures
    assert "malformed" in failed.reason
