"""What a sync writes of what it remembers: as much as changed, not as much as there is."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dr_wandb.core.contract.codec import encode_document
from dr_wandb.core.contract.export_files import CHANGES_OF_STORE_FILE, STORE_FILE
from dr_wandb.core.contract.state import RunTracking
from dr_wandb.core.contract.state_form import RUNS_PER_CHANGE, SMALL_STATE
from dr_wandb.shell.store.documents import load_state
from dr_wandb.shell.store.tracked_store import TrackedRuns
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.state_files import whole_state
from tests.support.syncing import NAME

RUNS = SMALL_STATE + 140
LAST = f"run-{RUNS - 1:04d}"
DAY = 86_400


@pytest.fixture
def source() -> MemorySource:
    """Return a project of runs that ended long ago, the last of them two hours after the others."""
    source = MemorySource()
    for number in range(RUNS):
        source.advance(2 * 3600 if number == RUNS - 1 else 0)
        source.add_run(f"run-{number:04d}")
        source.log(f"run-{number:04d}", {"loss": 0.5})
        source.finish(f"run-{number:04d}")
    source.advance(3 * DAY)
    return source


def sync(source: MemorySource, data_root: Path, mode: str) -> dict[str, int]:
    """Sync; return the sizes of the files of the state that were written."""
    folder = data_root / NAME
    names = (STORE_FILE, CHANGES_OF_STORE_FILE, "state.json")
    before = {name: (folder / name).stat().st_ino for name in names if (folder / name).exists()}
    source.advance(60)
    syncing.sync(source, data_root, mode=mode)
    after = {name: (folder / name).stat() for name in names}
    return {n: look.st_size for n, look in after.items() if look.st_ino != before.get(n)}


def log_more(source: MemorySource) -> None:
    source.update(LAST, state="running")
    source.log(LAST, {"loss": 0.25})


CHANGES: dict[str, Callable[[MemorySource], object]] = {
    "nothing": lambda source: None,
    "a new run": lambda source: source.add_run("new"),
    "a run that goes": lambda source: source.delete("run-0100"),
    "a run that grows": log_more,
}


@pytest.mark.parametrize("mode", ["metadata", "history"])
@pytest.mark.parametrize("change", CHANGES)
def test_one_changed_run_costs_what_is_known_of_it(
    change: str, mode: str, source: MemorySource, tmp_path: Path
) -> None:
    sync(source, tmp_path, mode)
    folder = tmp_path / NAME
    whole = len(encode_document(load_state(folder / "state.json").state))  # type: ignore[union-attr]
    CHANGES[change](source)
    written = sync(source, tmp_path, mode)
    assert {*written} == {CHANGES_OF_STORE_FILE}
    assert written[CHANGES_OF_STORE_FILE] < whole / 50
    with syncing.fresh_export(source, mode=mode) as fresh:
        if change != "a run that goes":
            assert syncing.data_of(folder) == syncing.data_of(fresh)


def test_store_is_written_again_once_many_runs_differ(source: MemorySource, tmp_path: Path) -> None:
    sync(source, tmp_path, "history")
    for number in range(RUNS // RUNS_PER_CHANGE):
        source.add_run(f"new-{number:02d}")
        written = sync(source, tmp_path, "history")
        assert {*written} == {CHANGES_OF_STORE_FILE}
    source.add_run("one-more")
    written = sync(source, tmp_path, "history")
    assert {*written} == {STORE_FILE, CHANGES_OF_STORE_FILE, "state.json"}
    assert written[CHANGES_OF_STORE_FILE] < 2000
    assert len(whole_state(tmp_path / NAME)["runs"]) == RUNS + RUNS // RUNS_PER_CHANGE + 1


def test_sync_that_finds_nothing_new_reads_no_run_that_rests(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sync(source, tmp_path, "history")
    sync(source, tmp_path, "history")
    read: list[str] = []
    with_offsets = TrackedRuns._with_offsets

    def note(runs: TrackedRuns, run: RunTracking) -> RunTracking:
        read.append(run.run_id)
        return with_offsets(runs, run)

    monkeypatch.setattr(TrackedRuns, "_with_offsets", note)
    sync(source, tmp_path, "history")
    assert read == [LAST]
