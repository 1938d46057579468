"""What `changes.jsonl` says of an export that was copied without its hidden files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dr_wandb.core.contract.scope import RunScope
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME


def lose_hidden_files(folder: Path) -> None:
    for path in folder.glob(".*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def make_anew(source: MemorySource) -> None:
    source.delete("a")
    source.add_run("a")
    for _ in range(3):
        source.log("a", {"loss": 2.5})


def log_others(source: MemorySource) -> None:
    source.rewind("a", 1)
    source.log("a", {"loss": 2.5})


@pytest.mark.parametrize("happens", [make_anew, log_others])
def test_other_rows_are_a_change_also_if_they_are_as_many(
    happens: Callable[[MemorySource], None], tmp_path: Path
) -> None:
    """They were taken for the same rows, rewritten from an earlier shape."""
    source = MemorySource()
    source.kind = "api"
    source.add_run("a")
    for number in range(3):
        source.log("a", {"loss": number})
    syncing.sync(source, tmp_path)
    source.advance(86_400)
    happens(source)
    lose_hidden_files(tmp_path / NAME)
    for _ in range(2):
        syncing.sync(source, tmp_path)
        source.advance(86_400)
    last = json.loads((tmp_path / NAME / "changes.jsonl").read_text().splitlines()[-1])
    assert last["rows"] == {"a": {"before": 3, "after": 3}}


def test_same_rows_are_no_change(tmp_path: Path) -> None:
    source = MemorySource()
    source.kind = "api"
    source.add_run("a")
    source.log("a", {"loss": 1})
    syncing.sync(source, tmp_path)
    before = (tmp_path / NAME / "changes.jsonl").read_bytes()
    lose_hidden_files(tmp_path / NAME)
    source.advance(86_400)
    syncing.sync(source, tmp_path)
    assert (tmp_path / NAME / "changes.jsonl").read_bytes() == before


def test_run_that_left_the_scope_meanwhile_is_kept(tmp_path: Path) -> None:
    source = MemorySource()
    source.add_run("a", tags=["x"])
    source.add_run("b", tags=["x"])
    source.log("a", {"loss": 1})
    syncing.sync(source, tmp_path, scope=RunScope(tags=("x",)))
    before = syncing.visible(tmp_path / NAME)
    lose_hidden_files(tmp_path / NAME)
    source.update("a", tags=[])
    source.advance(86_400)
    syncing.sync(source, tmp_path, scope=RunScope(tags=("x",)))
    after = syncing.visible(tmp_path / NAME)
    assert after["history.jsonl"] == before["history.jsonl"] != b""
    last = json.loads((tmp_path / NAME / "changes.jsonl").read_text().splitlines()[-1])
    assert last["left_scope"] == ["a"]
    assert "new" not in last
