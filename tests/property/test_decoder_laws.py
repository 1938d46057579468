"""Whatever lies on disk, reading it ends well or with the one error that is documented.

The bytes are anything at all, or a valid document that was damaged: bits flipped, cut short, lines
lost or doubled, values swapped for ones of other types, huge numbers, deep nesting.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, note
from hypothesis import strategies as st
from returns.pipeline import is_successful

from dr_wandb import DrWandbError, iter_history_rows, load_run_snapshots
from dr_wandb.core.contract.codec import decode_row, decode_snapshot
from dr_wandb.shell.sources.recording.source import RecordedSource
from tests.fuzz.targets import (
    RECORDED,
    TARGETS,
    Target,
    replay,
    seeds,
)
from tests.support import syncing
from tests.support.checkout import RECORDING
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEDS = list(seeds())
_SCALAR = re.compile(
    rb'"(?:[^"\\]|\\.)*"\s*:|(?P<value>"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|true|false|null)'
)
_FOREIGN = (
    b"null",
    b"true",
    b'""',
    b'"\\ud800"',
    b'"../../x"',
    b"-1",
    b"1.5",
    b"1e400",
    b"9" * 400,
    b"[]",
    b"{}",
    b"NaN",
    b"[" * 2000 + b"]" * 2000,
    b'{"a":' * 2000 + b"1" + b"}" * 2000,
)


def _place(content: bytes, data: st.DataObject) -> int:
    return data.draw(st.integers(0, max(0, len(content) - 1)))


def flip(content: bytes, data: st.DataObject) -> bytes:
    place, bit = _place(content, data), data.draw(st.integers(0, 7))
    return (
        content[:place]
        + bytes(byte ^ 1 << bit for byte in content[place : place + 1])
        + (content[place + 1 :])
    )


def cut(content: bytes, data: st.DataObject) -> bytes:
    return content[: _place(content, data)]


def overwrite(content: bytes, data: st.DataObject) -> bytes:
    place, piece = _place(content, data), data.draw(st.binary(max_size=20))
    return content[:place] + piece + content[place + len(piece) :]


def lose_line(content: bytes, data: st.DataObject) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join(lines[:-1] if len(lines) < 2 else _without(lines, data))


def _without(lines: list[bytes], data: st.DataObject) -> list[bytes]:
    number = data.draw(st.integers(0, len(lines) - 1))
    return lines[:number] + lines[number + 1 :]


def double_line(content: bytes, data: st.DataObject) -> bytes:
    lines = content.splitlines(keepends=True)
    number = data.draw(st.integers(0, max(0, len(lines) - 1)))
    return b"".join(lines[: number + 1] + lines[number:])


def swap_value(content: bytes, data: st.DataObject) -> bytes:
    """Put a value of any kind, or another one of the document, where one is."""
    values = [found for found in _SCALAR.finditer(content) if found["value"]]
    if not values:
        return content
    place = data.draw(st.sampled_from(values))
    other = data.draw(st.sampled_from(_FOREIGN) | st.sampled_from(values).map(lambda v: v[0]))
    return content[: place.start()] + other + content[place.end() :]


DAMAGES: dict[str, Any] = {
    damage.__name__: damage for damage in (flip, cut, overwrite, lose_line, double_line, swap_value)
}
damages = st.lists(st.sampled_from(sorted(DAMAGES)), min_size=1, max_size=3)


def damaged(content: bytes, data: st.DataObject) -> bytes:
    for name in data.draw(damages):
        content = DAMAGES[name](content, data)
    note(repr(content[:3000]))
    return content


@pytest.mark.parametrize("target", TARGETS)
@given(content=st.binary(max_size=300))
@example(content=b"")
@example(content=b"\xff")
@example(content=b'"\xff"')
@example(content=b'{"run_id":"\xff"}')
@example(content=b'{"x":"\xff"}')
@example(content=b'{"schema_version":1,"x\xff":1}')
@example(content=b"\x05{" + b'"x":[' * 3000)
@example(content=b"[" * 100_000)
def test_any_bytes_end_well_or_in_the_documented_error(target: Target, content: bytes) -> None:
    """An invalid UTF-8 byte in a snapshot came as UnicodeDecodeError out of the loaders."""
    target(content)


@pytest.mark.parametrize("number", range(len(TARGETS)))
@given(data=st.data())
def test_damaged_documents_end_well_or_in_the_documented_error(
    number: int, data: st.DataObject
) -> None:
    valid = [content for target, content in SEEDS if target == number]
    TARGETS[number](damaged(data.draw(st.sampled_from(valid)), data))


def test_valid_documents_are_read() -> None:
    """What is damaged here is accepted as it is: else nothing beyond the first check is tried."""
    for number, content in SEEDS:
        TARGETS[number](content)
    assert {number for number, _ in SEEDS} == set(range(len(TARGETS)))
    assert all(
        is_successful(decode(content))
        for number, content in SEEDS
        for decode in ((decode_row, decode_snapshot)[number : number + 1])
    )


# --- a whole sync over an export that was damaged


GONE, LIVE = "gone", ("a", "b")


def begin(data_root: Path) -> MemorySource:
    """Export three runs, one of which goes upstream."""
    source = MemorySource()
    for run_id in (*LIVE, GONE):
        source.add_run(run_id)
        for step in range(4):
            source.log(run_id, {"loss": step + 0.5, "ü": {"x": [step]}})
        source.advance(60)
    syncing.sync(source, data_root)
    source.delete(GONE)
    syncing.sync(source, data_root)
    source.advance(60)
    return source


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[MemorySource, Path]]:
    with syncing.without_fsync():
        data_root = tmp_path_factory.mktemp("begun")
        yield begin(data_root), data_root


@pytest.mark.parametrize("name", ["runs.jsonl", "history.jsonl", "manifest.json", "state.json"])
@given(data=st.data())
def test_sync_over_a_damaged_file_is_refused_or_converges(
    begun: tuple[MemorySource, Path], name: str, data: st.DataObject
) -> None:
    """Of the other files nothing is lost, either way: not of a run that is gone, too."""
    source, data_root = begun
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "root"
        shutil.copytree(data_root, copy)
        path = copy / NAME / name
        known = syncing.rows_in(copy / NAME)
        path.write_bytes(damaged(path.read_bytes(), data))
        before = syncing.visible(copy / NAME)
        try:
            syncing.sync(syncing.twin(source), copy)
        except DrWandbError:
            assert syncing.visible(copy / NAME) == before
            return
        load_run_snapshots(NAME, copy)
        list(iter_history_rows(NAME, copy))
        if name == "history.jsonl":  # a row that W&B does not have goes after two reads without it
            for minutes in range(0, 60, 11):
                later = syncing.twin(source)
                later.advance(60 * minutes)
                if syncing.sync(later, copy).complete:
                    break
        rows = syncing.rows_in(copy / NAME)
        if name != "history.jsonl":
            assert rows[GONE] == known[GONE]
        if name == "state.json":  # it may have been made to say that nothing is to be done
            syncing.sync(syncing.twin(source), copy, sync_mode="full_reconcile")
            rows = syncing.rows_in(copy / NAME)
        with syncing.fresh_export(source) as fresh:
            assert {run_id: rows.get(run_id) for run_id in LIVE} == syncing.rows_in(fresh)
            runs = syncing.runs_in(copy / NAME)
            assert {run_id: runs.get(run_id) for run_id in LIVE} == syncing.runs_in(fresh)


# --- recordings


@given(data=st.data())
def test_sync_from_a_damaged_recording_is_refused_or_ends(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(RECORDED))
    with TemporaryDirectory() as folder:
        copy = Path(folder) / "recording"
        shutil.copytree(RECORDING, copy)
        (copy / name).write_bytes(damaged((copy / name).read_bytes(), data))
        replay(copy)
        head = json.loads((RECORDING / "recording.json").read_bytes())
        request = syncing.request_for(
            Path(folder) / "root",
            entity=head["entity"],
            project=head["project"],
            include_metadata=True,
        )
        try:
            source = RecordedSource(copy)
            syncing.export(source, request, now=head["recorded_at"])
        except DrWandbError:
            return
        load_run_snapshots(NAME, Path(folder) / "root")
        list(iter_history_rows(NAME, Path(folder) / "root"))
