"""What lies around an export, and what a source says, can be anything: nothing is lost by it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb import DrWandbError, iter_history_rows
from dr_wandb.core.failures import InvalidRequest
from dr_wandb.shell.sources import RunPage
from dr_wandb.shell.sources.api_session import reason_of
from tests import syncing
from tests.memory_source import MemorySource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


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


@pytest.mark.parametrize(
    "change",
    [
        lambda runs: runs.pop("a"),
        lambda runs: runs.clear(),
        lambda runs: runs["a"]["history"].update(length=runs["a"]["history"]["length"] - 10),
        lambda runs: runs["b"]["history"].update(length=10**6),
        lambda runs: runs["a"]["history"].update(offset=7),
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
    state = json.loads((folder / "state.json").read_bytes())
    change(state["runs"])
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")
    syncing.sync(source, tmp_path)
    assert files(folder) == before
    assert len(list(iter_history_rows(syncing.NAME, tmp_path))) == 10


@pytest.mark.parametrize("content", [b"", b"[]", b'{"history.jsonl": 5}', b"\x00"])
def test_what_was_checked_before_only_saves_time(tmp_path: Path, content: bytes) -> None:
    source = project()
    syncing.sync(source, tmp_path)
    (tmp_path / syncing.NAME / ".checked.json").write_bytes(content)
    assert syncing.sync(source, tmp_path).reused_count == 2


def test_links_inside_an_export_are_not_followed(tmp_path: Path) -> None:
    """A link named `.staging` had what it led to deleted."""
    source = project()
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work", encoding="utf-8")
    folder = tmp_path / "root" / syncing.NAME
    folder.mkdir(parents=True)
    (folder / ".staging").symlink_to(precious)
    (folder / ".commit.json.part").symlink_to(precious / "thesis.txt")
    (folder / ".lock-holder.json").symlink_to(precious / "thesis.txt")
    syncing.sync(source, tmp_path / "root")
    assert [path.name for path in precious.iterdir()] == ["thesis.txt"]
    assert (precious / "thesis.txt").read_text(encoding="utf-8") == "years of work"


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


def test_a_source_that_breaks_over_one_run_does_not_end_the_sync(tmp_path: Path) -> None:
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


def test_metadata_sync_keeps_the_history_of_a_run_that_was_made_anew(tmp_path: Path) -> None:
    source = project()
    syncing.sync(source, tmp_path)
    source.delete("a")
    source.add_run("a")
    source.log("a", {"loss": 9})
    assert syncing.sync(source, tmp_path, mode="metadata").history_count == 10
    assert syncing.sync(source, tmp_path).history_count == 6


def test_short_syncs_are_counted_when_metadata_syncs_come_between(tmp_path: Path) -> None:
    source = project()
    source.update("a", line_count_offset=2)
    for _ in range(2):
        assert syncing.sync(source, tmp_path).failed_count == 1
        assert syncing.sync(source, tmp_path, mode="metadata").failed_count == 0
    summary = syncing.sync(source, tmp_path)
    assert (summary.failed_count, summary.history_count) == (0, 10)


def test_reasons_hold_no_signed_address_and_no_password() -> None:
    error = OSError("GET http://host/f.parquet?Expires=1900000000&Signature=89822a5b&x=1: EOF")
    assert "89822a5b" not in reason_of(error)
    assert "f.parquet" in reason_of(error)


@pytest.mark.parametrize("redirect", [">&-", "> /dev/full"])
def test_stdout_that_cannot_be_written_is_one_line(tmp_path: Path, redirect: str) -> None:
    recording = "replay:fixtures/recorded/tiny-vision"
    command = f"{sys.executable} -m dr_wandb demo-lab tiny-vision --name demo --quiet"
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
