"""The bytes of files in a sync: what is fetched, how often, and what one file costs the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.contract.run_failure import RunFailureKind
from dr_wandb.core.sync.summary import ExportSummary
from dr_wandb.shell.sources import SourceError
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME, json_lines

DAY = 24 * 60 * 60


def sync(source: MemorySource, data_root: Path, **fields: Any) -> ExportSummary:
    source.asked.clear()
    return syncing.sync(source, data_root, extra_datasets=("files",), **fields)


def fetched(source: MemorySource) -> int:
    return source.count_asked("fetch")


def absences(data_root: Path) -> dict[str, str | None]:
    rows = json_lines(data_root / NAME / "files.jsonl")
    return {row["path"]: row["absent"] for row in rows}


def project(*names: str) -> MemorySource:
    source = MemorySource()
    source.add_run("r")
    for name in names:
        source.put_file("r", name, name.encode())
    source.finish("r")
    return source


def failing(monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception], *names: str) -> None:
    """Let the bytes of some files fail, of all if none are named."""
    fetch = MemorySource.fetch

    def fail(source: MemorySource, run: Any, name: str, save: Any) -> Any:
        if names and name not in names:
            return fetch(source, run, name, save)
        source.asked.append(("fetch", run.run_id, name))
        raise error()

    monkeypatch.setattr(MemorySource, "fetch", fail)


def outage() -> SourceError:
    return SourceError("the storage is down", RunFailureKind.UNREACHABLE, retryable=False)


def test_files_of_a_short_outage_are_held_a_day_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three syncs within the two minutes of an outage left these files without bytes for ever."""
    source = project("a", "b")
    with monkeypatch.context() as patch:
        failing(patch, outage)
        for complete in (False, False, True):
            assert sync(source, tmp_path).complete is complete
            source.advance(60)
    assert sync(source, tmp_path).complete
    assert fetched(source) == 0
    source.advance(DAY)
    assert sync(source, tmp_path).complete
    assert absences(tmp_path) == {"a": None, "b": None}
    source.advance(2 * DAY)
    assert sync(source, tmp_path).complete
    assert fetched(source) == 0
