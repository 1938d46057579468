"""Lines that are read in slices, some of them by other processes."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from dr_wandb import DrWandbError, load_history_frame
from dr_wandb.shell.frames import line_file


@pytest.fixture
def in_slices(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Let files be read in small slices, by another process too; give the slices read here."""
    monkeypatch.setattr(line_file, "SLICE_BYTES", 500)
    monkeypatch.setattr(line_file, "BYTES_PER_PROCESS", 1)
    monkeypatch.setattr(line_file, "count_cores", lambda: 2)
    here: list[tuple[Any, ...]] = []
    read_slice = line_file.read_slice

    def read(*arguments: Any) -> Any:
        here.append(arguments)
        return read_slice(*arguments)

    read.__module__, read.__qualname__ = read_slice.__module__, read_slice.__qualname__
    monkeypatch.setattr(line_file, "read_slice", read)
    return here


def test_slices_of_other_processes_give_the_same_frame(
    root: Path, in_slices: list[tuple[Any, ...]]
) -> None:
    frame = load_history_frame("lines", root)
    assert frame.equals(load_history_frame("parquet", root))
    slices = (root / "lines" / "history.jsonl").stat().st_size // 500
    assert 0 < len(in_slices) < slices


@pytest.mark.parametrize("why", ["broken", "other file"])
def test_work_that_fails_elsewhere_is_done_here(
    root: Path, in_slices: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    def answer(future: Any) -> Any:
        found = future.result()
        return None if why == "broken" else found._replace(look=(0, 0, 0))

    monkeypatch.setattr(line_file, "answer_of", answer)
    assert load_history_frame("lines", root).equals(load_history_frame("parquet", root))


def test_line_is_named_by_its_number_in_the_file(
    root: Path, tmp_path: Path, in_slices: list[tuple[Any, ...]]
) -> None:
    folder = shutil.copytree(root / "lines", tmp_path / "lines")
    lines = (folder / "history.jsonl").read_bytes().splitlines(keepends=True)
    (folder / "history.jsonl").write_bytes(b"".join([*lines[:60], b"{\n", *lines[60:]]))
    with pytest.raises(DrWandbError, match=r"line 61"):
        load_history_frame("lines", tmp_path, metrics="loss")


def test_small_file_needs_no_other_process(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(line_file, "SharedExecutor", None)
    assert load_history_frame("lines", root).height == 105
