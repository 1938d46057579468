"""Wherever a sync is stopped, the export loads, and the next sync ends as if nothing had been.

Three ways to stop, at every operation on disk: a kill (what lies on disk at that moment), an
interrupt (handlers run), and a disk that refuses. Runs whose whole segment was staged, and is still
current, are not asked for again.
"""

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dr_wandb import DrWandbError, iter_history_rows, load_manifest, load_run_snapshots
from dr_wandb.core.failures import DamagedFile, DiskRefused
from dr_wandb.shell.commit import RECORD_FILE, STAGING_FOLDER, CommitRecord
from tests import syncing
from tests.crash.operations import Stopped, images_of, stopped_at
from tests.memory_source import MemorySource
from tests.syncing import ALWAYS_THERE, NAME, select


def project() -> MemorySource:
    """A finished run, one that grows, one that is partly exported, one without rows."""
    source = MemorySource()
    for run_id, rows in (("done", 4), ("grows", 5), ("parquet", 7), ("empty", 0)):
        source.add_run(run_id, tags=["x"], metadata={"host": run_id})
        for number in range(rows):
            source.log(run_id, {"loss": number / 3, "text": "ü\u2028"})
        source.advance(60)
    source.finish("done")
    source.export("parquet", 5, overlap=1)
    return source


def log_on(source: MemorySource) -> None:
    source.advance(600)
    source.log("grows", {"loss": 7.5})
    source.log("empty", {"loss": 8.5})
    source.rewind("parquet", 3)
    source.log("parquet", {"loss": 9.5})
    source.add_run("new")
    source.log("new", {"loss": 10.5})


def delete_one(source: MemorySource) -> None:
    source.advance(600)
    source.delete("done")
    source.log("grows", {"loss": 7.5})


def only_the_clock(source: MemorySource) -> None:
    source.advance(600)


@dataclass(frozen=True)
class Scenario:
    """Syncs that went well, what happened since, and the sync that is stopped."""

    before: tuple[dict[str, Any], ...]
    happens: Callable[[MemorySource], None]
    request: dict[str, Any] = field(default_factory=dict)

    def begin(self, data_root: Path) -> MemorySource:
        source = project()
        for request in self.before:
            syncing.sync(source, data_root, **request)
        self.happens(source)
        return source

    def sync(self, source: MemorySource, data_root: Path) -> Any:
        request = syncing.request_for(data_root, **self.request)
        return syncing.export(source, request, now=source.now, workers=1)


SCENARIOS = {
    "first export": Scenario((), only_the_clock, {"include_metadata": True}),
    "growth": Scenario(({},), log_on),
    "nothing new": Scenario(({},), only_the_clock),
    "other selection": Scenario(({},), log_on, {"history_selection": select("loss", min_step=2)}),
    "metadata to history": Scenario(({"mode": "metadata"},), log_on),
    "history to metadata": Scenario(({},), log_on, {"mode": "metadata"}),
    "gone upstream": Scenario(({},), delete_one),
    "full reconcile": Scenario(({},), log_on, {"sync_mode": "full_reconcile"}),
}


def undisturbed(scenario: Scenario, data_root: Path) -> dict[str, bytes]:
    source = scenario.begin(data_root)
    scenario.sync(source, data_root)
    return syncing.visible(data_root / NAME)


def assert_loads(data_root: Path) -> None:
    """The export is there with the documented files, and they load; or there is none yet."""
    names = set(syncing.visible(data_root / NAME))
    assert names <= ALWAYS_THERE | {"history.jsonl"}
    if load_manifest(NAME, data_root) is None:
        return
    assert names >= {"runs.jsonl"}
    load_run_snapshots(NAME, data_root)
    list(iter_history_rows(NAME, data_root))


def staged_runs(data_root: Path) -> set[str]:
    """Return the runs of which a whole segment lies in the staging folder."""
    staged = set()
    for path in (data_root / NAME / STAGING_FOLDER).glob("*.segment"):
        header = path.read_bytes().split(b"\n")[0]
        staged.add(json.loads(header)["run"]["run_id"])
    return staged


def assert_heals(
    scenario: Scenario, source: MemorySource, data_root: Path, expected: dict[str, bytes]
) -> None:
    """One more sync gives the bytes of the undisturbed one, and asks for nothing twice."""
    folder = data_root / NAME
    staged, decided = staged_runs(data_root), (folder / RECORD_FILE).exists()
    assert_loads(data_root)
    again = syncing.twin(source)
    scenario.sync(again, data_root)
    assert syncing.visible(folder) == expected
    assert not syncing.hidden(folder) & {STAGING_FOLDER, RECORD_FILE}
    asked = {call[1] for call in again.asked if call[0] == "read_history"}
    if scenario.request.get("sync_mode") != "full_reconcile" or not decided:
        assert not asked & staged
    if decided and scenario.request.get("sync_mode") != "full_reconcile":
        assert not asked


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_kill_at_any_operation_costs_nothing(name: str, tmp_path: Path) -> None:
    scenario = SCENARIOS[name]
    expected = undisturbed(scenario, tmp_path / "expected")
    source = scenario.begin(tmp_path / "killed")
    shown = syncing.twin(source)
    images = images_of(
        lambda: scenario.sync(source, tmp_path / "killed"), tmp_path / "killed", tmp_path / "images"
    )
    assert len(images) > 20
    with syncing.without_fsync():
        for label, image in images:
            image.mkdir(parents=True, exist_ok=True)
            try:
                assert_heals(scenario, shown, image, expected)
            except BaseException as error:
                error.add_note(f"killed before: {label} ({image.name})")
                raise


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_happens_after_a_kill_is_seen(name: str, tmp_path: Path) -> None:
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
    scenario.sync(syncing.twin(shown), tmp_path / "expected")
    expected = syncing.data_of(tmp_path / "expected" / NAME)
    with syncing.without_fsync():
        for label, image in images[::2]:
            image.mkdir(parents=True, exist_ok=True)
            try:
                first = image / NAME / "runs.jsonl"
                scenario.sync(syncing.twin(shown), image)
                if first.exists() and name != "gone upstream":
                    assert syncing.data_of(image / NAME) == expected
            except BaseException as error:
                error.add_note(f"killed before: {label} ({image.name})")
                raise


def is_stopped(work: Callable[[], Any]) -> bool:
    """Do the work; say whether it was interrupted, or refused by the disk, rather than done."""
    try:
        work()
    except Stopped:
        return True
    except DrWandbError as refused:
        if not isinstance(refused.failure, DiskRefused):
            raise
        return True
    return False


@pytest.mark.parametrize("kind", ["interrupt", "full disk"])
@pytest.mark.parametrize("name", SCENARIOS)
def test_an_error_at_any_operation_costs_nothing(name: str, kind: str, tmp_path: Path) -> None:
    scenario = SCENARIOS[name]
    expected = undisturbed(scenario, tmp_path / "expected")
    source = scenario.begin(tmp_path / "begun")
    shown = syncing.twin(source)
    number = 0
    while True:
        data_root = tmp_path / f"{number:03d}"
        if (tmp_path / "begun").exists():
            shutil.copytree(tmp_path / "begun", data_root)
        full = OSError(errno.ENOSPC, "No space left on device")
        error = Stopped() if kind == "interrupt" else full
        with stopped_at(number, error) as done:
            stopped = is_stopped(lambda root=data_root: scenario.sync(syncing.twin(shown), root))
        try:
            data_root.mkdir(exist_ok=True)
            if not stopped:
                assert syncing.visible(data_root / NAME) == expected
            with syncing.without_fsync():
                assert_heals(scenario, shown, data_root, expected)
        except BaseException as mistake:
            mistake.add_note(f"stopped before: {done[-1]} (operation {number})")
            raise
        if len(done) <= number:
            break
        number += 1
    assert number > 20


def committing(tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    """Return an export whose commit was decided, but not one file renamed; and its new files."""
    scenario = SCENARIOS["growth"]
    expected = undisturbed(scenario, tmp_path / "expected")
    source = scenario.begin(tmp_path / "killed")
    images = images_of(
        lambda: scenario.sync(source, tmp_path / "killed"), tmp_path / "killed", tmp_path / "images"
    )
    decided = (image / NAME for _, image in images if (image / NAME / RECORD_FILE).exists())
    return next(decided), expected


def test_a_decided_commit_is_rolled_forward_before_anything_is_asked(tmp_path: Path) -> None:
    folder, expected = committing(tmp_path)
    assert syncing.visible(folder) != expected
    source = MemorySource()
    source.fail_listing(9)
    with pytest.raises(DrWandbError):
        syncing.sync(source, folder.parent)
    assert syncing.visible(folder) == expected


@pytest.mark.parametrize("name", ["history.jsonl", "runs.jsonl", "manifest.json", "state.json"])
def test_a_commit_whose_new_file_is_gone_says_so(name: str, tmp_path: Path) -> None:
    folder, _ = committing(tmp_path)
    before = syncing.visible(folder)
    record = msgspec.json.decode((folder / RECORD_FILE).read_bytes(), type=CommitRecord)
    (staged,) = (file for file in record.files if file.name == name)
    (folder / staged.staged).unlink()
    with pytest.raises(DrWandbError, match="a commit was interrupted") as caught:
        syncing.sync(MemorySource(), folder.parent)
    assert isinstance(caught.value.failure, DamagedFile)
    assert caught.value.failure.path == str(folder / name)
    assert RECORD_FILE in str(caught.value)
    assert syncing.visible(folder).keys() == before.keys()
    assert (folder / RECORD_FILE).exists()


@pytest.mark.parametrize("content", [b"", b"{", b'{"files":[{"name":"../x"}]}'])
def test_a_commit_record_that_does_not_read_is_a_clear_error(
    content: bytes, tmp_path: Path
) -> None:
    folder, _ = committing(tmp_path)
    (folder / RECORD_FILE).write_bytes(content)
    with pytest.raises(DrWandbError, match=RECORD_FILE):
        syncing.sync(MemorySource(), folder.parent)


def test_what_the_error_of_a_broken_commit_advises_works(tmp_path: Path) -> None:
    folder, _ = committing(tmp_path)
    shutil.rmtree(folder / STAGING_FOLDER)
    source = project()
    with pytest.raises(DrWandbError, match=f"remove {RECORD_FILE}"):
        syncing.sync(source, folder.parent)
    (folder / RECORD_FILE).unlink()
    log_on(source)
    syncing.sync(source, folder.parent)
    with syncing.fresh_export(source) as fresh:
        assert syncing.data_of(folder) == syncing.data_of(fresh)
