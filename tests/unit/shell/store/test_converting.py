"""`wandb-export convert`: the history of an export as lines, in a file outside of it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dr_wandb.cli import run
from dr_wandb.core.columnar import files
from dr_wandb.core.contract.export_files import PARQUET_HISTORY
from dr_wandb.core.contract.progress import Progress, Stage
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.converting import write_history_lines
from dr_wandb.shell.store.export_store import ExportStore
from tests.support import syncing
from tests.support.checkout import EXPORT_OF_3_0_3
from tests.support.memory_source import MemorySource
from tests.support.state_files import edit_state
from tests.support.syncing import NAME, files_below
from tests.support.written_parquet import (
    add_parquet,
    let_a_sync_end_in_between,
    lines_by_run,
    put_manifest,
    read_manifest,
    write_history,
)

Convert = Callable[..., int]


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with an export in each set of formats: `jsonl`, `both` and `parquet`."""
    root = tmp_path_factory.mktemp("exports")
    source = MemorySource()
    for run_id, rows in (("long", 100), ("short", 5), ("empty", 0), ("é", 1)):
        source.add_run(run_id)
        for step in range(rows):
            source.log(run_id, {"loss": step / 3, "name": run_id})
    for name in ("jsonl", "both", "parquet"):
        syncing.sync(source, root, name=name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "MOST_CELLS", 100)
        add_parquet(root / "both")
        add_parquet(root / "parquet", alone=True)
    return root


@pytest.fixture
def lines(exports: Path) -> bytes:
    return (exports / "jsonl" / "history.jsonl").read_bytes()


@pytest.fixture
def folder(exports: Path, tmp_path: Path) -> Path:
    """Return an export with Parquet alone, to do something to."""
    return shutil.copytree(exports / "parquet", tmp_path / "data" / "parquet")


@pytest.fixture
def convert(tmp_path: Path) -> Convert:
    """Return a function that converts an export to `out` by the command."""

    def convert(folder: Path, *flags: str, out: Path = tmp_path / "out") -> int:
        named = (folder.name, "--data-root", str(folder.parent), "--out", str(out))
        return run(["convert", *named, "--to", "jsonl", *flags])

    return convert


@pytest.mark.parametrize("name", ["jsonl", "both", "parquet"])
def test_lines_come_from_any_form(
    exports: Path, name: str, lines: bytes, convert: Convert, tmp_path: Path, capsys: Any
) -> None:
    before = files_below(exports)
    assert convert(exports / name) == 0
    assert (tmp_path / "out").read_bytes() == lines
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    (tmp_path / "usual").touch()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "usual").stat().st_mode
    words = f"{tmp_path / 'out'} has the history of {name}: 106 rows, {len(lines) / 1000:.1f} kB\n"
    assert capsys.readouterr().out == words
    assert files_below(exports) == before


def test_result_is_a_document(exports: Path, convert: Convert, tmp_path: Path, capsys: Any) -> None:
    assert convert(exports / "parquet", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "parquet",
        "path": str(tmp_path / "out"),
        "rows": 106,
        "bytes": (tmp_path / "out").stat().st_size,
        "sha256": disk.sha256_of(tmp_path / "out"),
    }


def test_progress_counts_rows(
    exports: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dr_wandb.shell.progress.SECONDS_BETWEEN_REPORTS", 0)
    seen: list[Progress] = []
    store = ExportStore(name="parquet", data_root=exports)
    write_history_lines(store, tmp_path / "out", progress=seen.append)
    assert {one.stage for one in seen} == {Stage.CONVERTING}
    assert {one.total for one in seen} == {106}
    assert len(seen) > 3
    assert seen[-1].done == 106


def test_export_of_3_0_3_is_copied(tmp_path: Path, convert: Convert) -> None:
    folder = shutil.copytree(EXPORT_OF_3_0_3, tmp_path / "data" / "old")
    assert convert(folder) == 0
    assert (tmp_path / "out").read_bytes() == (folder / "history.jsonl").read_bytes()


def test_history_without_a_row_is_an_empty_file(tmp_path: Path, convert: Convert) -> None:
    source = MemorySource()
    source.add_run("a")
    syncing.sync(source, tmp_path / "data")
    add_parquet(tmp_path / "data" / NAME, alone=True)
    assert convert(tmp_path / "data" / NAME) == 0
    assert (tmp_path / "out").read_bytes() == b""


# --- what is refused


def refused(capsys: Any) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    return str(captured.err)


def test_file_that_exists_is_replaced_only_if_wanted(
    exports: Path, convert: Convert, tmp_path: Path, capsys: Any, lines: bytes
) -> None:
    (tmp_path / "out").write_bytes(b"mine")
    assert convert(exports / "parquet") == 2
    assert "exists; give --overwrite to replace it" in refused(capsys)
    assert (tmp_path / "out").read_bytes() == b"mine"
    assert convert(exports / "parquet", "--overwrite") == 0
    assert (tmp_path / "out").read_bytes() == lines


def test_link_is_replaced_and_not_followed(
    exports: Path, convert: Convert, tmp_path: Path, lines: bytes
) -> None:
    (tmp_path / "target").write_bytes(b"mine")
    (tmp_path / "out").symlink_to(tmp_path / "target")
    assert convert(exports / "parquet") == 2
    assert convert(exports / "parquet", "--overwrite") == 0
    assert (tmp_path / "target").read_bytes() == b"mine"
    assert (tmp_path / "out").read_bytes() == lines


@pytest.mark.parametrize("out", ["history.jsonl", "parquet/history/x", "new", "../link/new"])
def test_nothing_is_written_inside_the_export(
    folder: Path, convert: Convert, out: str, capsys: Any
) -> None:
    (folder.parent / "link").symlink_to(folder)
    before = files_below(folder)
    assert convert(folder, "--overwrite", out=folder / out) == 2
    assert "is inside the export" in refused(capsys)
    assert files_below(folder) == before


def test_nothing_is_written_into_another_export(
    exports: Path, folder: Path, convert: Convert, capsys: Any
) -> None:
    other = shutil.copytree(exports / "jsonl", folder.parent / "other")
    assert convert(folder, "--overwrite", out=other / "history.jsonl") == 2
    assert "is inside another export" in refused(capsys)


def test_path_that_can_be_no_file_is_refused(
    exports: Path, convert: Convert, tmp_path: Path, capsys: Any
) -> None:
    for out, problem in (
        (tmp_path, "is not a file"),
        (Path("/dev/null"), "is not a file"),
        (tmp_path / "none" / "x", "there is no folder"),
    ):
        assert convert(exports / "parquet", "--overwrite", out=out) == 2
        assert problem in refused(capsys)


def test_export_without_history_is_refused(tmp_path: Path, convert: Convert, capsys: Any) -> None:
    source = MemorySource()
    source.add_run("a")
    syncing.sync(source, tmp_path / "data", mode="metadata")
    assert convert(tmp_path / "data" / NAME) == 2
    assert "has no history: sync it with --mode history first" in refused(capsys)
    assert convert(tmp_path / "data" / "none") == 6


# --- damage


def change_pack(folder: Path) -> None:
    path = min((folder / PARQUET_HISTORY).glob("*-?.parquet"))
    path.write_bytes(path.read_bytes()[:-1] + b"!")


def drop_file(folder: Path) -> None:
    max((folder / PARQUET_HISTORY).iterdir()).unlink()


def other_rows(folder: Path) -> None:
    """Make all files again with another value in a run; the manifest describes these."""
    history = b"".join(lines_by_run_of(folder).values()).replace(b'"name":"short"', b'"name":"x"')
    shutil.rmtree(folder / PARQUET_HISTORY)
    made = write_history(folder, history, {})
    manifest = read_manifest(folder)
    kept = {name: file for name, file in manifest.files.items() if "/history/" not in name}
    put_manifest(folder, replace(manifest, files={**kept, **made}))


def lines_by_run_of(folder: Path) -> dict[str, bytes]:
    return lines_by_run((folder.parent / "lines").read_bytes())


def forget_rows(folder: Path) -> None:
    def change(state: Any) -> None:
        state["runs"]["short"]["parts"]["history"].pop("stored")

    edit_state(folder, change)


def more_rows(folder: Path) -> None:
    def change(state: Any) -> None:
        stored = state["runs"]["long"]["parts"]["history"]["stored"]
        state["runs"]["empty"]["parts"]["history"]["stored"] = stored

    edit_state(folder, change)


def other_count(folder: Path) -> None:
    put_manifest(folder, replace(read_manifest(folder), history_count=107))


@pytest.mark.parametrize(
    ("happen", "problem"),
    [
        (change_pack, "it is not the file that manifest.json describes"),
        (drop_file, "the file is missing"),
        (other_rows, "run 'short' does not have the rows that the state records"),
        (forget_rows, "run 'short' does not have the rows that the state records"),
        (more_rows, "run 'empty' has rows, as the state records, but they are not there"),
        (other_count, "its history has 106 rows, not 107 as manifest.json says"),
    ],
)
def test_no_file_is_made_of_a_damaged_export(
    folder: Path,
    convert: Convert,
    tmp_path: Path,
    capsys: Any,
    happen: Callable[[Path], None],
    problem: str,
    lines: bytes,
) -> None:
    (folder.parent / "lines").write_bytes(lines)
    happen(folder)
    assert convert(folder) == 6
    assert problem in refused(capsys)
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.parametrize("content", [b"{", None])
def test_state_that_does_not_read_is_not_needed(
    folder: Path, convert: Convert, tmp_path: Path, lines: bytes, content: bytes | None
) -> None:
    if content is None:
        (folder / "state.json").unlink()
    else:
        (folder / "state.json").write_bytes(content)
    assert convert(folder) == 0
    assert (tmp_path / "out").read_bytes() == lines


def test_damaged_lines_are_not_copied(
    exports: Path, tmp_path: Path, convert: Convert, capsys: Any
) -> None:
    folder = shutil.copytree(exports / "jsonl", tmp_path / "data" / "jsonl")
    (folder / "history.jsonl").write_bytes((folder / "history.jsonl").read_bytes()[1:])
    assert convert(folder) == 6
    assert "history.jsonl cannot be read: it is not the file that" in refused(capsys)
    (folder / "history.jsonl").unlink()
    assert convert(folder) == 6
    assert "the file is missing" in refused(capsys)
    assert not (tmp_path / "out").exists()


def test_sync_in_between_is_no_damage(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lines: bytes
) -> None:
    """A sync that replaced the files while they were read made `convert` report damage."""
    asked = let_a_sync_end_in_between(folder, monkeypatch)
    store = ExportStore(name="parquet", data_root=folder.parent)
    done = write_history_lines(store, tmp_path / "out")
    assert done.bytes == len(lines)
    assert len(asked) == 2


@pytest.mark.parametrize("operation", ["sync_file", "rename", "sync_folder"])
def test_disk_that_refuses_leaves_no_part(
    exports: Path,
    convert: Convert,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    operation: str,
    capsys: Any,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, operation, refuse)
    assert convert(exports / "parquet") == 9
    assert "No space left on device" in refused(capsys)
    assert [path.name for path in tmp_path.iterdir() if path.name != "out"] == []


def test_interrupted_conversion_leaves_no_part(
    exports: Path, tmp_path: Path, convert: Convert, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(disk, "sync_file", interrupt)
    assert convert(exports / "parquet") == 130
    assert [*tmp_path.iterdir()] == []
