"""Messages about a damaged recording, and about a folder that is not a recording."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from dr_wandb.core.contract.failures import DamagedFile, DrWandbError, NewerSchema
from dr_wandb.shell.sources.recording.source import RecordedSource
from tests.support.asking import list_all, list_nodes, read_raw_rows
from tests.support.build_memory import build_memory
from tests.support.described_project import PROJECT
from tests.support.memory_source import MemorySource
from tests.support.recordings import ask_all, record


def spoil(folder: Path, name: str, change: Callable[[bytes], bytes]) -> None:
    path = folder / name
    if name == "history/*":
        path = max((folder / "history").iterdir(), key=lambda one: one.stat().st_size)
    path.write_bytes(change(path.read_bytes()))


def read_all(folder: Path) -> None:
    replayed = RecordedSource(folder)
    for run in list_all(replayed).values():
        if run.run_id != "broken":
            read_raw_rows(replayed, run)
            replayed.read_metadata(run)


def without_last_line(content: bytes) -> bytes:
    return b"".join(content.splitlines(keepends=True)[:-1])


LINES = ["listing.jsonl", "runs.jsonl", "history.jsonl", "metadata.jsonl", "history/*"]
CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "cut short": lambda content: content[:-5],
    "without its last newline": lambda content: content[:-1],
    "without its last line": without_last_line,
    "empty": lambda _: b"",
    "binary": lambda content: b"\x00\xff" + content,
    "another shape": lambda content: b"[1]\n" + content,
    "longer": lambda content: content + content,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", LINES)
def test_damaged_file_is_named(folder: Path, name: str, change: str) -> None:
    with record(build_memory(PROJECT), folder) as recorder:
        ask_all(recorder)
    read_all(folder)
    spoil(folder, name, CHANGES[change])
    with pytest.raises(DrWandbError) as error:
        read_all(folder)
    failure = error.value.failure
    assert isinstance(failure, DamagedFile)
    assert Path(failure.path).match(name)
    assert len(str(error.value).splitlines()) == 2
    if change in ("binary", "another shape"):
        assert failure.line == 1


@pytest.mark.parametrize("name", [*LINES, "recording.json"])
def test_missing_file_is_named(folder: Path, name: str) -> None:
    with record(build_memory(PROJECT), folder) as recorder:
        ask_all(recorder)
    if name == "history/*":
        name = f"history/{next((folder / 'history').iterdir()).name}"
    (folder / name).unlink()
    with pytest.raises(DrWandbError, match="there is no such file") as error:
        RecordedSource(folder)
    assert isinstance(error.value.failure, DamagedFile)
    assert Path(error.value.failure.path) == folder / name


@pytest.mark.parametrize(
    "head",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"schema_version": "1"}',
        '{"schema_version": 1}',
        '{"schema_version": 0, "entity": "e", "project": "p", "source": "s", "mode": "m", '
        '"recorded_at": "2026-01-01T00:00:00Z"}',
        '{"schema_version": 1, "entity": "e", "project": "p", "source": "s", "mode": "m", '
        '"recorded_at": "yesterday"}',
    ],
)
def test_head_that_does_not_read_is_named(folder: Path, head: str) -> None:
    record(MemorySource(), folder).close()
    (folder / "recording.json").write_text(head)
    with pytest.raises(DrWandbError, match=r"recording\.json cannot be read") as error:
        RecordedSource(folder)
    assert isinstance(error.value.failure, DamagedFile)


def test_later_version_is_refused_before_anything_else(folder: Path) -> None:
    record(MemorySource(), folder).close()
    (folder / "recording.json").write_text('{"schema_version": 6, "entity": 7}')
    (folder / "runs.jsonl").unlink()
    with pytest.raises(DrWandbError) as error:
        RecordedSource(folder)
    failure = error.value.failure
    assert isinstance(failure, NewerSchema)
    assert (failure.found, failure.known) == (6, 5)


@pytest.mark.parametrize("place", ["nowhere", "file", "empty"])
def test_folder_that_is_no_recording_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("{}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DrWandbError, match="give a folder that --record has made") as error:
        RecordedSource(tmp_path / place)
    assert isinstance(error.value.failure, DamagedFile)


@pytest.mark.parametrize("name", ["../recording.json", "/etc/passwd", "", None])
def test_file_name_in_a_recording_leads_nowhere_else(folder: Path, name: str | None) -> None:
    with record(build_memory(PROJECT), folder) as recorder:
        ask_all(recorder)
    first, *others = (folder / "history.jsonl").read_text().splitlines()
    spoiled = json.dumps({**json.loads(first), "file": name})
    (folder / "history.jsonl").write_text("\n".join([spoiled, *others]) + "\n")
    with pytest.raises(DrWandbError, match=r"history\.jsonl line 1 cannot be read"):
        RecordedSource(folder)


def test_run_that_an_answer_names_and_nothing_describes_is_damage(folder: Path) -> None:
    with record(build_memory(PROJECT), folder) as recorder:
        list_nodes(recorder)
    listing = folder / "listing.jsonl"
    listing.write_text(listing.read_text().replace('"plain"', '"other"'))
    with pytest.raises(DrWandbError, match=r"listing\.jsonl line 1 cannot be read"):
        RecordedSource(folder)
