"""Wherever a sync is stopped, the export loads, and the next sync ends as if nothing had been.

At every operation on files: a kill (what lies on disk at that moment, half a write too), an
interrupt (handlers run), a full disk that stays full and tears the write, a permission that is
gone, an error of the device. Runs whose whole segment was staged, and is still current, are not
asked for again. Many operations only read: what they leave behind is synced once.
"""

import errno
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.operations import CHANGES, MAKES, Contents, Fault, images_of, stopped_at
from tests.support.scenarios import SCENARIOS, Scenario, assert_heals, is_stopped, undisturbed
from tests.support.syncing import NAME

FAULTS = {
    "interrupt": Fault(None),
    "full disk": Fault(errno.ENOSPC, lasts_for=MAKES, tears=True),
    "no permission": Fault(errno.EACCES, lasts_for=CHANGES),
    "device error": Fault(errno.EIO, tears=True),
    "not permitted": Fault(errno.EPERM),
}
ALL = os.environ.get("HYPOTHESIS_PROFILE") == "ci"
KINDS = tuple(FAULTS) if ALL else ("by turns",)
"""By default each operation meets one kind, by turns: another one in the next scenario."""

EVERY = 1 if ALL else 4
"""Of what a kill leaves, every fourth meets a project that has changed meanwhile."""

FEWEST = {"nothing new": 40}
"""A sync has more than fifty operations to be killed at; one that writes no data file has fewer."""


@pytest.mark.parametrize("name", SCENARIOS)
def test_kill_at_any_operation_costs_nothing(
    name: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    scenario = SCENARIOS[name]
    expected = undisturbed(scenario, tmp_path / "expected")
    source = scenario.begin(tmp_path / "killed")
    shown = syncing.twin(source)
    images = images_of(
        lambda: scenario.sync(source, tmp_path / "killed"), tmp_path / "killed", tmp_path / "images"
    )
    assert images.operations > FEWEST.get(name, 50)
    with syncing.without_fsync():
        for label, image in images.found.values():
            image.mkdir(parents=True, exist_ok=True)
            try:
                assert_heals(scenario, shown, image, expected)
            except BaseException as error:
                error.add_note(f"killed before: {label} ({image.name})")
                raise
    record_property("operations_killed_at", images.operations)


def sync_twice(scenario: Scenario, source: MemorySource, data_root: Path) -> None:
    """Sync, and once more ten minutes later: rows go when two reads are without them."""
    for minutes in (0, 10):
        later = syncing.twin(source)
        later.advance(60 * minutes)
        scenario.sync(later, data_root)


@pytest.mark.parametrize("name", [name for name in SCENARIOS if not SCENARIOS[name].fixture])
def test_sync_after_a_kill_sees_what_changed_meanwhile(name: str, tmp_path: Path) -> None:
    """Staged segments that are no longer current are not used."""
    scenario = SCENARIOS[name]
    source = scenario.begin(tmp_path / "killed")
    shown = syncing.twin(source)
    images = images_of(
        lambda: scenario.sync(source, tmp_path / "killed"), tmp_path / "killed", tmp_path / "images"
    )
    shown.advance(60)
    shown.rewind("grows", 2)
    shown.log("grows", {"loss": 77.5}, step=1)
    shown.resume("parquet")
    shown.log("parquet", {"loss": 77.5})
    shown.delete("empty")
    shown.add_run("empty")
    shown.log("empty", {"loss": 78.5})
    undisturbed(scenario, tmp_path / "expected")
    sync_twice(scenario, shown, tmp_path / "expected")
    expected = syncing.data_of(tmp_path / "expected" / NAME)
    with syncing.without_fsync():
        for label, image in list(images.found.values())[::EVERY]:
            image.mkdir(parents=True, exist_ok=True)
            try:
                first = image / NAME / "runs.jsonl"
                sync_twice(scenario, shown, image)
                if first.exists() and name != "gone upstream":
                    assert syncing.data_of(image / NAME) == expected
            except BaseException as error:
                error.add_note(f"killed before: {label} ({image.name})")
                raise


def fault_for(kind: str, number: int) -> Fault:
    """Return the fault of a kind; "by turns" is another one for each operation."""
    return list(FAULTS.values())[number % len(FAULTS)] if kind == "by turns" else FAULTS[kind]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SCENARIOS)
def test_error_at_any_operation_costs_nothing(
    name: str, kind: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    scenario = SCENARIOS[name]
    expected = undisturbed(scenario, tmp_path / "expected")
    source = scenario.begin(tmp_path / "begun")
    shown = syncing.twin(source)
    left = Contents()
    number = stopped_count = 0
    turn = list(SCENARIOS).index(name)
    while True:
        data_root = tmp_path / f"{number:03d}"
        if (tmp_path / "begun").exists():
            shutil.copytree(tmp_path / "begun", data_root)
        with stopped_at(number, fault_for(kind, number + turn)) as done:
            stopped = is_stopped(partial(scenario.sync, syncing.twin(shown), data_root))
        try:
            data_root.mkdir(exist_ok=True)
            if not stopped:
                assert syncing.visible(data_root / NAME) == expected
            if left.are_new(data_root):
                with syncing.without_fsync():
                    assert_heals(scenario, shown, data_root, expected)
        except BaseException as mistake:
            mistake.add_note(f"stopped before: {done[number:][:1]} (operation {number})")
            raise
        shutil.rmtree(data_root)
        stopped_count += stopped
        if len(done) <= number:
            break
        number += 1
    assert stopped_count > 20
    record_property("operations_failed_at", number)
