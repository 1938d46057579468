"""A store of runs that was made by something else, although its SHA-256 is the one remembered."""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dr_wandb import DrWandbError
from dr_wandb.core.contract.export_files import CHANGES_OF_STORE_FILE, STORE_FILE
from dr_wandb.core.contract.failures import DamagedFile
from dr_wandb.shell.store.tracked_store import TrackedRuns
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME


@pytest.fixture
def source() -> MemorySource:
    """Return a project of two runs."""
    source = MemorySource()
    for run_id in ("a", "b"):
        source.add_run(run_id)
        source.log(run_id, {"loss": 0.5})
    return source


def edit(store: Path, *statements: str) -> None:
    with closing(sqlite3.connect(store)) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


FOREIGN: dict[str, Callable[[Path], object]] = {
    "no database": lambda store: store.write_bytes(b"text" * 4096),
    "nothing in it": lambda store: store.write_bytes(b""),
    "no such table": lambda store: edit(store, "DROP TABLE tracking"),
    "no such column": lambda store: edit(store, "ALTER TABLE tracking RENAME COLUMN form TO x"),
    "no JSON": lambda store: edit(store, "UPDATE tracking SET form = 'x'"),
    "no run": lambda store: edit(store, "UPDATE tracking SET form = '{}'"),
    "a number": lambda store: edit(store, "UPDATE tracking SET form = 5"),
}


@pytest.mark.parametrize("way", FOREIGN)
def test_store_of_another_make_is_named_and_can_be_removed(
    way: str, source: MemorySource, tmp_path: Path
) -> None:
    syncing.sync(source, tmp_path)
    folder = tmp_path / NAME
    before = syncing.data_of(folder)
    store, changes = folder / STORE_FILE, folder / CHANGES_OF_STORE_FILE
    FOREIGN[way](store)
    document = json.loads(changes.read_bytes())
    document["store"] = hashlib.sha256(store.read_bytes()).hexdigest()
    changes.write_text(json.dumps(document))
    with pytest.raises(DrWandbError) as caught:
        syncing.sync(source, tmp_path)
    assert isinstance(caught.value.failure, DamagedFile)
    assert str(caught.value).startswith(f"{store} cannot be read")
    assert str(caught.value).endswith("remove the file and sync again")
    assert syncing.data_of(folder) == before
    store.unlink()
    syncing.sync(source, tmp_path)
    assert syncing.data_of(folder) == before


def test_sync_asks_the_store_nothing_twice(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is opened for each question: twelve times in a sync that needs seven."""
    syncing.sync(source, tmp_path)
    asked: list[tuple[Any, ...]] = []
    ask = TrackedRuns._ask

    def ask_and_note(runs: TrackedRuns, query: str, values: Iterable[Any] = ()) -> Iterator[Any]:
        asked.append((id(runs), query, *values))
        return ask(runs, query, values)

    monkeypatch.setattr(TrackedRuns, "_ask", ask_and_note)
    syncing.sync(source, tmp_path)
    assert asked
    assert sorted(asked) == sorted({*asked})
