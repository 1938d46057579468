"""What `verify` says of the Parquet files of an export: damage, what is missing, what is stray."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from dr_wandb.cli import run
from dr_wandb.core.columnar import files
from dr_wandb.core.columnar.digest import contents_digest
from dr_wandb.core.columnar.files import pack_name
from dr_wandb.core.columnar.from_lines import cells_of_lines
from dr_wandb.core.contract.export_files import HISTORY_FILE, PARQUET_HISTORY, PARQUET_RUNS
from dr_wandb.core.contract.manifest import DataFile, ExportManifest
from dr_wandb.core.inspect.verify import REMEDIES, FindingKind, NoteKind
from dr_wandb.shell.inspect.verify import compare_with_source, verify_export
from dr_wandb.shell.store import disk
from dr_wandb.shell.store.cell_columns import cells_as_arrow
from dr_wandb.shell.store.export_store import ExportStore
from dr_wandb.shell.store.parquet_files import merge_pack, write_cells, write_part
from tests.support import syncing
from tests.support.memory_source import MemorySource
from tests.support.state_files import edit_state
from tests.support.syncing import NAME
from tests.support.written_parquet import (
    add_parquet,
    describe_again,
    lines_by_run,
    put_manifest,
    read_manifest,
    write_history,
)

ROWS = {"long": 60, "short": 5, "other": 3}


def project() -> MemorySource:
    source = MemorySource()
    for run_id, rows in ROWS.items():
        source.add_run(run_id)
        for step in range(rows):
            source.log(run_id, {"loss": step / 3, "name": run_id})
        source.finish(run_id)
    return source


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the same export in both formats, and in Parquet alone."""
    root = tmp_path_factory.mktemp("exports")
    for name in ("both", "alone"):
        syncing.sync(project(), root / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "MOST_CELLS", 100)
        add_parquet(root / "both" / NAME)
        add_parquet(root / "alone" / NAME, alone=True)
    return root


@pytest.fixture(params=["both", "alone"])
def folder(exports: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    name = str(request.param)
    return shutil.copytree(exports / name / NAME, tmp_path / name / NAME)


@pytest.fixture
def both(exports: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exports / "both" / NAME, tmp_path / "both" / NAME)


@pytest.fixture
def alone(exports: Path, tmp_path: Path) -> Path:
    return shutil.copytree(exports / "alone" / NAME, tmp_path / "alone" / NAME)


def store_of(folder: Path) -> ExportStore:
    return ExportStore(name=NAME, data_root=folder.parent)


def said_of(folder: Path, *, quick: bool = False) -> list[tuple[str, str]]:
    """Return the kind and the text of each finding."""
    report = verify_export(store_of(folder), quick=quick)
    assert all(one.remedy == REMEDIES[one.kind] for one in report.findings)
    return [(str(one.kind), one.describe()) for one in report.findings]


def file_of(folder: Path, run_id: str, number: int = 0) -> str:
    """Return the name of the pack of a run, or of one of its own files."""
    digest = hashlib.sha256(run_id.encode()).hexdigest()
    names = sorted(name for name in read_manifest(folder).files if PARQUET_HISTORY in name)
    own = [name for name in names if f"-run-{digest[:32]}" in name]
    return (
        own[number] if own else next(one for one in names if one.endswith(f"{digest[0]}.parquet"))
    )


def history_of(folder: Path) -> bytes:
    lines = folder.parent.parent / "lines"
    if not lines.exists():
        named = (NAME, "--data-root", str(folder.parent), "--out", str(lines))
        assert run(["convert", *named, "--to", "jsonl"]) == 0
    return lines.read_bytes()


def change_manifest(folder: Path, **fields: Any) -> None:
    put_manifest(folder, replace(read_manifest(folder), **fields))


def change_file(folder: Path, name: str, **fields: Any) -> None:
    described = read_manifest(folder).files
    change_manifest(folder, files={**described, name: replace(described[name], **fields)})


# --- what is sound


@pytest.mark.parametrize("quick", [False, True])
def test_export_with_parquet_is_sound(folder: Path, quick: bool) -> None:
    before = syncing.files_below(folder)
    report = verify_export(store_of(folder), quick=quick)
    assert report.findings == ()
    assert report.rows == sum(ROWS.values())
    assert {name: file for name, file in report.files.items() if "parquet/" in name} == {
        name: file for name, file in read_manifest(folder).files.items() if "parquet/" in name
    }
    assert [note.kind for note in report.notes] == ([NoteKind.QUICK] if quick else [])
    assert syncing.files_below(folder) == before


def test_export_of_parquet_without_rows_is_sound(tmp_path: Path) -> None:
    source = MemorySource()
    source.add_run("a")
    syncing.sync(source, tmp_path)
    add_parquet(tmp_path / NAME, alone=True)
    assert said_of(tmp_path / NAME) == []


def test_comparison_with_the_server_counts_rows_in_parquet(folder: Path) -> None:
    compared = compare_with_source(store_of(folder), project())
    assert compared.level
    assert {one.run_id: one.rows for one in compared.fully_exported} == ROWS


def test_export_of_lines_is_verified_without_pyarrow(both: Path) -> None:
    """The check of an export without Parquet does not wait for the import of Arrow."""
    shutil.rmtree(both / "parquet")
    program = (
        "import sys; from pathlib import Path; from dr_wandb import ExportStore, verify_export\n"
        f"verify_export(ExportStore(name={NAME!r}, data_root=Path({str(both.parent)!r})))\n"
        "sys.exit('pyarrow' in sys.modules)"
    )
    manifest = read_manifest(both)
    kept = {name: file for name, file in manifest.files.items() if "parquet/" not in name}
    put_manifest(both, replace(manifest, files=kept))
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


# --- files that are not what the manifest says


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("what", ["pack", "part", "runs"])
def test_missing_file_is_a_finding(folder: Path, what: str, quick: bool) -> None:
    names = {"pack": file_of(folder, "short"), "part": file_of(folder, "long", 1)}
    name = names.get(what, PARQUET_RUNS)
    (folder / name).unlink()
    assert ("columns", f"{name}: is missing") in said_of(folder, quick=quick)
    assert run(["verify", NAME, "--data-root", str(folder.parent)]) == 6


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("what", ["pack", "part", "runs"])
def test_changed_file_is_a_finding(folder: Path, what: str, quick: bool) -> None:
    names = {"pack": file_of(folder, "short"), "part": file_of(folder, "long", 1)}
    name = names.get(what, PARQUET_RUNS)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-9] + b"x" + content[-8:])
    expected = ("columns", f"{name}: does not have the SHA-256 that is in manifest.json")
    assert expected in said_of(folder, quick=quick)
    (folder / name).write_bytes(content + b"x")
    expected = (
        "columns",
        f"{name}: has {len(content) + 1} bytes; manifest.json says {len(content)}",
    )
    assert expected in said_of(folder, quick=quick)


def test_runs_of_a_damaged_file_are_named_if_they_are_nowhere_else(alone: Path) -> None:
    name = file_of(alone, "short")
    (alone / name).unlink()
    assert said_of(alone) == [
        ("content", "parquet/history: run 'short' has 0 lines here, 5 in state.json"),
        ("columns", f"{name}: is missing"),
    ]


def test_damaged_parquet_says_nothing_of_lines_that_are_held(both: Path) -> None:
    name = file_of(both, "short")
    (both / name).unlink()
    assert said_of(both) == [("columns", f"{name}: is missing")]


@pytest.mark.parametrize("content", [b"", b"PAR1" + 64 * b"\x00" + b"PAR1"])
@pytest.mark.parametrize("what", ["pack", "part", "runs"])
def test_file_that_does_not_decode_is_a_finding(folder: Path, what: str, content: bytes) -> None:
    names = {"pack": file_of(folder, "short"), "part": file_of(folder, "long", 1)}
    name = names.get(what, PARQUET_RUNS)
    (folder / name).write_bytes(content)
    describe_again(folder, name)
    [said] = [text for kind, text in said_of(folder) if kind == "columns"]
    assert said.startswith(f"{name}: cannot be read: ")


@pytest.mark.parametrize("what", ["parquet", "parquet/history", "file"])
def test_link_is_a_finding(folder: Path, tmp_path: Path, what: str) -> None:
    path = folder / (file_of(folder, "short") if what == "file" else what)
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    said = [text for kind, text in said_of(folder) if kind == "columns"]
    assert f"{path.name} is a link, which is not followed" in said[0]


def test_file_that_cannot_be_opened_is_a_finding(
    both: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(disk, "sha256_of", refuse)
    said = said_of(both)
    assert ("refused", f"{PARQUET_RUNS}: cannot be read: Permission denied") in said


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(
    "name", ["parquet/history/2001-01-0.parquet", "parquet/history/.x", "parquet/y", "parquet/z/"]
)
def test_stray_file_is_a_finding(folder: Path, name: str, quick: bool) -> None:
    path = folder / name
    path.mkdir() if name.endswith("/") else path.write_bytes(b"x")
    problem = "is not in manifest.json, but who reads the whole folder reads it too"
    assert said_of(folder, quick=quick) == [("stray", f"{name.rstrip('/')}: {problem}")]


def test_files_that_a_dropped_format_left_are_stray(both: Path) -> None:
    manifest = read_manifest(both)
    kept = {name: file for name, file in manifest.files.items() if "parquet/" not in name}
    put_manifest(both, replace(manifest, files=kept))
    assert {kind for kind, _ in said_of(both)} == {"stray", "manifest"}


# --- contents that are not the right ones


def test_contents_and_rows_that_the_manifest_states_are_compared(folder: Path) -> None:
    for name in (file_of(folder, "short"), file_of(folder, "long", 1)):
        change_file(folder, name, contents="0")
        assert ("columns", f"{name}: does not have the contents that manifest.json records") in (
            said_of(folder)
        )
        change_file(folder, name, lines=7)
        assert any(text.startswith(f"{name}: has ") for _, text in said_of(folder))
        assert any("manifest.json says 7" in text for _, text in said_of(folder))


def test_file_of_runs_that_was_made_of_others_is_a_finding(folder: Path) -> None:
    change_file(folder, PARQUET_RUNS, contents="0")
    expected = [("columns", f"{PARQUET_RUNS}: was made from another runs.jsonl")]
    assert said_of(folder, quick=True) == said_of(folder) == expected


def test_file_of_runs_in_another_order_is_a_finding(folder: Path, tmp_path: Path) -> None:
    from dr_wandb.shell.store.runs_parquet import write_runs

    lines = (folder / "runs.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "turned").write_bytes(b"".join(lines[::-1]))
    write_runs(tmp_path / "turned", folder / PARQUET_RUNS)
    describe_again(folder, PARQUET_RUNS)
    problem = "does not have the runs of runs.jsonl in their order"
    assert said_of(folder) == [("columns", f"{PARQUET_RUNS}: {problem}")]


def put_history(folder: Path, change: Callable[[bytes], bytes]) -> None:
    """Write all Parquet files of the history again from other lines."""
    manifest = read_manifest(folder)
    created = dict.fromkeys(ROWS, "2026-01-01T00:00:00Z")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "MOST_CELLS", 100)
        made = write_history(folder, change(history_of(folder)), created)
    kept = {name: file for name, file in manifest.files.items() if "/history/" not in name}
    count = sum(file.lines for file in made.values())
    put_manifest(folder, replace(manifest, files={**kept, **made}, history_count=count))


def test_other_rows_than_in_lines_are_a_finding(both: Path) -> None:
    put_history(both, lambda lines: lines.replace(b'"name":"short"', b'"name":"x"'))
    change_manifest(both, history_count=68)
    name = file_of(both, "short")
    problem = "run 'short' has other rows than in history.jsonl"
    assert said_of(both) == [("columns", f"{name}: {problem}")]


def test_fewer_rows_than_in_lines_are_a_finding(both: Path) -> None:
    put_history(both, lambda lines: b"".join(lines.splitlines(keepends=True)[:-1]))
    change_manifest(both, history_count=68)
    name = file_of(both, "short")
    problem = "run 'short' has 4 rows, and 5 in history.jsonl"
    assert said_of(both) == [("columns", f"{name}: {problem}")]


def test_run_that_is_not_there_is_a_finding(both: Path) -> None:
    def drop(lines: bytes) -> bytes:
        return b"".join(one for run_id, one in lines_by_run(lines).items() if run_id != "other")

    put_history(both, drop)
    change_manifest(both, history_count=68)
    problem = "parquet/history: run 'other' has 0 rows, and 3 in history.jsonl"
    assert said_of(both) == [("columns", problem)]


def test_parquet_is_compared_with_the_state_if_the_lines_are_damaged(both: Path) -> None:
    put_history(both, lambda lines: lines.replace(b'"name":"short"', b'"name":"x"'))
    (both / HISTORY_FILE).write_bytes(b"")
    change_manifest(both, history_count=68)
    said = said_of(both)
    problem = "run 'short' has other rows than in history.jsonl"
    assert [text for kind, text in said if kind == "columns"] == [
        f"{file_of(both, 'short')}: {problem}"
    ]
    (both / "state.json").unlink()
    assert [text for kind, text in said_of(both) if kind == "columns"] == []


def test_state_that_records_other_rows_is_a_finding(alone: Path) -> None:
    put_history(alone, lambda lines: lines.replace(b'"name":"short"', b'"name":"x"'))
    problem = "run 'short' has another byte range or content in parquet/history"
    assert said_of(alone)[0] == ("state", f"state.json: {problem}")


def test_each_row_of_parquet_alone_is_checked(alone: Path) -> None:
    def spoil(lines: bytes) -> bytes:
        first, *rest = lines_by_run(lines)["short"].splitlines(keepends=True)
        unknown = first.replace(b"short", b"zz")
        turned = {"short": b"".join((first, *rest[::-1])), "zz": unknown}
        return b"".join({**lines_by_run(lines), **turned}.values())

    put_history(alone, spoil)
    said = [text for kind, text in said_of(alone) if kind in ("form", "no_run")]
    name = file_of(alone, "short")
    assert any(text.startswith(f"{name} line 3: out of order: the row of step 3") for text in said)
    assert any("run 'zz' of these 1 rows is not in runs.jsonl" in text for text in said)


# --- files that do not hold what they should


def cells_of(folder: Path, run_id: str, first: int = 0) -> Any:
    [batch] = cells_of_lines([lines_by_run(history_of(folder))[run_id]], first)
    return batch


def put_file(folder: Path, name: str, rows: int, contents: str) -> None:
    """Let the manifest describe a file as it is now."""
    content = (folder / name).read_bytes()
    described = DataFile(
        lines=rows,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        contents=contents,
    )
    change_manifest(folder, files={**read_manifest(folder).files, name: described})


def test_run_in_two_files_is_a_finding(folder: Path) -> None:
    name = file_of(folder, "short")
    twin = f"{PARQUET_HISTORY}/2001-01-{name[-9]}.parquet"
    shutil.copy(folder / name, folder / twin)
    known = read_manifest(folder).files[name]
    put_file(folder, twin, known.lines, known.contents)
    said = [text for kind, text in said_of(folder) if kind == "columns"]
    assert f"{twin}: has run 'short', which belongs into a file of 2026-01" in said
    assert f"{name}: has run 'short', as {twin} has" in said


def test_run_in_the_file_of_another_is_a_finding(folder: Path) -> None:
    name = file_of(folder, "long", 0)
    write_part(folder / name, "short", cells_of(folder, "short"))
    describe_again(folder, name)
    said = [text for kind, text in said_of(folder) if kind == "columns"]
    assert f"{name}: has run 'short', which belongs into a file of another digest" in said


def test_part_that_goes_on_elsewhere_is_a_finding(folder: Path) -> None:
    name = file_of(folder, "long", 1)
    part = cells_of(folder, "short", first=3)
    write_part(folder / name, "long", part)
    put_file(folder, name, 5, contents_digest(part))
    said = [text for kind, text in said_of(folder) if kind == "columns"]
    assert any(text.startswith(f"{name}: run 'long' goes on at row 3, not at ") for text in said)


def test_part_that_the_manifest_does_not_name_is_a_finding(folder: Path) -> None:
    name = file_of(folder, "long", 1)
    files_now = {one: file for one, file in read_manifest(folder).files.items() if one != name}
    change_manifest(folder, files=files_now)
    said = said_of(folder)
    first = file_of(folder, "long", 0)
    assert ("columns", f"{first}: is of a run whose file 0001 is not in manifest.json") in said
    assert (
        "stray",
        f"{name}: is not in manifest.json, but who reads the whole folder reads it too",
    ) in said


def test_own_files_of_two_months_are_a_finding(folder: Path) -> None:
    name = file_of(folder, "long", 0)
    twin = name.replace("2026-01", "2001-01")
    shutil.copy(folder / name, folder / twin)
    known = read_manifest(folder).files[name]
    put_file(folder, twin, known.lines, known.contents)
    said = [text for kind, text in said_of(folder) if kind == "columns"]
    assert f"{twin}: is of a run that has files of several months" in said


def test_runs_and_cells_out_of_order_are_findings(folder: Path) -> None:
    name, cells = file_of(folder, "short"), cells_of(folder, "short")
    run_ids = sorted(["short", _namesake("short")])
    write_cells(folder / name, (cells_as_arrow(cells, run_id) for run_id in run_ids[::-1]))
    describe_again(folder, name)
    said = [text for kind, text in said_of(folder) if kind == "columns"]
    assert f"{name}: has run {run_ids[0]!r}, which is not in order" in said
    batch = cells_as_arrow(cells, "short")
    write_cells(folder / name, [batch.take(_turned(batch.num_rows, 5))])
    describe_again(folder, name)
    said = [text for kind, text in said_of(folder) if kind == "columns"]
    assert any("run 'short' has keys that are not in order" in text for text in said)


def _turned(count: int, kept: int) -> Any:
    import pyarrow as pa

    return pa.array([*range(kept), *range(count - 5, count), *range(kept, count - 5)])


def _namesake(run_id: str) -> str:
    """Return a run that belongs into the same pack."""
    pack = pack_name(run_id, None)
    return next(f"r{n}" for n in range(1000) if pack_name(f"r{n}", None) == pack)


def test_part_with_two_runs_is_a_finding(folder: Path) -> None:
    name = file_of(folder, "long", 0)
    runs = [("a", [cells_as_arrow(cells_of(folder, "short"), "a")])]
    merge_pack(folder / name, folder / "made", runs)
    shutil.move(folder / "made", folder / name)
    describe_again(folder, name)
    said = [text for kind, text in said_of(folder) if kind == "columns"]
    assert f"{name}: has several runs, and should have a part of one" in said


# --- contradictions in the manifest


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda one: replace(one, history_count=7), "history_count is 7, but "),
        (lambda one: replace(one, schema_version=6), "schema_version is 6, but files says"),
        (lambda one: replace(one, mode="metadata"), "mode is metadata, but history_path is"),
        (lambda one: replace(one, requested=None), "the formats are none, but files says"),
        (
            lambda one: replace(one, files={**one.files, "parquet/../x": one.files[PARQUET_RUNS]}),
            "files has 'parquet/../x', which is not a data file",
        ),
    ],
)
def test_contradiction_in_the_manifest_is_a_finding(
    folder: Path, change: Callable[[ExportManifest], ExportManifest], problem: str
) -> None:
    put_manifest(folder, change(read_manifest(folder)))
    said = [text for kind, text in said_of(folder) if kind == "manifest"]
    assert any(f"manifest.json: {problem}" in text for text in said), said


def test_bounded_report_is_a_document(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (alone / file_of(alone, "short")).unlink()
    assert run(["verify", NAME, "--data-root", str(alone.parent), "--json"]) == 6
    report = json.loads(capsys.readouterr().out)
    assert [one["kind"] for one in report["findings"]] == ["content", "columns"]
    assert FindingKind("stray") in REMEDIES


def test_state_of_another_sync_is_noticed(alone: Path) -> None:
    def change(state: Any) -> None:
        state["runs"]["short"]["parts"]["history"]["stored"]["rows"] = 4

    edit_state(alone, change)
    assert any(
        "run 'short' has 5 lines in parquet/history, not 4" in text for _, text in said_of(alone)
    )


@pytest.mark.parametrize(
    ("of_manifest", "of_state", "blamed"), [(6, 7, "manifest"), (7, 6, "state"), (7, 5, "state")]
)
def test_document_whose_version_does_not_fit_the_files_is_named(
    alone: Path, of_manifest: int, of_state: int, blamed: str
) -> None:
    change_manifest(alone, schema_version=of_manifest)
    edit_state(alone, lambda state: state.update(schema_version=of_state))
    expected = f"{blamed}.json: schema_version is {min(of_manifest, of_state)}, but 7 in the other"
    assert (blamed, f"{expected} document") in said_of(alone)


def test_nothing_outside_of_the_folder_is_read(both: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.parquet"
    os.mkfifo(secret)  # opening it would wait for ever
    (both / "parquet" / "link.parquet").symlink_to(secret)
    assert [kind for kind, _ in said_of(both)] == ["stray"]
