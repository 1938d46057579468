"""Copying a range of a file, by the system or by hand."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dr_wandb.core.contract.part import ByteRange
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.writing import LineWriter

LINES = [b"%07d\n" % number for number in range(400_000)]
CONTENT = b"".join(LINES)
LARGE = ByteRange(offset=80, length=3 * disk.CHUNK - 8, rows=(3 * disk.CHUNK - 8) // 8, digest="")

Copy = Callable[..., int]


def _as_a_system(old: int, new: int, length: int, place: int) -> int:
    """Copy as Linux does, for systems that do not."""
    return os.write(new, os.pread(old, length, place))


SYSTEM: Copy = getattr(os, "copy_file_range", _as_a_system)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_bytes(CONTENT)
    return path


def _copied(source: Path, place: ByteRange = LARGE) -> None:
    """Copy a range between lines of others, and look at all that the writer says of it."""
    target = source.with_name("target")
    with source.open("rb") as stream, LineWriter(target) as writer:
        writer.write([b"before\n"])
        written = writer.copy(stream, place, then=[b"behind\n"])
        writer.write([b"last\n"])
    expected = CONTENT[place.offset : place.end] + b"behind\n"
    assert target.read_bytes() == b"before\n" + expected + b"last\n"
    assert (written.offset, written.length, written.rows) == (7, len(expected), place.rows + 1)
    assert writer.written.sha256 == disk.sha256_of(target)
    assert writer.written.lines == place.rows + 3


def _spied(monkeypatch: pytest.MonkeyPatch, copy: Copy) -> list[int]:
    """Put `copy` in the system's place; returns how much it has copied, call by call."""
    calls: list[int] = []

    def spy(*arguments: Any) -> int:
        calls.append(copy(*arguments))
        return calls[-1]

    monkeypatch.setattr(os, "copy_file_range", spy, raising=False)
    return calls


def test_large_ranges_are_copied_by_the_system_and_small_ones_are_not(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _spied(monkeypatch, SYSTEM)
    _copied(source)
    assert sum(calls) == LARGE.length
    calls.clear()
    _copied(source, ByteRange(offset=8, length=800, rows=100, digest=""))
    assert not calls


def test_rest_is_written_when_the_system_copies_only_a_part(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _spied(
        monkeypatch,
        lambda old, new, length, place: (
            SYSTEM(old, new, length // 3, place) if length > 9000 else 0
        ),
    )
    _copied(source)
    assert 0 < sum(calls) < LARGE.length


@pytest.mark.parametrize("number", ["EXDEV", "EINVAL", "ENOSYS", "EOPNOTSUPP", "EPERM"])
def test_range_is_copied_when_the_system_cannot_copy_it(
    source: Path, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(getattr(errno, number), "cannot")

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    _copied(source)
    monkeypatch.delattr(os, "copy_file_range")
    _copied(source)


@pytest.mark.parametrize("number", ["ENOSPC", "EIO", "EDQUOT"])
def test_disk_error_while_copying_is_raised(
    source: Path, monkeypatch: pytest.MonkeyPatch, number: str
) -> None:
    def fail(*_: Any) -> int:
        raise OSError(getattr(errno, number), "fails")

    monkeypatch.setattr(os, "copy_file_range", fail, raising=False)
    with pytest.raises(OSError, match="fails"):
        _copied(source)


def test_source_that_ends_too_early_is_an_error(source: Path) -> None:
    os.truncate(source, LARGE.end - 1)
    with pytest.raises(OSError, match="too short"):
        _copied(source)
