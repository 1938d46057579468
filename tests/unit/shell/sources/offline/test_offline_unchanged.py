"""Syncs of folders that list what they listed last: their runs are not looked at again.

The runs of such a listing are those of the state; everything else is as if they had been looked at.
"""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dr_wandb.core.offline import node
from dr_wandb.shell.sources.offline import source as offline
from tests.support.offline_folders import NOW_NS, days_later, put, sync_folder, whole_run
from tests.support.syncing import NAME, visible, without_fsync
from tests.support.wandb_file import rows_of, run_record


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the ids of the runs that are looked at from now on."""
    ids: list[str] = []
    whole = node.as_node

    def as_node(run_id: str, *arguments: Any, **fields: Any) -> Any:
        ids.append(run_id)
        return whole(run_id, *arguments, **fields)

    monkeypatch.setattr(offline, "as_node", as_node)
    return ids


@pytest.fixture
def synced(folder: Path, data_root: Path, looked_at: list[str]) -> Path:
    """Return a folder with two runs that were exported, and not looked at since."""
    put(folder, "a", whole_run("a"))
    put(folder, "b", whole_run("b"))
    assert sync_folder(folder, data_root).complete
    assert looked_at == ["a", "b"]
    looked_at.clear()
    return folder


def test_runs_are_not_looked_at_if_nothing_changed(
    synced: Path, data_root: Path, looked_at: list[str]
) -> None:
    before = visible(data_root / NAME)
    for later in ({}, days_later(0.01), days_later(30)):
        summary = sync_folder(synced, data_root, **later)
        assert summary.complete
        assert (summary.reused_count, summary.run_count) == (2, 2)
        after = visible(data_root / NAME)
        assert {name for name in after if after[name] != before[name]} <= {"state.json"}
    assert looked_at == []


def grow(folder: Path, data_root: Path) -> None:
    put(folder, "b", [*whole_run("b"), *rows_of([7, 8])])


def add(folder: Path, data_root: Path) -> None:
    put(folder, "c", whole_run("c"))


def remove(folder: Path, data_root: Path) -> None:
    for path in folder.rglob("run-b.wandb"):
        path.unlink()


def touch(folder: Path, data_root: Path) -> None:
    os.utime(next(folder.rglob("run-a.wandb")), ns=(NOW_NS, NOW_NS + 1))


def forget(folder: Path, data_root: Path) -> None:
    (data_root / NAME / ".offline.json").unlink()


def edit(folder: Path, data_root: Path) -> None:
    path = data_root / NAME / "history.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


CHANGES = [grow, add, remove, touch, edit]


@pytest.mark.parametrize("change", CHANGES)
def test_runs_are_looked_at_if_anything_changed(
    change: Callable[[Path, Path], None], synced: Path, data_root: Path, looked_at: list[str]
) -> None:
    change(synced, data_root)
    sync_folder(synced, data_root, allow_empty=True)
    assert "a" in looked_at


@pytest.mark.parametrize(
    "fields",
    [{"sync_mode": "full_reconcile"}, {"sync_mode": "detect_changes"}, {"include_metadata": True}],
)
def test_runs_are_looked_at_if_more_is_asked_for(
    fields: dict[str, Any], synced: Path, data_root: Path, looked_at: list[str]
) -> None:
    assert sync_folder(synced, data_root, **fields).complete
    assert "a" in looked_at


def test_run_that_ends_by_the_time_that_passes_is_looked_at(
    folder: Path, data_root: Path, looked_at: list[str]
) -> None:
    """Its file is untouched; it is running for some minutes, and crashed after that."""
    put(folder, "a", [run_record("a"), *rows_of(range(3))], modified_ns=NOW_NS)
    sync_folder(folder, data_root)
    looked_at.clear()
    assert sync_folder(folder, data_root).refreshed_count == 0
    sync_folder(folder, data_root, **days_later(2))
    assert looked_at == ["a"]


def test_run_that_failed_is_looked_at_until_it_reads(
    folder: Path, data_root: Path, looked_at: list[str]
) -> None:
    put(folder, "a", whole_run("a"))
    path = put(folder, "b", whole_run("b"))
    sync_folder(folder, data_root)
    content = path.read_bytes()
    path.write_bytes(b"")
    looked_at.clear()
    for _ in range(2):
        assert len(sync_folder(folder, data_root).failures) == 1
    assert looked_at == ["a", "a"]
    path.write_bytes(content)
    assert sync_folder(folder, data_root).complete


happenings = st.sampled_from([grow, add, remove, touch, forget, None, None])


@settings(max_examples=25)
@given(st.lists(happenings, max_size=6))
def test_export_is_the_same_as_if_runs_were_looked_at_each_time(
    happened: list[Callable[[Path, Path], None] | None],
) -> None:
    with without_fsync(), pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as place:
        runs, one, other = (Path(place) / name for name in ("runs", "one", "other"))
        put(runs, "a", whole_run("a"))
        put(runs, "b", whole_run("b"))
        for number, happening in enumerate([None, *happened]):
            if happening is not None:
                for data_root in (one, other) if happening is forget else (one,):
                    happening(runs, data_root)
            later = days_later(number / 10)
            first = sync_folder(runs, one, **later, allow_empty=True)
            with patch.context() as asked:
                asked.setattr(offline.OfflineSource, "listing_mark", "")
                second = sync_folder(runs, other, **later, allow_empty=True)
            assert first.failures == second.failures
            files, wanted = visible(one / NAME), visible(other / NAME)
            assert {n: files[n] for n in files if n != "state.json"} == {
                n: wanted[n] for n in wanted if n != "state.json"
            }
