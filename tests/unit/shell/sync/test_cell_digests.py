"""Rows in Parquet alone have the digest of their cells, however they came."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dr_wandb import verify_export
from dr_wandb.core.columnar.digest import cells_digest_of_lines, pack_digest
from dr_wandb.core.contract.codec import digest
from dr_wandb.core.contract.export_files import PARQUET_HISTORY, is_parquet_history
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.shell.store.converting import write_history_lines
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.parquet_files import read_run_ids
from tests.support import syncing
from tests.support.exporting_source import ExportingSource
from tests.support.memory_source import MemorySource
from tests.support.parquet_exports import lines_in, small_files
from tests.support.state_files import edit_state, whole_state
from tests.support.syncing import NAME, json_lines
from tests.support.written_parquet import lines_by_run, put_manifest, read_manifest

ALONE: dict[str, Any] = {"formats": ("parquet",)}
BOTH: dict[str, Any] = {"formats": ("jsonl", "parquet")}


@pytest.fixture(autouse=True)
def _small() -> Iterator[None]:
    with small_files(most_cells=30):
        yield


def project(source: MemorySource | None = None) -> MemorySource:
    """Two runs in one pack, one in another, and one with files of its own."""
    source = source or MemorySource()
    for run_id, rows in (("b", 1), ("e", 2), ("d", 3), ("long", 42)):
        source.add_run(run_id)
        for number in range(rows):
            source.log(run_id, {"loss": number / 3})
    return source


def lines(data_root: Path) -> dict[str, bytes]:
    return lines_by_run(lines_in(data_root / NAME))


def stored(data_root: Path) -> dict[str, tuple[int, int, str]]:
    """Return rows, length and digest that the state has of each run."""
    runs = whole_state(data_root / NAME)["runs"]
    parts = {run_id: run["parts"]["history"]["stored"] for run_id, run in runs.items()}
    return {run_id: (one["rows"], one["length"], one["digest"]) for run_id, one in parts.items()}


def of_cells(data_root: Path) -> dict[str, tuple[int, int, str]]:
    return {
        run_id: (one.count(b"\n"), 0, cells_digest_of_lines([one]))
        for run_id, one in lines(data_root).items()
    }


def of_lines(data_root: Path) -> dict[str, tuple[int, int, str]]:
    return {
        run_id: (one.count(b"\n"), len(one), digest(one))
        for run_id, one in lines(data_root).items()
    }


def converted(data_root: Path) -> bytes:
    out = data_root / "lines"
    write_history_lines(ExportStore(name=NAME, data_root=data_root), out)
    return out.read_bytes()


def problems(data_root: Path) -> Any:
    return verify_export(ExportStore(name=NAME, data_root=data_root)).findings


def test_state_of_parquet_alone_has_digests_of_cells(tmp_path: Path) -> None:
    source = project()
    syncing.sync(source, tmp_path, **ALONE)
    assert stored(tmp_path) == of_cells(tmp_path)
    source.advance(600)
    source.log("b", {"loss": 0.25})
    source.log("long", {"loss": 0.25})
    syncing.sync(source, tmp_path)
    assert stored(tmp_path) == of_cells(tmp_path)
    assert not problems(tmp_path)


def test_state_of_lines_has_digests_of_lines(tmp_path: Path) -> None:
    source = project()
    for formats in (ALONE, BOTH):
        syncing.sync(source, tmp_path, **formats)
    assert stored(tmp_path) == of_lines(tmp_path)
    assert not problems(tmp_path)
    [log] = json_lines(tmp_path / NAME / "changes.jsonl")
    assert {*log["new"]} == {"b", "d", "e", "long"}


def test_runs_that_stay_keep_the_digest_of_their_lines(tmp_path: Path) -> None:
    """Reading them only for another digest would cost as much as an export."""
    source = project()
    syncing.sync(source, tmp_path, **BOTH)
    before = stored(tmp_path)
    source.advance(600)
    source.log("b", {"loss": 0.25})
    syncing.sync(source, tmp_path, drop_formats=("jsonl",))
    now = of_cells(tmp_path)
    assert stored(tmp_path) == {**before, "b": now["b"]}
    assert not problems(tmp_path)
    with syncing.fresh_export(source, **ALONE) as fresh:
        assert history_in(tmp_path / NAME) == history_in(fresh)
    assert converted(tmp_path) == lines_in(tmp_path / NAME)


@pytest.mark.parametrize("sync_mode", ["incremental", "full_reconcile"])
def test_rows_that_are_the_same_in_another_kind_of_digest_are_no_change(
    sync_mode: str, tmp_path: Path
) -> None:
    source = ExportingSource()
    project(source)
    syncing.sync(source, tmp_path, **BOTH)
    syncing.sync(source, tmp_path, drop_formats=("jsonl",))
    before = syncing.visible(tmp_path / NAME)
    for run_id in source.runs:
        source.export(run_id)
    again = syncing.twin(source)
    summary = syncing.sync(again, tmp_path, sync_mode=sync_mode)
    assert summary.rows_added == 0
    after = syncing.visible(tmp_path / NAME)
    assert {**after, "state.json": b""} == {**before, "state.json": b""}
    assert not problems(tmp_path)


def as_version_7(data_root: Path) -> None:
    """Describe an export as builds before digests of cells did."""
    folder, known = data_root / NAME, of_lines(data_root)
    manifest = read_manifest(folder)
    packs = {}
    for name, file in history_in(folder).items():
        if "-run-" not in name:
            runs = ((run_id, known[run_id][2]) for run_id in sorted(read_run_ids(folder / name)))
            packs[name] = replace(file, contents=pack_digest(runs))
    assert len(packs) > 1
    put_manifest(folder, replace(manifest, schema_version=7, files={**manifest.files, **packs}))

    def change(state: Any) -> None:
        state["schema_version"] = 7
        offset = 0
        for run_id, (_, length, lines_digest) in sorted(known.items()):
            place = state["runs"][run_id]["parts"]["history"]["stored"]
            place.update(offset=offset, length=length, digest=lines_digest)
            offset += length

    edit_state(folder, change)


def history_in(folder: Path) -> dict[str, DataFile]:
    manifest: ExportManifest = read_manifest(folder)
    return {name: file for name, file in manifest.files.items() if is_parquet_history(name)}


@pytest.mark.parametrize("formats", [ALONE, BOTH])
def test_export_whose_packs_have_digests_of_lines_is_continued(
    formats: dict[str, Any], tmp_path: Path
) -> None:
    source = project()
    syncing.sync(source, tmp_path, **formats)
    source.advance(600)
    before = syncing.visible(tmp_path / NAME)
    as_version_7(tmp_path)
    assert not problems(tmp_path)
    again = syncing.twin(source)
    syncing.sync(again, tmp_path)
    assert not again.count_asked("read_history")
    after = syncing.visible(tmp_path / NAME)
    differ = {name for name, content in before.items() if after[name] != content}
    assert differ <= {"state.json", "manifest.json"}
    assert not problems(tmp_path)
    for run_id in ("b", "long"):
        source.log(run_id, {"loss": 0.25})
    syncing.sync(source, tmp_path)
    assert not problems(tmp_path)
    with syncing.fresh_export(source, **formats) as fresh:
        assert history_in(tmp_path / NAME) == history_in(fresh)


def test_file_of_other_rows_is_found_by_the_digest_of_cells(tmp_path: Path) -> None:
    """It has the SHA-256 in the manifest, as both were put back from another export."""
    source = project()
    syncing.sync(source, tmp_path, **ALONE)
    other = tmp_path / "other"
    changed = project()
    changed.runs["b"].rows[0]["loss"] = 7.5
    syncing.sync(changed, other, **ALONE)
    name = f"{PARQUET_HISTORY}/2026-01-3.parquet"
    (tmp_path / NAME / name).write_bytes((other / NAME / name).read_bytes())
    manifest, theirs = (read_manifest(root / NAME) for root in (tmp_path, other))
    files = {**manifest.files, name: theirs.files[name]}
    put_manifest(tmp_path / NAME, replace(manifest, files=files))
    assert "run 'b'" in str(problems(tmp_path))
    with pytest.raises(Exception, match="'b' does not have the rows that the state records"):
        converted(tmp_path)
    with pytest.raises(Exception, match="run 'b' in it are not those that were stored"):
        syncing.sync(source, tmp_path, mode="metadata", formats=("jsonl",))
