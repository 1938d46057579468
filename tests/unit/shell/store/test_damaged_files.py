"""Files of an export that were cut short, emptied, overwritten or edited by hand.

Each is repaired by the next sync, or refused with an error that names the file and says what to do.
What it says is then done, to the letter: the next sync succeeds, and nothing is lost that W&B still
has, nor any row of a run that it no longer has, but for the rows that the damage itself destroyed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from dr_wandb import DrWandbError, ExportStore, load_manifest
from dr_wandb.core.contract.export_files import CHANGES_OF_STORE_FILE, STORE_FILE
from dr_wandb.core.contract.failures import DamagedFile, NewerSchema, WrongExport
from dr_wandb.core.contract.records import SCHEMA_VERSION
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.state_files import put_state, whole_state
from tests.support.syncing import NAME

if TYPE_CHECKING:
    from pathlib import Path

Change = Callable[[bytes], bytes]

DOCUMENTS = ("state.json", "manifest.json")
DATA = ("runs.jsonl", "history.jsonl")


@dataclass(frozen=True)
class Export:
    """An export of three runs, one of them gone upstream, and a copy of it as it was."""

    source: MemorySource
    folder: Path
    copy: Path

    def sync(self) -> None:
        syncing.sync(self.source, self.folder.parent)

    def spoil(self, name: str, change: Change) -> None:
        path = self.folder / name
        path.write_bytes(change(path.read_bytes()))

    def refused(self) -> DrWandbError:
        """Sync, be refused, and see that nothing visible was touched."""
        before = syncing.visible(self.folder)
        with pytest.raises(DrWandbError) as caught:
            self.sync()
        assert syncing.visible(self.folder) == before
        return caught.value

    @property
    def untouched(self) -> dict[str, bytes]:
        return syncing.visible(self.copy)


@pytest.fixture
def export(tmp_path: Path) -> Export:
    source = MemorySource()
    for run_id in ("a", "b", "gone"):
        source.add_run(run_id)
        for step in range(5):
            source.log(run_id, {"loss": step + 0.5})
        source.advance(60)
    syncing.sync(source, tmp_path)
    source.delete("gone")
    syncing.sync(source, tmp_path)
    folder, copy = tmp_path / NAME, tmp_path / "copy"
    shutil.copytree(folder, copy)
    return Export(source, folder, copy)


def edited(**members: Any) -> Change:
    """Change members of a JSON document by hand."""
    return lambda content: json.dumps(json.loads(content) | members).encode()


def deeper(content: bytes) -> bytes:
    return content.rstrip()[:-1] + b',"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


UNREADABLE: dict[str, Change] = {
    "cut short": lambda content: content[: len(content) // 2],
    "without its last byte but one": lambda content: content[:-2],
    "empty": lambda _: b"",
    "binary": lambda _: bytes(range(256)) * 20,
    "utf-16": lambda content: content.decode().encode("utf-16"),
    "with a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
    "a list": lambda content: b"[" + content + b"]",
    "null": lambda _: b"null",
    "another document": lambda _: b'{"a": 1}',
    "nested too deep": deeper,
    "of version 0": edited(schema_version=0),
    "of a version in words": edited(schema_version="two"),
    "with a project that is a number": edited(project=5),
    "twice": lambda content: content + content,
    "a number of a million digits": lambda _: b"9" * 1_000_000,
    "zeros, as after a power cut": lambda content: b"\0" * len(content),
}


@pytest.mark.parametrize("damage", UNREADABLE)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_that_does_not_read_is_named_and_can_be_removed(
    export: Export, name: str, damage: str
) -> None:
    """The remedy is followed to the letter, both ways: a copy of the file, and none at all."""
    export.spoil(name, UNREADABLE[damage])
    error = export.refused()
    assert isinstance(error.failure, DamagedFile)
    assert (error.failure.path, error.exit_code) == (str(export.folder / name), 6)
    assert str(error).endswith("restore it from a copy, or remove the file and sync again")
    assert len(str(error).splitlines()) == 2
    assert len(str(error)) < 1000
    shutil.copy(export.copy / name, export.folder / name)
    export.sync()
    assert syncing.visible(export.folder) == export.untouched
    (export.folder / name).unlink()
    export.sync()
    after = syncing.visible(export.folder)
    assert {name: after[name] for name in DATA} == {name: export.untouched[name] for name in DATA}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_of_a_later_version_is_refused(export: Export, name: str) -> None:
    export.spoil(name, edited(schema_version=SCHEMA_VERSION + 1, runs=7))
    error = export.refused()
    assert isinstance(error.failure, NewerSchema)
    assert error.exit_code == 6


@pytest.mark.parametrize("name", DOCUMENTS)
def test_document_of_another_project_is_refused(export: Export, name: str) -> None:
    export.spoil(name, edited(project="other"))
    error = export.refused()
    assert isinstance(error.failure, WrongExport)
    assert error.exit_code == 2
    assert "use another --name" in str(error)


def _backwards(content: bytes) -> bytes:
    return b"".join(content.splitlines(keepends=True)[::-1])


WHOLE_STATE = "state"
"""Stands for all that is remembered, written into `state.json` as builds up to version 5 did."""

REPAIRED: dict[str, tuple[str, Change | None]] = {
    "all state without runs": (WHOLE_STATE, edited(runs={})),
    "all state without the files' digests": (WHOLE_STATE, edited(files={})),
    "all state with the digest of another file": (
        WHOLE_STATE,
        edited(files={"history.jsonl": "0" * 64}),
    ),
    "all state with a wrong watermark": (WHOLE_STATE, edited(max_created_at="tomorrow")),
    "all state with a watermark to come": (
        WHOLE_STATE,
        edited(max_created_at="2999-01-01T00:00:00Z"),
    ),
    "all state of a sync to come": (WHOLE_STATE, edited(last_exported_at="2999-01-01T00:00:00Z")),
    "all state with an unknown member": (WHOLE_STATE, edited(zebra=[1, {"a": None}])),
    "all state with another name": (WHOLE_STATE, edited(name="../../x")),
    "no store": (STORE_FILE, None),
    "an empty store": (STORE_FILE, lambda _: b""),
    "a store cut short": (STORE_FILE, lambda content: content[:-4096]),
    "a store with another byte": (STORE_FILE, lambda content: content[:-9] + b"x" + content[-8:]),
    "no changes of the store": (CHANGES_OF_STORE_FILE, None),
    "empty changes of the store": (CHANGES_OF_STORE_FILE, lambda _: b""),
    "changes of another store": (
        CHANGES_OF_STORE_FILE,
        lambda content: content.replace(b'"tracked":"', b'"tracked":"0'),
    ),
    "changes of the store with other runs": (
        CHANGES_OF_STORE_FILE,
        lambda content: content.replace(b'"gone":[]', b'"gone":["a"]'),
    ),
    "changes of the store that moved": (
        CHANGES_OF_STORE_FILE,
        lambda content: content.replace(b'"moved":false', b'"moved":true'),
    ),
    "state without runs": ("state.json", edited(runs={})),
    "state without the files' digests": ("state.json", edited(files={})),
    "state with the digest of another file": (
        "state.json",
        edited(files={"history.jsonl": "0" * 64}),
    ),
    "state with a wrong watermark": ("state.json", edited(max_created_at="tomorrow")),
    "state with a watermark to come": ("state.json", edited(max_created_at="2999-01-01T00:00:00Z")),
    "state of a sync to come": ("state.json", edited(last_exported_at="2999-01-01T00:00:00Z")),
    "state with an unknown member": ("state.json", edited(zebra=[1, {"a": None}])),
    "state with another name": ("state.json", edited(name="../../x")),
    "manifest with another name": ("manifest.json", edited(name="../../x")),
    "manifest with paths that lead away": (
        "manifest.json",
        edited(runs_path="/etc/passwd", history_path="../../../etc/passwd"),
    ),
    "manifest with other counts": ("manifest.json", edited(run_count=-1, history_count=10**30)),
    "manifest without files": ("manifest.json", edited(files={})),
    "manifest without history": ("manifest.json", edited(history_path=None, mode="metadata")),
    "runs in another order": ("runs.jsonl", _backwards),
    "runs twice": ("runs.jsonl", lambda content: content + content),
    "runs without a last newline": ("runs.jsonl", lambda content: content[:-1]),
    "runs with carriage returns": ("runs.jsonl", lambda content: content.replace(b"\n", b"\r\n")),
    "rows in another order": ("history.jsonl", _backwards),
    "rows twice": ("history.jsonl", lambda content: content + content),
    "rows without a last newline": ("history.jsonl", lambda content: content[:-1]),
    "rows with carriage returns": (
        "history.jsonl",
        lambda content: content.replace(b"\n", b"\r\n"),
    ),
}


@pytest.mark.parametrize("damage", REPAIRED)
def test_damage_that_still_reads_is_repaired_by_the_next_sync(export: Export, damage: str) -> None:
    """To the bytes that were there, those of the run that is gone included."""
    name, change = REPAIRED[damage]
    path = export.folder / name
    if name == WHOLE_STATE:
        put_state(export.folder, whole_state(export.folder))
        export.spoil("state.json", change or bytes)
        assert syncing.visible(export.folder) != export.untouched
    elif change is None:
        path.unlink()
    else:
        export.spoil(name, change)
        assert path.read_bytes() != (export.copy / name).read_bytes()
    export.sync()
    after = syncing.visible(export.folder)
    assert {name: after[name] for name in DATA} == {name: export.untouched[name] for name in DATA}
    export.sync()
    assert syncing.visible(export.folder) == after
    manifest = load_manifest(NAME, export.folder.parent)
    assert manifest is not None
    assert (manifest.name, manifest.history_count) == (NAME, 15)


@pytest.mark.parametrize("name", DATA)
def test_emptied_data_file_is_filled_with_what_wandb_still_has(export: Export, name: str) -> None:
    export.spoil(name, lambda _: b"")
    export.sync()
    assert_nothing_else_lost(export, destroyed=name)


def assert_nothing_else_lost(export: Export, destroyed: str) -> None:
    """Of one file all may be gone that W&B no longer has; the other one is as it was."""
    rows, runs = syncing.rows_in(export.folder), syncing.runs_in(export.folder)
    known_rows, known_runs = syncing.rows_in(export.copy), syncing.runs_in(export.copy)
    for run_id in ("a", "b") if destroyed == "history.jsonl" else ("a", "b", "gone"):
        assert rows[run_id] == known_rows[run_id]
    for run_id in ("a", "b") if destroyed == "runs.jsonl" else ("a", "b", "gone"):
        assert runs[run_id] == known_runs[run_id]
    load_all(export)


def load_all(export: Export) -> None:
    store = ExportStore(name=NAME, data_root=export.folder.parent)
    store.load_state(entity="entity", project="project")
    store.load_run_snapshots()
    list(store.iter_history_rows())


def replaced_line(number: int, line: bytes) -> Change:
    def change(content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        lines[number] = line
        return b"".join(lines)

    return change


BAD_LINES: dict[str, Change] = {
    "cut short": lambda content: content[:-20],
    "binary": lambda _: bytes(range(256)) * 3,
    "utf-16": lambda content: content.decode().encode("utf-16"),
    "zeros at the end": lambda content: content[:-300] + b"\0" * 300,
    "a line that is empty": replaced_line(1, b"\n"),
    "a line that is text": replaced_line(1, b"<<<<<<< HEAD\n"),
    "a line that is a list": replaced_line(1, b"[1, 2]\n"),
    "a line that is another document": replaced_line(1, b'{"a": 1}\n'),
    "a line without the run's id": replaced_line(1, b'{"run": {"name": "x"}, "step": 1}\n'),
    "a line with a run's id that is a number": replaced_line(
        1, b'{"run_id": 5, "run": {"run_id": 5}, "exported_at": "x"}\n'
    ),
    "a line nested too deep": replaced_line(
        1, b'{"run_id":"a","metrics":' + b'{"x":' * 200_000 + b"1" + b"}" * 200_001 + b"\n"
    ),
    "two lines in one": lambda content: content.replace(b"\n", b" ", 1),
}


@pytest.mark.parametrize("way", ["a copy", "without the line"])
@pytest.mark.parametrize("damage", BAD_LINES)
@pytest.mark.parametrize("name", DATA)
def test_line_that_does_not_read_is_named_and_can_be_deleted(
    export: Export, name: str, damage: str, way: str
) -> None:
    """The remedy is followed to the letter, as often as it is given."""
    export.spoil(name, BAD_LINES[damage])
    error = export.refused()
    path = export.folder / name
    if way == "a copy":
        assert str(error).splitlines()[-1].startswith("restore the file, or")
        shutil.copy(export.copy / name, path)
        export.sync()
        assert syncing.visible(export.folder) == export.untouched
        return
    for _ in range(20):
        failure = error.failure
        assert isinstance(failure, DamagedFile)
        assert (failure.path, error.exit_code) == (str(path), 6)
        assert failure.line is not None
        assert f"{path} line {failure.line} cannot be read" in str(error)
        assert "delete that line and sync again to read its run again" in str(error)
        assert len(str(error)) < 1000
        lines = path.read_bytes().split(b"\n")
        del lines[failure.line - 1]
        path.write_bytes(b"\n".join(lines))
        try:
            export.sync()
            break
        except DrWandbError as again:
            error = again
    else:
        pytest.fail("there is no end to it")
    assert_nothing_else_lost(export, destroyed=name)


@pytest.mark.parametrize("name", [*DOCUMENTS, *DATA])
def test_file_that_is_gone_costs_what_wandb_no_longer_has_of_it(export: Export, name: str) -> None:
    (export.folder / name).unlink()
    export.sync()
    assert_nothing_else_lost(export, destroyed=name)


@pytest.mark.parametrize("damage", ["cut short", "empty", "binary", "gone", "with another line"])
def test_damaged_log_of_changes_costs_no_data(export: Export, damage: str) -> None:
    """It is for people: the sync goes on, and the next line is whole."""
    path = export.folder / "changes.jsonl"
    if damage == "gone":
        path.unlink()
    elif damage in UNREADABLE:
        export.spoil("changes.jsonl", UNREADABLE[damage])
    else:
        export.spoil("changes.jsonl", lambda content: b"[]\n" + content)
    export.source.log("a", {"loss": 9})
    export.sync()
    with syncing.fresh_export(export.source) as fresh:
        assert syncing.rows_in(export.folder)["a"] == syncing.rows_in(fresh)["a"]
    assert syncing.rows_in(export.folder)["gone"] == syncing.rows_in(export.copy)["gone"]
    content = path.read_bytes()
    assert content.endswith(b"\n")
    json.loads(content.splitlines()[-1])


@pytest.mark.parametrize("name", DATA)
def test_loading_names_the_file_that_is_gone(export: Export, name: str) -> None:
    (export.folder / name).unlink()
    with pytest.raises(DrWandbError, match=f"{name} cannot be read: the file is missing") as caught:
        load_all(export)
    assert caught.value.exit_code == 6
    assert str(caught.value).endswith("restore it, or sync again")
    export.sync()
    load_all(export)


@pytest.mark.parametrize("name", [*DOCUMENTS, *DATA])
def test_loading_a_file_that_cannot_be_read_is_one_kind_of_error(
    export: Export, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came as a bare PermissionError, which no caller of the loaders expects."""
    open_file = type(export.folder).open

    def refuse(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name == name:
            raise PermissionError(13, os.strerror(13), str(path))
        return open_file(path, *arguments, **options)

    monkeypatch.setattr(type(export.folder), "open", refuse)
    with pytest.raises(DrWandbError) as caught:
        load_all(export)
    assert caught.value.exit_code == 9
    assert f"cannot use {export.folder / name}: Permission denied" in str(caught.value)
