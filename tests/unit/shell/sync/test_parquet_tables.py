"""With Parquet, each dataset has a table beside its lines, which every sync brings up to date."""

import hashlib
import json
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from msgspec.structs import replace

from dr_wandb import DrWandbError, load_manifest
from dr_wandb.core.columnar.digest import pack_digest
from dr_wandb.core.contract.dataset import TABLES
from dr_wandb.core.contract.export_files import is_table
from dr_wandb.core.contract.records import FIRST_WITH_FILES, FIRST_WITH_TABLES
from dr_wandb.shell.inspect.verify import verify_export
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.tables import FORMS, read_table, write_table
from dr_wandb.shell.sync import parquet_tables
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.scenarios import BOTH
from tests.support.state_files import edit_state
from tests.support.syncing import NAME
from tests.support.written_parquet import describe_again, put_manifest, read_manifest

ALL: dict[str, Any] = {**BOTH, "extra_datasets": ("system", "console", "files")}
RUNS = ("b", "e", "d", "k")
"""Of these, "b" and "e" are in one pack."""


def project() -> MemorySource:
    source = MemorySource()
    for run_id in RUNS:
        source.add_run(run_id)
        source.log(run_id, {"loss": 0.5})
        for number in range(40):
            source.write_line(run_id, f"line {number}", error=number % 9 == 0)
            source.sample(run_id, cpu=number / 3, gpu="off" if number % 7 else 2**60)
        source.put_file(run_id, "output.log", run_id.encode())
    source.add_run("quiet")
    return source


@pytest.fixture
def source(tmp_path: Path) -> MemorySource:
    source = project()
    syncing.sync(source, tmp_path, **ALL)
    source.advance(600)
    return source


def tables_in(data_root: Path) -> dict[str, bytes]:
    files = syncing.visible(data_root / NAME)
    return {name: content for name, content in files.items() if is_table(name)}


def lines_in_tables(folder: Path, dataset: str) -> bytes:
    found: defaultdict[str, list[bytes]] = defaultdict(list)
    for path in sorted((folder / "parquet" / dataset).glob("*.parquet")):
        for run_id, lines in read_table(path, FORMS[dataset]):
            found[run_id].append(lines)
    return b"".join(b"".join(found[run_id]) for run_id in sorted(found))


def said_of(folder: Path, *, quick: bool = False) -> list[str]:
    report = verify_export(ExportStore(name=NAME, data_root=folder.parent), quick=quick)
    return [one.describe() for one in report.findings]


def inodes(data_root: Path) -> dict[str, int]:
    folder = data_root / NAME / "parquet"
    return {
        path.relative_to(folder).as_posix(): path.stat().st_ino
        for path in folder.rglob("*.parquet")
        if path.parent != folder
    }


def test_tables_hold_the_lines_of_their_datasets(source: MemorySource, tmp_path: Path) -> None:
    folder = tmp_path / NAME
    for dataset in TABLES:
        assert lines_in_tables(folder, dataset) == (folder / f"{dataset}.jsonl").read_bytes()
    manifest = load_manifest(NAME, tmp_path)
    assert manifest is not None
    assert manifest.schema_version == FIRST_WITH_TABLES
    named = {name: file.lines for name, file in manifest.files.items() if is_table(name)}
    assert named.keys() == tables_in(tmp_path).keys()
    assert sum(rows for name, rows in named.items() if "/console/" in name) == 4 * 40
    assert said_of(folder) == said_of(folder, quick=True) == []


def test_readers_open_tables_with_a_plain_glob(source: MemorySource, tmp_path: Path) -> None:
    console = str(tmp_path / NAME / "parquet" / "console" / "*.parquet")
    system = str(tmp_path / NAME / "parquet" / "system" / "*.parquet")
    query = f"select content from '{console}' where run_id = 'd' and level = 'error' order by 1"
    errors = duckdb.connect().execute(query).fetchall()
    assert errors == sorted((f"line {number}",) for number in range(0, 40, 9))
    cpu = pl.read_parquet(system).filter(pl.col("key") == "system.cpu", pl.col("run_id") == "b")
    assert cpu["value"].to_list() == [number / 3 for number in range(40)]
    exact = pl.read_parquet(system).filter(pl.col("kind") == "number", pl.col("text").is_not_null())
    assert set(exact["text"]) == {str(2**60)}


def test_only_files_of_runs_that_changed_are_written(source: MemorySource, tmp_path: Path) -> None:
    before = inodes(tmp_path)
    source.write_line("d", "more")
    source.log("k", {"loss": 1})
    syncing.sync(source, tmp_path, **ALL)
    after = inodes(tmp_path)
    written = {name for name in after if after[name] != before.get(name)}
    assert {name.split("/")[0] for name in written} == {"console", "history"}
    assert len(written) == 2
    syncing.sync(source, tmp_path, **ALL)
    assert inodes(tmp_path) == after


def test_sync_without_news_asks_for_no_pack_even_if_a_dataset_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run was looked at for each dataset that has no line at all."""
    source = MemorySource()
    source.add_run("b")
    source.log("b", {"loss": 0.5})
    source.write_line("b", "line")
    syncing.sync(source, tmp_path, **ALL)
    asked: list[str] = []
    monkeypatch.setattr(parquet_tables, "table_packs", lambda dataset, runs: asked.append(dataset))
    source.log("b", {"loss": 0.25})
    syncing.sync(source, tmp_path, **ALL)
    assert asked == []


@pytest.mark.parametrize("dataset", TABLES)
def test_tables_are_those_of_a_fresh_export_after_any_syncs(
    source: MemorySource, tmp_path: Path, dataset: str
) -> None:
    source.write_line("d", "more")
    source.sample("b", cpu=7)
    source.put_file("k", "late.bin", b"late")
    source.add_run("f")
    source.write_line("f", "new")
    syncing.sync(source, tmp_path, **{**ALL, "extra_datasets": (dataset,)})
    source.advance(600)
    source.delete("e")
    syncing.sync(source, tmp_path, **ALL, prune=True)
    with syncing.fresh_export(source, **ALL) as fresh:
        assert tables_in(tmp_path) == tables_in(fresh.parent)


def test_table_that_is_damaged_or_gone_is_made_again(source: MemorySource, tmp_path: Path) -> None:
    expected = tables_in(tmp_path)
    damaged, missing, *_ = expected
    (tmp_path / NAME / damaged).write_bytes(b"damaged")
    (tmp_path / NAME / missing).unlink()
    said = said_of(tmp_path / NAME)
    assert [line.split(":")[0] for line in said] == [damaged, missing]
    syncing.sync(source, tmp_path, **ALL)
    assert tables_in(tmp_path) == expected


def test_dropped_dataset_and_dropped_format_take_their_tables_along(
    source: MemorySource, tmp_path: Path
) -> None:
    syncing.sync(source, tmp_path, **BOTH, drop_datasets=("console",))
    assert {name.split("/")[1] for name in tables_in(tmp_path)} == {"system", "files"}
    assert not (tmp_path / NAME / "parquet" / "console").exists()
    syncing.sync(source, tmp_path, drop_formats=("parquet",))
    assert tables_in(tmp_path) == {}
    assert not (tmp_path / NAME / "parquet").exists()
    manifest = load_manifest(NAME, tmp_path)
    assert manifest is not None
    assert manifest.schema_version == FIRST_WITH_FILES
    assert said_of(tmp_path / NAME) == []


def test_datasets_that_are_not_asked_for_keep_their_tables(
    source: MemorySource, tmp_path: Path
) -> None:
    before = tables_in(tmp_path)
    source.log("k", {"loss": 1})
    syncing.sync(source, tmp_path, **BOTH)
    assert tables_in(tmp_path) == before


def test_export_of_a_build_without_tables_gets_them(source: MemorySource, tmp_path: Path) -> None:
    folder, expected = tmp_path / NAME, tables_in(tmp_path)
    manifest = read_manifest(folder)
    rest = {name: file for name, file in manifest.files.items() if not is_table(name)}
    put_manifest(folder, replace(manifest, files=rest, schema_version=FIRST_WITH_FILES))
    edit_state(folder, lambda state: state.update(schema_version=FIRST_WITH_FILES))
    for dataset in TABLES:
        shutil.rmtree(folder / "parquet" / dataset)
    assert said_of(folder) == []
    syncing.sync(source, tmp_path, **BOTH)
    assert tables_in(tmp_path) == expected


@pytest.mark.parametrize("asked", [True, False])
def test_lines_that_were_changed_outside_of_a_sync_are_those_in_the_table(
    source: MemorySource, tmp_path: Path, asked: bool
) -> None:
    """A dataset that was not requested kept a table of other lines: the state had new digests."""
    folder = tmp_path / NAME
    request = ALL if asked else BOTH
    for change in (_edit, _cut):
        change(folder / "console.jsonl")
        syncing.sync(source, tmp_path, **request)
        assert lines_in_tables(folder, "console") == (folder / "console.jsonl").read_bytes()
        assert said_of(folder) == []


def _edit(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b"line 7", b"line 8", 1))


def _cut(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-5]))


@pytest.mark.parametrize("dataset", TABLES)
def test_missing_lines_are_made_of_their_table(
    source: MemorySource, tmp_path: Path, dataset: str
) -> None:
    """Those of runs that are gone upstream were lost, and their table went with them."""
    source.delete("e")
    syncing.sync(source, tmp_path, **BOTH)
    before = syncing.visible(tmp_path / NAME)
    (tmp_path / NAME / f"{dataset}.jsonl").unlink()
    again = syncing.twin(source)
    syncing.sync(again, tmp_path, **BOTH)
    assert syncing.visible(tmp_path / NAME) == before
    syncing.sync(again, tmp_path, **ALL)
    assert not [call for call in again.asked if call[0] == f"read_{dataset}"]
    assert said_of(tmp_path / NAME) == []


def test_missing_lines_of_a_damaged_table_are_those_of_the_other_files(
    source: MemorySource, tmp_path: Path
) -> None:
    folder = tmp_path / NAME
    lines = (folder / "console.jsonl").read_bytes()
    (folder / name_of(folder, "d")).write_bytes(b"damaged")
    (folder / "console.jsonl").unlink()
    syncing.sync(source, tmp_path, **BOTH)
    found = (folder / "console.jsonl").read_bytes()
    assert found == b"".join(
        line for line in lines.splitlines(keepends=True) if b'"run_id":"d"' not in line
    )
    assert said_of(folder) == []
    syncing.sync(source, tmp_path, **ALL)
    assert (folder / "console.jsonl").read_bytes() == lines


def test_missing_lines_of_a_table_that_does_not_decode_name_the_file(
    source: MemorySource, tmp_path: Path
) -> None:
    folder = tmp_path / NAME
    name = name_of(folder, "d")
    (folder / name).write_bytes(b"PAR1 no table PAR1")
    describe_again(folder, name)
    (folder / "console.jsonl").unlink()
    with pytest.raises(DrWandbError, match=name):
        syncing.sync(source, tmp_path, **BOTH)


def test_tables_and_manifest_of_an_earlier_sync_are_brought_up_to_date(
    source: MemorySource, tmp_path: Path
) -> None:
    """Restored from a backup without their lines, they stayed as they were."""
    folder, backup = tmp_path / NAME, tmp_path / "backup"
    shutil.copytree(folder / "parquet", backup / "parquet")
    shutil.copy2(folder / "manifest.json", backup)
    source.write_line("d", "more")
    syncing.sync(source, tmp_path, **ALL)
    expected = tables_in(tmp_path)
    shutil.copytree(backup, folder, dirs_exist_ok=True)
    assert tables_in(tmp_path) != expected
    syncing.sync(source, tmp_path, **ALL)
    assert tables_in(tmp_path) == expected
    assert said_of(folder) == []


def test_number_of_a_line_beyond_64_bits_names_the_file_and_changes_nothing(
    source: MemorySource, tmp_path: Path
) -> None:
    path = tmp_path / NAME / "console.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    changed = {**json.loads(lines[39]), "number": 2**64}
    lines[39] = json.dumps(changed, separators=(",", ":"), sort_keys=True).encode() + b"\n"
    path.write_bytes(b"".join(lines))
    before = syncing.visible(tmp_path / NAME)
    with pytest.raises(DrWandbError) as caught:
        syncing.sync(source, tmp_path, **ALL)
    assert str(path) in str(caught.value)
    assert "more than 64 bits" in str(caught.value)
    assert syncing.visible(tmp_path / NAME) == before


# --- what verify says


def put_table(folder: Path, name: str, runs: dict[str, bytes]) -> None:
    """Write a file of a table anew, and describe it in the manifest as it is."""
    form = FORMS[name.split("/")[1]]
    lines = {run_id: runs[run_id].splitlines(keepends=True) for run_id in runs}
    write_table(folder / name, form, lines.items())
    described = replace(
        read_manifest(folder).files[name],
        lines=sum(map(len, lines.values())),
        contents=pack_digest((run_id, _digest(runs[run_id])) for run_id in runs),
    )
    manifest = read_manifest(folder)
    put_manifest(folder, replace(manifest, files={**manifest.files, name: described}))
    describe_again(folder, name)


def _digest(lines: bytes) -> str:
    return hashlib.blake2b(lines, digest_size=16).hexdigest()


def name_of(folder: Path, run_id: str) -> str:
    digit = hashlib.sha256(run_id.encode()).hexdigest()[0]
    return next(
        name
        for name in sorted(read_manifest(folder).files)
        if name.startswith("parquet/console/") and name.endswith(f"{digit}.parquet")
    )


def test_run_with_other_rows_in_a_table_is_a_finding(source: MemorySource, tmp_path: Path) -> None:
    folder = tmp_path / NAME
    name = name_of(folder, "d")
    lines = dict(read_table(folder / name, FORMS["console"]))
    put_table(folder, name, lines)
    assert said_of(folder) == []
    put_table(folder, name, {**lines, "d": lines["d"].replace(b"line 7", b"line 8")})
    assert said_of(folder) == [f"{name}: run 'd' has other rows than in console.jsonl"]
    put_table(folder, name, {**lines, "d": b"".join(lines["d"].splitlines(keepends=True)[1:])})
    assert said_of(folder) == [f"{name}: run 'd' has 39 rows, and 40 in console.jsonl"]


def test_run_in_the_wrong_file_of_a_table_is_a_finding(
    source: MemorySource, tmp_path: Path
) -> None:
    folder = tmp_path / NAME
    name, home = name_of(folder, "d"), name_of(folder, "b")
    of_d, of_others = (dict(read_table(folder / one, FORMS["console"])) for one in (name, home))
    put_table(folder, name, {**of_others, **of_d})
    said = said_of(folder)
    assert f"{name}: has run 'b', which belongs into {Path(home).name}" in said
    assert f"{name}: has run 'b', as {home} has" in said or (
        f"{home}: has run 'b', as {name} has" in said
    )


def test_runs_out_of_order_in_a_table_are_a_finding(source: MemorySource, tmp_path: Path) -> None:
    folder = tmp_path / NAME
    name = name_of(folder, "b")
    lines = dict(read_table(folder / name, FORMS["console"]))
    assert [*lines] == ["b", "e"]
    put_table(folder, name, {"e": lines["e"], "b": lines["b"]})
    assert f"{name}: has run 'b', which is not in order" in said_of(folder)


def test_table_that_does_not_decode_is_a_finding(source: MemorySource, tmp_path: Path) -> None:
    folder = tmp_path / NAME
    name = name_of(folder, "d")
    (folder / name).write_bytes(b"PAR1 no table PAR1")
    describe_again(folder, name)
    assert any(line.startswith(f"{name}: cannot be read: ") for line in said_of(folder))


def test_table_is_compared_with_the_state_if_the_lines_are_damaged(
    source: MemorySource, tmp_path: Path
) -> None:
    folder = tmp_path / NAME
    (folder / "console.jsonl").write_bytes(b"")
    assert not any("parquet/" in line for line in said_of(folder))
    name = name_of(folder, "d")
    lines = dict(read_table(folder / name, FORMS["console"]))
    put_table(folder, name, {"d": lines["d"].replace(b"line 7", b"line 8")})
    assert f"{name}: run 'd' has other rows than in console.jsonl" in said_of(folder)
