"""An export without `history.jsonl` is loaded from its Parquet files; what is damaged is named."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from dr_wandb import (
    DrWandbError,
    ExportStore,
    HistoryRow,
    InvalidRequestError,
    iter_history_rows,
    load_manifest,
    load_run_snapshots,
)
from dr_wandb.core.columnar import files
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.core.contract.export_files import PARQUET_HISTORY
from dr_wandb.core.contract.manifest import DataFile
from dr_wandb.core.contract.records import FIRST_WITH_CELLS
from dr_wandb.shell.store.parquet_files import write_part
from dr_wandb.shell.store.parquet_history import ParquetHistory
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.syncing import NAME
from tests.support.written_parquet import (
    add_parquet,
    describe_again,
    lines_by_run,
    put_manifest,
    read_manifest,
)

LONG, SHORT = "long", "short"


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an export in both formats: a run with files of its own, two in packs, an empty one."""
    root = tmp_path_factory.mktemp("both")
    source = MemorySource()
    for run_id, rows in ((LONG, 100), (SHORT, 5), ("other", 3), ("empty", 0)):
        source.add_run(run_id)
        for step in range(rows):
            source.log(run_id, {"loss": step / 3, "name": run_id})
    syncing.sync(source, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "MOST_CELLS", 100)
        add_parquet(root / NAME)
    return root / NAME


@pytest.fixture
def alone(both: Path, tmp_path: Path) -> Path:
    """Return the same export with Parquet files alone."""
    folder = shutil.copytree(both, tmp_path / NAME)
    (folder / "history.jsonl").unlink()
    manifest = read_manifest(folder)
    kept = {name: file for name, file in manifest.files.items() if name != "history.jsonl"}
    put_manifest(folder, replace(manifest, history_path=None, files=kept))
    return folder


def load(folder: Path, **options: object) -> list[HistoryRow]:
    return list(iter_history_rows(NAME, folder.parent, **options))  # type: ignore[arg-type]


def parts_of(folder: Path, run_id: str) -> list[Path]:
    digest = hashlib.sha256(run_id.encode()).hexdigest()
    found = sorted((folder / PARQUET_HISTORY).glob(f"*-run-{digest[:32]}-*"))
    return found or [*(folder / PARQUET_HISTORY).glob(f"*-{digest[0]}.parquet")]


def test_rows_come_from_parquet_as_from_lines(both: Path, alone: Path) -> None:
    assert len(parts_of(alone, LONG)) > 3
    for options in ({}, {"run_ids": [SHORT, LONG]}, {"keys": "name"}, {"run_ids": "empty"}):
        assert load(alone, **options) == load(both, **options), options
    assert len(load(alone)) == 108
    assert load(alone, run_ids=[]) == load(alone, keys=[]) == []


def test_snapshots_and_manifest_load_as_ever(both: Path, alone: Path) -> None:
    assert load_run_snapshots(NAME, alone.parent) == load_run_snapshots(NAME, both.parent)
    manifest = load_manifest(NAME, alone.parent)
    assert manifest is not None
    assert manifest.schema_version == FIRST_WITH_CELLS


def test_rows_of_some_runs_do_not_need_the_files_of_others(alone: Path) -> None:
    for path in parts_of(alone, LONG):
        path.write_bytes(b"damaged")
    assert len(load(alone, run_ids=SHORT)) == 5


def test_packs_of_other_months_are_not_read_for_a_run(both: Path, alone: Path) -> None:
    """Each pack of the first digit of its digest was read, up to the one that has the run."""
    [pack] = parts_of(alone, SHORT)
    manifest = read_manifest(alone)
    other = f"{PARQUET_HISTORY}/2001-01-{pack.stem[-1]}.parquet"
    missing = DataFile(lines=1, bytes=1, sha256="")
    put_manifest(alone, replace(manifest, files={**manifest.files, other: missing}))
    assert load(alone, run_ids=[SHORT]) == load(both, run_ids=[SHORT])
    with pytest.raises(DrWandbError, match="2001-01"):
        load(alone)


@pytest.mark.parametrize("state", ["state.json", "runs.jsonl", "both"])
def test_unknown_run_is_refused(alone: Path, state: str) -> None:
    for name in ("state.json", "runs.jsonl"):
        if state in (name, "both"):
            (alone / name).unlink()
    assert len(load(alone, run_ids=[LONG, "other"])) == 103
    with pytest.raises(InvalidRequestError, match="has no run 'shor'; did you mean short"):
        load(alone, run_ids="shor")


def test_export_without_history_has_no_rows(tmp_path: Path) -> None:
    source = MemorySource()
    source.add_run("a")
    syncing.sync(source, tmp_path, mode="metadata")
    add_parquet(tmp_path / NAME, alone=True)
    assert load(tmp_path / NAME) == load(tmp_path / NAME, run_ids="a") == []
    with pytest.raises(InvalidRequestError, match="has no run 'b'"):
        load(tmp_path / NAME, run_ids="b")


# --- damage


def damage_to(alone: Path, happen: Callable[[Path], object]) -> str:
    """Return the error that a read of all rows gives after something happened to the export."""
    happen(alone)
    with pytest.raises(DrWandbError) as caught:
        load(alone)
    assert caught.value.exit_code in (6, 9)
    return str(caught.value)


def test_missing_file_is_named(alone: Path) -> None:
    [path] = parts_of(alone, SHORT)
    assert damage_to(alone, lambda _: path.unlink()) == (
        f"{path} cannot be read: the file is missing\n"
        "restore it from a copy, or sync again: it is made again, from what is held or from W&B"
    )


def test_file_that_was_changed_is_not_read(alone: Path) -> None:
    path = parts_of(alone, LONG)[-1]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    error = damage_to(alone, lambda _: path.write_bytes(content))
    assert f"{path} cannot be read: it is not the file that manifest.json describes" in error


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + 64 * b"\x00" + b"PAR1"])
@pytest.mark.parametrize("run_id", [LONG, SHORT])
def test_file_that_is_no_parquet_is_named(alone: Path, content: bytes, run_id: str) -> None:
    path = parts_of(alone, run_id)[0]
    path.write_bytes(content)
    error = damage_to(alone, lambda folder: describe_again(folder, _name(path)))
    assert f"{path} cannot be read: " in error


def _name(path: Path) -> str:
    return f"{PARQUET_HISTORY}/{path.name}"


def part(alone: Path, run_id: str, first: int, rows: int = 1) -> Path:
    """Write a file of rows of a run, and return it."""
    lines = lines_by_run(b"".join(row_lines(alone)))[LONG].splitlines(keepends=True)[:rows]
    named = [line.replace(b'"run_id":"long"', b'"run_id":"%b"' % run_id.encode()) for line in lines]
    [batch] = cells_of_lines([b"".join(named)], first)
    write_part(alone / "made", run_id, batch)
    return alone / "made"


def row_lines(alone: Path) -> Iterator[bytes]:
    for run in ParquetHistory(alone, read_manifest(alone)).runs():
        yield from run.lines


@pytest.mark.parametrize(
    ("index", "run_id", "first", "problem"),
    [
        (0, "another", 0, "it holds run 'another', which belongs into another file"),
        (1, "another", 0, "it does not hold run 'long' alone"),
        (0, LONG, 1, "it begins at row 1, not at 0"),
        (1, LONG, 5, "it begins at row 5, not at"),
    ],
)
def test_part_of_other_rows_is_named(
    alone: Path, index: int, run_id: str, first: int, problem: str
) -> None:
    path = parts_of(alone, LONG)[index]
    shutil.copy(part(alone, run_id, first), path)
    error = damage_to(alone, lambda folder: describe_again(folder, _name(path)))
    assert f"{path} cannot be read: {problem}" in error


def test_pack_that_does_not_begin_at_the_first_row_is_named(alone: Path) -> None:
    [path] = parts_of(alone, SHORT)
    shutil.copy(part(alone, SHORT, 2), path)
    error = damage_to(alone, lambda folder: describe_again(folder, _name(path)))
    assert f"{path} cannot be read: run 'short' begins at row 2, not at 0" in error


def test_run_in_two_files_is_damage(alone: Path) -> None:
    [path] = parts_of(alone, SHORT)
    twin = path.with_name(f"2001-01-{path.stem[-1]}.parquet")
    shutil.copy(path, twin)
    error = damage_to(alone, lambda folder: rename_in_manifest(folder, {_name(twin): _name(path)}))
    assert "run 'short' is there twice" in error


def rename_in_manifest(folder: Path, names: dict[str, str], *, drop: bool = False) -> None:
    """Let the manifest describe files as it describes others. drop: and no more describe these."""
    manifest = read_manifest(folder)
    described = {**manifest.files, **{new: manifest.files[old] for new, old in names.items()}}
    for old in names.values() if drop else ():
        del described[old]
    put_manifest(folder, replace(manifest, files=described))


def test_parts_with_a_gap_are_damage(alone: Path) -> None:
    first, second = parts_of(alone, LONG)[:2]

    def drop(folder: Path) -> None:
        manifest = read_manifest(folder)
        kept = {name: file for name, file in manifest.files.items() if name != _name(second)}
        put_manifest(folder, replace(manifest, files=kept))

    assert f"{first} cannot be read: run 'long' does not have each" in damage_to(alone, drop)


@pytest.mark.parametrize(
    "name",
    [
        "parquet/history/../../../secret.parquet",
        "parquet/history/x.parquet",
        "parquet/history/2026-13-0.parquet",
        "parquet/history/2026-11-0.parquet\n",
    ],
)
def test_name_that_no_file_has_is_refused(alone: Path, name: str) -> None:
    def put(folder: Path) -> None:
        manifest = read_manifest(folder)
        stranger = DataFile(lines=1, bytes=1, sha256="")
        put_manifest(folder, replace(manifest, files={**manifest.files, name: stranger}))

    assert f"manifest.json cannot be read: it names {name!r}" in damage_to(alone, put)


@pytest.mark.parametrize("what", ["parquet", "parquet/history", "file"])
def test_link_is_not_followed(alone: Path, tmp_path: Path, what: str) -> None:
    path = parts_of(alone, SHORT)[0] if what == "file" else alone / what
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert f"{path} is a link, but a f" in damage_to(alone, lambda _: None)


def test_disk_that_refuses_is_no_damage(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("dr_wandb.shell.store.disk.sha256_of", refuse)
    assert "cannot use" in damage_to(alone, lambda _: None)


def test_lines_are_loaded_without_pyarrow(both: Path) -> None:
    """Loading JSON lines does not wait for the import of Arrow."""
    import subprocess
    import sys

    program = (
        "import sys; from pathlib import Path; from dr_wandb import iter_history_rows\n"
        f"assert len(list(iter_history_rows({NAME!r}, Path({str(both.parent)!r})))) == 108\n"
        "sys.exit('pyarrow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_store_of_parquet_alone_has_no_history_file(alone: Path) -> None:
    store = ExportStore(name=NAME, data_root=alone.parent)
    assert not store.history_path.exists()
    assert len(list(store.iter_history_rows())) == 108
