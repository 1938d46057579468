"""A first sync that is at work or was interrupted is seen by everything that looks at exports."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from dr_wandb import load_run_snapshots
from dr_wandb.cli import run
from dr_wandb.core.contract.failures import EXIT_DAMAGED, EXIT_OK, DrWandbError, NoSyncYet
from dr_wandb.core.contract.request import SyncMode
from dr_wandb.core.inspect.status import describe_status, describe_statuses
from dr_wandb.shell.inspect.changes import iter_changes
from dr_wandb.shell.inspect.status import find_exports, read_status
from dr_wandb.shell.inspect.verify import compare_with_source, verify_export
from dr_wandb.shell.store import commit
from dr_wandb.shell.store.export_store import ExportNotFoundError, ExportStore
from dr_wandb.shell.sync.repeat import request_again
from tests.support import syncing
from tests.support.interrupted_sync import interrupted_sync
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME


@pytest.fixture
def source() -> MemorySource:
    source = MemorySource()
    for run_id in ("a", "b", "c"):
        source.add_run(run_id)
        for step in range(3):
            source.log(run_id, {"loss": step / 4})
    return source


@pytest.fixture
def store(source: MemorySource, tmp_path: Path) -> ExportStore:
    """Return the export of a first sync that was interrupted after two of three runs."""
    interrupted_sync(source, tmp_path, 2)
    return ExportStore(name=NAME, data_root=tmp_path)


def kept(store: ExportStore) -> tuple[int, int]:
    segments = list((store.export_dir / ".staging").glob("*.segment"))
    return len(segments), sum(path.stat().st_size for path in segments)


def hold_lock(store: ExportStore) -> None:
    holder = {"pid": os.getpid(), "host": os.uname().nodename, "since": "2026-01-01T00:00:00Z"}
    (store.export_dir / ".lock-holder.json").write_text(json.dumps(holder))


def test_status_of_an_interrupted_first_sync_says_what_is_kept(store: ExportStore) -> None:
    status = read_status(store)
    parts, size = kept(store)
    assert parts == 2
    assert (status.first_sync, status.problem, status.runs) == (True, None, 0)
    assert (status.entity, status.project) == ("entity", "project")
    assert (status.fetched_parts, status.fetched_bytes) == (parts, size)
    assert status.fetching_since is not None
    again = "interrupted: run its command again, which uses what is kept if still current"
    assert describe_status(status) == (
        f"{NAME}: entity/project in {store.export_dir}",
        "  no sync has completed yet",
        f"  fetched   {parts} parts ({size / 1000:.1f} kB) since {status.fetching_since}",
        f"  sync      {again}",
    )
    assert describe_statuses([status])[1].endswith(f"never      no sync has completed yet, {again}")


def test_status_of_a_first_sync_at_work_names_its_process(store: ExportStore) -> None:
    hold_lock(store)
    status = read_status(store)
    assert status.sync is not None
    assert status.sync.startswith(f"at work: process {os.getpid()} on ")
    assert status.first_sync


def test_status_of_a_first_sync_that_still_lists_is_known_by_its_lock(tmp_path: Path) -> None:
    store = ExportStore(name=NAME, data_root=tmp_path)
    store.export_dir.mkdir()
    hold_lock(store)
    status = read_status(store)
    assert (status.first_sync, status.fetched_parts, status.entity) == (True, 0, None)
    assert "  fetched   nothing" in describe_status(status)


def test_first_sync_is_found_only_if_asked_for(store: ExportStore, tmp_path: Path) -> None:
    assert find_exports(tmp_path) == []
    assert find_exports(tmp_path, unfinished=True) == [store]
    (tmp_path / "empty").mkdir()
    assert find_exports(tmp_path, unfinished=True) == [store]


READERS: dict[str, Callable[[ExportStore], object]] = {
    "verify": verify_export,
    "compare": compare_with_source,
    "log": lambda store: iter_changes(store.name, store.data_root),
    "snapshots": lambda store: load_run_snapshots(store.name, store.data_root),
    "rows": lambda store: store.iter_history_rows(),
    "sync": lambda store: request_again(
        store, sync_mode=SyncMode.INCREMENTAL, timeout_seconds=9, max_rate=None
    ),
}


@pytest.mark.parametrize("at_work", [False, True], ids=["interrupted", "at work"])
@pytest.mark.parametrize("read", READERS.values(), ids=list(READERS))
def test_reading_reports_that_no_sync_has_completed_yet(
    read: Callable[[ExportStore], object], at_work: bool, store: ExportStore
) -> None:
    if at_work:
        hold_lock(store)
    with pytest.raises(ExportNotFoundError) as caught:
        read(store)
    failure = caught.value.failure
    assert isinstance(failure, NoSyncYet)
    assert (failure.name, failure.project) == (NAME, "entity/project")
    assert (failure.parts, failure.bytes) == kept(store)
    assert (failure.holder is not None) == at_work
    assert caught.value.exit_code == EXIT_DAMAGED


def test_first_commit_that_was_interrupted_is_a_first_sync(
    source: MemorySource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All was fetched, and the manifest is not in place: the next sync puts it there."""

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(commit, "_apply", stop)
        with pytest.raises(KeyboardInterrupt):
            syncing.sync(source, tmp_path)
    store = ExportStore(name=NAME, data_root=tmp_path)
    status = read_status(store)
    assert (status.first_sync, status.entity, status.problem) == (True, "entity", None)
    assert status.sync == "interrupted: the next sync finishes its commit first"
    with pytest.raises(ExportNotFoundError) as caught:
        store.require_manifest()
    assert isinstance(caught.value.failure, NoSyncYet)
    assert caught.value.failure.commit
    syncing.sync(source, tmp_path)
    assert not read_status(store).first_sync


def test_note_stays_as_long_as_segments_of_its_project_do(
    source: MemorySource, store: ExportStore, tmp_path: Path
) -> None:
    note = store.export_dir / ".staging" / "sync.json"
    older = json.loads(note.read_text()) | {"since": "2020-01-01T00:00:00Z"}
    note.write_text(json.dumps(older))
    interrupted_sync(source, tmp_path, 0)
    assert read_status(store).fetching_since == "2020-01-01T00:00:00Z"
    note.write_text(json.dumps(older | {"project": "another"}))
    interrupted_sync(source, tmp_path, 0)
    status = read_status(store)
    assert (status.project, status.fetching_since) != ("another", "2020-01-01T00:00:00Z")
    for segment in note.parent.glob("*.segment"):
        segment.unlink()
    note.write_text(json.dumps(older))
    interrupted_sync(source, tmp_path, 1)
    assert read_status(store).fetching_since != "2020-01-01T00:00:00Z"


@pytest.mark.parametrize("note", [None, b"{", b"[]", b'{"entity": 1}'])
def test_note_that_does_not_read_hides_no_sync(note: bytes | None, store: ExportStore) -> None:
    path = store.export_dir / ".staging" / "sync.json"
    path.unlink()
    if note is not None:
        path.write_bytes(note)
    status = read_status(store)
    assert (status.first_sync, status.entity, status.fetching_since) == (True, None, None)
    assert describe_status(status)[0].startswith(f"{NAME}: ?/? in ")
    assert describe_status(status)[2].endswith(" kB)")


def test_note_that_is_a_link_is_removed_and_never_followed(
    source: MemorySource, store: ExportStore, tmp_path: Path
) -> None:
    note, precious = store.export_dir / ".staging" / "sync.json", tmp_path / "precious"
    precious.write_text("precious")
    note.unlink()
    note.symlink_to(precious)
    interrupted_sync(source, tmp_path, 0)
    assert precious.read_text() == "precious"
    assert not note.is_symlink()


def test_sync_of_an_export_that_is_interrupted_leaves_the_export_readable(
    source: MemorySource, tmp_path: Path
) -> None:
    syncing.sync(source, tmp_path)
    source.log("a", {"loss": 9.0})
    source.log("b", {"loss": 9.0})
    interrupted_sync(source, tmp_path, 1)
    store = ExportStore(name=NAME, data_root=tmp_path)
    status = read_status(store)
    assert (status.first_sync, status.runs, status.rows) == (False, 3, 9)
    assert (status.fetched_parts, status.fetched_bytes) == kept(store)
    assert verify_export(store).sound
    assert len(list(store.iter_history_rows())) == 9
    syncing.sync(source, tmp_path)
    after = read_status(store)
    assert (after.sync, after.fetched_parts, after.fetching_since) == (None, 0, None)


@pytest.mark.parametrize("arguments", [("verify",), ("log",), ("diff", "--since", "2026-01-01")])
def test_commands_say_that_no_sync_has_completed_yet(
    arguments: tuple[str, ...], store: ExportStore, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *flags = arguments
    assert run([command, NAME, "--data-root", str(store.data_root), *flags]) == EXIT_DAMAGED
    parts, size = kept(store)
    assert capsys.readouterr() == (
        "",
        f"{store.export_dir}: the first sync of entity/project was interrupted, so there is "
        f"nothing to read yet; kept for the next one: {parts} parts ({size / 1000:.1f} kB)\n"
        "run the command of that sync again to go on\n",
    )


def test_status_command_lists_a_first_sync(
    store: ExportStore, capsys: pytest.CaptureFixture[str]
) -> None:
    root = ["--data-root", str(store.data_root)]
    assert run(["status", *root]) == EXIT_OK
    row = capsys.readouterr().out.splitlines()[1]
    assert row.startswith(f"{NAME}  entity/project  ?")
    assert run(["status", NAME, *root]) == EXIT_OK
    assert "  no sync has completed yet\n" in capsys.readouterr().out
    assert run(["status", NAME, *root, "--json"]) == EXIT_OK
    assert json.loads(capsys.readouterr().out)["first_sync"] is True


def test_folder_without_a_sync_is_no_export(tmp_path: Path) -> None:
    (tmp_path / NAME / ".staging").mkdir(parents=True)
    store = ExportStore(name=NAME, data_root=tmp_path)
    for look in (read_status, verify_export):
        with pytest.raises(DrWandbError, match="does not exist; run"):
            look(store)
