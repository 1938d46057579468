"""What lies around an export, and what a source says, can be anything: nothing is lost by it."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb import DrWandbError, ExportEngine, ExportStore, iter_history_rows
from dr_wandb.core.contract.codec import encode_document
from dr_wandb.core.contract.failures import (
    DamagedFile,
    DiskRefused,
    InTheWay,
    InvalidRequest,
    LeadsOutside,
)
from dr_wandb.core.contract.values import clean_text
from dr_wandb.shell.inspect.status import read_status
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.sources import RunPage
from dr_wandb.shell.sources.api.sdk_errors import reason_of
from dr_wandb.shell.sources.recording.source import RecordedSource
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.operations import CHANGES, Fault, Stopped, digest_of, stopped_at
from tests.support.state_files import edit_state

if TYPE_CHECKING:
    from collections.abc import Iterator


def project() -> MemorySource:
    source = MemorySource()
    for run_id in ("a", "b"):
        source.add_run(run_id)
        for step in range(5):
            source.log(run_id, {"loss": step + 0.5})
        source.finish(run_id)
    return source


def files(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in syncing.DATA_FILES}


class Uncounted(MemorySource):
    """A source that counts nothing, and lists nothing when it is tired."""

    tired = False

    def list_runs(self, query: Any) -> Iterator[RunPage]:
        for page in super().list_runs(query):
            yield RunPage(runs=() if self.tired else page.runs)


def test_nothing_is_missing_when_the_source_does_not_count(tmp_path: Path) -> None:
    """An empty answer without a count proves nothing: every run was marked missing by it."""
    source = Uncounted()
    source.add_run("a")
    source.log("a", {"loss": 1})
    assert syncing.sync(source, tmp_path).new_count == 1
    source.tired = True
    for mode in ("incremental", "full_reconcile"):
        summary = syncing.sync(source, tmp_path, sync_mode=mode)
        assert (summary.missing_count, summary.history_count) == (0, 1)


def stored(run: Any) -> Any:
    """Return where a state says that the rows of a run lie."""
    return run["parts"]["history"]["stored"]


@pytest.mark.parametrize(
    "change",
    [
        lambda runs: runs.pop("a"),
        lambda runs: runs.clear(),
        lambda runs: stored(runs["a"]).update(length=stored(runs["a"])["length"] - 10),
        lambda runs: stored(runs["b"]).update(length=10**6),
        lambda runs: stored(runs["a"]).update(offset=7),
        lambda runs: runs.update(other=runs.pop("a")),
    ],
    ids=["run gone", "all gone", "too short", "too long", "moved", "other key"],
)
def test_hand_edited_state_loses_nothing(tmp_path: Path, change: Any) -> None:
    """Its byte ranges were believed: the next sync dropped rows, or tore lines apart."""
    source = project()
    syncing.sync(source, tmp_path)
    folder = tmp_path / syncing.NAME
    source.delete("a")
    syncing.sync(source, tmp_path)
    before = files(folder)
    edit_state(folder, lambda state: change(state["runs"]))
    syncing.sync(source, tmp_path)
    assert files(folder) == before
    assert len(list(iter_history_rows(syncing.NAME, tmp_path))) == 10


@pytest.mark.parametrize("content", [b"", b"[]", b'{"history.jsonl": 5}', b"\x00"])
def test_note_on_earlier_checks_changes_no_result(tmp_path: Path, content: bytes) -> None:
    source = project()
    syncing.sync(source, tmp_path)
    (tmp_path / syncing.NAME / ".checked.json").write_bytes(content)
    assert syncing.sync(source, tmp_path).reused_count == 2


OWN_FILES = [".lock", ".lock-holder.json", ".commit.json", ".checked.json"]
OWN_FILES += [".commit.json.part", ".checked.json.part"]
VISIBLE = ["manifest.json", "state.json", "runs.jsonl", "history.jsonl", "changes.jsonl"]


@pytest.fixture
def precious(tmp_path: Path) -> Iterator[Path]:
    """Give a folder that lies outside the data root and stays as it is."""
    folder = tmp_path / "precious"
    (folder / "deep").mkdir(parents=True)
    (folder / "thesis.txt").write_text("years of work", encoding="utf-8")
    (folder / "deep" / "run.segment").write_text("{}", encoding="utf-8")
    before = digest_of(folder)
    yield folder
    assert digest_of(folder) == before


@pytest.mark.parametrize("name", [".staging", *OWN_FILES])
@pytest.mark.parametrize("target", ["thesis.txt", "deep", "nowhere"])
def test_links_with_our_hidden_names_are_not_followed(
    tmp_path: Path, precious: Path, name: str, target: str
) -> None:
    """A link named `.staging` had what it led to deleted; one named `.lock` had it emptied."""
    root = tmp_path / "root"
    syncing.sync(project(), root)
    whole = syncing.visible(root / syncing.NAME)
    shutil.rmtree(root)
    (root / syncing.NAME).mkdir(parents=True)
    (root / syncing.NAME / name).symlink_to(precious / target)
    syncing.sync(project(), root)
    assert syncing.visible(root / syncing.NAME) == whole
    assert not (root / syncing.NAME / name).is_symlink()
    assert not (precious / "nowhere").exists()


@pytest.mark.parametrize("name", [*OWN_FILES, *VISIBLE])
def test_folder_with_the_name_of_a_file_is_named_and_not_touched(tmp_path: Path, name: str) -> None:
    """The sync ended in the middle, with "Is a directory", and said to sync again."""
    source = project()
    syncing.sync(source, tmp_path)
    folder = tmp_path / syncing.NAME
    before = syncing.visible(folder)
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    (folder / name / "thesis.txt").write_text("years of work", encoding="utf-8")
    source.log("a", {"loss": 9})
    with pytest.raises(DrWandbError) as caught:
        syncing.sync(source, tmp_path)
    assert caught.value.exit_code == 9
    assert isinstance(caught.value.failure, InTheWay)
    assert str(caught.value).startswith(f"{folder / name} is a folder, but a file is needed")
    assert (folder / name / "thesis.txt").read_text(encoding="utf-8") == "years of work"
    (folder / name).rename(tmp_path / "moved away")
    if name in before:
        (folder / name).write_bytes(before[name])
    syncing.sync(source, tmp_path)
    with syncing.fresh_export(source) as fresh:
        assert syncing.data_of(folder) == syncing.data_of(fresh)


@pytest.mark.parametrize("name", [".staging", "history.jsonl"])
def test_path_that_is_neither_a_file_nor_a_folder_is_named(tmp_path: Path, name: str) -> None:
    """A named pipe in place of a data file made the sync wait for ever."""
    folder = tmp_path / syncing.NAME
    folder.mkdir()
    os.mkfifo(folder / name)
    with pytest.raises(DrWandbError, match="is needed") as caught:
        syncing.sync(project(), tmp_path)
    assert isinstance(caught.value.failure, InTheWay)
    (folder / name).unlink()
    syncing.sync(project(), tmp_path)


@pytest.mark.parametrize("name", ["runs.jsonl", "history.jsonl"])
def test_plan_names_a_pipe_in_place_of_a_data_file(tmp_path: Path, name: str) -> None:
    """`--dry-run` waited for it for ever."""
    source, folder = project(), tmp_path / syncing.NAME
    syncing.sync(source, tmp_path)
    (folder / name).unlink()
    os.mkfifo(folder / name)
    request = syncing.request_for(tmp_path)
    with pytest.raises(DrWandbError, match="is needed") as caught:
        ExportEngine(request, source=source).plan()
    assert isinstance(caught.value.failure, InTheWay)


@pytest.mark.parametrize("name", VISIBLE[:-1])
def test_visible_file_that_is_a_link_is_read_and_then_replaced(
    tmp_path: Path, precious: Path, name: str
) -> None:
    """What it leads to is read, and never written."""
    source, folder = project(), tmp_path / syncing.NAME
    syncing.sync(source, tmp_path)
    elsewhere = tmp_path / "elsewhere"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    content = elsewhere.read_bytes()
    assert len(list(iter_history_rows(syncing.NAME, tmp_path))) == 10
    source.resume("a")
    source.log("a", {"loss": 9})
    syncing.sync(source, tmp_path)
    assert elsewhere.read_bytes() == content
    with syncing.fresh_export(source) as fresh:
        assert syncing.data_of(folder) == syncing.data_of(fresh)


@pytest.mark.parametrize("name", VISIBLE)
def test_visible_file_that_is_a_dangling_link_is_not_taken_for_a_missing_one(
    tmp_path: Path, name: str
) -> None:
    """The rows of runs that are gone were dropped while the disk they lay on was not mounted."""
    source, folder = project(), tmp_path / syncing.NAME
    syncing.sync(source, tmp_path)
    source.delete("a")
    syncing.sync(source, tmp_path)
    before = syncing.visible(folder)
    (folder / name).rename(tmp_path / "unmounted")
    (folder / name).symlink_to(tmp_path / "mounted")
    with pytest.raises(DrWandbError) as caught:
        syncing.sync(source, tmp_path)
    assert isinstance(caught.value.failure, DamagedFile)
    assert caught.value.failure.path == str(folder / name)
    assert "restore that file" in str(caught.value)
    assert (folder / name).is_symlink()
    (tmp_path / "unmounted").rename(tmp_path / "mounted")
    syncing.sync(source, tmp_path)
    assert syncing.visible(folder) == before
    (tmp_path / "mounted").unlink()
    (folder / name).unlink(missing_ok=True)
    syncing.sync(source, tmp_path)
    assert len(syncing.rows_in(folder)["b"]) == 5


def test_export_that_is_a_link_out_of_its_root_is_refused_with_the_way_to_go(
    tmp_path: Path, precious: Path
) -> None:
    """An export grew in a place that nobody had named, under a lock of its own."""
    root, real = tmp_path / "root", tmp_path / "disk" / "real"
    root.mkdir()
    source = project()
    syncing.sync(source, tmp_path / "disk", name="real")
    before = digest_of(real)
    (root / syncing.NAME).symlink_to(real)
    with pytest.raises(DrWandbError) as caught:
        syncing.sync(source, root)
    assert isinstance(caught.value.failure, LeadsOutside)
    assert caught.value.exit_code == 2
    assert digest_of(real) == before
    words = str(caught.value).split("give --data-root the real folder: ")[1].split()
    assert (words[0], words[2]) == ("--data-root", "--name")
    source.log("a", {"loss": 9})
    assert syncing.sync(source, Path(words[1]), name=words[3]).history_count == 11
    (root / syncing.NAME).unlink()
    (root / syncing.NAME).symlink_to(precious)
    with pytest.raises(DrWandbError, match="outside the data root"):
        syncing.sync(source, root)


def test_export_that_is_a_link_to_its_own_root_is_refused(tmp_path: Path) -> None:
    (tmp_path / syncing.NAME).symlink_to(tmp_path)
    with pytest.raises(DrWandbError, match="outside the data root"):
        syncing.sync(project(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [syncing.NAME]


@pytest.mark.parametrize("linked", ["root", "root above", "name inside"])
def test_links_that_stay_with_the_data_root_are_fine(tmp_path: Path, linked: str) -> None:
    (tmp_path / "real" / "root").mkdir(parents=True)
    root = tmp_path / "root"
    if linked == "root":
        root.symlink_to(tmp_path / "real")
    elif linked == "root above":
        (tmp_path / "above").symlink_to(tmp_path / "real")
        root = tmp_path / "above" / "root"
    else:
        (root / "other").mkdir(parents=True)
        (root / syncing.NAME).symlink_to("other")
    for _ in range(2):
        assert syncing.sync(project(), root).history_count == 10


@pytest.mark.parametrize(
    "what", ["root", "above", "name", "dangling root", "dangling name", "loop"]
)
def test_data_root_that_is_no_folder_is_named(tmp_path: Path, what: str) -> None:
    root = tmp_path / "above" / "root"
    place = {"above": root.parent, "name": root / syncing.NAME, "dangling name": root / "export"}
    obstacle = place.get(what, root)
    obstacle.parent.mkdir(parents=True, exist_ok=True)
    if what == "loop":
        obstacle.symlink_to(obstacle)
    elif what.startswith("dangling"):
        obstacle.symlink_to(tmp_path / "nowhere")
    else:
        obstacle.write_text("years of work", encoding="utf-8")
    before = digest_of(tmp_path)
    with pytest.raises(DrWandbError) as caught:
        syncing.sync(project(), root)
    assert isinstance(caught.value.failure, InTheWay)
    assert caught.value.exit_code == 9
    assert str(caught.value).startswith(f"{obstacle} is a ")
    assert digest_of(tmp_path) == before
    obstacle.rename(tmp_path / "moved away")
    assert syncing.sync(project(), root).history_count == 10


@pytest.mark.parametrize("name", [b"\xff\xfe", b"#?%41", b":memory:", b"file:x"])
def test_path_of_any_bytes_holds_an_export(tmp_path: Path, name: bytes) -> None:
    """The JSON of a sync could not be written for a folder whose name is not UTF-8."""
    data_root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    source = project()
    summary = syncing.sync(source, data_root)
    assert encode_document(summary)
    source.log("a", {"loss": 9.0})
    syncing.sync(source, data_root, sync_mode="detect_changes")
    store = ExportStore(name=syncing.NAME, data_root=data_root)
    assert verify_export(store).findings == ()
    assert encode_document(read_status(store))


def test_read_only_disk_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    source = project()
    syncing.sync(source, tmp_path)
    before = syncing.visible(tmp_path / syncing.NAME)
    source.log("a", {"loss": 9})
    with (
        stopped_at(0, Fault(errno.EROFS, lasts_for=CHANGES)),
        pytest.raises(DrWandbError) as caught,
    ):
        syncing.sync(source, tmp_path)
    assert isinstance(caught.value.failure, DiskRefused)
    assert caught.value.exit_code == 9
    assert "Read-only file system" in str(caught.value)
    assert "fix this and sync again" in str(caught.value)
    assert syncing.visible(tmp_path / syncing.NAME) == before
    assert syncing.sync(source, tmp_path).history_count == 11


@pytest.mark.parametrize("moment", ["list_runs", "read_history"])
@pytest.mark.parametrize("what", ["root", "staging"])
def test_data_root_that_vanishes_while_a_sync_is_at_work_is_reported(
    tmp_path: Path, moment: str, what: str
) -> None:
    """Tidying up what was no longer there hid why the sync had ended."""
    root = tmp_path / "root"
    gone = root if what == "root" else root / syncing.NAME / ".staging"

    went: list[str] = []

    class Unmounting(MemorySource):
        def list_runs(self, query: Any) -> Any:
            if moment == "list_runs":
                shutil.rmtree(gone)
            return super().list_runs(query)

        def read_history(self, run: Any, window: Any, attempt: int) -> Any:
            if moment == "read_history" and not went:  # not the folder of the next sync
                went.append(run.run_id)
                shutil.rmtree(gone, ignore_errors=True)
            return super().read_history(run, window, attempt)

    source = Unmounting()
    source.runs = project().runs
    with pytest.raises(DrWandbError) as caught:
        syncing.sync(source, root)
    assert isinstance(caught.value.failure, DiskRefused)
    assert "No such file or directory" in str(caught.value)
    assert syncing.sync(project(), root).history_count == 10


@pytest.mark.parametrize("name", ["runs.jsonl", "history.jsonl"])
def test_data_file_that_is_cut_short_while_a_sync_is_at_work_is_named(
    tmp_path: Path, name: str
) -> None:
    """It came as a traceback of EOFError."""

    class Cutting(MemorySource):
        def read_history(self, run: Any, window: Any, attempt: int) -> Any:
            os.truncate(tmp_path / syncing.NAME / name, 10)
            return super().read_history(run, window, attempt)

    source = Cutting()
    source.runs = project().runs
    syncing.sync(syncing.twin(source), tmp_path)
    source.add_run("c")
    source.log("c", {"loss": 9})
    with pytest.raises(DrWandbError, match=f"{name}: the file is .* bytes too short") as caught:
        syncing.sync(source, tmp_path)
    assert caught.value.exit_code == 9


def test_interrupt_while_tidying_up_gives_the_lock_back(tmp_path: Path) -> None:
    source = project()
    syncing.sync(source, tmp_path)
    with stopped_at(10**6, Fault(None)) as done:
        syncing.sync(source, tmp_path)
    last = max(number for number, what in enumerate(done) if what == "unlink .lock-holder.json")
    with stopped_at(last, Fault(None)), pytest.raises(Stopped) as caught:
        syncing.sync(source, tmp_path)
    assert syncing.sync(source, tmp_path).history_count == 10
    assert caught.value  # it holds what the sync held


def test_interrupt_is_not_hidden_by_a_disk_that_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C on a disk that had gone away ended with code 9 instead of 130."""

    class Interrupting(MemorySource):
        def list_runs(self, query: Any) -> Any:
            shutil.rmtree(tmp_path / "root")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        syncing.sync(Interrupting(), tmp_path / "root")


HOSTILE = [
    "../x",
    "../../../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "a/b\\c",
    "nul\x00byte",
    "line\nbreak\r\u2028",
    "x" * 300,
    "ü" * 300,
    "\ud800",
    "__proto__",
    "constructor",
    " ",
    "~",
    "$(reboot)",
    "CON",
    ".commit.json",
    "history.jsonl",
    '","run_id":"other',
]


def hostile_project() -> MemorySource:
    """Every hostile text as a run's id, a name, a key at two depths, a tag and a value."""
    source = MemorySource()
    for text in HOSTILE:
        fields: dict[str, Any] = {
            "tags": [text],
            "display_name": text,
            "group": text,
            "notes": text,
        }
        run_id = clean_text(text)
        source.add_run(run_id, config={text: {text: text}}, metadata={text: text}, **fields)
        for step in range(3):
            source.log(run_id, {text: step, "nested": {text: [text]}, "": text, "last": step})
        source.finish(run_id)
    return source


def test_hostile_ids_names_keys_and_values_are_only_text(tmp_path: Path, precious: Path) -> None:
    root = tmp_path / "root"
    request = {"include_metadata": True}
    summary = syncing.sync(hostile_project(), root, **request)
    assert (summary.run_count, summary.history_count) == (len(HOSTILE), 3 * len(HOSTILE))
    assert summary.failures == ()
    folder = root / syncing.NAME
    before = syncing.visible(folder)
    assert {path.name for path in tmp_path.iterdir()} == {"root", "precious"}
    assert [path.name for path in root.iterdir()] == [syncing.NAME]
    assert {path for path in folder.rglob("*") if path.is_dir()} == set()
    kept = {row.run_id: row for row in iter_history_rows(syncing.NAME, root)}
    assert set(kept) == {clean_text(text) for text in HOSTILE}
    assert kept["__proto__"].metrics["nested.__proto__"] == ["__proto__"]
    again = hostile_project()
    syncing.sync(again, root, **request)
    assert again.count_asked("read_history") == 0
    assert syncing.visible(folder) == before


def test_hostile_project_that_was_recorded_replays_the_same(tmp_path: Path, precious: Path) -> None:
    """No name of a file comes from a run."""
    now = "2026-01-01T00:00:00Z"
    for name, source, record in (
        ("live", hostile_project(), tmp_path / "recording"),
        ("replayed", None, None),
    ):
        request = syncing.request_for(tmp_path / name, include_metadata=True)
        replay = source or RecordedSource(tmp_path / "recording")
        syncing.export(replay, request, now=now, record=record)
    live, replayed = (tmp_path / name / syncing.NAME for name in ("live", "replayed"))
    assert syncing.data_of(live) == syncing.data_of(replayed)
    names = {path.name for path in (tmp_path / "recording" / "history").iterdir()}
    assert all(re.fullmatch(r"[0-9a-f]{32}\.jsonl", name) for name in names)


@pytest.mark.parametrize("run_id", ["", None, 5, ["a"], {"a": 1}, "\ud800"])
def test_run_whose_id_is_no_text_fails_alone(tmp_path: Path, run_id: Any) -> None:
    class Odd(MemorySource):
        def list_runs(self, query: Any) -> Iterator[RunPage]:
            for page in super().list_runs(query):
                odd = [{**run, "name": run_id} if run["name"] == "b" else run for run in page.runs]
                yield RunPage(runs=odd, matching=page.matching, total=page.total)

    source = Odd()
    source.runs = project().runs
    summary = syncing.sync(source, tmp_path)
    assert summary.failed_count == 1
    assert {
        run_id: len(rows) for run_id, rows in syncing.rows_in(tmp_path / syncing.NAME).items()
    } == {"a": 5}


@pytest.mark.parametrize("place", ["mine", "root/export", "root/export/sub"])
def test_recording_takes_no_folder_that_holds_other_things(tmp_path: Path, place: str) -> None:
    """A folder with a `recording.json` in it was replaced as a whole, with all else in it."""
    record = tmp_path / place
    record.mkdir(parents=True)
    (record / "recording.json").write_text("{}", encoding="utf-8")
    (record / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(DrWandbError) as caught:
        syncing.export(
            project(),
            syncing.request_for(tmp_path / "root"),
            now="2026-01-01T00:00:00Z",
            record=record,
        )
    assert isinstance(caught.value.failure, InvalidRequest)
    assert (record / "thesis.txt").exists()


def test_source_that_breaks_over_one_run_does_not_end_the_sync(tmp_path: Path) -> None:
    class Breaking(MemorySource):
        def read_history(self, run: Any, window: Any, attempt: int) -> Any:
            if run.run_id == "b":
                raise TypeError("boom")
            return super().read_history(run, window, attempt)

    source = Breaking()
    for run_id in ("a", "b"):
        source.add_run(run_id)
        source.log(run_id, {"loss": 1})
    summary = syncing.sync(source, tmp_path)
    assert [(failed.run_id, failed.reason) for failed in summary.failures] == [
        ("b", "TypeError: boom")
    ]
    assert summary.history_count == 1


def test_metadata_sync_keeps_the_history_of_a_run_that_was_made_again(tmp_path: Path) -> None:
    source = project()
    syncing.sync(source, tmp_path)
    source.delete("a")
    source.advance(1)
    source.add_run("a")
    source.log("a", {"loss": 9})
    assert syncing.sync(source, tmp_path, mode="metadata").history_count == 10
    assert syncing.sync(source, tmp_path).history_count == 6


def test_short_syncs_are_counted_when_metadata_syncs_come_between(tmp_path: Path) -> None:
    source = project()
    source.update("a", line_count_offset=2)
    for _ in range(2):
        (short,) = syncing.sync(source, tmp_path).short
        assert (short.run_id, short.short_by) == ("a", 2)
        assert syncing.sync(source, tmp_path, mode="metadata").complete
    summary = syncing.sync(source, tmp_path)
    assert (summary.complete, summary.history_count) == (True, 10)


def test_reasons_hold_no_signed_address_and_no_password() -> None:
    error = OSError("GET http://host/f.parquet?Expires=1900000000&Signature=89822a5b&x=1: EOF")
    assert "89822a5b" not in reason_of(error)
    assert "f.parquet" in reason_of(error)


@pytest.mark.parametrize("pipe", ["| true", "2>&1 >/dev/null | true", "2>&1 | head -1"])
def test_reader_that_closes_its_pipe_stops_no_sync(tmp_path: Path, pipe: str) -> None:
    """Before, a sync whose log went to `head` ended without an export, with exit code 1."""
    recording = "replay:fixtures/recorded/tiny-vision"
    command = f"{sys.executable} -m dr_wandb demo-lab tiny-vision --name demo --mode history"
    piped = f"{command} --source {recording} --data-root {tmp_path} {pipe}"
    done = subprocess.run(
        ["bash", "-c", f"{piped}; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "DR_WANDB_LOG_LEVEL": "INFO"},
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr + done.stdout
    assert "Broken" not in done.stderr + done.stdout
    assert (tmp_path / "demo" / "history.jsonl").exists()


@pytest.mark.parametrize("redirect", [">&-", "> /dev/full"])
def test_stdout_that_cannot_be_written_is_one_line(tmp_path: Path, redirect: str) -> None:
    recording = "replay:fixtures/recorded/tiny-vision"
    command = f"{sys.executable} -m dr_wandb demo-lab tiny-vision --name demo --quiet --json"
    done = subprocess.run(
        ["bash", "-c", f"{command} --source {recording} --data-root {tmp_path} {redirect}"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 1
    assert done.stderr.startswith("cannot print to stdout")
    assert len(done.stderr.splitlines()) == 1
    assert (tmp_path / "demo" / "runs.jsonl").exists()


def test_closed_stderr_is_no_error(tmp_path: Path) -> None:
    """Nobody can read what is said then; the export is there all the same."""
    recording = "replay:fixtures/recorded/tiny-vision"
    command = f"{sys.executable} -m dr_wandb demo-lab tiny-vision --name demo"
    done = subprocess.run(
        ["bash", "-c", f"{command} --source {recording} --data-root {tmp_path} 2>&-"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0
    assert json.loads(done.stdout)["run_count"] == 10
